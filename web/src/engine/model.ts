/** The shipped bundle on ONNX Runtime: samples to features to tokens, tokens and audiograms to scores. */
import * as ort from "onnxruntime-web/wasm";
import { PATCH_LENGTH, PATCH_SHIFT, patchCount } from "../constants";
import type { Card, Interval } from "./protocol";

export interface HeadOutput {
  /** Score of each patch. */
  readonly frames: Float32Array;
  readonly score: number;
  /** Lower and upper end of the prediction interval, or null if the model predicts none. */
  readonly interval: Interval | null;
}

export class Model {
  private constructor(
    readonly card: Card,
    private readonly frontEnd: ort.InferenceSession,
    private readonly encoder: ort.InferenceSession,
    private readonly head: ort.InferenceSession,
  ) {}

  /**
   * Load the bundle, the graph of its front end, and the runtime.
   *
   * @param base - address of the page
   * @param progress - receives the bytes loaded so far, and their total
   */
  static async load(base: string, progress: (loaded: number, total: number) => void): Promise<Model> {
    const at = (path: string) => new URL(path, base).href;
    const card = (await (await found(at("model/card.json"))).json()) as Card;
    if (card.encoder_input !== "texture") {
      throw new Error(`the model's encoder reads ${card.encoder_input}; this page computes texture: use the bundle of a nano`);
    }
    const paths = [
      "ort.wasm.gz",
      `front-end/texture-${card.front_end.texture_version ?? 1}.onnx`,
      ...["encoder", "head"].map((role) => `model/${card.files[role].file}`),
    ];
    const responses = await Promise.all(paths.map((path) => found(at(path))));
    const total = responses.reduce((sum, response) => sum + Number(response.headers.get("Content-Length") ?? 0), 0);
    let loaded = 0;
    const [runtime, frontEnd, encoder, head] = await Promise.all(
      responses.map((response) => body(response, (bytes) => progress((loaded += bytes), total))),
    );
    ort.env.wasm.numThreads = 1; // one thread does 10 s of music in a fraction of a second, and needs no special headers
    ort.env.wasm.wasmBinary = (await unpacked(runtime)).buffer as ArrayBuffer;
    const options: ort.InferenceSession.SessionOptions = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
    return new Model(
      card,
      await ort.InferenceSession.create(frontEnd, options),
      await ort.InferenceSession.create(encoder, options),
      await ort.InferenceSession.create(head, options),
    );
  }

  /** Compute the tokens [patches, tokens per patch, width] of samples, of which there are whole patches. */
  async encode(samples: Float32Array): Promise<Float32Array> {
    const count = patchCount(samples.length);
    const patches = new Float32Array(count * PATCH_LENGTH);
    for (let i = 0; i < count; i++) {
      patches.set(samples.subarray(i * PATCH_SHIFT, i * PATCH_SHIFT + PATCH_LENGTH), i * PATCH_LENGTH);
    }
    const samplesOfPatches = new ort.Tensor("float32", patches, [count, PATCH_LENGTH]);
    const { features } = await this.frontEnd.run({ samples: samplesOfPatches });
    const { tokens } = await this.encoder.run({ [this.card.encoder_input]: features });
    return tokens.data as Float32Array;
  }

  /** Score a window of tokens for a listener. */
  async score(tokens: Float32Array, audiogram: readonly number[]): Promise<HeadOutput> {
    const { width, tokens_per_patch: each } = this.card;
    const outputs = await this.head.run({
      tokens: new ort.Tensor("float32", tokens, [1, tokens.length / width, width]),
      audiogram: new ort.Tensor("float32", Float32Array.from(audiogram), [1, audiogram.length]),
    });
    const all = outputs.frame_scores.data as Float32Array;
    const frames = new Float32Array(all.length / each);
    for (let i = 0; i < all.length; i++) frames[Math.floor(i / each)] += all[i] / each;
    const ends = outputs.interval?.data as Float32Array | undefined;
    return { frames, score: (outputs.score.data as Float32Array)[0], interval: ends ? [ends[0], ends[1]] : null };
  }
}

async function found(url: string): Promise<Response> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} could not be read (${response.status} ${response.statusText})`);
  return response;
}

async function body(response: Response, progress: (bytes: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  const reader = response.body!.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    progress(value.length);
  }
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Decompress gzip, unless the browser has already done so for the server. */
async function unpacked(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
