/** The microphone, with stand-ins for the browser's audio: what starts it, what may go wrong, and what is closed then. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openMicrophone } from "../src/audio/microphone";
import { click, events, type Faults, install, SafariContext, Stream, Track, WorkletNode } from "./safari";

let track: Track;
const stream = () => Promise.resolve(new Stream([track]));
const fault = (name: string, message = "") => new DOMException(message, name);

beforeEach(() => {
  track = new Track();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const open = (take = vi.fn(), ended = vi.fn()) => click(() => openMicrophone(take, ended));

/** The message of the error; nothing may stay open. */
async function refusal(): Promise<string> {
  const error: unknown = await open().then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Error);
  for (const { state } of SafariContext.all) expect(state).toBe("closed");
  return (error as Error).message;
}

describe("iOS Safari", () => {
  test("the context and the microphone are asked for inside the gesture, and the chunks arrive", async () => {
    install(stream);
    const take = vi.fn();
    const microphone = await open(take);
    expect(events).toEqual([
      "context in the gesture",
      "resume in the gesture",
      'getUserMedia in the gesture {"audio":{"echoCancellation":false,"noiseSuppression":false,"autoGainControl":false}}',
      "connected at 48000 Hz",
    ]);
    expect(microphone.rate).toBe(48_000);
    const chunk = Float32Array.of(1, 2);
    WorkletNode.last!.port.onmessage!({ data: chunk });
    expect(take).toHaveBeenCalledWith(chunk);
    await microphone.stop();
    expect(track.stopped).toBe(true);
    expect(SafariContext.all[0].state).toBe("closed");
    expect(WorkletNode.last!.port.onmessage).toBeNull();
  });

  test("a context that opening the microphone interrupts is resumed", async () => {
    install(stream, { interrupts: true });
    await open();
    expect(SafariContext.all[0].state).toBe("running");
  });

  test("outside a gesture it says that the audio did not start, rather than wait for ever", async () => {
    vi.useFakeTimers();
    install(stream);
    const opening = openMicrophone(vi.fn(), vi.fn());
    const refused = expect(opening).rejects.toThrow("The browser did not start the audio.");
    await vi.advanceTimersByTimeAsync(5_000);
    await refused;
    expect(track.stopped).toBe(true);
    expect(SafariContext.all[0].state).toBe("closed");
  });

  test("a phone call ends the recording and says so; stopping it is no interruption", async () => {
    install(stream);
    const ended = vi.fn();
    const microphone = await open(vi.fn(), ended);
    const [context] = SafariContext.all;
    context.onstatechange!();
    expect(ended).not.toHaveBeenCalled();
    context.state = "interrupted";
    context.onstatechange!();
    expect(ended).toHaveBeenCalledExactlyOnceWith(expect.stringContaining("interrupted the microphone"));
    await microphone.stop();
    expect(context.onstatechange).toBeNull();
  });
});

test("a microphone that is unplugged ends the recording; one that is stopped does not", async () => {
  install(stream);
  const ended = vi.fn();
  const microphone = await open(vi.fn(), ended);
  track.dispatchEvent(new Event("ended"));
  expect(ended).toHaveBeenCalledExactlyOnceWith("The microphone was disconnected.");
  await microphone.stop();
  track.dispatchEvent(new Event("ended"));
  expect(ended).toHaveBeenCalledTimes(1);
});

test.each([
  ["NotAllowedError", "was not allowed"],
  ["NotFoundError", "No microphone was found"],
  ["NotReadableError", "in use by another program"],
  ["AbortError", "could not open the microphone"],
  ["SecurityError", "settings keep pages from using a microphone"],
  ["OverconstrainedError", "only with echo cancellation"],
  ["InvalidStateError", "could not be opened (InvalidStateError: document gone)"],
])("%s: %s", async (name, words) => {
  install(() => Promise.reject(fault(name, "document gone")));
  expect(await refusal()).toContain(words);
});

test("each reason has its own words", async () => {
  const names = ["NotAllowedError", "NotFoundError", "NotReadableError", "AbortError", "SecurityError", "OverconstrainedError"];
  const said = new Set<string>();
  for (const name of names) {
    install(() => Promise.reject(fault(name)));
    said.add(await refusal());
  }
  expect(said.size).toBe(names.length);
});

test("OverconstrainedError is no DOMException in some browsers", async () => {
  install(() => Promise.reject(Object.assign(new Error("autoGainControl"), { name: "OverconstrainedError" })));
  expect(await refusal()).toContain("only with echo cancellation");
});

test("a page over http says that https is needed; a browser without microphones that it has none", async () => {
  install(undefined, {}, false);
  expect(await refusal()).toContain("over https only");
  install(undefined, {}, true);
  expect(await refusal()).toContain("gives no microphone to pages");
});

describe("what fails after the microphone was opened closes it", () => {
  test.each<[string, Faults, string]>([
    ["the worklet's file", { module: fault("AbortError", "not found") }, "A file of this page could not be loaded"],
    ["a browser without worklets", { noWorklet: true }, "too old for the microphone"],
    ["the node", { node: fault("InvalidStateError", "no processor") }, "InvalidStateError: no processor"],
    ["the source", { source: { rate: 48_000, error: fault("InvalidStateError", "no track") } }, "no track"],
    ["audio that does not start", { resume: fault("InvalidStateError") }, "did not start the audio"],
  ])("%s", async (_, faults, words) => {
    install(stream, faults);
    expect(await refusal()).toContain(words);
    expect(track.stopped).toBe(true);
  });

  test("a stream without sound", async () => {
    install(() => Promise.resolve(new Stream([])));
    expect(await refusal()).toContain("has no sound");
  });
});

test("without an audio context nothing is opened", async () => {
  const microphone = vi.fn(stream);
  install(microphone, { context: fault("NotSupportedError", "too many contexts") });
  expect(await refusal()).toContain("cannot process audio (too many contexts)");
  expect(microphone).not.toHaveBeenCalled();
});

describe("a microphone at another rate than the audio", () => {
  const other = fault("NotSupportedError", "different sample-rate");

  test("gets a context at its own rate", async () => {
    track = new Track(16_000);
    install(stream, { source: { rate: 48_000, error: other }, interrupts: false });
    // The second context is created after the permission: browsers with this fault (Firefox) allow it to start then.
    const start = vi.spyOn(SafariContext.prototype, "resume").mockImplementation(function (this: SafariContext) {
      this.state = "running";
      return Promise.resolve();
    });
    const microphone = await open();
    start.mockRestore();
    expect(microphone.rate).toBe(16_000);
    expect(SafariContext.all.map(({ state }) => state)).toEqual(["closed", "running"]);
    expect(events).toContain("connected at 16000 Hz");
  });

  test.each([undefined, 48_000])("whose rate is %s is refused with both rates", async (rate) => {
    track = new Track(rate);
    install(stream, { source: { rate: 48_000, error: other } });
    const message = await refusal();
    expect(message).toContain(rate ? "runs at 48,000 Hz" : "runs at another sample rate");
    expect(message).toContain("the browser's audio at 48,000 Hz");
    expect(track.stopped).toBe(true);
  });
});
