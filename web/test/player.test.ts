/** The player, with the audio of iOS Safari: the sound arrives long after the click. */
import { afterEach, expect, test, vi } from "vitest";
import { Player } from "../src/audio/player";
import { SAMPLE_RATE } from "../src/constants";
import { click, events, type Faults, install, SafariContext } from "./safari";

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function player(faults: Faults = {}): { player: Player; failed: ReturnType<typeof vi.fn> } {
  install(undefined, faults);
  const failed = vi.fn();
  return { player: new Player(vi.fn(), failed), failed };
}

const sound = (seconds: number, level = 0.5) => new Float32Array(seconds * SAMPLE_RATE).fill(level);

test("a sound that arrives after the click is heard, since the click has started the audio", async () => {
  const { player: it, failed } = player();
  click(() => it.unlock());
  await Promise.resolve();
  it.set(sound(3));
  it.play();
  expect(events).toEqual(["context in the gesture", "resume in the gesture"]);
  const [context] = SafariContext.all;
  expect(context.state).toBe("running");
  expect(context.sources.map(({ started }) => started)).toEqual([[0, 0]]);
  expect(it.playing).toBe(true);
  expect(failed).not.toHaveBeenCalled();
});

test("a sound that is set outside a gesture creates no context", () => {
  const { player: it } = player();
  it.set(sound(1));
  expect(SafariContext.all).toHaveLength(0);
  expect(it.loaded).toBe(true);
});

test("one context serves all sounds, and is resumed after an interruption", () => {
  const { player: it } = player();
  click(() => it.unlock());
  it.set(sound(1));
  it.play();
  it.pause();
  SafariContext.all[0].state = "interrupted";
  click(() => it.unlock());
  it.play();
  expect(SafariContext.all).toHaveLength(1);
  expect(SafariContext.all[0].state).toBe("running");
});

test("a browser that refuses to start the audio is told at once", async () => {
  const { player: it, failed } = player({ resume: new DOMException("busy", "InvalidStateError") });
  click(() => it.unlock());
  await vi.waitFor(() => expect(failed).toHaveBeenCalledExactlyOnceWith(expect.stringContaining("did not start the sound")));
});

test("a browser that never answers is told after some seconds, and nothing seems to play", async () => {
  vi.useFakeTimers();
  const { player: it, failed } = player();
  it.unlock(); // outside a gesture
  it.set(sound(1));
  it.play();
  await vi.advanceTimersByTimeAsync(4_900);
  expect(failed).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(200);
  expect(failed).toHaveBeenCalledExactlyOnceWith(expect.stringContaining("did not start the sound"));
  expect(it.playing).toBe(false);
});

test("a browser that has answered is not told later", async () => {
  vi.useFakeTimers();
  const { player: it, failed } = player();
  click(() => it.unlock());
  await vi.advanceTimersByTimeAsync(10_000);
  expect(failed).not.toHaveBeenCalled();
});

test("another sound continues at the same position", () => {
  const { player: it } = player();
  click(() => it.unlock());
  it.set(sound(10));
  it.play();
  SafariContext.all[0].currentTime = 4;
  expect(it.time).toBe(4);
  it.set(sound(10, 0.1));
  expect(SafariContext.all[0].sources.map(({ started, stopped }) => [started![1], stopped])).toEqual([[0, true], [4, false]]);
});

test("peaks above full scale are turned down", () => {
  const { player: it } = player();
  const loud = sound(1, 2);
  it.set(loud);
  expect(loud[0]).toBe(1);
});
