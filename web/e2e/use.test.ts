/** The page in use: by keyboard, by pointer, on a phone, in the dark; the sliders, the microphone; what goes wrong. */
import axe from "axe-core";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from "vitest";
import { AUDIOGRAMS, FREQUENCIES } from "../src/constants";
import { oracle } from "../test/oracle";
import { type Misdeeds, opened, openFile, type Result, scoredAfter, serve, type Served } from "./browser";

const DOCS = join(import.meta.dirname, "../../docs");
/** What `PICTURES=1` writes. */
const PICTURES: Record<string, string> = { "light, on a desktop": "web.png", "dark, on a phone": "web-phone.png" };
const CLEAN = "clean-16000.wav";
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 1.5 };

let served: Served;
let page: Page;
let misdeeds: Misdeeds;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served.close());
beforeEach(async () => {
  ({ page, misdeeds } = await opened(served));
});
afterEach(async () => {
  await page.context().close();
  expect(misdeeds).toEqual({ errors: [], outside: [], sent: [] });
});

const point = (of: Page, hz: number) => of.locator(`.point[data-hz="${hz}"]`);
const level = async (of: Page, hz: number) => Number(await point(of, hz).getAttribute("aria-valuenow"));
const shown = async (of: Page, id: string) => Number(await of.locator(`#${id}`).getAttribute("data-value"));
const python = (file: string, listener: string, nalR: boolean) =>
  oracle.scored.find((each) => each.file === file && each.listener === listener && each.nalR === nalR)!.score;

async function press(key: string, times: number): Promise<void> {
  for (let i = 0; i < times; i++) await page.keyboard.press(key);
}

/** Whatever axe finds wrong, contrast included. */
async function findings(of: Page): Promise<unknown[]> {
  await of.evaluate(axe.source);
  const { violations } = await of.evaluate(() => (window as unknown as { axe: typeof axe }).axe.run());
  return violations.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => [html, failureSummary])]);
}

describe("the keyboard alone", () => {
  test("opens the demo, draws an audiogram, switches, moves a slider and goes back", async () => {
    await page.keyboard.press("Tab"); // the link that skips
    await press("Tab", 3);
    expect(await page.locator(":focus").getAttribute("id")).toBe("demo-clean");
    await scoredAfter(page, () => page.keyboard.press("Enter"));

    await point(page, 1000).focus();
    const before = await level(page, 1000);
    const result = await scoredAfter(page, async () => {
      await press("ArrowDown", 2);
      await press("Shift+ArrowUp", 3);
    });
    expect(await level(page, 1000)).toBe(before + 2 * 5 - 3);
    expect(await point(page, 1000).getAttribute("aria-valuetext")).toBe(`${before + 7} dB HL`);
    expect(await page.locator("input[name=preset]:checked").count()).toBe(0);
    expect(result.settings.nalR).toBe(true);
    await page.keyboard.press("ArrowRight");
    expect(await page.locator(":focus").getAttribute("data-hz")).toBe("2000");
    await page.keyboard.press("End");
    expect(await level(page, 2000)).toBe(120);
    await press("ArrowDown", 1);
    expect(await level(page, 2000)).toBe(120);
    await page.keyboard.press("Home");
    expect(await level(page, 2000)).toBe(-10);

    await page.locator("#nalr").focus();
    const unaided = await scoredAfter(page, () => page.keyboard.press("Space"));
    expect(unaided.settings.nalR).toBe(false);

    await page.locator("#noise").focus();
    const noisy = await scoredAfter(page, () => press("ArrowRight", 35));
    expect(noisy.version).toBe("changed");
    expect(await shown(page, "changed")).toBeLessThan(await shown(page, "given"));
    await page.locator("#reset").focus();
    const back = await scoredAfter(page, () => page.keyboard.press("Enter"));
    expect([back.version, back.score]).toEqual(["given", unaided.score]);
    expect(await page.locator("#changed-readout").isVisible()).toBe(false);
  });

  test("presets are chosen with the arrows", async () => {
    await openFile(page, CLEAN);
    await page.locator("input[name=preset]:checked").focus();
    const result = await scoredAfter(page, () => page.keyboard.press("ArrowRight"));
    expect(result.settings.audiogram).toEqual(AUDIOGRAMS.N4);
  });
});

