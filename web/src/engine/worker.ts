/** The worker: all long computations, so that the page stays responsive. A newer request interrupts an older one. */
import { PATCH_LENGTH, SAMPLE_RATE, SILENCE } from "../constants";
import { amplitude, changed, isChanged, NONE, peak, rms } from "../dsp/changes";
import { joined } from "../dsp/arrays";
import { mixed, Resampler } from "../dsp/resample";
import { picture } from "../dsp/spectrogram";
import { Live, type LiveScore } from "./live";
import { Model } from "./model";
import type { Reply, Request, Settings, Version, Window } from "./protocol";
import { Track } from "./track";

/** Maximum number of columns of a spectrogram, and of that of the microphone. */
const COLUMNS = 1200;
const LIVE_COLUMNS = 320;
/** Largest amplitude that a sample may have, as `MAX_AMPLITUDE` in `runtime/audio/reading.py`. */
const LOUDEST = 10_000;

interface Clip {
  readonly id: number;
  /** At 16 kHz. */
  readonly samples: Float32Array;
  readonly level: number;
}

let model: Model | undefined;
let clip: Clip | undefined;
/** The clip that is compared with `clip`. Then the sliders change nothing. */
let other: Clip | undefined;
let live: Live | undefined;
/** Chunks of the microphone that have not been processed yet. */
const incoming: Float32Array[] = [];
let settings: Settings | undefined;
/** Incremented by every request that makes the current computation stale. */
let turn = 0;
let work: Promise<void> = Promise.resolve();
/** The last sounds and tokens, by version. */
const sounds = new Map<string, Float32Array>();
const tracks = new Map<Version, { key: string; track: Track }>();
/** What the last pictures show, by version. */
const drawn = new Map<Version, string>();

function send(reply: Reply, transfer: Transferable[] = []): void {
  postMessage(reply, { transfer });
}

