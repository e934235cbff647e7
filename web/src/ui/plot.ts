/** A timeline that can be pointed at and moved through, like a slider. */
import { byId } from "./dom";
import { clock, Timeline } from "./timeline";

export interface PlotUse {
  /** Go to a time in seconds. */
  seek(time: number): void;
  /** The pointer is at a time, or has left. */
  point(time: number | null): void;
  /** Play or pause. */
  toggle(): void;
}

/** Seconds by which the keys move. */
const STEPS: Readonly<Record<string, number>> = {
  ArrowLeft: -1,
  ArrowDown: -1,
  ArrowRight: 1,
  ArrowUp: 1,
  PageDown: -10,
  PageUp: 10,
};

export class Plot {
  readonly timeline: Timeline;
  private readonly element: HTMLElement;
  private seconds = 0;
  private time = 0;

  constructor(id: string, canvas: string, use: PlotUse) {
    this.timeline = new Timeline(byId(canvas, HTMLCanvasElement));
    this.element = byId(id, HTMLElement);
    this.element.addEventListener("pointermove", (event) => use.point(this.seconds > 0 ? this.timeline.timeAt(event.clientX) : null));
    this.element.addEventListener("pointerleave", () => use.point(null));
    this.element.addEventListener("click", (event) => {
      if (this.seconds > 0) use.seek(this.timeline.timeAt(event.clientX));
    });
    this.element.addEventListener("keydown", (event) => {
      if (this.seconds === 0 || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key in STEPS) use.seek(this.time + STEPS[event.key]);
      else if (event.key === "Home") use.seek(0);
      else if (event.key === "End") use.seek(this.seconds);
      else if (event.key === " ") use.toggle();
      else return;
      event.preventDefault();
    });
  }

  /** Name the slider. */
  name(name: string): void {
    this.element.setAttribute("aria-label", name);
  }

  /** Set the length of the clip in seconds; 0 for none. The time axis is `shown` long. */
  span(seconds: number, shown = seconds): void {
    this.seconds = seconds;
    this.timeline.span(seconds, 0, shown);
    this.element.setAttribute("aria-disabled", String(seconds === 0));
    this.element.setAttribute("aria-valuemax", seconds.toFixed(1));
  }

  /** Set the position of the player in seconds. */
  at(time: number): void {
    this.time = Math.min(time, this.seconds);
    this.timeline.at(time);
  }

  /** Tell a time, and the scores there if there are any. */
  tell(time: number, scores: string): void {
    const at = Math.min(time, this.seconds);
    this.element.setAttribute("aria-valuenow", at.toFixed(1));
    this.element.setAttribute("aria-valuetext", `${clock(at, 0.1)}${scores ? `, score ${scores}` : ""}`);
  }
}