describe("the audiogram", () => {
  test("a point is dragged in steps of 5 dB, and the score follows Python's", async () => {
    await openFile(page, CLEAN);
    await scoredAfter(page, () => page.getByText("NH", { exact: true }).click());
    const box = (await point(page, 4000).locator(".symbol").boundingBox())!;
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + 40, y + 77, { steps: 6 }); // sideways does not take another point along
    const result = await scoredAfter(page, () => page.mouse.move(x + 40, y + 90, { steps: 3 }));
    await page.mouse.up();
    const levels = await Promise.all(FREQUENCIES.map((hz) => level(page, hz)));
    expect(levels.filter((each) => each !== 0)).toHaveLength(1);
    expect(levels[FREQUENCIES.indexOf(4000)] % 5).toBe(0);
    expect(levels[FREQUENCIES.indexOf(4000)]).toBeGreaterThan(10);
    expect(result.settings.audiogram[FREQUENCIES.indexOf(4000)]).toBeGreaterThan(0);
  });

  test("can be drawn across", async () => {
    await openFile(page, CLEAN);
    const chart = (await page.locator(".chart .field").boundingBox())!;
    await page.mouse.move(chart.x + 4, chart.y + chart.height * 0.95);
    await page.mouse.down();
    await scoredAfter(page, () =>
      page.mouse.move(chart.x + chart.width - 4, chart.y + chart.height * 0.8, { steps: 40 }),
    );
    await page.mouse.up();
    const levels = await Promise.all(FREQUENCIES.map((hz) => level(page, hz)));
    expect(Math.min(...levels)).toBeGreaterThanOrEqual(90);
    expect(levels[0]).toBeGreaterThan(levels[7]);
  });

  test("each ear has its own; the other one's stays", async () => {
    await openFile(page, CLEAN);
    await scoredAfter(page, () => page.getByText("S2", { exact: true }).click());
    const left = await scoredAfter(page, () => page.getByText("Left ear").click());
    expect(left.settings.audiogram).toEqual(AUDIOGRAMS.N3);
    expect(await point(page, 250).getAttribute("aria-label")).toContain("left ear");
    const right = await scoredAfter(page, () => page.getByText("Right ear").click());
    expect(right.settings.audiogram).toEqual(AUDIOGRAMS.S2);
    expect(right.score).toBeCloseTo(python(CLEAN, "S2", true), 3);
  });

  test("without NAL-R another listener needs the head alone", async () => {
    await openFile(page, "long-16000.wav");
    const start = () => page.evaluate(() => performance.now());
    const again = await start();
    const encoded = await scoredAfter(page, () => page.getByText("Amplify for this listener").click());
    const headFrom = await start();
    const head = await scoredAfter(page, () => page.getByText("N5", { exact: true }).click());
    console.log(`52 s of music anew: ${(encoded.at - again).toFixed(0)} ms; another listener: ${(head.at - headFrom).toFixed(0)} ms`);
    expect(head.score).not.toBe(encoded.score);
  });
});

describe("what if", () => {
  test.each([
    ["gain", "softer", "ArrowLeft", 25],
    ["clip", "clipped", "ArrowRight", 20],
    ["noise", "noisier", "ArrowRight", 40],
  ])("%s: %s scores otherwise, and the original's score stays", async (id, _, key, times) => {
    const given = await openFile(page, CLEAN);
    await page.locator(`#${id}`).focus();
    let changed = await scoredAfter(page, () => press(key, times));
    const wanted = await page.locator(`#${id}`).inputValue();
    while (JSON.stringify(changed.settings.changes) !== (await changesNow(wanted, id, changed))) {
      changed = await scoredAfter(page, async () => undefined);
    }
    expect(await shown(page, "given")).toBe(given.score);
    expect(await shown(page, "changed")).toBeLessThan(given.score! - 0.05);
    expect(await page.locator("#difference").textContent()).toMatch(/^−0\.\d\d$/);
    expect(await page.locator("#legend-changed").isVisible()).toBe(true);
  });

  /** The changes that the sliders stand for, as the results tell them. */
  async function changesNow(value: string, id: string, result: Result): Promise<string> {
    const at = Number(value);
    const all = { ...result.settings.changes };
    const set = { gain: { gain: at }, clip: { clip: 10 ** (-at / 20) }, noise: { snr: 45 - at } }[id];
    return JSON.stringify({ ...all, ...set });
  }

  test("the demo's own degraded version scores below the clean one", async () => {
    const clean = await scoredAfter(page, () => page.click("#demo-clean"));
    const degraded = await scoredAfter(page, () => page.click("#demo-degraded"));
    expect(degraded.score!).toBeLessThan(clean.score! - 0.1);
  });
});

