/**
 * The audiogram as clinics draw it: frequency to the right, an octave as wide as 20 dB are high, hearing level
 * downwards, O and red for the right ear, X and blue for the left. Every point is a slider.
 */
import { FREQUENCIES, NANO_FREQUENCIES, HIGHEST_LEVEL, LOWEST_LEVEL } from "../constants";
import { clamped, svg } from "./dom";

export type Ear = "right" | "left";
export type Ears = Record<Ear, readonly number[]>;

const WIDTH = 380;
const HEIGHT = 410;
const [LEFT, RIGHT, TOP, BOTTOM] = [42, 12, 30, 8];
/** Space before the lowest and after the highest frequency, in octaves. */
const MARGIN = 0.35;
const STEP = 5;
/** Distance from a point within which a pointer can drag it. */
const REACH = 22;

const OCTAVES = Math.log2(FREQUENCIES[FREQUENCIES.length - 1] / FREQUENCIES[0]) + 2 * MARGIN;
const across = (hz: number) =>
  LEFT + ((Math.log2(hz / FREQUENCIES[0]) + MARGIN) / OCTAVES) * (WIDTH - LEFT - RIGHT);
const down = (level: number) =>
  TOP + ((level - LOWEST_LEVEL) / (HIGHEST_LEVEL - LOWEST_LEVEL)) * (HEIGHT - TOP - BOTTOM);
const levelAt = (y: number) =>
  LOWEST_LEVEL + ((y - TOP) / (HEIGHT - TOP - BOTTOM)) * (HIGHEST_LEVEL - LOWEST_LEVEL);
const told = (hz: number) => (hz >= 1000 ? `${hz / 1000}k` : `${hz}`);

export class AudiogramChart {
  private ear: Ear = "right";
  private ears: Ears;
  private readonly chart: SVGSVGElement;
  private readonly lines: Record<Ear, SVGPolylineElement>;
  private readonly points: SVGGElement[];
  private readonly value = svg("text", { class: "told", "text-anchor": "middle" });
  /** The point that is dragged. Drawing across the chart moves the nearest one. */
  private held: number | null = null;
  private drawing = false;

  /**
   * @param host - where the chart goes
   * @param moved - told of every change that a person makes
   */
  constructor(
    host: HTMLElement,
    ears: Ears,
    private readonly moved: (levels: readonly number[]) => void,
  ) {
    this.ears = ears;
    this.lines = { right: svg("polyline"), left: svg("polyline") };
    this.points = FREQUENCIES.map((hz, i) => this.point(hz, i));
    const points = svg("g", {}, ...this.points);
    this.chart = svg(
      "svg",
      { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-describedby": "keys" },
      ...backdrop(),
      this.lines.right,
      this.lines.left,
      points,
      this.value,
    );
    this.chart.addEventListener("pointerdown", (event) => this.grasp(event));
    this.chart.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"] as const) {
      this.chart.addEventListener(end, () => this.release());
    }
    host.append(this.chart);
    this.show(ears, "right");
  }

  /** Show both ears. One of them can be changed. */
  show(ears: Ears, ear: Ear): void {
    this.ears = ears;
    this.ear = ear;
    this.chart.setAttribute("aria-label", `Audiogram, ${ear} ear`);
    this.lines[ear].before(this.lines[ear === "right" ? "left" : "right"]); // the scored ear is drawn on top
    for (const each of ["right", "left"] as const) {
      const line = ears[each].map((level, i) => `${across(FREQUENCIES[i])},${down(level)}`).join(" ");
      this.lines[each].setAttribute("points", line);
      this.lines[each].setAttribute("class", `ear ${each}${each === ear ? "" : " other"}`);
    }
    this.points.forEach((point, i) => {
      const level = ears[ear][i];
      point.setAttribute("transform", `translate(${across(FREQUENCIES[i])} ${down(level)})`);
      point.setAttribute("aria-valuenow", String(level));
      point.setAttribute("aria-valuetext", `${level} dB HL`);
      point.setAttribute("aria-label", `Hearing level at ${FREQUENCIES[i]} Hz, ${ear} ear`);
      const symbol = point.querySelector(".symbol")!;
      symbol.setAttribute("class", `symbol ear ${ear}`);
      symbol.setAttribute("d", ear === "right" ? "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0" : "M-5.5-5.5l11 11M5.5-5.5l-11 11");
    });
    this.tell(this.held ?? this.points.indexOf(document.activeElement as SVGGElement));
  }

  private point(hz: number, index: number): SVGGElement {
    const point = svg(
      "g",
      {
        class: NANO_FREQUENCIES.includes(hz) ? "point" : "point unheard",
        tabindex: 0,
        role: "slider",
        "aria-orientation": "vertical",
        "aria-valuemin": LOWEST_LEVEL,
        "aria-valuemax": HIGHEST_LEVEL,
        "data-hz": hz,
      },
      svg("circle", { class: "reach", r: REACH }),
      svg("circle", { class: "ring", r: 11 }),
      svg("path", { class: "symbol" }),
    );
    point.addEventListener("keydown", (event) => this.key(event, index));
    point.addEventListener("focus", () => this.tell(index));
    point.addEventListener("blur", () => this.tell(-1));
    return point;
  }

