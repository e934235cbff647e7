import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { flawOf } from "../src/audio/wav";
import { FOLDER } from "./oracle";

const wav = new Uint8Array(readFileSync(join(FOLDER, "clean-16000.wav")));

/** The file with a number of 32 bits set in it. */
function set(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  new DataView(copy.buffer).setUint32(at, value, true);
  return copy;
}

test.each(readdirSync(FOLDER).filter((name) => /-\d+\.(wav|flac|ogg|mp3)$/.test(name)))("%s is whole", (name) => {
  expect(flawOf(new Uint8Array(readFileSync(join(FOLDER, name))))).toBeNull();
});

test("a cut file is truncated, whichever of its lengths tells", () => {
  const cut = wav.subarray(0, 100_001);
  const message = `it announces ${wav.length.toLocaleString("en")} bytes and holds 100,001. Copy it again.`;
  expect(flawOf(cut)).toContain(message);
  expect(flawOf(set(cut, 4, 0))).toContain(message);
  expect(flawOf(set(cut, 40, 0xffffffff))).toContain(message);
});

test("a stream that never learnt its length is whole", () => {
  for (const length of [0, 0xffffffff]) expect(flawOf(set(set(wav, 4, length), 40, 0xffffffff))).toBeNull();
});

test("without data there are no samples", () => {
  for (const end of [36, 44, wav.length]) {
    const none = set(wav, 40, 0).slice(0, end);
    expect(flawOf(set(none, 4, end - 8))).toBe("This file holds no samples.");
  }
});
