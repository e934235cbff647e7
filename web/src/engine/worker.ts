/** The worker: everything that takes time, so that the page stays live. What is newer always goes first. */
import { PATCH_LENGTH, SAMPLE_RATE, SILENCE } from "../constants";
import { amplitude, changed, isChanged, NONE, peak, rms } from "../dsp/changes";
import { joined } from "../dsp/arrays";
import { mixed, Resampler } from "../dsp/resample";
import { picture } from "../dsp/spectrogram";
import { Live, type Reading } from "./live";
import { Model } from "./model";
import type { Reply, Request, Settings, Version, Window } from "./protocol";
import { Track } from "./track";

/** Columns of a picture at most, and of the live one. */
const COLUMNS = 1200;
const LIVE_COLUMNS = 320;
/** Largest amplitude taken for a sample; see `runtime/audio.py`. */
const LOUDEST = 10_000;

interface Clip {
  readonly id: number;
  /** At 16 kHz. */
  readonly samples: Float32Array;
  readonly level: number;
}

let model: Model | undefined;
let clip: Clip | undefined;
let live: Live | undefined;
/** Chunks of the microphone that wait for their turn. */
const incoming: Float32Array[] = [];
let settings: Settings | undefined;
/** Moves on with every request that makes what is being computed stale. */
let turn = 0;
let work: Promise<void> = Promise.resolve();
/** The sounds and tokens that were made last, by version. */
const sounds = new Map<string, Float32Array>();
const tracks = new Map<Version, { key: string; track: Track }>();
let drawn = "";

function tell(reply: Reply, transfer: Transferable[] = []): void {
  postMessage(reply, { transfer });
}

/** Let waiting messages in. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Do something once what went before is done; a failure is told, and the worker goes on. */
function next(job: () => Promise<void>, failing: number | null = null): void {
  work = work.then(job).catch((error: unknown) => {
    tell({ type: "failed", clip: failing, message: error instanceof Error ? error.message : String(error) });
  });
}

async function load(id: number, channels: Float32Array[], rate: number): Promise<void> {
  const mono = mixed(channels);
  const bad = mono.findIndex((sample) => !(Math.abs(sample) <= LOUDEST));
  if (bad >= 0) throw new Error(`The audio holds a sample that is no usable number at ${(bad / rate).toFixed(3)} s.`);
  const resampler = new Resampler(rate, SAMPLE_RATE);
  const parts: Float32Array[] = [];
  const block = 5 * rate;
  for (let start = 0; start < mono.length; start += block) {
    parts.push(resampler.push(mono.subarray(start, start + block)));
    tell({ type: "reading", clip: id, part: Math.min(1, (start + block) / mono.length) });
  }
  parts.push(resampler.finish());
  take(id, joined(parts));
}

function take(id: number, samples: Float32Array): void {
  if (samples.length < PATCH_LENGTH) {
    throw new Error(`This is too short: at least ${(PATCH_LENGTH / SAMPLE_RATE) * 1000} ms can be scored.`);
  }
  if (peak(samples) <= SILENCE) throw new Error("This is silent throughout: a quality needs sound.");
  const level = model!.card.level1 + 20 * Math.log10(rms(samples));
  clip = { id, samples, level };
  sounds.clear();
  tracks.clear();
  drawn = "";
  tell({ type: "clip", clip: id, seconds: samples.length / SAMPLE_RATE, level });
}

function sound(of: Clip, changes: Settings["changes"]): Float32Array {
  const key = JSON.stringify(changes);
  let made = sounds.get(key);
  if (!made) {
    sounds.clear(); // the last one is enough
    made = changed(of.samples, changes);
    sounds.set(key, made);
  }
  return made;
}

