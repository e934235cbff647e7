/** The bundle in its `samples` form on ONNX Runtime: samples to tokens, tokens and audiograms to scores. */
import * as ort from "onnxruntime-web/wasm";
import { PATCH_LENGTH, PATCH_SHIFT, patchCount } from "../constants";
import type { Card } from "./protocol";

export interface Heard {
  /** Of each patch. */
  readonly frames: Float32Array;
  readonly score: number;
}

export class Model {
  private constructor(
    readonly card: Card,
    private readonly encoder: ort.InferenceSession,
    private readonly head: ort.InferenceSession,
  ) {}

  /**
   * Load the bundle and the runtime.
   *
   * @param base - where the page is
   * @param progress - bytes loaded, and of how many
   */
  static async load(base: string, progress: (loaded: number, total: number) => void): Promise<Model> {
    const at = (path: string) => new URL(path, base).href;
    const card = (await (await found(at("model/card.json"))).json()) as Card;
    if (card.encoder_input !== "samples") {
      throw new Error(`the page's model reads ${card.encoder_input}: build the page again, with its samples form`);
    }
    const paths = ["ort.wasm.gz", ...["encoder", "head"].map((role) => `model/${card.files[role].file}`)];
    const responses = await Promise.all(paths.map((path) => found(at(path))));
    const total = responses.reduce((sum, response) => sum + Number(response.headers.get("Content-Length") ?? 0), 0);
    let loaded = 0;
    const [runtime, encoder, head] = await Promise.all(
      responses.map((response) => body(response, (bytes) => progress((loaded += bytes), total))),
    );
    ort.env.wasm.numThreads = 1; // one thread does 10 s of music in a fraction of a second, and needs no special headers
    ort.env.wasm.wasmBinary = (await unpacked(runtime)).buffer as ArrayBuffer;
    const options: ort.InferenceSession.SessionOptions = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
    return new Model(
      card,
      await ort.InferenceSession.create(encoder, options),
      await ort.InferenceSession.create(head, options),
    );
  }

  /** Tokens [patches, tokens per patch, width] of the samples of whole patches. */
  async encode(samples: Float32Array): Promise<Float32Array> {
    const count = patchCount(samples.length);
    const patches = new Float32Array(count * PATCH_LENGTH);
    for (let i = 0; i < count; i++) {
      patches.set(samples.subarray(i * PATCH_SHIFT, i * PATCH_SHIFT + PATCH_LENGTH), i * PATCH_LENGTH);
    }
    const { tokens } = await this.encoder.run({ samples: new ort.Tensor("float32", patches, [count, PATCH_LENGTH]) });
    return tokens.data as Float32Array;
  }

  /** What a listener makes of a window of tokens. */
  async hear(tokens: Float32Array, audiogram: readonly number[]): Promise<Heard> {
    const { width, tokens_per_patch: each } = this.card;
    const outputs = await this.head.run({
      tokens: new ort.Tensor("float32", tokens, [1, tokens.length / width, width]),
      audiogram: new ort.Tensor("float32", Float32Array.from(audiogram), [1, audiogram.length]),
    });
    const all = outputs.frame_scores.data as Float32Array;
    const frames = new Float32Array(all.length / each);
    for (let i = 0; i < all.length; i++) frames[Math.floor(i / each)] += all[i] / each;
    return { frames, score: (outputs.score.data as Float32Array)[0] };
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

/** Gunzipped, unless the server had the browser do that already. */
async function unpacked(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
