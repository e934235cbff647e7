import { expect, test } from "vitest";
import { caveats, comparison, difference } from "../src/ui/verdict";

const side = (score: number | null, seconds = 20, level = 65) => ({ score, seconds, level });

test.each([
  [0.7749, 0.3474, "B scores 0.42 lower than A."],
  [0.35, 0.78, "B scores 0.43 higher than A."],
  [0.701, 0.704, "A and B score the same."],
  [0.7, 0.71, "B scores 0.01 higher than A."],
  [null, 0.5, "A and B cannot be compared: one of them has no score."],
])("%d and %d: %s", (a, b, words) => {
  expect(comparison(side(a), side(b))).toBe(words);
});

test("the difference fits the two numbers that are shown", () => {
  for (let a = 0; a <= 1; a += 0.0137) {
    for (let b = 0; b <= 1; b += 0.0173) {
      expect(difference(a, b)).toBeCloseTo(Number(b.toFixed(2)) - Number(a.toFixed(2)), 9);
    }
  }
});

test("the same excerpt at one level has no caveat", () => {
  expect(caveats(side(0.5), side(0.6))).toEqual([]);
  expect(caveats(side(0.5, 20, 65.4), side(0.6, 20.3, 66.3))).toEqual([]);
});

test("other lengths and levels are named", () => {
  expect(caveats(side(0.5, 20), side(0.6, 35.04))).toEqual(["A lasts 20.0 s and B 35.0 s: compare the same part of the piece."]);
  expect(caveats(side(0.5, 20, 65), side(0.6, 20, 59))).toEqual([expect.stringMatching(/^B is 6 dB softer than A, and the score depends/)]);
  expect(caveats(side(0.5, 20, 60), side(0.6, 20, 70))).toEqual([expect.stringContaining("10 dB louder")]);
});
