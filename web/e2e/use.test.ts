/** The page in use: by keyboard, by pointer, on a phone, in the dark; the sliders, the microphone; what goes wrong. */
import axe from "axe-core";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from "vitest";
import { AUDIOGRAMS, FREQUENCIES } from "../src/constants";
import { FOLDER, oracle, type ScoreDocument } from "../test/oracle";
import { type Misdeeds, opened, openFile, openFiles, type Result, scoredAfter, serve, type Served } from "./browser";

const DOCS = join(import.meta.dirname, "../../docs");
/** What `PICTURES=1` writes, for one clip and for two. */
const PICTURES: Record<string, readonly [string?, string?]> = {
  "light, on a desktop": ["web.png", "web-compare.png"],
  "dark, on a phone": ["web-phone.png"],
};
const CLEAN = "clean-16000.wav";
const DEGRADED = "degraded-16000.wav";
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

describe("two versions of a piece", () => {
  const text = (id: string) => page.locator(`#${id}`).textContent();

  test("are scored as Python scores them, each with its curve, score and interval", async () => {
    await openFiles(page, CLEAN, DEGRADED);
    for (const [id, file] of [["given", CLEAN], ["changed", DEGRADED]]) {
      expect(await shown(page, id)).toBeCloseTo(python(file, "N3", true), 3);
      expect(await text(`${id}-interval`)).toMatch(/^90%: 0\.\d\d to [01]\.\d\d$/);
      expect(await text(`${id}-name`)).toBe(file);
      expect(await text(`caption-${id}`)).toBe(`${id === "given" ? "A" : "B"}${file}`);
    }
    expect(await text("verdict-words")).toMatch(/^B scores 0\.\d\d lower than A for N3\.$/);
    expect(await text("verdict-caveats")).toBe("");
    expect(await text("status")).toContain(`${DEGRADED} · 20.0 s · 16 kHz, mono`);
    expect(await page.locator("#changes").isVisible()).toBe(false);
    for (const id of ["plot", "plot-changed"]) {
      await page.locator(`#${id}`).focus();
      await page.keyboard.press("End");
      expect(await page.locator(`#${id}`).getAttribute("aria-valuetext")).toMatch(/^20\.0 s, score 0\.\d\d$/);
    }
    await page.waitForFunction(() => document.querySelector("#spoken")!.textContent !== "");
    expect(await text("spoken")).toMatch(/^Scores for N3\. A, clean-16000\.wav: 0\.\d\d, with 90% probability .* B scores 0\.\d\d lower than A\.$/);
    const other = await scoredAfter(page, () => page.getByText("S2", { exact: true }).click());
    expect(other.version).toBe("changed");
    expect(await shown(page, "given")).toBeCloseTo(python(CLEAN, "S2", true), 3);
    expect(await shown(page, "changed")).toBeCloseTo(python(DEGRADED, "S2", true), 3);
  });

  test("are taken when they are dropped together", async () => {
    await scoredAfter(page, () =>
      page.evaluate(async () => {
        const data = new DataTransfer();
        for (const name of ["clean", "degraded"]) data.items.add(new File([await (await fetch(`demo/${name}.flac`)).blob()], `${name}.flac`));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
      }),
    );
    await page.waitForFunction(() => document.querySelector<HTMLOutputElement>("#changed")!.dataset.value !== "");
    expect(await shown(page, "given")).toBeCloseTo(python("clean-24000.wav", "N3", true), 3);
    expect(await shown(page, "changed")).toBeCloseTo(python("degraded-24000.wav", "N3", true), 3);
  });

  test("the second one is added to a changed clip, and taken away, by keyboard", async () => {
    const chooser = page.waitForEvent("filechooser", { timeout: 100_000 }); // early: Chromium must know before the key
    await openFile(page, CLEAN);
    await page.locator("#noise").focus();
    await scoredAfter(page, () => press("ArrowRight", 10));
    await page.locator("#compare").focus();
    await page.keyboard.press("Enter");
    await scoredAfter(page, async () => (await chooser).setFiles(join(FOLDER, DEGRADED)));
    await page.waitForFunction(() => document.querySelector("#changed-name")!.textContent === "degraded-16000.wav");
    await page.waitForFunction(() => !document.querySelector<HTMLButtonElement>("#keep-json")!.disabled);
    expect(await shown(page, "given")).toBeCloseTo(python(CLEAN, "N3", true), 3);
    expect(await shown(page, "changed")).toBeCloseTo(python(DEGRADED, "N3", true), 3);
    expect(await page.locator(":focus").getAttribute("id")).toBe("alone");
    const alone = await scoredAfter(page, () => page.keyboard.press("Enter"));
    expect(alone.version).toBe("given");
    expect(await page.locator(":focus").getAttribute("id")).toBe("compare");
    for (const id of ["second", "changed-readout", "verdict", "caption-given"]) expect(await page.locator(`#${id}`).isVisible()).toBe(false);
    expect(await page.locator("#noise").inputValue()).toBe("0");
    expect(await text("status")).toMatch(/^clean-16000\.wav · /);
  });

  test("another length and another level are named", async () => {
    await openFiles(page, CLEAN, "long-16000.wav");
    await page.waitForFunction(() => document.querySelector("#verdict-caveats")!.textContent !== "");
    expect(await text("verdict-caveats")).toContain("A lasts 20.0 s and B 52.0 s: compare the same part of the piece.");
    await page.locator("#plot").focus();
    await page.keyboard.press("End");
    expect(await page.locator("#plot").getAttribute("aria-valuenow")).toBe("20.0");
    expect(await page.locator("#plot-changed").getAttribute("aria-valuenow")).toBe("20.0");
    expect(await page.locator("#plot-changed").getAttribute("aria-valuemax")).toBe("52.0");
  });

  test("either is heard, at the same position", async () => {
    await openFiles(page, CLEAN, DEGRADED);
    await page.waitForSelector("#hear");
    await page.click("#play");
    const time = async () => Number(await page.locator("#plot").getAttribute("aria-valuenow"));
    await page.waitForFunction(() => Number(document.querySelector("#plot")!.getAttribute("aria-valuenow")) > 0.3);
    await page.locator("input[name=hear]:checked").focus();
    await page.keyboard.press("ArrowRight");
    expect(await page.locator("input[name=hear]:checked").getAttribute("value")).toBe("changed");
    const before = await time();
    await page.waitForFunction((from) => Number(document.querySelector("#plot-changed")!.getAttribute("aria-valuenow")) > from, before);
    expect(await page.locator("#play").getAttribute("aria-label")).toBe("Pause");
  });

  test("a second one that cannot be read is named, and the first one stays", async () => {
    await page.setInputFiles("#file", [
      { name: "a.wav", mimeType: "audio/wav", buffer: readFileSync(join(FOLDER, CLEAN)) },
      { name: "b.wav", mimeType: "audio/wav", buffer: silence(16_000) },
    ]);
    await page.waitForFunction(() => !document.querySelector<HTMLElement>("#failure")!.hidden);
    expect(await text("failure")).toBe("b.wav: This is silent: there is nothing to score.");
    await page.waitForFunction(() => !document.querySelector<HTMLButtonElement>("#keep-json")!.disabled);
    expect(await shown(page, "given")).toBeCloseTo(python(CLEAN, "N3", true), 3);
    expect(await page.locator("#second").isVisible()).toBe(false);
    const damaged = { name: "c.wav", mimeType: "audio/wav", buffer: silence(16_000, 0.1).subarray(0, 20_001) };
    await page.setInputFiles("#other-file", damaged);
    await page.waitForFunction(() => document.querySelector("#failure")!.textContent!.startsWith("c.wav: This file is truncated"));
    expect(await page.locator("#second").isVisible()).toBe(false);
  });

  test("three are refused", async () => {
    const files = Array.from({ length: 3 }, (_, i) => ({ name: `${i}.wav`, mimeType: "audio/wav", buffer: silence(100) }));
    await page.setInputFiles("#file", files);
    expect(await text("failure")).toBe("These are 3 files. Choose one, or two versions of one piece to compare them.");
  });
});

