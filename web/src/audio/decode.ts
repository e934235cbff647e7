/** Decode a file to channels with the browser's decoders. */
import { rateOf } from "./rate";
import { repairWav } from "./wav";

export interface Decoded {
  readonly channels: Float32Array[];
  readonly rate: number;
}

const LOWEST_RATE = 8_000;
/** Hz, if the header of the container has no rate. */
const USUAL_RATE = 48_000;

/** Decode a file at its own rate. */
export async function decode(file: Blob): Promise<Decoded> {
  const data = await file.arrayBuffer();
  if (data.byteLength === 0) throw new Error("This file is empty.");
  const bytes = repairWav(new Uint8Array(data))?.bytes ?? new Uint8Array(data);
  const rate = rateOf(bytes) ?? USUAL_RATE;
  if (rate < LOWEST_RATE) throw new Error(`This file's rate is ${rate} Hz: give audio from ${LOWEST_RATE} Hz upwards.`);
  const buffer = await decoded(bytes.buffer as ArrayBuffer, rate);
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i).slice());
  return { channels, rate: buffer.sampleRate };
}

async function decoded(data: ArrayBuffer, rate: number): Promise<AudioBuffer> {
  let context: OfflineAudioContext;
  try {
    context = new OfflineAudioContext(1, 1, rate);
  } catch {
    context = new OfflineAudioContext(1, 1, USUAL_RATE); // this browser does not support the rate
  }
  try {
    return await context.decodeAudioData(data);
  } catch {
    throw new Error("This browser cannot read it as audio: give a wav, flac, ogg, opus, mp3 or m4a file that plays.");
  }
}
