/** The result as a JSON document: what `haaqi-edge score --json --frames` prints (`docs/output.schema.json`). */
import { PATCH_LENGTH, PATCH_SECONDS, SAMPLE_RATE } from "./constants";
import type { Card, Interval, Window } from "./engine/protocol";

/** Scores of one file. */
export interface Kept {
  readonly file: string;
  readonly score: number | null;
  readonly interval: Interval | null;
  readonly windows: readonly Window[];
  /** Scores of all patches, NaN in silent windows. */
  readonly frames: Float32Array;
  readonly elapsed: number;
}

export interface KeptListener {
  readonly name: string;
  /** Eight hearing levels in dB HL. */
  readonly levels: readonly number[];
  readonly nalR: boolean;
}

/** The provider of ONNX Runtime that the page uses. */
const PROVIDER = "wasm";
const MIDDLE = PATCH_LENGTH / SAMPLE_RATE / 2;

function rounded(value: number, decimals: number): number {
  return Number(value.toFixed(decimals));
}

/** Return the document. Undefined scores are null, since JSON has no NaN. */
export function scoreDocument(card: Card, listener: KeptListener, results: readonly Kept[]): unknown {
  return {
    model: card.name,
    predicts: card.predicts ?? { name: "HAAQI", low: 0, high: 1 },
    version: card.version,
    provider: PROVIDER,
    settings: { nal_r: listener.nalR, level1: card.level1, spl: null, window: card.window, channel: "mix" },
    elapsed_seconds: rounded(
      results.reduce((sum, { elapsed }) => sum + elapsed, 0),
      4,
    ),
    results: results.map(({ file, score, interval, windows, frames }) => ({
      file,
      scores: [
        {
          audiogram: listener.name,
          levels: listener.levels,
          score,
          ...(interval ? { interval } : {}),
          windows: windows.map((window) => ({
            start: window.start,
            end: window.end,
            score: window.score,
            ...(interval ? { interval: window.interval } : {}),
          })),
          frame_scores: [...frames].map((value) => (Number.isNaN(value) ? null : rounded(value, 6))),
          times: [...frames].map((_, i) => rounded(i * PATCH_SECONDS + MIDDLE, 4)),
        },
      ],
    })),
    errors: [],
    left_out: [],
  };
}

/** Return the start of a file name for results: letters, digits and what is harmless, of the first names. */
export function stem(names: readonly string[], listener: string): string {
  const parts = names.map((name) => name.replace(/\.[A-Za-z0-9]{1,5}$/, ""));
  const whole = [...parts, listener].join("-").replace(/[^\p{L}\p{N}]+/gu, "-");
  return `haaqi-${whole.replace(/^-|-$/g, "").slice(0, 80)}`;
}