describe("the result to keep", () => {
  const kept = async (id: string) => {
    await page.waitForFunction(() => !document.querySelector<HTMLButtonElement>("#keep-json")!.disabled);
    const waiting = page.waitForEvent("download");
    await page.locator(`#${id}`).focus();
    await page.keyboard.press("Enter");
    const download = await waiting;
    return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
  };

  test("of two files is what haaqi-edge score --json prints", async () => {
    await openFiles(page, CLEAN, DEGRADED);
    await page.waitForSelector("main.comparing");
    const { name, bytes } = await kept("keep-json");
    expect(name).toBe("haaqi-clean-16000-degraded-16000-N3.json");
    const saved = JSON.parse(bytes.toString()) as ScoreDocument;
    const { elapsed_seconds: _, ...printed } = oracle.document;
    expect(saved).toMatchObject({ ...printed, provider: "wasm", results: [{ scores: [{ audiogram: "N3" }] }, { scores: [{}] }] });
    printed.results.forEach(({ file, scores: [expected] }, i) => {
      const { file: as, scores } = saved.results[i];
      expect(file.endsWith(as)).toBe(true);
      expect(scores).toHaveLength(1);
      expect(Object.keys(scores[0]).sort()).toEqual(Object.keys(expected).sort());
      expect(scores[0].levels).toEqual(expected.levels);
      expect(scores[0].score).toBeCloseTo(expected.score, 3);
      expect(scores[0].frame_scores).toHaveLength(expected.frame_scores.length);
      expect(scores[0].windows.map(({ start, end }) => [start, end])).toEqual(
        expected.windows.map(({ start, end }) => [expect.closeTo(start, 6), expect.closeTo(end, 6)]),
      );
    });
  });

  test("of a changed clip says how it was changed", async () => {
    await openFile(page, CLEAN);
    await page.locator("#clip").fill("6");
    await page.locator("#gain").fill("-3");
    await scoredAfter(page, () => page.locator("#noise").fill("25"));
    const { bytes } = await kept("keep-json");
    const { results } = JSON.parse(bytes.toString()) as ScoreDocument;
    expect(results.map(({ file }) => file)).toEqual([CLEAN, `${CLEAN} (noise 20 dB below the music, clipped by 6 dB, 3 dB softer)`]);
  });

  test.each([1, 2])("is a picture of %i", async (count) => {
    await openFiles(page, ...[CLEAN, DEGRADED].slice(0, count));
    if (count === 2) await page.waitForSelector("main.comparing");
    const { name, bytes } = await kept("keep-png");
    expect(name).toMatch(/^haaqi-clean-16000.*-N3\.png$/);
    expect(bytes.subarray(1, 4).toString()).toBe("PNG");
    const [width, height] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
    expect(width).toBe(2400);
    expect(height).toBeGreaterThan(1000);
    expect(bytes.length).toBeGreaterThan(100_000); // it is not empty
  });

  test("is not there before the score, nor while another listener's is computed", async () => {
    for (const id of ["keep-png", "keep-json"]) expect(await page.locator(`#${id}`).isDisabled()).toBe(true);
    await openFile(page, CLEAN);
    await page.waitForFunction(() => !document.querySelector<HTMLButtonElement>("#keep-json")!.disabled);
    const at = await page.evaluate(() => {
      document.querySelector<HTMLInputElement>("input[value=N7]")!.click();
      return document.querySelector<HTMLButtonElement>("#keep-json")!.disabled;
    });
    expect(at).toBe(true);
  });

  test("the windows are a table", async () => {
    await openFiles(page, CLEAN, DEGRADED);
    await page.waitForFunction(() => document.querySelectorAll("#numbers thead th").length === 5);
    expect(await page.locator("#numbers thead th").allTextContents()).toEqual(["Time", "A", "90% interval", "B", "90% interval"]);
    await page.locator("summary").focus();
    await page.keyboard.press("Enter");
    expect(await page.locator("#numbers tbody tr:visible").count()).toBe(2);
    expect(await page.locator("#numbers tbody tr").first().textContent()).toMatch(/^0:00 to 0:09(0\.\d\d[01]\.\d\d to [01]\.\d\d){2}$/);
  });
});

