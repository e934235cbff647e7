/** A presented signal and its scores. Each patch is encoded once; the tokens can be scored for any listener. */
import { PATCH_LENGTH, PATCH_SHIFT, patchCount, patchEnd, PATCH_SECONDS, SAMPLE_RATE } from "../constants";
import { joined } from "../dsp/arrays";
import { NalR } from "../dsp/nalr";
import { type WindowSlice, sliceWindows, windowPatches } from "../dsp/windows";
import { peak } from "../dsp/changes";
import type { Model } from "./model";
import type { Interval, Window } from "./protocol";

/** A listener's score of one window, and the scores of the patches that no earlier window covers. */
interface WindowScore {
  readonly window: Window;
  readonly frames: Float32Array;
}

/** A listener's scores of the windows that are encoded so far. */
export interface TrackScore {
  readonly score: number | null;
  readonly interval: Interval | null;
  readonly frames: Float32Array;
  readonly windows: Window[];
}

export class Track {
  readonly patches: number;
  readonly slices: WindowSlice[];
  private readonly tokens: Float32Array;
  private readonly silent: Uint8Array;
  private readonly each: number;
  private encoded = 0;
  /** The windows' scores for the last listener. */
  private cached: { listener: string; windows: WindowScore[] } = { listener: "", windows: [] };

  /**
   * @param samples - at 16 kHz, in the model's level
   * @param nalR - hearing levels of the listener for whom the samples are amplified, or null
   * @param silence - peak amplitude up to which a patch is silent
   */
  constructor(
    private readonly model: Model,
    private readonly samples: Float32Array,
    private readonly nalR: readonly number[] | null,
    private readonly silence: number,
  ) {
    this.patches = patchCount(samples.length);
    this.slices = sliceWindows(this.patches, windowPatches(model.card.window));
    this.each = model.card.width * model.card.tokens_per_patch;
    this.tokens = new Float32Array(this.patches * this.each);
    this.silent = new Uint8Array(this.patches);
  }

  /** Number of windows whose patches are all encoded. */
  get ready(): number {
    return this.slices.filter(({ start, size }) => start + size <= this.encoded).length;
  }

  /** Encode the next window's patches. */
  async advance(): Promise<void> {
    const first = this.encoded;
    const next = this.slices.find(({ start, size }) => start + size > first)!;
    const count = next.start + next.size - first;
    const samples = this.presented(first * PATCH_SHIFT, (first + count - 1) * PATCH_SHIFT + PATCH_LENGTH);
    this.tokens.set(await this.model.encode(samples), first * this.each);
    for (let i = 0; i < count; i++) {
      const patch = samples.subarray(i * PATCH_SHIFT, i * PATCH_SHIFT + PATCH_LENGTH);
      this.silent[first + i] = peak(patch) <= this.silence ? 1 : 0;
    }
    this.encoded += count;
  }

  /** Return the presented signal from sample `start` to `stop`. */
  private presented(start: number, stop: number): Float32Array {
    if (!this.nalR) return this.samples.slice(start, stop);
    const stage = new NalR(this.nalR, SAMPLE_RATE);
    const { reach } = stage;
    // The filter reads as many samples before as after: start earlier, and drop the outputs before `start`.
    const from = Math.max(0, start - reach);
    const ready = stage.push(this.samples.subarray(from, Math.min(stop + reach, this.samples.length)));
    return joined([ready, stage.finish()]).subarray(start - from, stop - from);
  }

  /** Score a window for a listener. The score is null if the whole window is silent. */
  async window(index: number, audiogram: readonly number[]): Promise<WindowScore> {
    const listener = audiogram.join();
    if (this.cached.listener !== listener) this.cached = { listener, windows: [] };
    const { windows } = this.cached;
    return (windows[index] ??= await this.scoreWindow(this.slices[index], audiogram));
  }

  private async scoreWindow({ start, size, added }: WindowSlice, audiogram: readonly number[]): Promise<WindowScore> {
    const span = { start: start * PATCH_SECONDS, end: patchEnd(start + size) };
    if (this.silent.subarray(start, start + size).every((is) => is === 1)) {
      return { window: { ...span, score: null, interval: null }, frames: new Float32Array(added).fill(NaN) };
    }
    const output = await this.model.score(this.tokens.slice(start * this.each, (start + size) * this.each), audiogram);
    const { score, interval } = output;
    return { window: { ...span, score, interval }, frames: output.frames.subarray(size - added) };
  }

  /** Combine the windows' scores, and the ends of their intervals: means, weighted by the patches that a window adds. */
  combine(windows: Window[], curves: Float32Array[]): TrackScore {
    let sum = 0;
    let low = 0;
    let high = 0;
    let weight = 0;
    let known = true;
    windows.forEach(({ score, interval }, i) => {
      if (score === null) return;
      const { added } = this.slices[i];
      sum += score * added;
      weight += added;
      known &&= interval !== null;
      low += (interval?.[0] ?? 0) * added;
      high += (interval?.[1] ?? 0) * added;
    });
    return {
      score: weight > 0 ? sum / weight : null,
      interval: weight > 0 && known ? [low / weight, high / weight] : null,
      frames: joined(curves),
      windows: [...windows],
    };
  }
}
