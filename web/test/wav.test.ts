import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { chunksOf, repairWav } from "../src/audio/wav";
import { FOLDER } from "./oracle";

interface Case {
  name: string;
  file: string;
  /** Number of frames that are scored, or the reason for which the file is refused. */
  frames: number | string;
}

const CASES_FOLDER = join(FOLDER, "wav-cases");
const { align, cases } = JSON.parse(readFileSync(join(CASES_FOLDER, "cases.json"), "utf8")) as {
  align: number;
  cases: Case[];
};
const read = (...path: string[]) => new Uint8Array(readFileSync(join(...path)));
const whole = read(CASES_FOLDER, cases[0].file);
const clean = read(FOLDER, "clean-16000.wav");

/** The samples of a file whose header holds. */
function samplesOf(bytes: Uint8Array): Uint8Array {
  const data = chunksOf(bytes).find(({ name }) => name === "data");
  if (!data) throw new Error("no data");
  expect(data.start + data.size).toBeLessThanOrEqual(bytes.length);
  return bytes.subarray(data.start, data.start + data.size);
}

test.each(readdirSync(FOLDER).filter((name) => /-\d+\.\w+$/.test(name)))("%s is whole", (name) => {
  const bytes = read(FOLDER, name);
  expect((repairWav(bytes)?.bytes ?? bytes) === bytes).toBe(true);
  expect(repairWav(bytes) === null).toBe(!name.endsWith(".wav"));
});

test("the table of cases is there", () => {
  expect(cases[0].name).toBe("plain");
  expect(cases.length).toBeGreaterThan(30);
});

test.each(cases)("$name", ({ file, frames }) => {
  const bytes = read(CASES_FOLDER, file);
  if (typeof frames === "string") {
    const words = { "is truncated": "truncated", "holds no samples": "holds no samples" }[frames];
    expect(words).toBeDefined();
    expect(() => repairWav(bytes)).toThrow(words);
    return;
  }
  const wav = repairWav(bytes);
  expect(wav?.frames).toBe(frames);
  const samples = samplesOf(wav?.bytes ?? bytes);
  expect(samples.length).toBe(frames * align);
  expect(Buffer.compare(samples, samplesOf(whole).subarray(0, frames * align))).toBe(0);
});

test("the error names both lengths", () => {
  const message = `it announces ${clean.length.toLocaleString("en")} bytes and holds 100,001. Copy it again.`;
  expect(() => repairWav(clean.subarray(0, 100_001))).toThrow(message);
});

test("what is no wav file is left alone", () => {
  expect(repairWav(new Uint8Array([1, 2, 3]))).toBeNull();
  expect(repairWav(new Uint8Array(0))).toBeNull();
});
