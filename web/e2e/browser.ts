/** The page as `haaqi-edge web` serves it, in a headless Chromium. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import type { Reply } from "../src/engine/protocol";
import { FOLDER } from "../test/oracle";

export type Result = Extract<Reply, { type: "result" }> & { last: boolean; at: number };

const CHROMIUM = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  (path) => path && existsSync(path),
);

/** A browser, and the server of the page. */
export interface Served {
  readonly url: string;
  readonly browser: Browser;
  close(): Promise<void>;
}

export interface Server {
  readonly url: string;
  close(): Promise<void>;
}

/** Start the server on a free port. */
export async function startServer(): Promise<Server> {
  const [command, ...rest] = (process.env.HAAQI_EDGE ?? "haaqi-edge").split(" ");
  const server = spawn(command, [...rest, "web", "--port", "0", "--no-browser", "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return {
    url: await firstLine(server),
    async close() {
      server.kill("SIGINT");
      const code = await new Promise((resolve) => server.once("exit", resolve));
      if (code !== 0) throw new Error(`haaqi-edge web ended with ${String(code)}`);
    },
  };
}

/** Start the server, and the browser, whose microphone plays a file. */
export async function serve(): Promise<Served> {
  if (!CHROMIUM) throw new Error("no Chromium was found: install it, or name its path in CHROMIUM");
  const server = await startServer();
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--autoplay-policy=no-user-gesture-required",
      "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream",
      `--use-file-for-fake-audio-capture=${join(FOLDER, "clean-44100.wav")}`,
    ],
  });
  return {
    url: server.url,
    browser,
    async close() {
      await browser.close();
      await server.close();
    },
  };
}

function firstLine(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("exit", (code) => reject(new Error(`the server ended at once, with ${String(code)}`)));
    createInterface({ input: server.stdout! }).once("line", (line) => resolve((JSON.parse(line) as { url: string }).url));
  });
}

/** What a page did that it must not do: errors, and requests of any other place than where it came from. */
export interface Misdeeds {
  readonly errors: string[];
  readonly outside: string[];
  readonly sent: string[];
}

/**
 * Open the page, and wait until the model is loaded.
 *
 * @param before - runs in the page before its scripts
 */
export async function opened(
  { url, browser }: Served,
  options: BrowserContextOptions = {},
  before: () => void = () => undefined,
): Promise<{ page: Page; misdeeds: Misdeeds }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const misdeeds: Misdeeds = { errors: [], outside: [], sent: [] };
  page.on("pageerror", (error) => misdeeds.errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") misdeeds.errors.push(message.text());
  });
  page.on("request", (request) => {
    if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(url)) misdeeds.outside.push(request.url());
    if (request.method() !== "GET" || request.postData() !== null) misdeeds.sent.push(request.url());
  });
  await page.addInitScript(before);
  await page.addInitScript(() => {
    const results: unknown[] = [];
    Object.assign(window, { results });
    document.addEventListener("haaqi-edge:scored", (event) => {
      const { frames, ...rest } = (event as CustomEvent<{ frames: Float32Array }>).detail;
      results.push({ ...rest, frames: [...frames], at: performance.now() });
    });
  });
  await page.goto(url);
  await page.waitForSelector("html[data-ready]");
  return { page, misdeeds };
}

/** Do something, and wait for the whole score that comes of it. */
export async function scoredAfter(page: Page, act: () => Promise<unknown>): Promise<Result> {
  const before = await page.evaluate(() => (window as unknown as { results: unknown[] }).results.length);
  await act();
  const handle = await page.waitForFunction(
    (from) => (window as unknown as { results: Result[] }).results.slice(from).find((result) => result.last),
    before,
    { timeout: 100_000 },
  );
  return (await handle.jsonValue()) as Result;
}

/** Choose files, and wait for the whole score of the last one. */
export async function openFiles(page: Page, ...names: string[]): Promise<Result> {
  return scoredAfter(page, () => page.setInputFiles("#file", names.map((name) => join(FOLDER, basename(name)))));
}

export async function openFile(page: Page, name: string): Promise<Result> {
  const result = await scoredAfter(page, () => page.setInputFiles("#file", join(FOLDER, basename(name))));
  return result;
}
