/** The spectrogram behind the curve, on an auditory frequency scale. It is only displayed, never scored. */
import { SAMPLE_RATE } from "../constants";
import { fft } from "./fft";

export interface Picture {
  readonly columns: number;
  readonly rows: number;
  /** [columns, rows] from the lowest frequency up: 0 is 75 dB below the reference, 255 the reference. */
  readonly cells: Uint8ClampedArray<ArrayBuffer>;
}

export const LOWEST = 60;
export const HIGHEST = SAMPLE_RATE / 2;
const FRAME = 1024;
const ROWS = 144;
const RANGE = 75;
/** Maximum number of frames in one column. Columns of a long song leave out frames. */
const FRAMES = 3;

/** Return the position of a frequency in Hz from 0 (lowest) to 1, on the ERB-number scale (Glasberg & Moore 1990). */
export function place(hz: number): number {
  const erb = (f: number) => Math.log10(1 + 0.00437 * f);
  return (erb(hz) - erb(LOWEST)) / (erb(HIGHEST) - erb(LOWEST));
}

function edges(): number[] {
  const low = Math.log10(1 + 0.00437 * LOWEST);
  const high = Math.log10(1 + 0.00437 * HIGHEST);
  return Array.from({ length: ROWS + 1 }, (_, i) => (10 ** (low + ((high - low) * i) / ROWS) - 1) / 0.00437);
}

const WINDOW = Float64Array.from({ length: FRAME }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / FRAME));
const PLACES = edges().map((hz) => (hz * FRAME) / SAMPLE_RATE);

/** Compute the powers [ROWS] of one column, from the frame around a sample. */
function powers(samples: Float32Array, centre: number, into: Float64Array): void {
  const real = new Float64Array(FRAME);
  const imaginary = new Float64Array(FRAME);
  const start = Math.round(centre) - FRAME / 2;
  for (let i = 0; i < FRAME; i++) real[i] = WINDOW[i] * (samples[start + i] ?? 0);
  fft(real, imaginary);
  for (let row = 0; row < ROWS; row++) {
    const first = Math.round(PLACES[row]);
    const last = Math.max(first, Math.round(PLACES[row + 1]) - 1);
    let highest = 0;
    for (let bin = first; bin <= last; bin++) highest = Math.max(highest, real[bin] ** 2 + imaginary[bin] ** 2);
    into[row] += highest;
  }
}

/** Return the reference power for music with an RMS. */
function reference(level: number): number {
  return (level * FRAME * 0.3) ** 2;
}

/**
 * Compute the spectrogram of a clip.
 *
 * @param samples - at 16 kHz
 * @param columns - maximum number
 * @param level - RMS that sets the brightness
 */
export function picture(samples: Float32Array, columns: number, level: number): Picture {
  const count = Math.max(1, Math.min(columns, Math.ceil(samples.length / (FRAME / 4))));
  const cells = new Uint8ClampedArray(count * ROWS);
  const step = samples.length / count;
  const frames = Math.max(1, Math.min(FRAMES, Math.round(step / FRAME)));
  const sum = new Float64Array(ROWS);
  const scale = 1 / (reference(level) * frames);
  for (let column = 0; column < count; column++) {
    sum.fill(0);
    for (let i = 0; i < frames; i++) powers(samples, (column + (i + 0.5) / frames) * step, sum);
    for (let row = 0; row < ROWS; row++) {
      cells[column * ROWS + row] = 255 * (1 + (10 * Math.log10(sum[row] * scale + 1e-30)) / RANGE);
    }
  }
  return { columns: count, rows: ROWS, cells };
}
