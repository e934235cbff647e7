/** The scores, as numbers and as marks on the scale from 0 to 1. */
import type { Interval, Version } from "../engine/protocol";
import { byId } from "./dom";
import { describe } from "./table";
import { caveats, type Compared, comparison, difference } from "./verdict";

interface Shown {
  readonly score: number | null;
  readonly interval: Interval | null;
  /** Whether all windows are scored. */
  readonly whole: boolean;
}

/** A clip that is compared with another. */
export interface Side {
  readonly name: string;
  readonly seconds: number;
  readonly level: number;
}

/** Milliseconds without a change after which screen readers announce the score. */
const QUIET = 800;
const VERSIONS = ["given", "changed"] as const;

export class ScorePanel {
  private readonly shown: Record<Version, Shown | null> = { given: null, changed: null };
  private sides: Record<Version, Side> | null = null;
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

  /** Show two clips that are compared, or null for one and its changes. */
  compare(sides: Record<Version, Side> | null): void {
    this.sides = sides;
    this.paint();
  }

  /** Return what the comparison says, sentence by sentence; nothing if no clips are compared. */
  get words(): string[] {
    if (!this.sides || !this.shown.given?.whole || !this.shown.changed?.whole) return [];
    const compared = (version: Version): Compared => ({ ...this.sides![version], score: this.shown[version]!.score });
    const [a, b] = [compared("given"), compared("changed")];
    return [comparison(a, b), ...caveats(a, b)];
  }

  private paint(): void {
    const { given, changed } = this.shown;
    for (const version of VERSIONS) {
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
      byId(`${version}-interval`, HTMLElement).textContent = interval ? `90%: ${describe(interval)}` : "";
      byId(`${version}-letter`, HTMLElement).hidden = this.sides === null;
    }
    const two = changed !== null || this.sides !== null;
    byId("changed-readout", HTMLElement).hidden = !two;
    byId("gauge", HTMLElement).classList.toggle("two", two);
    byId("legend-ranges", HTMLElement).classList.toggle("whiskers", changed !== null && this.sides === null);
    const alone = changed ? "As it is" : `Score for ${this.listener}`;
    byId("given-name", HTMLElement).textContent = this.sides?.given.name ?? alone;
    byId("changed-name", HTMLElement).textContent = this.sides?.changed.name ?? "With your changes";
    const known = given?.score != null && changed?.score != null;
    const by = known ? difference(given!.score!, changed!.score!) : 0;
    byId("difference", HTMLElement).textContent = known ? `${by < 0 ? "−" : "+"}${Math.abs(by).toFixed(2)}` : "";
    const { words } = this;
    byId("verdict", HTMLElement).hidden = this.sides === null;
    byId("verdict-words", HTMLElement).textContent = words[0] ? `${words[0].replace(/\.$/, "")} for ${this.listener}.` : "";
    byId("verdict-caveats", HTMLElement).textContent = words.slice(1).join(" ");
    clearTimeout(this.timer);
    if (given?.whole) this.timer = window.setTimeout(() => this.speak(), QUIET);
  }

  private speak(): void {
    const { given, changed } = this.shown;
    if (given?.score == null) return;
    const range = (shown: Shown) => (shown.interval ? `, with 90% probability ${describe(shown.interval)}` : "");
    let text = `Score for ${this.listener}: ${given.score.toFixed(2)}${range(given)}`;
    if (this.sides) {
      if (changed?.score == null) return;
      const each = (version: Version, shown: Shown) => `${version === "given" ? "A" : "B"}, ${this.sides![version].name}: ${shown.score!.toFixed(2)}${range(shown)}.`;
      text = `Scores for ${this.listener}. ${each("given", given)} ${each("changed", changed)} ${this.words.join(" ")}`;
    } else if (changed?.score != null) text += `, with your changes ${changed.score.toFixed(2)}`;
    byId("spoken", HTMLElement).textContent = text;
  }
}