  private key(event: KeyboardEvent, index: number): void {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const level = this.ears[this.ear][index];
    const step = event.shiftKey ? 1 : STEP;
    const levels: Record<string, number> = {
      ArrowUp: level - step,
      ArrowDown: level + step,
      PageUp: level - 20,
      PageDown: level + 20,
      Home: LOWEST_LEVEL,
      End: HIGHEST_LEVEL,
    };
    const neighbours: Record<string, number> = { ArrowLeft: index - 1, ArrowRight: index + 1 };
    if (event.key in levels) this.set(index, levels[event.key]);
    else if (event.key in neighbours) this.points[neighbours[event.key]]?.focus();
    else return;
    event.preventDefault();
  }

  private set(index: number, level: number): void {
    const levels = [...this.ears[this.ear]];
    const next = clamped(Math.round(level), LOWEST_LEVEL, HIGHEST_LEVEL);
    if (levels[index] === next) return;
    levels[index] = next;
    this.show({ ...this.ears, [this.ear]: levels }, this.ear);
    this.moved(levels);
  }

  private place(event: PointerEvent): { x: number; y: number } {
    const box = this.chart.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * WIDTH, y: ((event.clientY - box.top) / box.height) * HEIGHT };
  }

  private grasp(event: PointerEvent): void {
    const { x, y } = this.place(event);
    const far = FREQUENCIES.map((hz, i) => Math.hypot(across(hz) - x, down(this.ears[this.ear][i]) - y));
    const nearest = far.indexOf(Math.min(...far));
    if (far[nearest] <= REACH) {
      this.held = nearest;
    } else if (event.pointerType === "touch" || x < LEFT || y < TOP) {
      return; // a finger beside the points scrolls the page
    } else {
      this.drawing = true;
    }
    this.chart.setPointerCapture(event.pointerId);
    if (this.held !== null) {
      this.points[this.held].classList.add("held");
      this.points[this.held].focus({ preventScroll: true });
      this.tell(this.held);
    } else {
      this.drag(event);
    }
    event.preventDefault();
  }

  private drag(event: PointerEvent): void {
    if (this.held === null && !this.drawing) return;
    const { x, y } = this.place(event);
    const aside = FREQUENCIES.map((hz) => Math.abs(across(hz) - x));
    const index = this.held ?? aside.indexOf(Math.min(...aside));
    const step = event.shiftKey ? 1 : STEP;
    this.set(index, Math.round(levelAt(y) / step) * step);
    this.tell(index);
  }

  private release(): void {
    if (this.held !== null) this.points[this.held].classList.remove("held");
    this.held = null;
    this.drawing = false;
    this.tell(this.points.indexOf(document.activeElement as SVGGElement));
  }

  /** Write a point's level next to it. */
  private tell(index: number): void {
    this.value.textContent = index < 0 ? "" : `${this.ears[this.ear][index]} dB`;
    if (index < 0) return;
    const y = down(this.ears[this.ear][index]);
    this.value.setAttribute("x", String(clamped(across(FREQUENCIES[index]), LEFT + 20, WIDTH - RIGHT - 20)));
    this.value.setAttribute("y", String(y > TOP + 40 ? y - 17 : y + 28));
  }
}

/** Draw the field, the grid and the labels. */
function backdrop(): SVGElement[] {
  const right = WIDTH - RIGHT;
  const bottom = HEIGHT - BOTTOM;
  const parts: SVGElement[] = [
    svg("rect", { class: "field", x: LEFT, y: TOP, width: right - LEFT, height: bottom - TOP, rx: 4 }),
    svg("rect", { class: "normal", x: LEFT, y: TOP, width: right - LEFT, height: down(20) - TOP, rx: 4 }),
  ];
  for (let level = LOWEST_LEVEL; level <= HIGHEST_LEVEL; level += 10) {
    const y = down(level);
    parts.push(svg("line", { class: level === 0 ? "grid zero" : "grid", x1: LEFT, x2: right, y1: y, y2: y }));
    if (level % 20 === 0) parts.push(svg("text", { x: LEFT - 7, y: y + 4, "text-anchor": "end" }, String(level)));
  }
  for (const hz of FREQUENCIES) {
    const x = across(hz);
    parts.push(svg("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: bottom }));
    parts.push(svg("text", { x, y: TOP - 8, "text-anchor": "middle" }, told(hz)));
  }
  const middle = (TOP + bottom) / 2;
  parts.push(svg("text", { class: "axis", x: 10, y: middle, "text-anchor": "middle", transform: `rotate(-90 10 ${middle})` }, "hearing level, dB HL"));
  parts.push(svg("text", { class: "axis", x: LEFT - 7, y: TOP - 8, "text-anchor": "end" }, "Hz"));
  return parts;
}
