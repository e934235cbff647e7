/** The page: sends the user's input to the worker and shows its results. */
import "./style.css";
import { decode } from "./audio/decode";
import { type Microphone, openMicrophone } from "./audio/microphone";
import { Player } from "./audio/player";
import { isChanged } from "./dsp/changes";
import type { Card, Reply, Request, Settings, Version } from "./engine/protocol";
import { byId } from "./ui/dom";
import { Listener } from "./ui/listener";
import { ScorePanel } from "./ui/score";
import { Sliders } from "./ui/sliders";
import { clock, Timeline } from "./ui/timeline";

const worker = new Worker(new URL("./engine/worker.ts", import.meta.url), { type: "module" });
const ask = (request: Request, transfer: Transferable[] = []) => worker.postMessage(request, transfer);

const panel = new ScorePanel();
const timeline = new Timeline(byId("canvas", HTMLCanvasElement));
const player = new Player(() => paintPlayer());
const plot = byId("plot", HTMLElement);
const play = byId("play", HTMLButtonElement);
const status = byId("status", HTMLElement);
const micButton = byId("microphone", HTMLButtonElement);
const starters = ["choose", "microphone", "demo-clean", "demo-degraded"].map((id) => byId(id, HTMLButtonElement));

/** The clip that is shown. Replies about other clips are ignored. */
let clip = 0;
let seconds = 0;
let about = "";
let microphone: Microphone | null = null;
/** Whether the sliders have changed since the player got its sound. */
let stale = true;
let playSoon = false;
let pointerTime: number | null = null;

const listener = new Listener(settingsChanged);
const sliders = new Sliders(() => {
  stale = true;
  settingsChanged();
  if (player.playing) ask({ type: "sound", clip });
});

function settings(): Settings {
  return { audiogram: listener.levels, nalR: listener.amplified, changes: sliders.changes };
}

function settingsChanged(): void {
  panel.name(listener.name);
  ask({ type: "settings", settings: settings() });
}

// Music

async function open(file: Blob, name: string): Promise<void> {
  await stopMicrophone(false);
  const id = begin(name, "reading…");
  try {
    const { channels, rate } = await decode(file);
    if (id !== clip) return;
    about = `${(rate / 1000).toLocaleString("en")} kHz, ${channels.length === 1 ? "mono" : "mixed to mono"}`;
    const transfer = channels.map((channel) => channel.buffer);
    ask({ type: "load", clip: id, channels, rate }, transfer);
  } catch (error) {
    if (id === clip) fail(error);
  }
}

/** Clear the page for another clip. */
function begin(name: string, doing: string): number {
  clip += 1;
  seconds = 0;
  stale = true;
  playSoon = false;
  player.clear();
  timeline.clear();
  timeline.span(0);
  for (const version of ["given", "changed"] as const) panel.show(version, null);
  byId("failure", HTMLElement).hidden = true;
  byId("empty", HTMLElement).hidden = true;
  document.title = `${name} · haaqi-edge`;
  say(name, doing);
  paintPlayer();
  return clip;
}

function say(name: string, rest: string): void {
  const bold = document.createElement("b");
  bold.textContent = name;
  status.replaceChildren(bold, rest ? ` · ${rest}` : "");
}

function fail(error: unknown): void {
  const failure = byId("failure", HTMLElement);
  failure.textContent = error instanceof Error ? error.message : String(error);
  failure.hidden = false;
  progress(null);
  if (seconds > 0 || microphone) return;
  byId("empty", HTMLElement).hidden = false;
  byId("legend", HTMLElement).hidden = true;
  const name = status.querySelector("b")?.textContent;
  if (name) say(name, "");
  else status.textContent = "";
}

function progress(part: number | null): void {
  const bar = byId("progress", HTMLElement);
  bar.hidden = part === null;
  bar.querySelector("span")!.style.width = `${100 * (part ?? 0)}%`;
}

const file = byId("file", HTMLInputElement);
byId("choose", HTMLButtonElement).addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  const [chosen] = file.files ?? [];
  if (chosen) void open(chosen, chosen.name);
  file.value = "";
});
for (const which of ["clean", "degraded"]) {
  byId(`demo-${which}`, HTMLButtonElement).addEventListener("click", async () => {
    try {
      const response = await fetch(`demo/${which}.flac`);
      if (!response.ok) throw new Error(`The demo piece could not be read (${response.status}).`);
      await open(await response.blob(), `Demo piece, ${which}`);
    } catch (error) {
      fail(error);
    }
  });
}

