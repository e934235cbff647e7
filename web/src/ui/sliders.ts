/** Sliders that make the music louder, softer, clipped or noisier. */
import { amplitude, type Changes } from "../dsp/changes";
import { byId } from "./dom";

/** Signal-to-noise ratio in dB at the slider's left end. It is 0 dB at the right end. */
const QUIETEST_NOISE = 45;

interface Slider {
  readonly input: HTMLInputElement;
  readonly value: HTMLOutputElement;
  readonly text: (value: number) => string;
}

export class Sliders {
  private readonly sliders: Record<"gain" | "clip" | "noise", Slider>;
  private readonly reset = byId("reset", HTMLButtonElement);

  /** @param moved - called after every change */
  constructor(private readonly moved: () => void) {
    const slider = (id: string, text: (value: number) => string): Slider => ({
      input: byId(id, HTMLInputElement),
      value: byId(`${id}-value`, HTMLOutputElement),
      text,
    });
    this.sliders = {
      gain: slider("gain", (dB) => (dB === 0 ? "as it is" : `${dB > 0 ? "+" : "−"}${Math.abs(dB)} dB`)),
      clip: slider("clip", (dB) => (dB === 0 ? "off" : `by ${dB} dB`)),
      noise: slider("noise", (value) => (value === 0 ? "off" : `${QUIETEST_NOISE - value} dB below`)),
    };
    for (const { input } of Object.values(this.sliders)) {
      input.addEventListener("input", () => {
        this.paint();
        this.moved();
      });
    }
    this.reset.addEventListener("click", () => {
      this.clear();
      this.moved();
    });
    this.paint();
  }

  get changes(): Changes {
    const { gain, clip, noise } = this.sliders;
    return {
      gain: gain.input.valueAsNumber,
      clip: amplitude(-clip.input.valueAsNumber),
      snr: noise.input.valueAsNumber === 0 ? null : QUIETEST_NOISE - noise.input.valueAsNumber,
    };
  }

  /** Return the changes in words, for results that are kept. */
  get words(): string {
    const { gain, clip, noise } = this.sliders;
    const [dB, by] = [gain.input.valueAsNumber, clip.input.valueAsNumber];
    const parts: string[] = [];
    if (noise.input.valueAsNumber > 0) parts.push(`noise ${QUIETEST_NOISE - noise.input.valueAsNumber} dB below the music`);
    if (by > 0) parts.push(`clipped by ${by} dB`);
    if (dB !== 0) parts.push(`${Math.abs(dB)} dB ${dB > 0 ? "louder" : "softer"}`);
    return parts.join(", ");
  }

  /** Undo all changes. */
  clear(): void {
    for (const { input } of Object.values(this.sliders)) input.value = "0";
    this.paint();
  }

  /** Allow only changes of the level while the microphone is on: noise and clipping depend on the whole clip. */
  live(is: boolean): void {
    for (const { input } of [this.sliders.clip, this.sliders.noise]) input.disabled = is;
    if (is) this.clear();
  }

  private paint(): void {
    let any = false;
    for (const { input, value, text } of Object.values(this.sliders)) {
      value.textContent = text(input.valueAsNumber);
      input.setAttribute("aria-valuetext", value.textContent);
      const active = input.valueAsNumber !== 0;
      input.parentElement!.classList.toggle("active", active);
      any ||= active;
    }
    this.reset.disabled = !any;
  }
}
