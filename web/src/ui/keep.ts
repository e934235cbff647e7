/** The result as a picture, and files that the browser saves. */
import type { Interval, Version } from "../engine/protocol";
import type { Timeline } from "./timeline";

/** A version on the picture. */
export interface Part {
  readonly version: Version;
  readonly name: string;
  readonly score: number | null;
  readonly interval: Interval | null;
}

export interface Sheet {
  readonly title: string;
  readonly listener: string;
  readonly parts: readonly Part[];
  /** What the comparison says, if two are compared. */
  readonly words: readonly string[];
  /** One timeline, or two side by side. */
  readonly timelines: readonly Timeline[];
  readonly notes: readonly string[];
}

const [WIDTH, MARGIN, PLOT, GAP] = [1200, 40, 380, 24];
/** Device pixels per pixel of the layout. */
const SCALE = 2;

/** Draw a result in the colours of the page. */
export function drawSheet(sheet: Sheet): HTMLCanvasElement {
  const style = getComputedStyle(document.body);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH * SCALE, 2000 * SCALE];
  const pen = canvas.getContext("2d")!;
  pen.scale(SCALE, SCALE);
  pen.fillStyle = colour("surface");
  pen.fillRect(0, 0, WIDTH, 2000);
  const inner = WIDTH - 2 * MARGIN;
  let y = MARGIN;
  /** Write a paragraph from `y` on. */
  const write = (text: string, size: number, ink: string, weight = 400) => {
    pen.font = `${weight} ${size}px ${style.fontFamily}`;
    pen.fillStyle = colour(ink);
    for (const line of lines(pen, text, inner)) {
      pen.fillText(line, MARGIN, y + size);
      y += 1.4 * size;
    }
  };
  write(sheet.title, 24, "ink", 650);
  write(sheet.listener, 15, "muted");
  y += 14;
  pen.font = `600 17px ${style.fontFamily}`;
  const names = sheet.parts.map(({ name }) => shortened(pen, name, 680));
  const scores = MARGIN + 28 + Math.max(...names.map((name) => pen.measureText(name).width)) + 36;
  for (const [i, part] of sheet.parts.entries()) {
    mark(pen, part.version, MARGIN + 8, y + 18, colour(part.version));
    pen.font = `600 17px ${style.fontFamily}`;
    pen.fillStyle = colour("ink");
    pen.fillText(names[i], MARGIN + 28, y + 24);
    pen.font = `650 30px ${style.fontFamily}`;
    pen.fillStyle = colour(part.version);
    pen.fillText(part.score === null ? "–" : part.score.toFixed(2), scores, y + 28);
    pen.font = `400 16px ${style.fontFamily}`;
    pen.fillStyle = colour("muted");
    if (part.interval) pen.fillText(`90%: ${part.interval.map((end) => end.toFixed(2)).join(" to ")}`, scores + 88, y + 25);
    y += 44;
  }
  y += 6;
  for (const words of sheet.words) write(words, 16, "ink");
  y += 16;
  const [top, two] = [sheet.timelines.length > 1 ? 34 : 0, sheet.timelines.length > 1];
  const width = (inner - GAP * (sheet.timelines.length - 1)) / sheet.timelines.length;
  sheet.timelines.forEach((timeline, i) => {
    pen.save();
    pen.translate(MARGIN + i * (width + GAP), y);
    if (two) {
      mark(pen, sheet.parts[i].version, 8, 10, colour(sheet.parts[i].version));
      pen.font = `600 15px ${style.fontFamily}`;
      pen.fillStyle = colour("ink");
      pen.fillText(shortened(pen, sheet.parts[i].name, width - 40), 28, 15);
      pen.translate(0, top);
    }
    timeline.paint({ pen, width, height: PLOT, style }, false);
    pen.restore();
  });
  pen.textAlign = "left";
  pen.textBaseline = "alphabetic";
  y += top + PLOT + 14;
  for (const note of sheet.notes) write(note, 14, "muted");
  const cut = document.createElement("canvas");
  [cut.width, cut.height] = [canvas.width, Math.ceil((y + MARGIN - 10) * SCALE)];
  cut.getContext("2d")!.drawImage(canvas, 0, 0);
  return cut;
}

/** Draw the mark of a version, as on the scale of the page. */
function mark(pen: CanvasRenderingContext2D, version: Version, x: number, y: number, ink: string): void {
  pen.fillStyle = ink;
  pen.beginPath();
  if (version === "given") pen.arc(x, y, 7, 0, 2 * Math.PI);
  else for (const [dx, dy] of [[0, -8], [8, 0], [0, 8], [-8, 0]]) pen.lineTo(x + dx, y + dy);
  pen.fill();
}

function lines(pen: CanvasRenderingContext2D, text: string, width: number): string[] {
  const all: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line ? `${line} ${word}` : word;
    if (line && pen.measureText(longer).width > width) {
      all.push(line);
      line = word;
    } else line = longer;
  }
  return [...all, shortened(pen, line, width)];
}

function shortened(pen: CanvasRenderingContext2D, text: string, width: number): string {
  let end = text.length;
  while (end > 1 && pen.measureText(end < text.length ? `${text.slice(0, end)}…` : text).width > width) end -= 1;
  return end < text.length ? `${text.slice(0, end)}…` : text;
}

export function toPng(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser could not make the picture."))), "image/png");
  });
}

/** Have the browser save a file. */
export function save(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // Safari reads it later
}
