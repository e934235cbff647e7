/** The contrast of the page's colours, computed from its style sheet: WCAG 2.2 AA. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const css = readFileSync(join(import.meta.dirname, "../src/style.css"), "utf8");

type Colour = readonly number[];

/** The colours of a theme by name. Those that the dark theme does not set are the light one's. */
function theme(name: "light" | "dark"): Record<string, Colour> {
  const blocks = [...css.matchAll(/:root \{([^}]*)\}/g)].map(([, block]) => block);
  expect(blocks).toHaveLength(2);
  const declared = blocks.slice(0, name === "light" ? 1 : 2).join("\n");
  const colours: Record<string, Colour> = {};
  for (const [, variable, hex] of declared.matchAll(/--([a-z-]+): #([0-9a-f]{6});/g)) {
    colours[variable] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }
  return colours;
}

function luminance(colour: Colour): number {
  const [r, g, b] = colour.map((value) => (value <= 0.04045 * 255 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: Colour, b: Colour): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

function mixed(top: Colour, alpha: number, bottom: Colour): Colour {
  return top.map((value, i) => alpha * value + (1 - alpha) * bottom[i]);
}

test("black on white is 21 to 1, and grey is in between", () => {
  expect(contrast([0, 0, 0], [255, 255, 255])).toBeCloseTo(21, 9);
  expect(contrast([119, 119, 119], [255, 255, 255])).toBeCloseTo(4.48, 2);
});

/** Texts and what they are written on. */
const TEXTS = [
  ["ink", "page"],
  ["ink", "surface"],
  ["ink", "sunken"],
  ["muted", "page"],
  ["muted", "surface"],
  ["muted", "sunken"],
  ["muted", "accent-soft"],
  ["accent", "page"],
  ["accent", "surface"],
  ["accent", "accent-soft"],
  ["accent-ink", "accent"],
  ["given", "surface"],
  ["changed", "surface"],
  ["surface", "given"],
  ["surface", "changed"],
  ["right", "surface"],
  ["left", "surface"],
  ["danger", "surface"],
] as const;
/** Marks, curves with their halo, outlines of what has the focus. */
const GRAPHICS = [
  ["given", "surface"],
  ["changed", "surface"],
  ["given", "sunken"],
  ["changed", "sunken"],
  ["right", "sunken"],
  ["left", "sunken"],
  ["accent", "page"],
  ["accent", "surface"],
  ["accent", "sunken"],
  ["muted", "surface"],
] as const;

describe.each(["light", "dark"] as const)("%s", (name) => {
  const colours = theme(name);

  test.each(TEXTS)("%s on %s is 4.5 to 1 or more", (ink, ground) => {
    expect(contrast(colours[ink], colours[ground])).toBeGreaterThanOrEqual(4.5);
  });

  test.each(GRAPHICS)("%s on %s is 3 to 1 or more", (ink, ground) => {
    expect(contrast(colours[ink], colours[ground])).toBeGreaterThanOrEqual(3);
  });

  test("scores that are not whole yet are fainter, and large enough for 3 to 1", () => {
    const alpha = Number(/output\.partial \{\s*opacity: ([\d.]+)/.exec(css)![1]);
    for (const ink of ["given", "changed"]) {
      expect(contrast(mixed(colours[ink], alpha, colours.surface), colours.surface)).toBeGreaterThanOrEqual(3);
    }
  });
});
