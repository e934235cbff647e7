/** Decoding, with a stand-in for the browser's decoder: at which rate it is asked, and what is said if it fails. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { decode } from "../src/audio/decode";
import { FOLDER } from "./oracle";

const asked: number[] = [];

/** Install a decoder that supports rates up to a highest one, and decodes to two channels of three samples. */
function install(highest = 96_000, broken = false): void {
  asked.length = 0;
  class Context {
    constructor(
      _channels: number,
      _length: number,
      readonly rate: number,
    ) {
      if (rate > highest) throw new DOMException("", "NotSupportedError");
      asked.push(rate);
    }
    decodeAudioData(): Promise<unknown> {
      if (broken) return Promise.reject(new DOMException("", "EncodingError"));
      const channels = [Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6)];
      return Promise.resolve({ numberOfChannels: 2, sampleRate: this.rate, getChannelData: (i: number) => channels[i] });
    }
  }
  vi.stubGlobal("OfflineAudioContext", Context);
}

afterEach(() => vi.unstubAllGlobals());

const file = (name: string) => new Blob([readFileSync(join(FOLDER, name))]);

test.each([
  ["clean-44100.m4a", 44_100],
  ["clean-44100.aac", 44_100],
  ["clean-24000.wav", 24_000],
  ["clean-48000.webm", 48_000],
  ["rate-24000.aiff", 24_000],
  ["rate-24000.caf", 24_000],
])("%s is decoded at %i Hz", async (name, rate) => {
  install();
  const { channels, rate: got } = await decode(file(name));
  expect([asked, got]).toEqual([[rate], rate]);
  expect(channels).toEqual([Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6)]);
});

test("a rate that the browser does not support is left to its resampler", async () => {
  install(48_000);
  const wav = new Uint8Array(readFileSync(join(FOLDER, "clean-24000.wav")));
  new DataView(wav.buffer).setUint32(24, 384_000, true);
  expect((await decode(new Blob([wav]))).rate).toBe(48_000);
});

test("what the browser cannot decode, an empty file and a low rate are refused with a reason", async () => {
  install(96_000, true);
  await expect(decode(file("clean-44100.m4a"))).rejects.toThrow("This browser cannot read it as audio");
  await expect(decode(new Blob([]))).rejects.toThrow("This file is empty.");
  const wav = new Uint8Array(readFileSync(join(FOLDER, "clean-24000.wav")));
  new DataView(wav.buffer).setUint32(24, 4_000, true);
  await expect(decode(new Blob([wav]))).rejects.toThrow("4000 Hz");
});
