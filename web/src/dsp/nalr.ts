/**
 * NAL-R, as in `runtime/audio/levels.py` (Byrne & Dillon 1986; pyclarity's filter). The filter is designed in the page,
 * since the audiogram is drawn there. `test/nalr.test.ts` compares it with Python's.
 */
import { FREQUENCIES, NAL_R } from "../constants";
import { joined, product } from "./arrays";

/** Interpolate linearly. Outside the range, return the value at the nearer end. */
export function interpolate(at: number, x: readonly number[], y: readonly number[]): number {
  if (at <= x[0]) return y[0];
  for (let i = 1; i < x.length; i++) {
    if (at <= x[i]) return y[i - 1] + ((at - x[i - 1]) / (x[i] - x[i - 1])) * (y[i] - y[i - 1]);
  }
  return y[y.length - 1];
}

const LOG_FREQUENCIES = FREQUENCIES.map(Math.log);

/** Return the hearing levels at the frequencies of NAL-R. */
function lossAt(levels: readonly number[]): number[] {
  return NAL_R.frequencies.map((hz) => interpolate(Math.log(hz), LOG_FREQUENCIES, levels));
}

/** Return the insertion gains in dB at 250, 500, 1000, 2000, 4000 and 6000 Hz, at least 0. */
export function nalRGains(levels: readonly number[]): number[] {
  const loss = lossAt(levels);
  if (Math.max(...loss) <= 0) return loss.map(() => 0);
  const total = loss[1] + loss[2] + loss[3];
  const base = total <= 180 ? 0.05 * total : 9 + 0.116 * (total - 180);
  return loss.map((hl, i) => Math.max(base + 0.31 * hl + NAL_R.bias[i], 0));
}

/** Design a linear-phase FIR filter [order + 1] with the gains at `rate` Hz. Its delay is order / 2 samples. */
export function nalRFilter(levels: readonly number[], rate: number): Float64Array {
  const order = 2 * Math.round((NAL_R.seconds * rate) / 2);
  const taps = new Float64Array(order + 1);
  if (Math.max(...lossAt(levels)) <= 0) {
    taps[order / 2] = 1;
    return taps;
  }
  const gains = nalRGains(levels);
  const gain = Array.from({ length: order + 1 }, (_, i) =>
    10 ** (interpolate((rate / 2) * (i / order), NAL_R.frequencies, gains) / 20),
  );
  // As MATLAB's fir2: piecewise linear between points on the indices of the grid.
  const { grid } = NAL_R;
  const response = new Float64Array(grid);
  for (let i = 0; i < order; i++) {
    const start = Math.trunc((i / order) * grid);
    const stop = Math.trunc(((i + 1) / order) * grid);
    for (let k = start; k < stop; k++) {
      const share = stop - start > 1 ? (k - start) / (stop - start - 1) : 0;
      response[k] = gain[i] + (gain[i + 1] - gain[i]) * share;
    }
  }
  const length = 2 * (grid - 1);
  for (let n = 0; n <= order; n++) {
    // The inverse Fourier transform at one sample, delayed by half the order.
    let sum = response[0] + response[grid - 1] * Math.cos(Math.PI * (n - order / 2));
    for (let k = 1; k < grid - 1; k++) sum += 2 * response[k] * Math.cos((2 * Math.PI * k * (n - order / 2)) / length);
    taps[n] = (sum / length) * (0.54 - 0.46 * Math.cos((2 * Math.PI * n) / order));
  }
  return taps;
}

/** Amplifies a signal in blocks. All outputs together are aligned with the inputs and have the same length. */
export class NalR {
  private readonly taps: Float32Array;
  private history: Float32Array;
  private skip: number;

  constructor(levels: readonly number[], rate: number) {
    this.taps = Float32Array.from(nalRFilter(levels, rate));
    this.history = new Float32Array(this.taps.length - 1);
    this.skip = this.taps.length >> 1;
  }

  /** Samples that the filter reads on either side. */
  get reach(): number {
    return this.taps.length >> 1;
  }

  /** Accept samples, and return the amplified samples that are ready. */
  push(samples: Float32Array): Float32Array {
    const { taps } = this;
    const held = joined([this.history, samples]);
    if (held.length < taps.length) {
      this.history = held;
      return new Float32Array(0);
    }
    this.history = held.slice(held.length - taps.length + 1);
    const ready = new Float32Array(held.length - taps.length + 1);
    for (let i = 0; i < ready.length; i++) ready[i] = product(taps, 0, held, i, taps.length); // the filter is symmetric
    const dropped = Math.min(this.skip, ready.length);
    this.skip -= dropped;
    return ready.subarray(dropped);
  }

  /** Return the last samples, which waited for the filter's look-ahead. */
  finish(): Float32Array {
    return this.push(new Float32Array(this.taps.length >> 1));
  }
}
