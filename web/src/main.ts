/** The page: sends the user's input to the worker and shows its results. */
import "./style.css";
import { decode } from "./audio/decode";
import { type Microphone, openMicrophone } from "./audio/microphone";
import { Player } from "./audio/player";
import { type Kept, scoreDocument, stem } from "./document";
import { isChanged, NONE } from "./dsp/changes";
import type { Card, Reply, Request, Settings, Version } from "./engine/protocol";
import { byId } from "./ui/dom";
import { drawSheet, type Part, save, toPng } from "./ui/keep";
import { Listener } from "./ui/listener";
import { Plot } from "./ui/plot";
import { ScorePanel } from "./ui/score";
import { Sliders } from "./ui/sliders";
import { showTable } from "./ui/table";
import { clock } from "./ui/timeline";

type Result = Extract<Reply, { type: "result" }>;

/** A clip as the page shows it. */
interface Piece {
  readonly name: string;
  readonly about: string;
  readonly seconds: number;
  /** dB SPL. */
  readonly level: number;
}

const VERSIONS = ["given", "changed"] as const;
const LETTERS: Readonly<Record<Version, string>> = { given: "A", changed: "B" };

const worker = new Worker(new URL("./engine/worker.ts", import.meta.url), { type: "module" });
const ask = (request: Request, transfer: Transferable[] = []) => worker.postMessage(request, transfer);

const panel = new ScorePanel();
const use = { seek, point, toggle: () => play.click() };
const plots: Readonly<Record<Version, Plot>> = {
  given: new Plot("plot", "canvas", use),
  changed: new Plot("plot-changed", "canvas-changed", use),
};
const player = new Player(
  () => paintPlayer(),
  (reason) => {
    paintPlayer();
    note(reason);
  },
);
const play = byId("play", HTMLButtonElement);
const status = byId("status", HTMLElement);
const micButton = byId("microphone", HTMLButtonElement);
const starters = ["choose", "microphone", "demo-clean", "demo-degraded", "demo-both"].map((id) => byId(id, HTMLButtonElement));
const keepers = ["keep-png", "keep-json"].map((id) => byId(id, HTMLButtonElement));

let card: Card | null = null;
/** The clip that is shown. Replies about other clips are ignored. */
let clip = 0;
/** The clip, and the one that it is compared with. */
let pieces: Record<Version, Piece | null> = { given: null, changed: null };
/** Names of clips that are read. */
const reading: Record<Version, { name: string; about: string }> = {
  given: { name: "", about: "" },
  changed: { name: "", about: "" },
};
/** Results of all windows for the current settings. */
let whole: Record<Version, Result | null> = { given: null, changed: null };
let microphone: Microphone | null = null;
/** Whether the microphone is being opened. Its button is not disabled meanwhile, since it would lose the focus. */
let opening = false;
/** What is played if two clips are compared. */
let heard: Version = "given";
/** Whether the sliders have changed since the player got its sound. */
let stale = true;
let playSoon = false;
let pointerTime: number | null = null;

const listener = new Listener(settingsChanged);
const sliders = new Sliders(() => {
  soundChanged();
  settingsChanged();
});

const comparing = () => pieces.changed !== null;
const seconds = () => Math.max(...VERSIONS.map((version) => pieces[version]?.seconds ?? 0));

function settings(): Settings {
  return { audiogram: listener.levels, nalR: listener.amplified, changes: comparing() ? NONE : sliders.changes };
}

function settingsChanged(): void {
  panel.name(listener.name);
  forgetResults();
  ask({ type: "settings", settings: settings() });
}

function forgetResults(): void {
  whole = { given: null, changed: null };
  for (const button of keepers) button.disabled = true;
}

/** The player needs another sound, at once if it plays. */
function soundChanged(): void {
  stale = true;
  if (player.playing) askSound();
}

function askSound(): void {
  ask({ type: "sound", clip, version: comparing() ? heard : "changed" });
}

// Music

interface Source {
  readonly file: Blob;
  readonly name: string;
}

/** Open a clip, or two to compare. */
async function open(sources: readonly Source[]): Promise<void> {
  if (sources.length === 0) return;
  await stopMicrophone(false);
  const id = begin(sources[0].name, "reading…");
  if (sources.length > 2) {
    fail(new Error(`These are ${sources.length} files. Choose one, or two versions of one piece to compare them.`));
    return;
  }
  for (const [i, version] of VERSIONS.slice(0, sources.length).entries()) {
    if (!(await read(id, version, sources[i]))) return;
  }
}

