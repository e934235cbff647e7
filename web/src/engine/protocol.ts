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

/** The quantity that a model predicts, and its range. */
export interface Scale {
  readonly name: string;
  readonly low: number;
  readonly high: number;
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
  /** A card without it predicts HAAQI. */
  readonly predicts?: Scale;
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

/** The clip as given; and as changed by the sliders, or another clip that is compared with it. */
export type Version = "given" | "changed";

export type Request =
  | { type: "start"; base: string }
  /** Read the clip, or the other clip that is compared with it. */
  | { type: "load"; clip: number; version: Version; channels: Float32Array[]; rate: number }
  /** Compare with no other clip. */
  | { type: "alone"; clip: number }
  | { type: "settings"; settings: Settings }
  | { type: "sound"; clip: number; version: Version }
  | { type: "live"; rate: number }
  | { type: "chunk"; samples: Float32Array }
  | { type: "end-live"; clip: number };

export type Reply =
  | { type: "loading"; loaded: number; total: number }
  | { type: "ready"; card: Card }
  | { type: "reading"; clip: number; part: number }
  | { type: "clip"; clip: number; version: Version; seconds: number; level: number }
  | { type: "picture"; clip: number; version: Version; picture: Picture }
  | {
      type: "result";
      clip: number;
      version: Version;
      settings: Settings;
      /** Whether `changed` is another clip. */
      compared: boolean;
      /** Seconds since the computation began. */
      elapsed: number;
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
  /** All scores and pictures for the settings are there. */
  | { type: "finished"; clip: number; settings: Settings; compared: boolean }
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
  | { type: "failed"; clip: number | null; version: Version; message: string };
