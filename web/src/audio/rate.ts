/**
 * The sample rate in a file's header. Browsers decode to the rate of the audio context and do not return the file's.
 * Decoding at the file's own rate leaves the samples as they are, and the resampler of this page converts them.
 */
import { chunksOf } from "./wav";

/** Return the rate in Hz, or null if the container is unknown. */
export function rateOf(bytes: Uint8Array): number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at: number, length: number) => String.fromCharCode(...bytes.subarray(at, at + length));
  if (text(0, 4) === "RIFF" && text(8, 4) === "WAVE") {
    const format = chunksOf(bytes).find(({ name, start }) => name === "fmt " && start + 8 <= bytes.length);
    return format ? view.getUint32(format.start + 4, true) : null;
  }
  if (text(0, 4) === "fLaC") return (bytes[18] << 12) | (bytes[19] << 4) | (bytes[20] >> 4);
  if (text(0, 4) === "OggS") {
    const packet = 27 + bytes[26];
    if (text(packet + 1, 6) === "vorbis") return view.getUint32(packet + 12, true);
    if (text(packet, 8) === "OpusHead") return 48_000;
    if (text(packet + 1, 4) === "FLAC") return rateOf(bytes.subarray(packet + 9));
    return null;
  }
  if (text(4, 4) === "ftyp") return rateOfMp4(bytes, view);
  if (text(0, 4) === "caff") return text(8, 4) === "desc" && bytes.length >= 28 ? Math.round(view.getFloat64(20)) : null;
  if (text(0, 4) === "FORM" && text(8, 3) === "AIF") return rateOfAiff(bytes, view);
  if (text(0, 4) === "\x1aE\xdf\xa3") return null; // WebM, mostly Opus at 48 kHz
  return rateOfMpeg(bytes);
}

const RATES = [
  [11_025, 12_000, 8_000],
  [0, 0, 0],
  [22_050, 24_000, 16_000],
  [44_100, 48_000, 32_000],
];

/** Rates of AAC frames by index. */
const AAC_RATES = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000];

/** Read the rate of the first frame of AAC, or of MPEG layers I to III, after an ID3 tag. */
function rateOfMpeg(bytes: Uint8Array): number | null {
  let at = 0;
  if (bytes[0] === 0x49 && bytes[1] === 0x44 && bytes[2] === 0x33) {
    at = 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]);
  }
  if (bytes[at] === 0xff && (bytes[at + 1] & 0xf6) === 0xf0) return AAC_RATES[(bytes[at + 2] >> 2) & 15] ?? null;
  for (const end = Math.min(at + 8192, bytes.length - 4); at < end; at++) {
    const layer = (bytes[at + 1] >> 1) & 3;
    const bits = bytes[at + 2] >> 4;
    const rate = RATES[(bytes[at + 1] >> 3) & 3][(bytes[at + 2] >> 2) & 3];
    if (bytes[at] === 0xff && bytes[at + 1] >= 0xe0 && layer !== 0 && bits !== 0 && bits !== 15 && rate) return rate;
  }
  return null;
}

/** Read the rate in the chunk `COMM`: an 80-bit float, of which the exponent and 32 bits of the mantissa are enough. */
function rateOfAiff(bytes: Uint8Array, view: DataView): number | null {
  for (let at = 12; at + 26 <= bytes.length; ) {
    const size = view.getUint32(at + 4);
    if (String.fromCharCode(...bytes.subarray(at, at + 4)) === "COMM") {
      return Math.round(view.getUint32(at + 18) * 2 ** (view.getUint16(at + 16) - 16_383 - 31));
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** Read the rate in the sample entry of the first AAC or ALAC track. */
function rateOfMp4(bytes: Uint8Array, view: DataView): number | null {
  for (let at = 0; at + 32 < bytes.length; at++) {
    if (bytes[at] !== 0x6d && bytes[at] !== 0x61) continue;
    const name = String.fromCharCode(...bytes.subarray(at, at + 4));
    if (name === "mp4a" || name === "alac") {
      const rate = view.getUint16(at + 28);
      if (rate >= 8_000) return rate;
    }
  }
  return null;
}
