/** The microphone: the last window of patches, each encoded once as it comes, as `runtime/stream.py` does. */
import { PATCH_LENGTH, PATCH_SHIFT, patchCount, SAMPLE_RATE, SILENCE } from "../constants";
import { amplitude, peak, rms } from "../dsp/changes";
import { joined } from "../dsp/arrays";
import { NalR } from "../dsp/nalr";
import { Resampler } from "../dsp/resample";
import { windowPatches } from "../dsp/windows";
import type { Model } from "./model";
import type { Settings } from "./protocol";

/** Seconds of a recording that are kept, to be scored as a clip when it ends. */
const LONGEST = 600;

export interface Reading {
  readonly seconds: number;
  /** dB SPL of the last patch, before amplification; null where it is silent. */
  readonly level: number | null;
  readonly score: number | null;
  /** Of the patches in the window. */
  readonly frames: Float32Array;
}

export class Live {
  private readonly resampler: Resampler;
  private readonly length: number;
  private recorded: Float32Array[] = [];
  private recordedSamples = 0;
  /** Samples of the window, from the beginning of a patch on, as they came. */
  private recent = new Float32Array(0);
  private came = 0;
  /** Presented samples from the next patch on. */
  private pending = new Float32Array(0);
  private tokens: Float32Array[] = [];
  private silent: boolean[] = [];
  private stage: NalR | null = null;
  private gain = 1;

  constructor(
    private readonly model: Model,
    rate: number,
    private settings: Settings,
  ) {
    this.resampler = new Resampler(rate, SAMPLE_RATE);
    this.length = windowPatches(model.card.window);
    this.restage();
  }

  /** The samples of the window, for its picture. */
  get window(): Float32Array {
    return this.recent;
  }

  /** All that was recorded, at 16 kHz; of a long recording the end. */
  get recording(): Float32Array<ArrayBuffer> {
    return joined(this.recorded);
  }

  /** Take a chunk, and tell what the window sounds like once a patch is complete; null while none is. */
  async push(chunk: Float32Array): Promise<Reading | null> {
    const samples = this.resampler.push(chunk);
    this.recorded.push(samples);
    this.recordedSamples += samples.length;
    while (this.recordedSamples - this.recorded[0].length > LONGEST * SAMPLE_RATE) {
      this.recordedSamples -= this.recorded.shift()!.length;
    }
    this.came += samples.length;
    const held = joined([this.recent, samples]);
    const spare = Math.max(0, patchCount(held.length) - this.length);
    this.recent = held.slice(spare * PATCH_SHIFT);
    return (await this.take(samples)) > 0 ? this.reading() : null;
  }

  /** Other settings: the window is heard anew, and encoded anew where the signal becomes another. */
  async change(settings: Settings): Promise<Reading | null> {
    const { nalR, changes, audiogram } = this.settings;
    this.settings = settings;
    const another = nalR && audiogram.some((level, i) => level !== settings.audiogram[i]);
    if (another || nalR !== settings.nalR || changes.gain !== settings.changes.gain) {
      this.restage();
      await this.take(this.recent);
    }
    return this.tokens.length > 0 ? this.reading() : null;
  }

  private restage(): void {
    this.gain = amplitude(this.settings.changes.gain);
    this.stage = this.settings.nalR ? new NalR(this.settings.audiogram, SAMPLE_RATE) : null;
    this.pending = new Float32Array(0);
    this.tokens = [];
    this.silent = [];
  }

  /** Present samples, and encode the patches that they complete; how many. */
  private async take(samples: Float32Array): Promise<number> {
    const scaled = this.gain === 1 ? samples : samples.map((sample) => sample * this.gain);
    const held = joined([this.pending, this.stage ? this.stage.push(scaled) : scaled]);
    const count = patchCount(held.length);
    this.pending = held.slice(count * PATCH_SHIFT);
    if (count === 0) return 0;
    const each = this.model.card.width * this.model.card.tokens_per_patch;
    const tokens = await this.model.encode(held.subarray(0, (count - 1) * PATCH_SHIFT + PATCH_LENGTH));
    for (let i = 0; i < count; i++) {
      this.tokens.push(tokens.slice(i * each, (i + 1) * each));
      this.silent.push(peak(held.subarray(i * PATCH_SHIFT, i * PATCH_SHIFT + PATCH_LENGTH)) <= SILENCE * this.gain);
    }
    this.tokens = this.tokens.slice(-this.length);
    this.silent = this.silent.slice(-this.length);
    return count;
  }

  private async reading(): Promise<Reading> {
    const last = this.recent.subarray(-PATCH_SHIFT);
    const level =
      peak(last) <= SILENCE ? null : this.model.card.level1 + this.settings.changes.gain + 20 * Math.log10(rms(last));
    const told = { seconds: this.came / SAMPLE_RATE, level };
    if (this.silent.every(Boolean)) {
      return { ...told, score: null, frames: new Float32Array(this.tokens.length).fill(NaN) };
    }
    return { ...told, ...(await this.model.hear(joined(this.tokens), this.settings.audiogram)) };
  }
}