function track(version: Version, of: Clip, wanted: Settings): Track {
  const changes = version === "given" ? NONE : wanted.changes;
  const key = JSON.stringify([changes, wanted.nalR ? wanted.audiogram : null]);
  const held = tracks.get(version);
  if (held?.key === key) return held.track;
  const samples = version === "given" ? of.samples : sound(of, changes);
  const made = new Track(model!, samples, wanted.nalR ? wanted.audiogram : null, SILENCE * amplitude(changes.gain));
  tracks.set(version, { key, track: made });
  return made;
}

/** Score the clip as the settings are now; broken off when they change. */
async function score(mine: number): Promise<void> {
  if (!clip || !settings || live) return;
  const [of, wanted] = [clip, settings];
  if (drawn === "") draw(of, wanted); // something to see at once
  if (isChanged(wanted.changes)) {
    await judge("given", of, wanted, mine);
    await judge("changed", of, wanted, mine);
  } else {
    tracks.delete("changed");
    tell({ type: "unchanged", clip: of.id });
    await judge("given", of, wanted, mine);
  }
  if (mine === turn) draw(of, wanted);
}

async function judge(version: Version, of: Clip, wanted: Settings, mine: number): Promise<void> {
  if (mine !== turn) return;
  const heard = track(version, of, wanted);
  const windows: Window[] = [];
  const curves: Float32Array[] = [];
  for (let index = 0; index < heard.cuts.length; index++) {
    while (heard.ready <= index) {
      await heard.advance();
      await breath();
      if (mine !== turn) return;
    }
    const { window, frames } = await heard.window(index, wanted.audiogram);
    windows.push(window);
    curves.push(frames);
    if (index % 4 === 3) await breath();
    if (mine !== turn) return;
    const last = index === heard.cuts.length - 1;
    if (last || heard.ready === index + 1) {
      tell({
        type: "result",
        clip: of.id,
        version,
        settings: wanted,
        done: index + 1,
        total: heard.cuts.length,
        ...heard.judged(windows, curves),
      });
    }
  }
}

/** The picture of what is played: with noise and clipping, at its level. */
function draw(of: Clip, wanted: Settings): void {
  const key = `${of.id} ${JSON.stringify(wanted.changes)}`;
  if (key === drawn) return;
  drawn = key;
  tell({ type: "picture", clip: of.id, picture: picture(sound(of, wanted.changes), COLUMNS, rms(of.samples)) });
}

function tellLive(reading: Reading | null): void {
  if (!reading || !live) return;
  tell({ type: "live", ...reading, picture: picture(live.window, LIVE_COLUMNS, 0.03) });
}

addEventListener("message", ({ data }: MessageEvent<Request>) => {
  switch (data.type) {
    case "start":
      next(async () => {
        model = await Model.load(data.base, (loaded, total) => tell({ type: "loading", loaded, total }));
        tell({ type: "ready", card: model.card });
      });
      break;
    case "load":
      turn++;
      next(() => load(data.clip, data.channels, data.rate), data.clip);
      rescore();
      break;
    case "settings":
      settings = data.settings;
      turn++;
      if (live) next(async () => tellLive(await live!.change(data.settings)));
      rescore();
      break;
    case "sound":
      if (clip?.id === data.clip && settings) {
        const samples = Float32Array.from(sound(clip, settings.changes));
        tell({ type: "sound", clip: clip.id, samples }, [samples.buffer]);
      }
      break;
    case "live":
      turn++;
      next(async () => {
        clip = undefined;
        incoming.length = 0;
        live = new Live(model!, data.rate, settings!);
      });
      break;
    case "chunk":
      incoming.push(data.samples);
      next(async () => {
        // All that has come meanwhile at once: a slow machine tells less often rather than later and later.
        if (incoming.length > 0 && live) tellLive(await live.push(joined(incoming.splice(0))));
      });
      break;
    case "end-live":
      next(async () => {
        const samples = live?.recording;
        live = undefined;
        if (samples) take(data.clip, samples);
      }, data.clip);
      rescore();
      break;
  }
});

function rescore(): void {
  const mine = turn;
  next(async () => {
    if (mine === turn) await score(mine);
  });
}
