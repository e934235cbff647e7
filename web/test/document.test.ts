/** The document that the page saves, beside what `haaqi-edge score --json --frames` prints. */
import { expect, test } from "vitest";
import { type Kept, scoreDocument, stem } from "../src/document";
import type { Card } from "../src/engine/protocol";
import { oracle } from "./oracle";

const printed = oracle.document;
const CARD = { name: "nano", version: "0.0", window: 10, level1: 85 } as Card;

/** The scores that Python printed, as the worker sends them. */
function kept(): Kept[] {
  return printed.results.map(({ file, scores: [scores] }) => ({
    file,
    score: scores.score,
    interval: scores.interval ?? null,
    windows: scores.windows.map((window) => ({ interval: null, ...window })),
    frames: Float32Array.from(scores.frame_scores, (score) => score ?? NaN),
    elapsed: 0.25,
  }));
}

test("it is the command line's, but for the provider and the time", () => {
  const [scores] = printed.results[0].scores;
  const listener = { name: "N3", levels: scores.levels, nalR: true };
  const document = scoreDocument(CARD, listener, kept());
  expect(document).toEqual({ ...printed, version: "0.0", provider: "wasm", elapsed_seconds: 0.5 });
  expect(JSON.parse(JSON.stringify(document))).toEqual(document);
});

test("what is silent is null, and a model without intervals has none", () => {
  const silent: Kept = {
    file: "song.wav",
    score: 0.5,
    interval: null,
    windows: [{ start: 0, end: 9.935, score: null, interval: null }],
    frames: Float32Array.of(NaN, 0.5),
    elapsed: 0,
  };
  const predicts = { name: "MOS", low: 1, high: 5 };
  const document = scoreDocument({ ...CARD, predicts }, { name: "NH", levels: [], nalR: false }, [silent]);
  expect(document).toMatchObject({
    predicts,
    settings: { nal_r: false },
    results: [{ scores: [{ windows: [{ start: 0, end: 9.935, score: null }], frame_scores: [null, 0.5] }] }],
  });
  expect(JSON.stringify(document)).not.toContain("interval");
});

test.each([
  [["song.flac"], "N3", "haaqi-song-N3"],
  [["Demo piece, clean", "b/../c.wav"], "your audiogram", "haaqi-Demo-piece-clean-b-c-your-audiogram"],
  [["Größe: ½ <1>.m4a"], "NH", "haaqi-Größe-½-1-NH"],
  [["x".repeat(300)], "NH", `haaqi-${"x".repeat(80)}`],
])("%j for %s is saved as %s", (names, listener, expected) => {
  expect(stem(names, listener)).toBe(expected);
});
