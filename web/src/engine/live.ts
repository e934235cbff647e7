/** The microphone: scores of the last window. Each patch is encoded once, as in `runtime/streaming/stream.py`. */
import { PATCH_LENGTH, PATCH_SHIFT, patchCount, SAMPLE_RATE, SILENCE } from "../constants";
import { amplitude, peak, rms } from "../dsp/changes";
import { joined } from "../dsp/arrays";
import { NalR } from "../dsp/nalr";
import { Resampler } from "../dsp/resample";
import { windowPatches } from "../dsp/windows";
import type { Model } from "./model";
import type { Interval, Settings } from "./protocol";

/** Seconds of a recording that are kept. They are scored as a clip when the recording ends. */
const LONGEST = 600;

export interface LiveScore {
  readonly seconds: number;
  /** dB SPL of the last patch before amplification, or null if it is silent. */
  readonly level: number | null;
  readonly score: number | null;
  readonly interval: Interval | null;
  /** Scores of the patches in the window. */
  readonly frames: Float32Array;
}

export class Live {
  private readonly resampler: Resampler;
  private readonly length: number;
  private recorded: Float32Array[] = [];
  private recordedSamples = 0;
  /** Samples of the window before amplification, from the start of a patch. */
  private recent = new Float32Array(0);
  private came = 0;
  /** Presented samples from the start of the next patch. */
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

  /** Samples of the window, for the spectrogram. */
  get window(): Float32Array {
    return this.recent;
  }

  /** The recording at 16 kHz. Only the end of a long recording is kept. */
  get recording(): Float32Array<ArrayBuffer> {
    return joined(this.recorded);
  }

  /** Process a chunk. Return the window's score if the chunk completed a patch, else null. */
  async push(chunk: Float32Array): Promise<LiveScore | null> {
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

  /** Change the settings and score the window again. It is encoded again only if the signal changes. */
  async change(settings: Settings): Promise<LiveScore | null> {
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

  /** Present samples and encode the patches that they complete. Return the number of patches. */
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

  private async reading(): Promise<LiveScore> {
    const last = this.recent.subarray(-PATCH_SHIFT);
    const level =
      peak(last) <= SILENCE ? null : this.model.card.level1 + this.settings.changes.gain + 20 * Math.log10(rms(last));
    const shared = { seconds: this.came / SAMPLE_RATE, level };
    if (this.silent.every(Boolean)) {
      return { ...shared, score: null, interval: null, frames: new Float32Array(this.tokens.length).fill(NaN) };
    }
    return { ...shared, ...(await this.model.score(joined(this.tokens), this.settings.audiogram)) };
  }
}
