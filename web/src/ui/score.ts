/** The scores, as numbers and as marks on the scale from 0 to 1. */
import type { Interval, Version } from "../engine/protocol";
import { byId } from "./dom";

interface Shown {
  readonly score: number | null;
  readonly interval: Interval | null;
  /** Whether all windows are scored. */
  readonly whole: boolean;
}

/** Milliseconds without a change after which screen readers announce the score. */
const QUIET = 800;

export class ScorePanel {
  private readonly shown: Record<Version, Shown | null> = { given: null, changed: null };
  private listener = "";
  private timer = 0;

  /** Show a score, or null if the version has none. */
  show(version: Version, shown: Shown | null): void {
    this.shown[version] = shown;
    this.paint();
  }

  /** Show the listener's name. */
  name(listener: string): void {
    this.listener = listener;
    this.paint();
  }

  private paint(): void {
    const { given, changed } = this.shown;
    for (const version of ["given", "changed"] as const) {
      const score = this.shown[version]?.score ?? null;
      const output = byId(version, HTMLOutputElement);
      output.textContent = score === null ? "–" : score.toFixed(2);
      output.dataset.value = score === null ? "" : String(score);
      output.classList.toggle("partial", this.shown[version]?.whole === false);
      const mark = byId(`${version}-mark`, HTMLElement);
      mark.hidden = score === null;
      if (score !== null) mark.style.left = `${100 * Math.min(1, Math.max(0, score))}%`;
      const interval = this.shown[version]?.interval ?? null;
      const bar = byId(`${version}-range`, HTMLElement);
      bar.hidden = interval === null;
      if (interval) {
        bar.style.left = `${100 * interval[0]}%`;
        bar.style.width = `${100 * (interval[1] - interval[0])}%`;
      }
      byId(`${version}-interval`, HTMLElement).textContent = interval ? `90%: ${described(interval)}` : "";
    }
    byId("changed-readout", HTMLElement).hidden = changed === null;
    byId("given-name", HTMLElement).textContent = changed ? "As it is" : `Score for ${this.listener}`;
    const known = given?.score != null && changed?.score != null;
    const difference = known ? changed!.score! - given!.score! : 0;
    const sign = difference < 0 ? "−" : "+";
    byId("difference", HTMLElement).textContent = known ? `${sign}${Math.abs(difference).toFixed(2)}` : "";
    clearTimeout(this.timer);
    if (given?.whole) this.timer = window.setTimeout(() => this.speak(), QUIET);
  }

  private speak(): void {
    const { given, changed } = this.shown;
    if (given?.score == null) return;
    const also = changed?.score != null ? `, with your changes ${changed.score.toFixed(2)}` : "";
    const range = given.interval ? `, with 90% probability ${described(given.interval)}` : "";
    byId("spoken", HTMLElement).textContent = `Score for ${this.listener}: ${given.score.toFixed(2)}${range}${also}`;
  }
}

function described([low, high]: Interval): string {
  return `${low.toFixed(2)} to ${high.toFixed(2)}`;
}
