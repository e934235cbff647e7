import { describe, expect, test } from "vitest";
import { SAMPLE_RATE } from "../src/constants";
import { joined } from "../src/dsp/arrays";
import { mixed, Resampler } from "../src/dsp/resample";
import { agreement, blocks, oracle, unpacked } from "./oracle";

function resampled(samples: Float32Array, rate: number, seed = 0): Float32Array {
  const resampler = new Resampler(rate, SAMPLE_RATE);
  const parts = (seed ? [...blocks(samples, seed)] : [samples]).map((block) => resampler.push(block));
  return joined([...parts, resampler.finish()]);
}

describe.each(oracle.resampled)("$name at $rate Hz", ({ name, rate, samples, expected }) => {
  const given = unpacked(samples);
  const whole = resampled(given, rate);

  test("is as long as soxr makes it and sounds alike", () => {
    const dB = agreement(unpacked(expected), whole);
    console.log(`${name} at ${rate} Hz: ${dB.toFixed(1)} dB above its difference from soxr's`);
    // White noise fills the band in which two filters of one specification may differ.
    expect(dB).toBeGreaterThan(name === "music" ? 60 : 20);
  });

  test("does not depend on how it is cut", () => {
    expect(resampled(given, rate, 5)).toEqual(whole);
  });
});

test.each([44_100, 48_000, 96_000])("what 16 kHz cannot hold is 110 dB down, what it holds stays (%i Hz)", (rate) => {
  const tone = (hz: number) => Float32Array.from({ length: rate }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));
  const strength = (samples: Float32Array) => {
    const middle = samples.subarray(4000, 12_000);
    return 10 * Math.log10((2 * middle.reduce((sum, x) => sum + x * x, 0)) / middle.length);
  };
  for (const hz of [8000, 8200, 9000, 15_000, 21_000]) expect(strength(resampled(tone(hz), rate))).toBeLessThan(-110);
  for (const hz of [50, 1000, 5000, 7300]) expect(Math.abs(strength(resampled(tone(hz), rate)))).toBeLessThan(1e-3);
});

test("channels are averaged", () => {
  expect(mixed([Float32Array.of(1, 2), Float32Array.of(3, -2)])).toEqual(Float32Array.of(2, 0));
});
