/** The spectrogram, with the scores of all patches and windows drawn over it. */
import { PATCH_LENGTH, PATCH_SECONDS, SAMPLE_RATE } from "../constants";
import { HIGHEST, type Picture, place } from "../dsp/spectrogram";
import type { Window } from "../engine/protocol";
import { clamped } from "./dom";

export interface Curve {
  readonly frames: Float32Array;
  readonly windows: readonly Window[];
}

const [LEFT, RIGHT, TOP, BOTTOM] = [34, 34, 8, 22];
const TICKS = [0.1, 0.5, 1, 2, 4, 8];
/** Seconds from the start of a patch to its middle. */
const MIDDLE = PATCH_LENGTH / SAMPLE_RATE / 2;
/** Colours of the spectrogram from the lowest to the highest value, by theme. */
const RAMPS = {
  light: ["#ffffff", "#e3ebf1", "#b4c9d8", "#7f9fb8", "#4d7494", "#2a4d6b"],
  dark: ["#0f161c", "#16222c", "#203647", "#315067", "#4d7692", "#86aec6"],
};

/** What is drawn, and where. */
interface Area {
  readonly pen: CanvasRenderingContext2D;
  readonly width: number;
  readonly height: number;
  readonly style: CSSStyleDeclaration;
}

export class Timeline {
  private image: HTMLCanvasElement | null = null;
  private pictured: Picture | null = null;
  /** Length of the clip, and of the time axis. */
  private seconds = 0;
  private shown = 0;
  /** The time at the left edge. It moves while the microphone is on. */
  private start = 0;
  private readonly curves: { given: Curve | null; changed: Curve | null } = { given: null, changed: null };
  private fresh = { given: 0, changed: 0 };
  private cursor = 0;
  private drawing = 0;