describe("with the audio of iOS Safari, which starts only inside the handler of a click", () => {
  /** Contexts that start only while a click or a key is handled, and elsewhere never answer. */
  function strict(): void {
    const Chromium = AudioContext;
    const gesture = () => ["click", "keydown"].includes(window.event?.type ?? "");
    Object.assign(window, { contexts: [] });
    window.AudioContext = class extends Chromium {
      constructor(options?: AudioContextOptions) {
        super(options);
        (window as unknown as { contexts: AudioContext[] }).contexts.push(this);
        void super.suspend();
      }
      override resume(): Promise<void> {
        return gesture() ? super.resume() : new Promise(() => undefined);
      }
    };
  }
  const states = (of: Page) => of.evaluate(() => (window as unknown as { contexts: AudioContext[] }).contexts.map(({ state }) => state));

  test("the song plays, by pointer and by keyboard", async () => {
    const { page: safari } = await opened(served, {}, strict);
    await openFile(safari, CLEAN);
    await safari.click("#play");
    await safari.waitForFunction(() => Number(document.querySelector("#plot")!.getAttribute("aria-valuenow")) > 0.2);
    expect(await states(safari)).toEqual(["running"]);
    await safari.click("#play");
    await safari.locator("#plot").focus();
    const from = Number(await safari.locator("#plot").getAttribute("aria-valuenow"));
    await safari.keyboard.press("Space");
    await safari.waitForFunction((time) => Number(document.querySelector("#plot")!.getAttribute("aria-valuenow")) > time, from);
    await safari.context().close();
  });

  test("the microphone runs, and is closed when it is stopped", async () => {
    const { page: safari } = await opened(served, {}, strict);
    await safari.click("#microphone");
    await safari.waitForFunction(() => /^Microphone · 0:0[1-9]/.test(document.querySelector("#status")!.textContent ?? ""), undefined, {
      timeout: 30_000,
    });
    expect(await states(safari)).toEqual(["running"]);
    await scoredAfter(safari, () => safari.click("#microphone"));
    expect(await states(safari)).toEqual(["closed"]);
    await safari.context().close();
  });
});

