/** Messages between the page and its worker. */
import type { Changes } from "../dsp/changes";
import type { Picture } from "../dsp/spectrogram";

export interface Settings {
  /** Eight hearing levels in dB HL. */
  readonly audiogram: readonly number[];
  /** Amplify for this listener first. */
  readonly nalR: boolean;
  readonly changes: Changes;
}

export interface Card {
  readonly name: string;
  readonly version: string;
  readonly parameters: number;
  readonly window: number;
  readonly level1: number;
  readonly width: number;
  readonly tokens_per_patch: number;
  readonly encoder_input: string;
  /** Probability of the prediction intervals. A card without it has none. */
  readonly interval?: number;
  /** A card without a version has version 1. */
  readonly front_end: { readonly texture_version?: number };
  readonly source_sha256: string;
  readonly files: Readonly<Record<string, { readonly file: string }>>;
  readonly figures: { readonly test?: { readonly all?: { readonly lcc: number; readonly rows: number } } };
}

/** Lower and upper end of a prediction interval, from 0 to 1. */
export type Interval = readonly [number, number];

export interface Window {
  readonly start: number;
  readonly end: number;
  /** null if the window is silent. */
  readonly score: number | null;
  /** null if the window is silent, or if the model predicts no intervals. */
  readonly interval: Interval | null;
}

/** The clip as given, or as changed by the sliders. */
export type Version = "given" | "changed";

export type Request =
  | { type: "start"; base: string }
  | { type: "load"; clip: number; channels: Float32Array[]; rate: number }
  | { type: "settings"; settings: Settings }
  | { type: "sound"; clip: number }
  | { type: "live"; rate: number }
  | { type: "chunk"; samples: Float32Array }
  | { type: "end-live"; clip: number };

export type Reply =
  | { type: "loading"; loaded: number; total: number }
  | { type: "ready"; card: Card }
  | { type: "reading"; clip: number; part: number }
  | { type: "clip"; clip: number; seconds: number; level: number }
  | { type: "picture"; clip: number; picture: Picture }
  | {
      type: "result";
      clip: number;
      version: Version;
      settings: Settings;
      /** Number of windows scored so far. */
      done: number;
      total: number;
      score: number | null;
      interval: Interval | null;
      /** Scores of all patches so far, NaN in silent windows. */
      frames: Float32Array;
      windows: Window[];
    }
  | { type: "unchanged"; clip: number }
  | { type: "sound"; clip: number; samples: Float32Array<ArrayBuffer> }
  | {
      type: "live";
      seconds: number;
      level: number | null;
      score: number | null;
      interval: Interval | null;
      frames: Float32Array;
      picture: Picture;
    }
  | { type: "failed"; clip: number | null; message: string };
