/** What Python says: see `oracle.py`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Scored {
  file: string;
  listener: string;
  nalR: boolean;
  levels: number[];
  score: number;
  /** Missing if the model predicts no intervals. */
  interval?: [number, number];
  windows: { start: number; end: number; score: number | null }[];
  frame_scores: (number | null)[];
}

interface Oracle {
  nalR: {
    filters: { levels: number[]; gains: number[]; taps: number[] }[];
    music: string;
    levels: number[];
    amplified: string;
  };
  windows: { length: number; patches: number; cuts: { start: number; size: number; added: number }[] }[];
  resampled: { name: string; rate: number; samples: string; expected: string }[];
  scored: Scored[];
  /** What `score --json --frames` prints of `clean-16000.wav` and `degraded-16000.wav`, for N3 with NAL-R. */
  document: ScoreDocument;
}

export interface ScoreDocument {
  provider: string;
  elapsed_seconds: number;
  results: { file: string; scores: (Omit<Scored, "file" | "listener" | "nalR"> & { audiogram: string })[] }[];
}

export const FOLDER = process.env.ORACLE ?? join(import.meta.dirname, "../../build/web");

export const oracle = JSON.parse(readFileSync(join(FOLDER, "oracle.json"), "utf-8")) as Oracle;

export function unpacked(text: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(text, "base64"));
  return new Float32Array(bytes.buffer);
}

export function furthest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} numbers beside ${b.length}`);
  let far = 0;
  for (let i = 0; i < a.length; i++) far = Math.max(far, Math.abs(a[i] - b[i]));
  return far;
}

/** dB by which a signal exceeds another's difference from it. */
export function agreement(expected: Float32Array, got: Float32Array): number {
  if (expected.length !== got.length) throw new Error(`${got.length} samples, expected ${expected.length}`);
  let [signal, noise] = [0, 1e-30];
  for (let i = 0; i < got.length; i++) {
    signal += expected[i] ** 2;
    noise += (expected[i] - got[i]) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}

/** The same samples in blocks of sizes that a seed draws. */
export function* blocks(samples: Float32Array, seed: number): Generator<Float32Array> {
  for (let at = 0, state = seed; at < samples.length; ) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    const size = 1 + (state % 3000);
    yield samples.subarray(at, at + size);
    at += size;
  }
}