test.each([
  ["NotAllowedError", "The microphone was not allowed."],
  ["NotFoundError", "No microphone was found."],
  ["NotReadableError", "The microphone is in use by another program"],
])("%s of the microphone is told, and the next attempt works", async (name, words) => {
  await page.evaluate((fault) => {
    const devices = navigator.mediaDevices;
    const open = devices.getUserMedia.bind(devices);
    devices.getUserMedia = () => {
      devices.getUserMedia = open;
      return Promise.reject(new DOMException("", fault));
    };
  }, name);
  await page.click("#microphone");
  await page.waitForFunction(() => !document.querySelector<HTMLElement>("#failure")!.hidden);
  expect(await page.locator("#failure").textContent()).toContain(words);
  expect(await page.locator("#microphone").getAttribute("aria-pressed")).toBe("false");
  expect(await page.locator(":focus").getAttribute("id")).toBe("microphone");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#microphone")!.getAttribute("aria-pressed") === "true");
  expect(await page.locator("#failure").isVisible()).toBe(false);
});

test("a microphone that is unplugged is told, and what it has recorded is scored", async () => {
  await page.evaluate(() => {
    const devices = navigator.mediaDevices;
    const open = devices.getUserMedia.bind(devices);
    devices.getUserMedia = async (constraints) => {
      const stream = await open(constraints);
      Object.assign(window, { unplug: () => stream.getAudioTracks()[0].dispatchEvent(new Event("ended")) });
      return stream;
    };
  });
  await page.click("#microphone");
  await page.waitForFunction(() => /^Microphone · 0:0[1-9]/.test(document.querySelector("#status")!.textContent ?? ""), undefined, {
    timeout: 30_000,
  });
  await scoredAfter(page, () => page.evaluate(() => (window as unknown as { unplug(): void }).unplug()));
  expect(await page.locator("#failure").textContent()).toBe("The microphone was disconnected.");
  expect(await page.locator("#status").textContent()).toContain("Recording");
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
      viewport: { width: 1280, height: 965 },
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
    const [one, two] = PICTURES[`${colorScheme}, on ${where}`] ?? [];
    await photograph(shownPage, one);
    await scoredAfter(shownPage, () => shownPage.click("#demo-both"));
    await shownPage.waitForSelector("main.comparing");
    await shownPage.waitForFunction(() => !document.querySelector<HTMLButtonElement>("#keep-png")!.disabled);
    await shownPage.evaluate(() => (document.activeElement as HTMLElement).blur());
    await shownPage.waitForTimeout(300);
    expect(await findings(shownPage)).toEqual([]);
    expect(await shownPage.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    if (two) await shownPage.setViewportSize({ width: 1280, height: 990 });
    await photograph(shownPage, two);
    expect(done).toEqual({ errors: [], outside: [], sent: [] });
    await shownPage.context().close();
  });
});

async function photograph(of: Page, name?: string): Promise<void> {
  if (!process.env.PICTURES || !name) return;
  await of.evaluate(() => scrollTo(0, 0));
  await of.mouse.move(0, 0); // nothing is pointed at
  await of.screenshot({ path: join(DOCS, name) });
}

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