let entered = 0;
const dropping = byId("dropping", HTMLElement);
const holdsFile = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
addEventListener("dragenter", (event) => {
  if (holdsFile(event)) dropping.classList.toggle("shown", (entered += 1) > 0);
});
addEventListener("dragleave", (event) => {
  if (holdsFile(event)) dropping.classList.toggle("shown", (entered -= 1) > 0);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  entered = 0;
  dropping.classList.remove("shown");
  const [dropped] = event.dataTransfer?.files ?? [];
  if (dropped) void open(dropped, dropped.name);
});

// Microphone

micButton.addEventListener("click", async () => {
  if (microphone) return stopMicrophone(true);
  begin("Microphone", "opening…");
  try {
    const opened = await openMicrophone(
      (samples) => ask({ type: "chunk", samples }, [samples.buffer]),
      () => void stopMicrophone(true),
    );
    microphone = opened;
    sliders.live(true);
    settingsChanged();
    ask({ type: "live", rate: opened.rate });
    status.setAttribute("aria-live", "off"); // it changes six times a second
    micButton.setAttribute("aria-pressed", "true");
    micButton.textContent = "Stop";
    byId("legend", HTMLElement).hidden = false;
    say("Microphone", "listening…");
  } catch (error) {
    status.textContent = "";
    fail(error);
  }
});

/** Stop the microphone. The recording becomes the clip if it is long enough. */
async function stopMicrophone(keep: boolean): Promise<void> {
  if (!microphone) return;
  const stopped = microphone;
  microphone = null;
  status.removeAttribute("aria-live");
  micButton.setAttribute("aria-pressed", "false");
  micButton.textContent = "Use the microphone";
  sliders.live(false);
  await stopped.stop();
  const id = begin("Recording", "");
  about = "from the microphone";
  settingsChanged();
  ask({ type: "end-live", clip: keep ? id : -1 });
}

const spl = (level: number) => `${level.toFixed(0).replace("-", "−")} dB SPL`;

// Replies of the worker

worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
  switch (data.type) {
    case "loading":
      status.textContent = "Loading the model…";
      progress(data.total > 0 ? Math.min(1, data.loaded / data.total) : null);
      break;
    case "ready":
      ready(data.card);
      break;
    case "failed":
      if (data.clip === null || data.clip === clip) fail(new Error(data.message));
      break;
    case "live":
      if (microphone) live(data);
      break;
    default:
      if (data.clip === clip) showClip(data);
  }
});
worker.addEventListener("error", (event) => fail(new Error(event.message || "The page's worker did not start.")));

function ready(card: Card): void {
  progress(null);
  if (clip === 0) status.textContent = "Ready. Choose a song, or hear the demo piece.";
  const test = card.figures.test?.all;
  const follows = test ? `; on music outside the training data its scores correlate with HAAQI's by ${test.lcc.toFixed(2)}` : "";
  byId("model-facts", HTMLElement).textContent =
    `(${card.name} ${card.version}, ${card.parameters.toLocaleString("en")} parameters${follows})`;
  byId("level1", HTMLElement).textContent = String(card.level1);
  byId("window", HTMLElement).textContent = String(card.window);
  for (const button of starters) button.disabled = false;
  document.documentElement.dataset.ready = "true";
}

type OfClip = Exclude<Reply, { type: "loading" | "ready" | "failed" | "live" }>;

function showClip(data: OfClip): void {
  switch (data.type) {
    case "reading":
      progress(data.part < 1 ? data.part : null);
      break;
    case "clip":
      progress(null);
      seconds = data.seconds;
      timeline.span(seconds);
      say(status.querySelector("b")?.textContent ?? "", `${clock(seconds, 0.1)} · ${about} · ${spl(data.level)}`);
      byId("legend", HTMLElement).hidden = false;
      paintPlayer();
      break;
    case "picture":
      timeline.picture(data.picture);
      break;
    case "unchanged":
      timeline.curve("changed", null);
      panel.show("changed", null);
      byId("legend-changed", HTMLElement).hidden = true;
      break;
    case "sound":
      stale = false;
      player.set(data.samples);
      if (playSoon) player.play();
      playSoon = false;
      paintPlayer();
      break;
    case "result":
      if (JSON.stringify(data.settings) === JSON.stringify(settings())) result(data);
  }
}

