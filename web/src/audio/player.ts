/** Plays the 16 kHz mono sound that is scored, without NAL-R, which is meant for the listener's ear only. */
import { SAMPLE_RATE } from "../constants";
import { peak } from "../dsp/changes";

export class Player {
  private context: AudioContext | undefined;
  private source: AudioBufferSourceNode | undefined;
  private buffer: AudioBuffer | undefined;
  private startedAt = 0;
  private offset = 0;

  /** Called at the end of the sound. */
  constructor(private readonly ended: () => void) {}

  get playing(): boolean {
    return this.source !== undefined;
  }

  /** Seconds from the start of the clip. */
  get time(): number {
    if (!this.source || !this.context) return this.offset;
    return Math.min(this.offset + this.context.currentTime - this.startedAt, this.buffer?.duration ?? 0);
  }

  /** Replace the sound and continue at the same position. A sound with peaks above full scale is turned down. */
  set(samples: Float32Array<ArrayBuffer>): void {
    this.context ??= new AudioContext();
    const highest = peak(samples);
    if (highest > 1) for (let i = 0; i < samples.length; i++) samples[i] /= highest;
    const wasPlaying = this.playing;
    const time = this.time;
    this.halt();
    this.buffer = this.context.createBuffer(1, samples.length, SAMPLE_RATE);
    this.buffer.copyToChannel(samples, 0);
    this.offset = time;
    if (wasPlaying) this.play();
  }

  play(): void {
    if (!this.context || !this.buffer) return;
    void this.context.resume();
    if (this.offset >= this.buffer.duration - 0.05) this.offset = 0;
    const source = this.context.createBufferSource();
    source.buffer = this.buffer;
    source.connect(this.context.destination);
    source.onended = () => {
      if (this.source !== source) return;
      this.halt();
      this.ended();
    };
    source.start(0, this.offset);
    this.startedAt = this.context.currentTime;
    this.source = source;
  }

  pause(): void {
    const time = this.time;
    this.halt();
    this.offset = time;
  }

  seek(time: number): void {
    const wasPlaying = this.playing;
    this.halt();
    this.offset = time;
    if (wasPlaying) this.play();
  }

  /** Remove the sound. */
  clear(): void {
    this.halt();
    this.buffer = undefined;
    this.offset = 0;
  }

  get loaded(): boolean {
    return this.buffer !== undefined;
  }

  private halt(): void {
    const { source } = this;
    this.source = undefined;
    if (!source) return;
    source.onended = null;
    source.stop();
    source.disconnect();
  }
}
