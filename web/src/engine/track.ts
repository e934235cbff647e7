/** A presented signal's way to scores: patches encoded a window at a time, each once, and heard by any listener. */
import { PATCH_LENGTH, PATCH_SHIFT, patchCount, patchEnd, PATCH_SECONDS, SAMPLE_RATE } from "../constants";
import { joined } from "../dsp/arrays";
import { NalR } from "../dsp/nalr";
import { type Cut, cut, windowPatches } from "../dsp/windows";
import { peak } from "../dsp/changes";
import type { Model } from "./model";
import type { Window } from "./protocol";

/** What a listener makes of one window; the frames are those that no earlier window covered. */
interface Heard {
  readonly window: Window;
  readonly frames: Float32Array;
}

/** What a listener makes of the windows of a track that are encoded so far. */
export interface Judgement {
  readonly score: number | null;
  readonly frames: Float32Array;
  readonly windows: Window[];
}

export class Track {
  readonly patches: number;
  readonly cuts: Cut[];
  private readonly tokens: Float32Array;
  private readonly silent: Uint8Array;
  private readonly each: number;
  private encoded = 0;
  /** What the last listener made of the windows. */
  private memory: { listener: string; windows: Heard[] } = { listener: "", windows: [] };

  /**
   * @param samples - at 16 kHz, in the model's level
   * @param nalR - the levels of the listener for whom they are amplified, if they are
   * @param silence - peak amplitude up to which a patch is silent
   */
  constructor(
    private readonly model: Model,
    private readonly samples: Float32Array,
    private readonly nalR: readonly number[] | null,
    private readonly silence: number,
  ) {
    this.patches = patchCount(samples.length);
    this.cuts = cut(this.patches, windowPatches(model.card.window));
    this.each = model.card.width * model.card.tokens_per_patch;
    this.tokens = new Float32Array(this.patches * this.each);
    this.silent = new Uint8Array(this.patches);
  }

  /** Windows whose patches are all encoded. */
  get ready(): number {
    return this.cuts.filter(({ start, size }) => start + size <= this.encoded).length;
  }

  /** Encode the next window's patches. */
  async advance(): Promise<void> {
    const first = this.encoded;
    const next = this.cuts.find(({ start, size }) => start + size > first)!;
    const count = next.start + next.size - first;
    const samples = this.presented(first * PATCH_SHIFT, (first + count - 1) * PATCH_SHIFT + PATCH_LENGTH);
    this.tokens.set(await this.model.encode(samples), first * this.each);
    for (let i = 0; i < count; i++) {
      const patch = samples.subarray(i * PATCH_SHIFT, i * PATCH_SHIFT + PATCH_LENGTH);
      this.silent[first + i] = peak(patch) <= this.silence ? 1 : 0;
    }
    this.encoded += count;
  }

  /** What reaches the ear, of the samples from `start` to `stop`. */
  private presented(start: number, stop: number): Float32Array {
    if (!this.nalR) return this.samples.slice(start, stop);
    const stage = new NalR(this.nalR, SAMPLE_RATE);
    const { reach } = stage;
    // The filter looks as far back as ahead: begin earlier, and leave out what it makes of the samples before.
    const from = Math.max(0, start - reach);
    const ready = stage.push(this.samples.subarray(from, Math.min(stop + reach, this.samples.length)));
    return joined([ready, stage.finish()]).subarray(start - from, stop - from);
  }

  /** The listener's judgement of a window, and null where all of it is silent. */
  async window(index: number, audiogram: readonly number[]): Promise<Heard> {
    const listener = audiogram.join();
    if (this.memory.listener !== listener) this.memory = { listener, windows: [] };
    const { windows } = this.memory;
    return (windows[index] ??= await this.hear(this.cuts[index], audiogram));
  }

  private async hear({ start, size, added }: Cut, audiogram: readonly number[]): Promise<Heard> {
    const span = { start: start * PATCH_SECONDS, end: patchEnd(start + size) };
    if (this.silent.subarray(start, start + size).every((is) => is === 1)) {
      return { window: { ...span, score: null }, frames: new Float32Array(added).fill(NaN) };
    }
    const heard = await this.model.hear(this.tokens.slice(start * this.each, (start + size) * this.each), audiogram);
    return { window: { ...span, score: heard.score }, frames: heard.frames.subarray(size - added) };
  }

  /** Windows' scores put together: their mean, each weighted by the patches that it adds. */
  judged(windows: Window[], curves: Float32Array[]): Judgement {
    let sum = 0;
    let weight = 0;
    windows.forEach(({ score }, i) => {
      if (score === null) return;
      sum += score * this.cuts[i].added;
      weight += this.cuts[i].added;
    });
    return { score: weight > 0 ? sum / weight : null, frames: joined(curves), windows: [...windows] };
  }
}
