/**
 * Band-limited resampling with a polyphase windowed sinc. It meets the specification of soxr's HQ: flat to 0.9136 of
 * the lower Nyquist frequency, and 120 dB down above it. Outputs do not depend on the sizes of the input's blocks.
 */

import { joined, product } from "./arrays";

/** End of the passband as a part of the lower Nyquist frequency (soxr's HQ). */
const PASSBAND = 0.9136;
const ATTENUATION = 120;

/** Return the modified Bessel function of the first kind, order 0. */
function bessel(x: number): number {
  let sum = 1;
  for (let k = 1, term = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b);
}

/** Return the kernel [phases, 2 half] for the rate ratio `up / down`, with `half` input samples on either side. */
function kernel(up: number, down: number): { taps: Float32Array; half: number } {
  const nyquist = 0.5 * Math.min(1, up / down); // cycles per input sample
  const cutoff = (nyquist * (1 + PASSBAND)) / 2;
  const transition = nyquist * (1 - PASSBAND);
  const half = 2 * Math.ceil(((ATTENUATION - 7.95) / (14.36 * transition) + 1) / 4);
  const beta = 0.1102 * (ATTENUATION - 8.7);
  const taps = new Float32Array(up * 2 * half);
  const row = new Float64Array(2 * half);
  for (let phase = 0; phase < up; phase++) {
    let sum = 0;
    for (let j = 0; j < 2 * half; j++) {
      const t = half - 1 - j + phase / up;
      const x = 2 * cutoff * t;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      row[j] = Math.abs(t) < half ? sinc * bessel(beta * Math.sqrt(1 - (t / half) ** 2)) : 0;
      sum += row[j];
    }
    for (let j = 0; j < 2 * half; j++) taps[phase * 2 * half + j] = row[j] / sum;
  }
  return { taps, half };
}

/** Resamples mono blocks from one rate to another. */
export class Resampler {
  private readonly up: number;
  private readonly down: number;
  private readonly taps: Float32Array;
  private readonly half: number;
  /** Input samples from index `first`. Samples before the start are zeros. */
  private held: Float32Array;
  private first: number;
  private taken = 0;
  private given = 0;

  constructor(from: number, to: number) {
    const common = divisor(from, to);
    this.up = to / common;
    this.down = from / common;
    const { taps, half } = this.up === this.down ? { taps: new Float32Array(0), half: 0 } : kernel(this.up, this.down);
    this.taps = taps;
    this.half = half;
    this.held = new Float32Array(half);
    this.first = -half;
  }

  /** Accept samples, and return the resampled ones that are ready. */
  push(block: Float32Array): Float32Array {
    if (this.up === this.down) return block;
    this.taken += block.length;
    return this.resample(block, Math.ceil(((this.taken - this.half) * this.up) / this.down));
  }

  /** Return the remaining samples. All outputs together are as long as the input. */
  finish(): Float32Array {
    if (this.up === this.down) return new Float32Array(0);
    return this.resample(new Float32Array(this.half + 1), Math.round((this.taken * this.up) / this.down));
  }

  /** Accept a block, and return the outputs before index `until`. */
  private resample(block: Float32Array, until: number): Float32Array {
    const { up, down, half, taps } = this;
    const held = joined([this.held, block]);
    const out = new Float32Array(Math.max(0, until - this.given));
    for (let i = 0; i < out.length; i++) {
      const place = (this.given + i) * down;
      const base = Math.floor(place / up);
      const row = (place - base * up) * 2 * half;
      const start = base - half + 1 - this.first;
      out[i] = product(taps, row, held, start, 2 * half);
    }
    this.given += out.length;
    const next = Math.floor((this.given * down) / up) - half + 1;
    const dropped = Math.max(0, Math.min(next - this.first, held.length));
    this.held = held.slice(dropped);
    this.first += dropped;
    return out;
  }
}

/** Return the mean of the channels. */
export function mixed(channels: readonly Float32Array[]): Float32Array {
  if (channels.length === 1) return channels[0];
  const mean = new Float32Array(channels[0]);
  for (const channel of channels.slice(1)) for (let i = 0; i < mean.length; i++) mean[i] += channel[i];
  for (let i = 0; i < mean.length; i++) mean[i] /= channels.length;
  return mean;
}
