import { expect, test } from "vitest";
import { patchCount, patchEnd } from "../src/constants";
import { sliceWindows, windowPatches } from "../src/dsp/windows";
import { oracle } from "./oracle";

test("clips are cut where Python cuts them", () => {
  expect(oracle.windows.length).toBeGreaterThan(100);
  for (const { length, patches, cuts } of oracle.windows) expect(sliceWindows(patches, length)).toEqual(cuts);
});

test("patches", () => {
  expect([0, 2799, 2800, 5359, 5360].map(patchCount)).toEqual([0, 0, 1, 1, 2]);
  expect(patchEnd(62)).toBeCloseTo(9.935, 9);
  expect([0.16, 0.48, 10, 60].map(windowPatches)).toEqual([1, 3, 62, 375]);
});
