/** The page in a headless Firefox: it scores as Python does, compares, listens, and can be used by keyboard. */
import axe from "axe-core";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer, { type Browser, type ElementHandle, type Page } from "puppeteer-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { FOLDER, oracle } from "../test/oracle";
import { type Server, startServer } from "./browser";

const FIREFOX = [process.env.FIREFOX, "/usr/bin/firefox-esr", "/usr/bin/firefox"].find((path) => path && existsSync(path));

let sound: Sound;
let server: Server;
let browser: Browser;
let page: Page;
let errors: string[];

interface Sound {
  readonly server: string;
  close(): void;
}

/** Start a sound server that plays to nowhere: without one, Firefox starts no audio. */
async function startSound(): Promise<Sound> {
  const folder = mkdtempSync(join(tmpdir(), "sound-"));
  const socket = join(folder, "native");
  const modules = ["-L", `module-native-protocol-unix socket=${socket} auth-anonymous=1`, "-L", "module-null-sink"];
  const daemon: ChildProcess = spawn("pulseaudio", ["-n", "--daemonize=no", "--exit-idle-time=-1", ...modules], {
    stdio: "ignore",
    env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder },
  });
  const failed = new Promise<never>((_, reject) => {
    daemon.once("error", () => reject(new Error("pulseaudio was not found: install it (Debian: pulseaudio)")));
    daemon.once("exit", (code) => reject(new Error(`pulseaudio ended at once, with ${String(code)}`)));
  });
  failed.catch(() => undefined);
  while (!existsSync(socket)) await Promise.race([failed, new Promise((resolve) => setTimeout(resolve, 50))]);
  return {
    server: `unix:${socket}`,
    close() {
      daemon.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

beforeAll(async () => {
  if (!FIREFOX) throw new Error("no Firefox was found: install it (Debian: firefox-esr), or name its path in FIREFOX");
  sound = await startSound();
  server = await startServer();
  browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    env: { ...process.env, PULSE_SERVER: sound.server },
    // The microphone is a tone, and is allowed.
    extraPrefsFirefox: { "media.navigator.streams.fake": true, "media.navigator.permission.disabled": true },
  });
});
afterAll(async () => {
  await browser.close();
  await server.close();
  sound.close();
});
beforeEach(async () => {
  errors = [];
  page = await browser.newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  await page.goto(server.url);
  await page.waitForSelector("html[data-ready]");
});
afterEach(async () => {
  await page.close();
  expect(errors).toEqual([]);
});

async function open(...files: string[]): Promise<void> {
  const input = (await page.$("#file")) as ElementHandle<HTMLInputElement>;
  await input.uploadFile(...files.map((file) => join(FOLDER, file)));
  await page.waitForFunction(
    (two) => document.querySelector("main")!.classList.contains("comparing") === two && !document.querySelector<HTMLButtonElement>("#keep-png")!.disabled,
    {},
    files.length === 2,
  );
}

const shown = (id: string) => page.$eval(`#${id}`, (each) => Number((each as HTMLElement).dataset.value));
const python = (file: string) => oracle.scored.find((each) => each.file === file && each.listener === "N3" && each.nalR)!.score;

test.each(["clean-44100.wav", "clean-48000.flac", "clean-44100.mp3", "clean-44100.ogg", "clean-48000.opus", "clean-48000.webm", "clean-44100.m4a"])(
  "%s scores as with Python",
  async (file) => {
    await open(file);
    expect(Math.abs((await shown("given")) - python(file))).toBeLessThan(/\.(wav|flac)$/.test(file) ? 1e-3 : 3e-3);
  },
);

test("two versions are compared, and axe finds nothing", async () => {
  await open("clean-16000.wav", "degraded-16000.wav");
  expect(await shown("given")).toBeCloseTo(python("clean-16000.wav"), 3);
  expect(await shown("changed")).toBeCloseTo(python("degraded-16000.wav"), 3);
  expect(await page.$eval("#verdict-words", (each) => each.textContent)).toMatch(/^B scores 0\.\d\d lower than A for N3\.$/);
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => (window as unknown as { axe: typeof axe }).axe.run());
  expect(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])).toEqual([]);
});

test("by keyboard: an audiogram is drawn, and the music plays", async () => {
  await open("clean-16000.wav");
  const before = await shown("given");
  await page.$eval('.point[data-hz="1000"]', (each) => (each as SVGGElement).focus());
  for (let i = 0; i < 6; i++) await page.keyboard.press("ArrowDown");
  await page.waitForFunction((score) => Number(document.querySelector<HTMLElement>("#given")!.dataset.value) !== score, {}, before);
  expect(await page.$eval('.point[data-hz="1000"]', (each) => each.getAttribute("aria-valuetext"))).toBe("70 dB HL");
  await page.focus("#plot");
  await page.keyboard.press(" ");
  await page.waitForFunction(() => Number(document.querySelector("#plot")!.getAttribute("aria-valuenow")) > 0.2);
});

test("the microphone is scored while it is on, and the recording afterwards", async () => {
  await page.click("#microphone");
  await page.waitForFunction(() => /^Microphone · 0:0[1-9]/.test(document.querySelector("#status")!.textContent ?? ""));
  await page.click("#microphone");
  await page.waitForFunction(() => !document.querySelector<HTMLButtonElement>("#keep-json")!.disabled);
  expect(await page.$eval("#status", (each) => each.textContent)).toContain("Recording");
  expect(await shown("given")).toBeGreaterThan(0);
});
