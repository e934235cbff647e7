/** The page's scores beside Python's, of the same files. */
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { furthest, oracle, type Scored } from "../test/oracle";
import { type Misdeeds, opened, openFile, type Result, scoredAfter, serve, type Served } from "./browser";

let served: Served;
let page: Page;
let misdeeds: Misdeeds;
const worst = new Map<string, number>();

beforeAll(async () => {
  served = await serve();
  ({ page, misdeeds } = await opened(served));
});
afterAll(async () => {
  for (const [kind, difference] of worst) console.log(`${kind}: scores within ${difference.toExponential(1)} of Python's`);
  await served.close();
});

/** The page's result for a listener; without a change there would be none to wait for. */
async function scoreFor(listener: string, nalR: boolean, now: Result): Promise<Result> {
  let result = now;
  if ((await page.isChecked("#nalr")) !== nalR) {
    result = await scoredAfter(page, () => page.getByText("Amplify for this listener").click());
  }
  const preset = page.locator(`input[name=preset][value=${listener}]`);
  if (!(await preset.isChecked())) result = await scoredAfter(page, () => page.getByText(listener, { exact: true }).click());
  return result;
}

/** Within what a score may differ: what files hold and what decoders make of it is not ours. */
function tolerance(file: string): number {
  if (/\.(wav|flac)$/.test(file)) return 1e-3;
  // Chromium starts WebM some milliseconds elsewhere than FFmpeg does, and scores depend on where patches start.
  return file.endsWith(".webm") ? 5e-2 : 3e-3;
}

const files = [...new Set(oracle.scored.map(({ file }) => file))];

test.each(files)("%s", async (file) => {
  let result = await openFile(page, file);
  for (const expected of oracle.scored.filter((each) => each.file === file)) {
    result = await scoreFor(expected.listener, expected.nalR, result);
    compare(expected, result);
  }
  expect(misdeeds).toEqual({ errors: [], outside: [], sent: [] });
});

function compare(expected: Scored, result: Result): void {
  expect([...result.settings.audiogram]).toEqual(expected.levels);
  expect(result.settings.nalR).toBe(expected.nalR);
  expect(result.windows.map(({ score }) => score === null)).toEqual(expected.windows.map(({ score }) => score === null));
  expect(result.windows.map(({ start, end }) => [start, end])).toEqual(
    expected.windows.map(({ start, end }) => [expect.closeTo(start, 6), expect.closeTo(end, 6)]),
  );
  const far = Math.abs(result.score! - expected.score);
  const kind = expected.file.replace(/^(clean|degraded|mostly-silent|long|music-\d+)-/, "");
  worst.set(kind, Math.max(worst.get(kind) ?? 0, far));
  expect(far, `${expected.file} ${expected.listener} ${result.score} ${expected.score}`).toBeLessThan(tolerance(expected.file));
  expect(result.interval === null).toBe(expected.interval === undefined);
  for (const end of [0, 1]) {
    const error = Math.abs((result.interval?.[end] ?? 0) - (expected.interval?.[end] ?? 0));
    expect(error, `interval of ${expected.file} ${expected.listener}`).toBeLessThan(tolerance(expected.file));
  }
  const numbers = expected.frame_scores.map((score) => score ?? NaN);
  const frames = result.frames as unknown as (number | null)[];
  expect(frames.map((score) => score === null || Number.isNaN(score))).toEqual(numbers.map(Number.isNaN));
  if (expected.file.endsWith("-16000.wav")) {
    const pairs = numbers.map((score, i) => [score, frames[i] ?? NaN]).filter(([score]) => !Number.isNaN(score));
    expect(furthest(pairs.map(([a]) => a), pairs.map(([, b]) => b))).toBeLessThan(5e-3);
  }
}