/** Decode a clip and hand it to the worker. Return whether that succeeded, and the clip is still wanted. */
async function read(id: number, version: Version, { file, name }: Source): Promise<boolean> {
  try {
    const { channels, rate } = await decode(file);
    if (id !== clip) return false;
    const about = `${(rate / 1000).toLocaleString("en")} kHz, ${channels.length === 1 ? "mono" : "mixed to mono"}`;
    reading[version] = { name, about };
    const transfer = channels.map((channel) => channel.buffer);
    ask({ type: "load", clip: id, version, channels, rate }, transfer);
    return true;
  } catch (error) {
    if (id === clip) fail(error, version === "changed" ? name : "");
    return false;
  }
}

/** Clear the page for another clip. */
function begin(name: string, doing: string): number {
  clip += 1;
  pieces = { given: null, changed: null };
  reading.given = { name, about: "" };
  heard = "given";
  stale = true;
  playSoon = false;
  player.clear();
  forgetResults();
  showTable([]);
  for (const version of VERSIONS) {
    plots[version].timeline.clear();
    panel.show(version, null);
  }
  byId("failure", HTMLElement).hidden = true;
  byId("empty", HTMLElement).hidden = true;
  document.title = `${name} · haaqi-edge`;
  say([[name, doing]]);
  paintLayout();
  return clip;
}

/** Write lines about clips: a name and what is known of it. */
function say(lines: readonly (readonly [string, string])[], letters = false): void {
  const paragraphs = lines.map(([name, rest], i) => {
    const line = document.createElement("p");
    const bold = document.createElement("b");
    bold.textContent = name;
    const mark = document.createElement("b");
    mark.className = `letter ${VERSIONS[i]}`;
    mark.textContent = LETTERS[VERSIONS[i]];
    line.append(...(letters ? [mark] : []), bold, rest ? ` · ${rest}` : "");
    return line;
  });
  status.replaceChildren(...paragraphs);
}

/** Say what happened, and keep what is shown. */
function note(message: string): void {
  const failure = byId("failure", HTMLElement);
  failure.textContent = message;
  failure.hidden = false;
}

function fail(error: unknown, name = ""): void {
  const message = error instanceof Error ? error.message : String(error);
  note(name ? `${name}: ${message}` : message);
  progress(null);
  if (pieces.given || microphone) return;
  byId("empty", HTMLElement).hidden = false;
  byId("legend", HTMLElement).hidden = true;
  if (clip > 0 && reading.given.name) say([[reading.given.name, ""]]);
  else status.textContent = "";
}

function progress(part: number | null): void {
  const bar = byId("progress", HTMLElement);
  bar.hidden = part === null;
  bar.querySelector("span")!.style.width = `${100 * (part ?? 0)}%`;
}

/** Show one clip, or two side by side. */
function paintLayout(): void {
  const { given, changed } = pieces;
  const two = given && changed ? { given, changed } : null;
  panel.compare(two);
  const shown = seconds();
  for (const version of VERSIONS) plots[version].span(pieces[version]?.seconds ?? 0, shown);
  plots.given.name(two ? `Place in A, ${two.given.name}` : "Place in the music");
  plots.changed.name(`Place in B, ${changed?.name ?? ""}`);
  document.querySelector("main")!.classList.toggle("comparing", two !== null);
  for (const [id, hidden] of [
    ["second", !two],
    ["caption-given", !two],
    ["hear", !two],
    ["alone", !two],
    ["compare", !given || two !== null],
    ["legend-given", two !== null],
    ["changes", two !== null],
    ["drop", given !== null],
  ] as const) {
    byId(id, HTMLElement).hidden = hidden;
  }
  for (const version of VERSIONS) byId(`caption-${version}`, HTMLElement).querySelector("span")!.textContent = pieces[version]?.name ?? "";
  for (const input of document.querySelectorAll<HTMLInputElement>("input[name=hear]")) input.checked = input.value === heard;
  if (given) {
    const line = ({ name, about, level, seconds: length }: Piece) => [name, `${clock(length, 0.1)} · ${about} · ${spl(level)}`] as const;
    say(two ? VERSIONS.map((version) => line(two[version])) : [line(given)], two !== null);
  }
  paintPlayer();
}

const file = byId("file", HTMLInputElement);
byId("choose", HTMLButtonElement).addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  void open(sourcesOf(file.files));
  file.value = "";
});
const otherFile = byId("other-file", HTMLInputElement);
byId("compare", HTMLButtonElement).addEventListener("click", () => otherFile.click());
otherFile.addEventListener("change", () => {
  const [source] = sourcesOf(otherFile.files);
  byId("failure", HTMLElement).hidden = true;
  if (source) void read(clip, "changed", source);
  otherFile.value = "";
});
byId("alone", HTMLButtonElement).addEventListener("click", () => {
  pieces.changed = null;
  heard = "given";
  plots.changed.timeline.clear();
  panel.show("changed", null);
  ask({ type: "alone", clip });
  paintLayout();
  soundChanged();
  settingsChanged();
  byId("compare", HTMLButtonElement).focus(); // the button that was pressed is gone
});