describe("music", () => {
  test("is taken when it is dropped", async () => {
    const result = await scoredAfter(page, () =>
      page.evaluate(async () => {
        const blob = await (await fetch("demo/clean.flac")).blob();
        const data = new DataTransfer();
        data.items.add(new File([blob], "song.flac"));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
      }),
    );
    expect(result.score).toBeCloseTo(python("clean-24000.wav", "N3", true), 3);
    expect(await page.locator("#status").textContent()).toMatch(/^song\.flac · 20\.0 s · 24 kHz, mono · 65 dB SPL$/);
  });

  test("plays, and can be sought by keyboard", async () => {
    await openFile(page, CLEAN);
    await page.click("#play");
    await page.waitForFunction(() => Number(document.querySelector("#plot")!.getAttribute("aria-valuenow")) > 0.3);
    expect(await page.locator("#play").getAttribute("aria-label")).toBe("Pause");
    await page.locator("#plot").focus();
    await page.keyboard.press("Space");
    expect(await page.locator("#play").getAttribute("aria-label")).toBe("Play");
    await page.keyboard.press("End");
    expect(await page.locator("#plot").getAttribute("aria-valuetext")).toMatch(/^20\.0 s, score 0\.\d\d$/);
    await page.keyboard.press("Home");
    await press("ArrowRight", 3);
    expect(await page.locator("#plot").getAttribute("aria-valuenow")).toBe("3.0");
  });

  test.each([
    ["an empty file", Buffer.alloc(0), "This file is empty."],
    ["no audio", Buffer.from("not music ".repeat(500)), "This browser cannot read it as audio"],
    ["silence", silence(16_000), "This is silent: there is nothing to score"],
    ["too little", silence(2_000, 0.1), "This is too short: at least 175 ms"],
    ["a cut file", silence(16_000, 0.1).subarray(0, 20_001), "This file is truncated: it announces 32,044 bytes"],
    ["a head alone", silence(0), "This file holds no samples."],
  ])("%s is refused with a reason, and the next file is scored", async (_, buffer, message) => {
    await openFile(page, CLEAN);
    await page.setInputFiles("#file", { name: "x.wav", mimeType: "audio/wav", buffer });
    await page.waitForFunction(() => !document.querySelector<HTMLElement>("#failure")!.hidden);
    expect(await page.locator("#failure").textContent()).toContain(message);
    expect(await page.locator("#status").textContent()).toBe("x.wav");
    expect(await page.locator("#legend").isVisible()).toBe(false);
    const result = await openFile(page, CLEAN);
    expect(result.score).toBeCloseTo(python(CLEAN, "N3", true), 3);
    expect(await page.locator("#failure").isVisible()).toBe(false);
  });
});

test("the microphone is scored while it is on, and the recording afterwards", async () => {
  await page.click("#microphone");
  await page.waitForFunction(() => document.querySelector<HTMLOutputElement>("#given")!.dataset.value !== "", undefined, {
    timeout: 30_000,
  });
  await page.waitForFunction(() => /^Microphone · 0:0[3-9]/.test(document.querySelector("#status")!.textContent ?? ""), undefined, {
    timeout: 60_000,
  });
  expect(await shown(page, "given")).toBeGreaterThan(0);
  expect(await page.locator("#clip").isDisabled()).toBe(true);
  const before = await shown(page, "given");
  await page.getByText("N7", { exact: true }).click();
  await page.waitForFunction((score) => Number(document.querySelector<HTMLOutputElement>("#given")!.dataset.value) !== score, before);
  const result = await scoredAfter(page, () => page.click("#microphone"));
  expect(result.settings.audiogram).toEqual(AUDIOGRAMS.N7);
  expect(result.score).toBeGreaterThan(0);
  expect(await page.locator("#status").textContent()).toContain("Recording");
  expect(await page.locator("#clip").isDisabled()).toBe(false);
});

