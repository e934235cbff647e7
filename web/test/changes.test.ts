import { expect, test } from "vitest";
import { changed, NONE, peak, rms, speechNoise } from "../src/dsp/changes";
import { fft } from "../src/dsp/fft";

const music = Float32Array.from({ length: 48_000 }, (_, i) => 0.3 * Math.sin(i / 7) * Math.sin(i / 5000));
const decibel = (ratio: number) => 20 * Math.log10(ratio);

test("no change is no change", () => {
  expect(changed(music, NONE)).toBe(music);
});

test.each([-30, -6, 12])("the level moves by %i dB", (gain) => {
  expect(decibel(rms(changed(music, { ...NONE, gain })) / rms(music))).toBeCloseTo(gain, 4);
});

test.each([0.9, 0.3, 0.05])("peaks are cut at %f of the highest, and nothing else is touched", (clip) => {
  const cut = changed(music, { ...NONE, clip });
  const limit = clip * peak(music);
  expect(peak(cut)).toBeCloseTo(limit, 6);
  cut.forEach((sample, i) => {
    if (Math.abs(music[i]) < limit) expect(sample).toBe(music[i]);
  });
});

test.each([40, 10, 0])("noise lies %i dB below the music", (snr) => {
  const noisy = changed(music, { ...NONE, snr });
  const added = noisy.map((sample, i) => sample - music[i]);
  expect(Math.abs(decibel(rms(music) / rms(added)) - snr)).toBeLessThan(0.5);
  expect(changed(music, { ...NONE, snr })).toEqual(noisy);
});

test("the noise has the spectrum of speech: flat to 500 Hz, 9 dB less with every octave above", () => {
  const noise = speechNoise();
  const n = 2 ** 17;
  const [real, imaginary] = [Float64Array.from(noise.subarray(0, n)), new Float64Array(n)];
  fft(real, imaginary);
  const band = (low: number, high: number) => {
    let [sum, count] = [0, 0];
    for (let k = Math.ceil((low * n) / 16_000); k < (high * n) / 16_000; k++, count++) sum += real[k] ** 2 + imaginary[k] ** 2;
    return 10 * Math.log10(sum / count);
  };
  expect(band(100, 200) - band(300, 450)).toBeCloseTo(0, 0);
  expect(band(990, 1010) - band(1980, 2020)).toBeGreaterThan(7.5);
  expect(band(1900, 2100) - band(3800, 4200)).toBeGreaterThan(8);
  expect(band(1900, 2100) - band(3800, 4200)).toBeLessThan(10);
  expect(band(200, 400) - band(5, 40)).toBeGreaterThan(20);
});

test("the Fourier transform is the plain sum", () => {
  const n = 64;
  const x = Float64Array.from({ length: n }, (_, i) => Math.sin(i * i));
  const [real, imaginary] = [Float64Array.from(x), new Float64Array(n)];
  fft(real, imaginary);
  for (let k = 0; k < n; k++) {
    let [re, im] = [0, 0];
    for (let i = 0; i < n; i++) {
      re += x[i] * Math.cos((2 * Math.PI * k * i) / n);
      im -= x[i] * Math.sin((2 * Math.PI * k * i) / n);
    }
    expect(real[k]).toBeCloseTo(re, 9);
    expect(imaginary[k]).toBeCloseTo(im, 9);
  }
});