function sourcesOf(files: FileList | null | undefined): Source[] {
  return [...(files ?? [])].map((each) => ({ file: each, name: each.name }));
}

async function demo(which: string): Promise<Source> {
  const response = await fetch(`demo/${which}.flac`);
  if (!response.ok) throw new Error(`The demo piece could not be read (${response.status}).`);
  return { file: await response.blob(), name: `Demo piece, ${which}` };
}
for (const [id, names] of [
  ["demo-clean", ["clean"]],
  ["demo-degraded", ["degraded"]],
  ["demo-both", ["clean", "degraded"]],
] as const) {
  byId(id, HTMLButtonElement).addEventListener("click", async () => {
    try {
      await open(await Promise.all(names.map(demo)));
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
  void open(sourcesOf(event.dataTransfer?.files));
});

// Microphone

micButton.addEventListener("click", async () => {
  if (opening) return;
  if (microphone) return stopMicrophone(true);
  const id = begin("Microphone", "opening…");
  opening = true;
  try {
    // Nothing is awaited before this: Safari starts audio only inside the handler of the click.
    const opened = await openMicrophone(
      (samples) => ask({ type: "chunk", samples }, [samples.buffer]),
      (reason) => void stopMicrophone(true).then(() => note(reason)),
    );
    if (id !== clip) return await opened.stop(); // a song was opened meanwhile
    microphone = opened;
    sliders.live(true);
    settingsChanged();
    ask({ type: "live", rate: opened.rate });
    status.setAttribute("aria-live", "off"); // it changes six times a second
    micButton.setAttribute("aria-pressed", "true");
    micButton.textContent = "Stop";
    byId("legend", HTMLElement).hidden = false;
    say([["Microphone", "listening…"]]);
  } catch (error) {
    if (id !== clip) return;
    reading.given.name = "";
    fail(error);
  } finally {
    opening = false;
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
  reading.given.about = "from the microphone";
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
      if (data.clip === null || data.clip === clip) {
        fail(new Error(data.message), data.version === "changed" ? reading.changed.name : "");
      }
      break;
    case "live":
      if (microphone) live(data);
      break;
    default:
      if (data.clip === clip) showClip(data);
  }
});
worker.addEventListener("error", (event) => fail(new Error(event.message || "The page's worker did not start.")));

function ready(loaded: Card): void {
  card = loaded;
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
      pieces[data.version] = { ...reading[data.version], seconds: data.seconds, level: data.level };
      byId("legend", HTMLElement).hidden = false;
      if (data.version === "changed") startComparing();
      else paintLayout();
      break;
    case "picture":
      plots[data.version].timeline.picture(data.picture);
      break;
    case "unchanged":
      whole.changed = null;
      plots.given.timeline.curve("changed", null);
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
      if (isCurrent(data)) result(data);
      break;
    case "finished":
      if (isCurrent(data)) for (const button of keepers) button.disabled = false;
  }
}

/** Return whether a reply is about the settings and clips that are shown now. */
function isCurrent({ settings: of, compared }: { settings: Settings; compared: boolean }): boolean {
  return compared === comparing() && JSON.stringify(of) === JSON.stringify(settings());
}

/** Another clip is there: the sliders' changes make room for it. */
function startComparing(): void {
  sliders.clear();
  plots.given.timeline.curve("changed", null);
  plots.changed.timeline.clear();
  panel.show("changed", null);
  byId("legend-changed", HTMLElement).hidden = true;
  document.title = `${pieces.given!.name}, ${pieces.changed!.name} · haaqi-edge`;
  const compare = byId("compare", HTMLButtonElement);
  const focused = document.activeElement === compare;
  paintLayout();
  if (focused) byId("alone", HTMLButtonElement).focus(); // the button that was pressed is gone
  soundChanged();
  settingsChanged();
}

function result(data: Result): void {
  const isWhole = data.done === data.total;
  panel.show(data.version, { score: data.score, interval: data.interval, whole: isWhole });
  const two = comparing();
  plots[two ? data.version : "given"].timeline.curve(data.version, data);
  if (data.version === "changed") byId("legend-changed", HTMLElement).hidden = two;
  const expected = two || isChanged(data.settings.changes) ? "changed" : "given";
  progress(isWhole ? null : data.done / data.total);
  paintPlace();
  if (!isWhole) return;
  whole[data.version] = data;
  const last = data.version === expected;
  if (last) showTable(results().map(({ name, data: { windows } }) => ({ name, windows })));
  // For pages that embed this one, and for tests.
  document.dispatchEvent(new CustomEvent("haaqi-edge:scored", { detail: { ...data, last } }));
}

function live(data: Extract<Reply, { type: "live" }>): void {
  const { timeline } = plots.given;
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
  say([["Microphone", `${clock(data.seconds)} · ${level}`]]);
}

// Results to keep

/** Return the results that are shown, with the names of their columns and files. */
function results(): { version: Version; name: string; file: string; data: Result }[] {
  const { given, changed } = pieces;
  if (!given) return [];
  const name = (version: Version) => (changed ? LETTERS[version] : version === "given" ? "As it is" : "With your changes");
  const files = { given: given.name, changed: changed?.name ?? `${given.name} (${sliders.words})` };
  return VERSIONS.flatMap((version) => {
    const data = whole[version];
    return data ? [{ version, name: name(version), file: files[version], data }] : [];
  });
}

const fileName = (suffix: string) =>
  `${stem(VERSIONS.flatMap((version) => pieces[version]?.name ?? []), listener.name)}.${suffix}`;

byId("keep-json", HTMLButtonElement).addEventListener("click", () => {
  const kept: Kept[] = results().map(({ file: name, data }) => ({ ...data, file: name }));
  const about = { name: listener.standard ?? `[${listener.levels.join(", ")}]`, levels: listener.levels, nalR: listener.amplified };
  const text = `${JSON.stringify(scoreDocument(card!, about, kept), null, 2)}\n`;
  save(new Blob([text], { type: "application/json" }), fileName("json"));
});

byId("keep-png", HTMLButtonElement).addEventListener("click", async () => {
  try {
    save(await toPng(drawSheet(sheet())), fileName("png"));
  } catch (error) {
    note(error instanceof Error ? error.message : String(error));
  }
});

function sheet(): Parameters<typeof drawSheet>[0] {
  const two = comparing();
  const parts: Part[] = results().map(({ version, file: name, data: { score, interval } }) => {
    return { version, name: two ? `${LETTERS[version]}: ${name}` : name, score, interval };
  });
  const nalR = listener.amplified ? "amplified for this listener (NAL-R)" : "not amplified";
  return {
    title: "How good does this music sound to a hearing-aid user?",
    listener: `Listener: ${listener.name}, ${listener.levels.join(", ")} dB HL; ${nalR}`,
    parts,
    words: panel.words,
    timelines: two ? VERSIONS.map((version) => plots[version].timeline) : [plots.given.timeline],
    notes: [
      "Curves: scores of 160 ms. Dashed: windows, with their 90% intervals. Behind: spectrogram, kHz on the left, score on the right.",
      `haaqi-edge ${card!.name} ${card!.version}: a prediction of HAAQI from 0 (bad) to 1 (as good as the original). Compare versions of one piece only.`,
    ],
  };
}

// Playing

play.addEventListener("click", () => {
  if (player.playing) player.pause();
  else {
    player.unlock(); // in the handler of the click, since the sound may arrive later
    if (stale || !player.loaded) {
      playSoon = true;
      askSound();
    } else player.play();
  }
  paintPlayer();
});

for (const input of document.querySelectorAll<HTMLInputElement>("input[name=hear]")) {
  input.addEventListener("change", () => {
    heard = input.value as Version;
    soundChanged();
    paintPlace();
  });
}

function paintPlayer(): void {
  play.disabled = !pieces.given;
  play.classList.toggle("playing", player.playing);
  play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
  play.querySelector("span")!.textContent = player.playing ? "Pause" : "Play";
  for (const version of VERSIONS) plots[version].at(player.time);
  paintPlace();
  if (player.playing) requestAnimationFrame(paintPlayer);
}

/** Show the scores at the pointer, or else at the position of the player. */
function paintPlace(): void {
  const time = pointerTime ?? player.time;
  const two = comparing();
  const told = (version: Version) => plots[two ? version : "given"].timeline.scoreAt(time, version)?.toFixed(2);
  const [given, changed] = [told("given"), told("changed")];
  const alone = changed ? `${given} → ${changed}` : (given ?? "");
  const each = [given && `A ${given}`, changed && `B ${changed}`].filter(Boolean).join(" · ");
  const scores = two ? each : alone;
  byId("place", HTMLElement).textContent = pieces.given ? `${clock(time, 0.1)}${scores ? ` · ${scores}` : ""}` : "";
  plots.given.tell(time, two ? (given ?? "") : alone);
  plots.changed.tell(time, changed ?? "");
}

function seek(time: number): void {
  player.seek(Math.min(Math.max(0, time), seconds()));
  paintPlayer();
}

function point(time: number | null): void {
  pointerTime = time;
  paintPlace();
}

settingsChanged();
ask({ type: "start", base: document.baseURI });