  constructor(private readonly canvas: HTMLCanvasElement) {
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.image = null;
      this.redraw();
    });
  }

  /**
   * Show another clip, or another part of the microphone's signal.
   *
   * @param seconds - length of the clip, or of the part
   * @param start - the time at the left edge
   * @param shown - length of the time axis: that of the longer clip, if two are compared
   */
  span(seconds: number, start = 0, shown = seconds): void {
    this.seconds = seconds;
    this.shown = shown;
    this.start = start;
    this.redraw();
  }

  clear(): void {
    this.pictured = this.image = null;
    this.curves.given = this.curves.changed = null;
    this.cursor = 0;
    this.redraw();
  }

  picture(picture: Picture): void {
    this.pictured = picture;
    this.image = null;
    this.redraw();
  }

  /** Set a curve. While it is shorter than the previous one, the rest of the previous one is shown faintly. */
  curve(version: "given" | "changed", curve: Curve | null): void {
    const before = this.curves[version];
    this.fresh[version] = curve?.frames.length ?? 0;
    if (curve && before && before.frames.length > curve.frames.length) {
      const frames = Float32Array.from(before.frames);
      frames.set(curve.frames);
      const end = curve.windows[curve.windows.length - 1].end;
      const later = before.windows.filter((window) => window.start >= end - 1);
      this.curves[version] = { frames, windows: [...curve.windows, ...later] };
    } else {
      this.curves[version] = curve;
    }
    this.redraw();
  }

  /** Set the position in the music, in seconds. */
  at(time: number): void {
    this.cursor = Math.min(time, this.seconds);
    this.redraw();
  }

  /** Return the time at a pointer. */
  timeAt(clientX: number): number {
    const box = this.canvas.getBoundingClientRect();
    const part = (clientX - box.left - LEFT) / Math.max(1, box.width - LEFT - RIGHT);
    return this.start + Math.min(clamped(part, 0, 1) * this.shown, this.seconds);
  }

  /** Return the score of the patch at a time, or null if there is none. */
  scoreAt(time: number, version: "given" | "changed"): number | null {
    const frames = this.curves[version]?.frames;
    if (!frames?.length || time > this.start + this.seconds + 1e-6) return null;
    const score = frames[clamped(Math.round((time - this.start - MIDDLE) / PATCH_SECONDS), 0, frames.length - 1)];
    return Number.isNaN(score) ? null : score;
  }

  private redraw(): void {
    if (!this.drawing) this.drawing = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.drawing = 0;
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const scale = devicePixelRatio;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d")!;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.paint({ pen, width, height, style: getComputedStyle(canvas) });
  }

  /** Draw everything into an area, with or without the position of the player. */
  paint({ pen, width, height, style }: Area, cursor = true): void {
    if (this.seconds === 0 || width < LEFT + RIGHT + 20) return;
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const [right, bottom] = [width - RIGHT, height - BOTTOM];
    const x = (time: number) => LEFT + ((time - this.start) / this.shown) * (right - LEFT);
    const y = (score: number) => bottom - score * (bottom - TOP);
    this.axes(pen, { x, right, bottom, muted: colour("muted"), style });
    pen.fillStyle = colour("sunken");
    pen.fillRect(LEFT, TOP, right - LEFT, bottom - TOP);
    this.image ??= this.pictured && painted(this.pictured);
    if (this.image) pen.drawImage(this.image, LEFT, TOP, x(this.start + this.seconds) - LEFT, bottom - TOP);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, TOP, right - LEFT, bottom - TOP);
    pen.clip();
    pen.lineJoin = "round";
    for (const version of ["given", "changed"] as const) {
      const curve = this.curves[version];
      if (!curve) continue;
      const ink = colour(version);
      const halo = colour("surface");
      const known = this.fresh[version];
      const dim = version === "given" && this.curves.changed !== null ? 0.75 : 1;
      this.frames(pen, curve.frames.subarray(Math.max(0, known - 1)), known - 1, x, y, ink, halo, 0.3);
      this.frames(pen, curve.frames.subarray(0, known), 0, x, y, ink, halo, dim);
      // Two shaded areas would hide each other and the spectrogram: with two curves, intervals are bars.
      const beside = this.curves.given && this.curves.changed ? (version === "given" ? -6 : 6) : null;
      for (const window of curve.windows) this.window(pen, window, x, y, ink, halo, beside);
    }
    pen.restore();
    if (cursor && this.start === 0 && this.cursor > 0) {
      pen.fillStyle = colour("ink");
      pen.fillRect(x(this.cursor) - 1, TOP, 2, bottom - TOP);
    }
  }

  private frames(
    pen: CanvasRenderingContext2D,
    frames: Float32Array,
    first: number,
    x: (time: number) => number,
    y: (score: number) => number,
    ink: string,
    halo: string,
    alpha: number,
  ): void {
    // At most one point per pixel: the patches of a long song are averaged.
    const group = Math.max(1, Math.ceil(frames.length / Math.max(1, x(this.start + this.seconds) - x(this.start)) / 0.75));
    pen.beginPath();
    let drawn = false;
    for (let i = 0; i < frames.length; i += group) {
      const part = frames.subarray(i, i + group);
      const score = part.reduce((sum, value) => sum + value, 0) / part.length;
      const time = this.start + (Math.max(0, first) + i + (part.length - 1) / 2) * PATCH_SECONDS + MIDDLE;
      if (Number.isNaN(score)) drawn = false;
      else if (drawn) pen.lineTo(x(time), y(score));
      else {
        pen.moveTo(x(time), y(score));
        drawn = true;
      }
    }
    pen.globalAlpha = alpha * 0.85;
    pen.strokeStyle = halo;
    pen.lineWidth = 4.5;
    pen.stroke();
    pen.globalAlpha = alpha;
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    pen.stroke();
    pen.globalAlpha = 1;
  }

  private window(
    pen: CanvasRenderingContext2D,
    window: Window,
    x: (time: number) => number,
    y: (score: number) => number,
    ink: string,
    halo: string,
    beside: number | null,
  ): void {
    if (window.score === null) return;
    const width = x(window.end) - x(window.start);
    if (window.interval && beside !== null) {
      if (width > 24) {
        const [low, high] = window.interval.map(y);
        const at = (x(window.start) + x(window.end)) / 2 + beside;
        pen.beginPath();
        pen.moveTo(at, low);
        pen.lineTo(at, high);
        for (const end of [low, high]) {
          pen.moveTo(at - 5, end);
          pen.lineTo(at + 5, end);
        }
        for (const [colour, thick] of [
          [halo, 4.5],
          [ink, 2],
        ] as const) {
          pen.strokeStyle = colour;
          pen.lineWidth = thick;
          pen.stroke();
        }
      }
    } else if (window.interval) {
      const [low, high] = window.interval;
      pen.globalAlpha = 0.1;
      pen.fillStyle = ink;
      pen.fillRect(x(window.start) + 2, y(high), width - 4, y(low) - y(high));
      pen.globalAlpha = 0.75;
      for (const end of [y(low), y(high) - 1]) pen.fillRect(x(window.start) + 2, end, width - 4, 1);
      pen.globalAlpha = 1;
    }
    pen.beginPath();
    pen.moveTo(x(window.start) + 2, y(window.score));
    pen.lineTo(x(window.end) - 2, y(window.score));
    pen.strokeStyle = halo;
    pen.globalAlpha = 0.8;
    pen.lineWidth = 4;
    pen.stroke();
    pen.globalAlpha = 1;
    pen.setLineDash([7, 5]);
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    pen.stroke();
    pen.setLineDash([]);
  }

  private axes(
    pen: CanvasRenderingContext2D,
    of: { x: (time: number) => number; right: number; bottom: number; muted: string; style: CSSStyleDeclaration },
  ): void {
    const { x, right, bottom, muted } = of;
    pen.fillStyle = muted;
    pen.font = `11.5px ${of.style.fontFamily}`;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const khz of TICKS) {
      const at = bottom - place(Math.min(khz * 1000, HIGHEST)) * (bottom - TOP);
      pen.fillText(khz === 8 ? "kHz" : String(khz), LEFT - 6, clamped(at, TOP + 4, bottom - 4));
    }
    pen.textAlign = "left";
    for (let score = 0; score <= 1; score += 0.25) {
      const at = clamped(bottom - score * (bottom - TOP), TOP + 5, bottom - 5);
      pen.fillText(String(score), right + 6, at);
    }
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    const step = niceStep(this.shown / Math.max(2, Math.floor((right - LEFT) / 85)));
    for (let time = Math.ceil(this.start / step) * step; time <= this.start + this.shown + 1e-6; time += step) {
      const at = x(time);
      if (at > LEFT - 1 && at < right + 1) pen.fillText(clock(time, step), at, bottom + 16);
    }
  }
}

function niceStep(least: number): number {
  return [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200].find((step) => step >= least) ?? 3600;
}

/** Format a time as minutes and seconds. */
export function clock(seconds: number, step = 1): string {
  if (seconds < 60 && step < 1) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds + 1e-6);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Draw the spectrogram in the theme's colours. */
function painted({ columns, rows, cells }: Picture): HTMLCanvasElement {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const colours = ramp(dark ? RAMPS.dark : RAMPS.light);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const pen = canvas.getContext("2d")!;
  const image = pen.createImageData(columns, rows);
  for (let column = 0; column < columns; column++) {
    for (let row = 0; row < rows; row++) {
      const at = 4 * ((rows - 1 - row) * columns + column);
      const [r, g, b] = colours[cells[column * rows + row]];
      image.data[at] = r;
      image.data[at + 1] = g;
      image.data[at + 2] = b;
      image.data[at + 3] = 255;
    }
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

function ramp(stops: readonly string[]): [number, number, number][] {
  const points = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (points.length - 1);
    const low = Math.min(Math.floor(place), points.length - 2);
    const mixed = points[low].map((value, c) => value + (points[low + 1][c] - value) * (place - low));
    return mixed as [number, number, number];
  });
}