describe.each([
  ["light", "a desktop", {}],
  ["dark", "a desktop", {}],
  ["light", "a phone", PHONE],
  ["dark", "a phone", PHONE],
] as const)("%s, on %s", (colorScheme, where, device) => {
  test("nothing is wider than the screen, axe finds nothing, and the picture is taken", async () => {
    const { page: shownPage, misdeeds: done } = await opened(served, {
      viewport: { width: 1280, height: 931 },
      ...device,
      colorScheme,
      reducedMotion: "reduce",
    });
    expect(await findings(shownPage)).toEqual([]);
    await scoredAfter(shownPage, () => shownPage.click("#demo-clean"));
    await shownPage.locator("#clip").fill("14");
    await scoredAfter(shownPage, () => shownPage.locator("#noise").fill("25"));
    await shownPage.evaluate(() => (document.activeElement as HTMLElement).blur());
    await shownPage.waitForFunction(() => !document.querySelector("output.partial"));
    await shownPage.waitForTimeout(300); // the last frame is drawn
    expect(await findings(shownPage)).toEqual([]);
    const { wide, screen } = await shownPage.evaluate(() => ({
      wide: document.documentElement.scrollWidth,
      screen: innerWidth,
    }));
    expect(wide).toBeLessThanOrEqual(screen);
    if (where === "a phone") {
      const sizes = await shownPage.locator("button:visible, .presets label, .ears label").evaluateAll((all) =>
        all.map((each) => Math.min(each.getBoundingClientRect().width, each.getBoundingClientRect().height)),
      );
      expect(Math.min(...sizes)).toBeGreaterThanOrEqual(24); // WCAG 2.5.8
      await shownPage.locator(".listener").scrollIntoViewIfNeeded();
      await point(shownPage, 250).evaluate((each) => each.scrollIntoView({ block: "center" }));
      const inSight = await shownPage.locator("#given").evaluate((each) => each.getBoundingClientRect().top >= 0);
      expect(inSight).toBe(true); // the score goes along
    }
    const name = PICTURES[`${colorScheme}, on ${where}`];
    if (process.env.PICTURES && name) {
      await shownPage.evaluate(() => scrollTo(0, 0));
      await shownPage.screenshot({ path: join(DOCS, name) });
    }
    expect(done).toEqual({ errors: [], outside: [], sent: [] });
    await shownPage.context().close();
  });
});

test.each([700, 800])("at %d pixels the audiogram fits the screen", async (width) => {
  await page.setViewportSize({ width, height: 900 });
  expect((await page.locator(".chart").boundingBox())!.height).toBeLessThan(550);
});

test("with reduced motion nothing moves by itself", async () => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  const moving = await page.evaluate(() =>
    [...document.querySelectorAll("*")].filter((each) => getComputedStyle(each).transitionProperty !== "none").length,
  );
  expect(moving).toBe(0);
});

/** A 16-bit wav at 16 kHz, of one level. */
function silence(samples: number, level = 0): Buffer {
  const data = Buffer.alloc(44 + 2 * samples);
  data.write("RIFF", 0);
  data.writeUInt32LE(36 + 2 * samples, 4);
  data.write("WAVEfmt ", 8);
  [16, 0x10001, 16_000, 32_000].forEach((value, i) => data.writeUInt32LE(value, 16 + 4 * i));
  data.writeUInt32LE(0x100002, 32);
  data.write("data", 36);
  data.writeUInt32LE(2 * samples, 40);
  for (let i = 0; i < samples; i++) data.writeInt16LE(Math.round(32767 * level), 44 + 2 * i);
  return data;
}
