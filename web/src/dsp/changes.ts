/** Changes that the sliders make: noise, peak clipping, level. Noise and clipping are as in the training data. */
import { SAMPLE_RATE } from "../constants";
import { fft } from "./fft";

export interface Changes {
  /** dB added to the level. */
  readonly gain: number;
  /** Level at which peaks are clipped, as a part of the highest peak. 1 leaves them. */
  readonly clip: number;
  /** Signal-to-noise ratio in dB, or null for no noise. */
  readonly snr: number | null;
}

export const NONE: Changes = { gain: 0, clip: 1, snr: null };

export function isChanged(changes: Changes): boolean {
  return changes.gain !== 0 || changes.clip < 1 || changes.snr !== null;
}

export function amplitude(decibel: number): number {
  return 10 ** (decibel / 20);
}

export function rms(samples: Float32Array): number {
  let energy = 0;
  for (const sample of samples) energy += sample * sample;
  return Math.sqrt(energy / samples.length);
}

export function peak(samples: Float32Array): number {
  let highest = 0;
  for (const sample of samples) highest = Math.max(highest, Math.abs(sample));
  return highest;
}

const PERIOD = 2 ** 18;
let noise: Float32Array | undefined;

/** Stationary noise of RMS 1 with the long-term spectrum of speech (ANSI S3.5: flat to 500 Hz, then -9 dB per octave). */
export function speechNoise(): Float32Array {
  if (noise) return noise;
  const real = new Float64Array(PERIOD);
  const imaginary = new Float64Array(PERIOD);
  let state = 0x9e3779b9;
  const random = () => {
    // mulberry32, seeded: the same noise every time, so that a slider moved back gives the same score
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  for (let k = 1; k < PERIOD / 2; k++) {
    const hz = (k * SAMPLE_RATE) / PERIOD;
    if (hz <= 50) continue;
    const magnitude = Math.sqrt(-Math.log(1 - random())) / Math.max(hz / 500, 1) ** 1.5;
    const angle = 2 * Math.PI * random();
    real[k] = magnitude * Math.cos(angle);
    imaginary[k] = magnitude * Math.sin(angle);
    real[PERIOD - k] = real[k];
    imaginary[PERIOD - k] = -imaginary[k];
  }
  fft(real, imaginary);
  noise = Float32Array.from(real);
  const scale = 1 / rms(noise);
  for (let i = 0; i < PERIOD; i++) noise[i] *= scale;
  return noise;
}

/** Add noise, then clip, then change the level. */
export function changed(samples: Float32Array, changes: Changes): Float32Array {
  if (!isChanged(changes)) return samples;
  const out = Float32Array.from(samples);
  if (changes.snr !== null) {
    const added = speechNoise();
    const scale = rms(samples) * amplitude(-changes.snr);
    for (let i = 0; i < out.length; i++) out[i] += scale * added[i % PERIOD];
  }
  const limit = changes.clip < 1 ? changes.clip * peak(out) : Infinity;
  const gain = amplitude(changes.gain);
  for (let i = 0; i < out.length; i++) out[i] = gain * Math.min(limit, Math.max(-limit, out[i]));
  return out;
}