function result(data: Extract<Reply, { type: "result" }>): void {
  const whole = data.done === data.total;
  panel.show(data.version, { score: data.score, interval: data.interval, whole });
  timeline.curve(data.version, data);
  if (data.version === "changed") byId("legend-changed", HTMLElement).hidden = false;
  const expected = isChanged(data.settings.changes) ? "changed" : "given";
  progress(whole ? null : data.done / data.total);
  paintPlace();
  // For pages that embed this one, and for tests.
  if (whole) {
    document.dispatchEvent(new CustomEvent("haaqi-edge:scored", { detail: { ...data, last: data.version === expected } }));
  }
}

function live(data: Extract<Reply, { type: "live" }>): void {
  panel.show("given", { score: data.score, interval: data.interval, whole: true });
  panel.show("changed", null);
  const span = data.frames.length * 0.16;
  const start = Math.max(0, data.seconds - span);
  timeline.span(Math.max(span, 0.2), start);
  timeline.picture(data.picture);
  timeline.curve("given", null);
  const { score, interval } = data;
  timeline.curve("given", { frames: data.frames, windows: [{ start, end: data.seconds, score, interval }] });
  const fullScale = byId("level1", HTMLElement).textContent;
  const level = data.level === null ? "silent" : `${spl(data.level)}, taking full scale as ${fullScale} dB SPL`;
  say("Microphone", `${clock(data.seconds)} · ${level}`);
}

// Playing

play.addEventListener("click", () => {
  if (player.playing) player.pause();
  else if (stale || !player.loaded) {
    playSoon = true;
    ask({ type: "sound", clip });
  } else player.play();
  paintPlayer();
});

function paintPlayer(): void {
  play.disabled = seconds === 0;
  play.classList.toggle("playing", player.playing);
  play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
  play.querySelector("span")!.textContent = player.playing ? "Pause" : "Play";
  plot.setAttribute("aria-disabled", String(seconds === 0));
  plot.setAttribute("aria-valuemax", seconds.toFixed(1));
  timeline.at(player.time);
  paintPlace();
  if (player.playing) requestAnimationFrame(paintPlayer);
}

/** Show the score at the pointer, or else at the position of the player. */
function paintPlace(): void {
  const time = pointerTime ?? player.time;
  const told = (version: Version) => timeline.scoreAt(time, version)?.toFixed(2);
  const [given, changed] = [told("given"), told("changed")];
  const scores = changed ? `${given} → ${changed}` : given;
  byId("place", HTMLElement).textContent = seconds === 0 ? "" : `${clock(time, 0.1)}${scores ? ` · ${scores}` : ""}`;
  plot.setAttribute("aria-valuenow", time.toFixed(1));
  plot.setAttribute("aria-valuetext", `${clock(time, 0.1)}${scores ? `, score ${scores}` : ""}`);
}

function seek(time: number): void {
  player.seek(Math.min(Math.max(0, time), seconds));
  paintPlayer();
}

plot.addEventListener("pointermove", (event) => {
  pointerTime = seconds > 0 ? timeline.timeAt(event.clientX) : null;
  paintPlace();
});
plot.addEventListener("pointerleave", () => {
  pointerTime = null;
  paintPlace();
});
plot.addEventListener("click", (event) => {
  if (seconds > 0) seek(timeline.timeAt(event.clientX));
});
plot.addEventListener("keydown", (event) => {
  if (seconds === 0 || event.ctrlKey || event.altKey || event.metaKey) return;
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  if (event.key in steps) seek(player.time + steps[event.key]);
  else if (event.key === "Home") seek(0);
  else if (event.key === "End") seek(seconds);
  else if (event.key === " ") play.click();
  else return;
  event.preventDefault();
});

settingsChanged();
ask({ type: "start", base: document.baseURI });