/** Let the worker receive waiting messages. */
function receiveMessages(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Run a job after all previous ones. An error is reported, and the worker continues. */
function next(job: () => Promise<void>, failing: number | null = null, version: Version = "given"): void {
  work = work.then(job).catch((error: unknown) => {
    send({ type: "failed", clip: failing, version, message: error instanceof Error ? error.message : String(error) });
  });
}

async function load(id: number, version: Version, channels: Float32Array[], rate: number): Promise<void> {
  if (version === "given") clip = other = undefined;
  else if (clip?.id !== id) return; // it could not be read: there is nothing to compare with
  const mono = mixed(channels);
  const bad = mono.findIndex((sample) => !(Math.abs(sample) <= LOUDEST));
  if (bad >= 0) throw new Error(`The audio has a sample that is not a finite number in range at ${(bad / rate).toFixed(3)} s.`);
  const resampler = new Resampler(rate, SAMPLE_RATE);
  const parts: Float32Array[] = [];
  const block = 5 * rate;
  for (let start = 0; start < mono.length; start += block) {
    parts.push(resampler.push(mono.subarray(start, start + block)));
    send({ type: "reading", clip: id, part: Math.min(1, (start + block) / mono.length) });
  }
  parts.push(resampler.finish());
  take(id, version, joined(parts));
}

function take(id: number, version: Version, samples: Float32Array): void {
  if (samples.length < PATCH_LENGTH) {
    throw new Error(`This is too short: at least ${(PATCH_LENGTH / SAMPLE_RATE) * 1000} ms are needed.`);
  }
  if (peak(samples) <= SILENCE) throw new Error("This is silent: there is nothing to score.");
  const level = model!.card.level1 + 20 * Math.log10(rms(samples));
  if (version === "given") {
    clip = { id, samples, level };
    other = undefined;
    sounds.clear();
    tracks.clear();
    drawn.clear();
  } else {
    other = { id, samples, level };
    forget("changed");
  }
  send({ type: "clip", clip: id, version, seconds: samples.length / SAMPLE_RATE, level });
}

function forget(version: Version): void {
  tracks.delete(version);
  drawn.delete(version);
}

/** Return the changes that the sliders make. They are for a clip alone. */
function changesOf(wanted: Settings): Settings["changes"] {
  return other ? NONE : wanted.changes;
}

/** Return the samples of a version. */
function samplesOf(version: Version, of: Clip, wanted: Settings): Float32Array {
  if (version === "given") return of.samples;
  return other ? other.samples : sound(of, wanted.changes);
}

function sound(of: Clip, changes: Settings["changes"]): Float32Array {
  const key = JSON.stringify(changes);
  let made = sounds.get(key);
  if (!made) {
    sounds.clear(); // only the last one is kept
    made = changed(of.samples, changes);
    sounds.set(key, made);
  }
  return made;
}

function track(version: Version, of: Clip, wanted: Settings): Track {
  const changes = version === "given" ? NONE : changesOf(wanted);
  const key = JSON.stringify([changes, wanted.nalR ? wanted.audiogram : null]);
  const held = tracks.get(version);
  if (held?.key === key) return held.track;
  const made = new Track(model!, samplesOf(version, of, wanted), wanted.nalR ? wanted.audiogram : null, SILENCE * amplitude(changes.gain));
  tracks.set(version, { key, track: made });
  return made;
}

/** Score the clip with the current settings. Stop when they change. */
async function score(mine: number): Promise<void> {
  if (!clip || !settings || live) return;
  const [of, wanted] = [clip, settings];
  if (drawn.size === 0) draw("given", of, wanted); // show something at once
  if (other || isChanged(wanted.changes)) {
    await scoreVersion("given", of, wanted, mine);
    await scoreVersion("changed", of, wanted, mine);
  } else {
    tracks.delete("changed");
    send({ type: "unchanged", clip: of.id });
    await scoreVersion("given", of, wanted, mine);
  }
  if (mine !== turn) return;
  draw("given", of, wanted);
  if (other) draw("changed", of, wanted);
  send({ type: "finished", clip: of.id, settings: wanted, compared: other !== undefined });
}

async function scoreVersion(version: Version, of: Clip, wanted: Settings, mine: number): Promise<void> {
  if (mine !== turn) return;
  const began = performance.now();
  const signal = track(version, of, wanted);
  const windows: Window[] = [];
  const curves: Float32Array[] = [];
  for (let index = 0; index < signal.slices.length; index++) {
    while (signal.ready <= index) {
      await signal.advance();
      await receiveMessages();
      if (mine !== turn) return;
    }
    const { window, frames } = await signal.window(index, wanted.audiogram);
    windows.push(window);
    curves.push(frames);
    if (index % 4 === 3) await receiveMessages();
    if (mine !== turn) return;
    const last = index === signal.slices.length - 1;
    if (last || signal.ready === index + 1) {
      send({
        type: "result",
        clip: of.id,
        version,
        settings: wanted,
        compared: other !== undefined,
        done: index + 1,
        total: signal.slices.length,
        elapsed: (performance.now() - began) / 1000,
        ...signal.combine(windows, curves),
      });
    }
  }
}

/** Send the spectrogram of the sound that is played, with noise and clipping, at its level. */
function draw(version: Version, of: Clip, wanted: Settings): void {
  const changes = changesOf(wanted);
  const key = `${of.id} ${JSON.stringify(changes)}`;
  if (key === drawn.get(version)) return;
  drawn.set(version, key);
  const [shown, level] = version === "changed" && other ? [other.samples, other] : [sound(of, changes), of];
  send({ type: "picture", clip: of.id, version, picture: picture(shown, COLUMNS, rms(level.samples)) });
}

function sendLive(reading: LiveScore | null): void {
  if (!reading || !live) return;
  send({ type: "live", ...reading, picture: picture(live.window, LIVE_COLUMNS, 0.03) });
}

addEventListener("message", ({ data }: MessageEvent<Request>) => {
  switch (data.type) {
    case "start":
      next(async () => {
        model = await Model.load(data.base, (loaded, total) => send({ type: "loading", loaded, total }));
        send({ type: "ready", card: model.card });
      });
      break;
    case "load":
      turn++;
      next(() => load(data.clip, data.version, data.channels, data.rate), data.clip, data.version);
      rescore();
      break;
    case "alone":
      turn++;
      next(async () => {
        if (clip?.id !== data.clip) return;
        other = undefined;
        forget("changed");
      });
      rescore();
      break;
    case "settings":
      settings = data.settings;
      turn++;
      if (live) next(async () => sendLive(await live!.change(data.settings)));
      rescore();
      break;
    case "sound":
      if (clip?.id === data.clip && settings) {
        const samples = Float32Array.from(samplesOf(data.version, clip, settings));
        send({ type: "sound", clip: clip.id, samples }, [samples.buffer]);
      }
      break;
    case "live":
      turn++;
      next(async () => {
        clip = other = undefined;
        incoming.length = 0;
        live = new Live(model!, data.rate, settings!);
      });
      break;
    case "chunk":
      incoming.push(data.samples);
      next(async () => {
        // All waiting chunks at once: a slow machine sends fewer updates, but they are not delayed more and more.
        if (incoming.length > 0 && live) sendLive(await live.push(joined(incoming.splice(0))));
      });
      break;
    case "end-live":
      next(async () => {
        const samples = live?.recording;
        live = undefined;
        if (samples) take(data.clip, "given", samples);
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
