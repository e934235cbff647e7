/** Plays the 16 kHz mono sound that is scored, without NAL-R, which is meant for the listener's ear only. */
import { SAMPLE_RATE } from "../constants";
import { peak } from "../dsp/changes";
import { START_TIMEOUT } from "./microphone";

export class Player {
  private context: AudioContext | undefined;
  private source: AudioBufferSourceNode | undefined;
  private buffer: AudioBuffer | undefined;
  private startedAt = 0;
  private offset = 0;

  /**
   * @param ended - called at the end of the sound
   * @param failed - called with the reason if the browser does not start the audio; the player is paused then
   */
  constructor(
    private readonly ended: () => void,
    private readonly failed: (reason: string) => void,
  ) {}

  /**
   * Start the browser's audio. Call it inside the handler of a click or a key, before any `await`: Safari starts audio
   * only there, and the sound itself arrives later.
   */
  unlock(): void {
    const context = (this.context ??= new AudioContext());
    if (context.state === "running") return;
    const fail = () => {
      this.pause();
      this.failed("The browser did not start the sound. Check that the system plays sound. Then press Play again.");
    };
    // Without an answer, nothing would be heard and the page would say nothing.
    const late = setTimeout(fail, START_TIMEOUT);
    context.resume().then(
      () => clearTimeout(late),
      () => {
        clearTimeout(late);
        fail();
      },
    );
  }

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
    const highest = peak(samples);
    if (highest > 1) for (let i = 0; i < samples.length; i++) samples[i] /= highest;
    const wasPlaying = this.playing;
    const time = this.time;
    this.halt();
    this.buffer = new AudioBuffer({ length: samples.length, sampleRate: SAMPLE_RATE });
    this.buffer.copyToChannel(samples, 0);
    this.offset = time;
    if (wasPlaying) this.play();
  }

  /** Play from the current position. `unlock` must have been called. */
  play(): void {
    if (!this.context || !this.buffer) return;
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
