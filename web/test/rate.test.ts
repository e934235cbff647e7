import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { rateOf } from "../src/audio/rate";
import { FOLDER } from "./oracle";

const files = readdirSync(FOLDER).filter((name) => /-\d+\.\w+$/.test(name) && !name.endsWith(".webm"));

test("all containers are there", () => {
  const suffixes = new Set(files.map((name) => name.split(".").pop()));
  expect([...suffixes].sort()).toEqual(["aac", "aiff", "caf", "flac", "m4a", "mp3", "ogg", "opus", "wav"]);
});

test.each(files)("the rate that %s says it has", (name) => {
  const bytes = new Uint8Array(readFileSync(join(FOLDER, name)));
  expect(rateOf(bytes)).toBe(Number(/-(\d+)\./.exec(name)![1]));
});

test("an ID3 tag is passed over", () => {
  const mp3 = readFileSync(join(FOLDER, "clean-44100.mp3"));
  const tag = Uint8Array.from([0x49, 0x44, 0x33, 4, 0, 0, 0, 0, 2, 3, ...new Array<number>(2 * 128 + 3).fill(0xff)]);
  expect(rateOf(Uint8Array.from([...tag, ...mp3.subarray(0, 4000)]))).toBe(44_100);
});

test("WebM is left to the browser", () => {
  expect(rateOf(new Uint8Array(readFileSync(join(FOLDER, "clean-48000.webm"))))).toBeNull();
});

test.each([
  ["nothing", []],
  ["a few bytes", [1, 2, 3]],
  ["text", [...Buffer.from("This is no music at all, but it is long enough to be searched for a frame. ".repeat(20))]],
])("%s has none", (_, bytes) => {
  expect(rateOf(Uint8Array.from(bytes as number[]))).toBeNull();
});
