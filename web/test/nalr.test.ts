import { expect, test } from "vitest";
import { SAMPLE_RATE } from "../src/constants";
import { joined } from "../src/dsp/arrays";
import { NalR, nalRFilter, nalRGains } from "../src/dsp/nalr";
import { blocks, furthest, oracle, unpacked } from "./oracle";

const { nalR } = oracle;

test("gains and taps are Python's, for standard, extreme and chance audiograms", () => {
  expect(nalR.filters.length).toBeGreaterThan(40);
  let far = 0;
  for (const { levels, gains, taps } of nalR.filters) {
    expect(furthest(nalRGains(levels), gains)).toBeLessThan(1e-9);
    // Taps grow with the gain: 1e-6 of the largest, which is less than the rounding to float32 that follows.
    const largest = Math.max(...taps.map(Math.abs));
    far = Math.max(far, furthest(nalRFilter(levels, SAMPLE_RATE), taps) / largest);
  }
  console.log(`NAL-R taps: largest difference ${far.toExponential(1)} of the largest tap`);
  expect(far).toBeLessThan(1e-9);
});

test.each([1, 2, 3])("music is amplified as Python amplifies it, however it is cut (%i)", (seed) => {
  const music = unpacked(nalR.music);
  const stage = new NalR(nalR.levels, SAMPLE_RATE);
  const parts = [...blocks(music, seed)].map((block) => stage.push(block));
  expect(furthest(joined([...parts, stage.finish()]), unpacked(nalR.amplified))).toBeLessThan(1e-6);
});
