/** The listener: two ears, which one is scored, and whether the music is amplified for it. */
import { AUDIOGRAMS, FREQUENCIES, NANO_FREQUENCIES } from "../constants";
import { AudiogramChart, type Ear, type Ears } from "./audiogram";
import { byId } from "./dom";

const FIRST = "N3";

export class Listener {
  private ears: Ears = { right: AUDIOGRAMS[FIRST], left: AUDIOGRAMS[FIRST] };
  private ear: Ear = "right";
  private readonly chart: AudiogramChart;
  private readonly nalR = byId("nalr", HTMLInputElement);
  private readonly presets: HTMLInputElement[];

  /** @param changed - called after every change */
  constructor(private readonly changed: () => void) {
    this.presets = Object.keys(AUDIOGRAMS).map((name) => this.preset(name));
    const hint = Object.assign(document.createElement("span"), { className: "hint", textContent: "NH normal, N sloping, S steep" });
    byId("presets", HTMLElement).append(hint);
    const unheard = FREQUENCIES.filter((hz) => !NANO_FREQUENCIES.includes(hz)).map((hz) => hz / 1000);
    byId("unheard", HTMLElement).textContent = ` The model does not read ${unheard.join(" and ")} kHz, nor does NAL‑R.`;
    this.chart = new AudiogramChart(byId("audiogram", HTMLElement), this.ears, (levels) => this.take(levels, false));
    this.nalR.addEventListener("change", () => this.changed());
    for (const input of document.querySelectorAll<HTMLInputElement>("input[name=ear]")) {
      input.addEventListener("change", () => {
        this.ear = input.value as Ear;
        this.paint();
        this.changed();
      });
    }
    this.paint();
  }

  get levels(): readonly number[] {
    return this.ears[this.ear];
  }

  get amplified(): boolean {
    return this.nalR.checked;
  }

  /** Return the listener's name for the scores. */
  get name(): string {
    return this.standard ?? "your audiogram";
  }

  /** Return the name of the standard audiogram, if it is one. */
  get standard(): string | undefined {
    return Object.keys(AUDIOGRAMS).find((name) => AUDIOGRAMS[name].every((level, i) => level === this.levels[i]));
  }

  private preset(name: string): HTMLInputElement {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "preset", value: name });
    const text = document.createElement("span");
    text.textContent = name;
    label.title = name === "NH" ? "normal hearing" : `standard audiogram ${name} (Bisgaard et al. 2010)`;
    label.append(input, text);
    byId("presets", HTMLElement).append(label);
    input.addEventListener("change", () => this.take(AUDIOGRAMS[name], true));
    return input;
  }

  private take(levels: readonly number[], show: boolean): void {
    this.ears = { ...this.ears, [this.ear]: levels };
    if (show) this.paint();
    else this.check();
    this.changed();
  }

  private paint(): void {
    this.chart.show(this.ears, this.ear);
    this.check();
  }

  private check(): void {
    for (const input of this.presets) input.checked = input.value === this.standard;
  }
}
