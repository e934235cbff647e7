/** The microphone without echo cancellation, noise suppression and automatic gain control. */
import worklet from "./microphone-worklet?worker&url";

export interface Microphone {
  /** Hz. */
  readonly rate: number;
  stop(): Promise<void>;
}

const CONSTRAINTS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
/**
 * Milliseconds that the browser may take to start the audio. Safari never answers outside of a gesture, nor Firefox
 * without a device that plays sound.
 */
export const START_TIMEOUT = 5_000;
const AGAIN = "Then press the button again.";

/** What `getUserMedia` may throw, by name, and what it means for the person in front of the page. */
const REASONS: Readonly<Record<string, string>> = {
  NotAllowedError: `The microphone was not allowed. Allow it for this page in the browser, and for the browser in the system's settings. ${AGAIN}`,
  NotFoundError: `No microphone was found. Connect one. ${AGAIN}`,
  NotReadableError: `The microphone is in use by another program, or the system does not hand it out. Close the other program. ${AGAIN}`,
  AbortError: `The system could not open the microphone. Check that it works in another program. ${AGAIN}`,
  SecurityError: "The browser's settings keep pages from using a microphone.",
  OverconstrainedError:
    "The microphone works only with echo cancellation, noise suppression or automatic gain control, which would change the score. Try another microphone.",
};

/** An error whose message is written for the person in front of the page. */
class MicrophoneError extends Error {}

/**
 * Open the microphone. If anything fails, the microphone is closed again.
 *
 * Call it inside the handler of a click, before any `await`: Safari starts audio only there.
 *
 * @param take - receives mono chunks at `rate`
 * @param ended - called with the reason if the microphone stops by itself
 * @throws an error that says what happened and what to do
 */
export async function openMicrophone(
  take: (chunk: Float32Array) => void,
  ended: (reason: string) => void,
): Promise<Microphone> {
  const devices = mediaDevices();
  const capture = new Capture();
  try {
    // Both are called before the first `await`, inside the user's gesture.
    capture.start();
    const stream = await devices.getUserMedia({ audio: CONSTRAINTS });
    capture.stream = stream;
    return await connected(capture, stream, take, ended);
  } catch (error) {
    await capture.close();
    throw error instanceof MicrophoneError ? error : new MicrophoneError(explained(error), { cause: error });
  }
}

function mediaDevices(): MediaDevices {
  if (!isSecureContext) {
    throw new MicrophoneError("Browsers give a microphone to pages from this machine or over https only.");
  }
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices?.getUserMedia) throw new MicrophoneError("This browser gives no microphone to pages. Try another browser.");
  return devices;
}

function explained(error: unknown): string {
  if (!(error instanceof Error) && !(error instanceof DOMException)) return `The microphone could not be opened (${String(error)}).`;
  return REASONS[error.name] ?? `The microphone could not be opened (${error.name}: ${error.message}).`;
}

/** The audio context, and the microphone's stream once it is open. They are closed together. */
class Capture {
  context: AudioContext | undefined;
  stream: MediaStream | undefined;
  private resumed: Promise<void> = Promise.resolve();

  /** Create the context and start it. */
  start(rate?: number): void {
    try {
      this.context = new AudioContext(rate === undefined ? {} : { sampleRate: rate });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new MicrophoneError(`The browser cannot process audio (${reason}). Close other pages that use audio.`, { cause: error });
    }
    this.resumed = this.context.resume();
    this.resumed.catch(() => undefined); // `running` looks at it later
  }

  /** Wait until the context runs. Opening the microphone may have interrupted it. */
  async running(): Promise<AudioContext> {
    const context = this.context!;
    const refused = new MicrophoneError("The browser did not start the audio. Check that the system plays sound. Then press the button again.");
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(refused), START_TIMEOUT);
    });
    try {
      await Promise.race([this.resumed, late]);
      if (context.state !== "running") await Promise.race([context.resume(), late]);
    } catch (error) {
      throw error === refused ? error : new MicrophoneError(refused.message, { cause: error });
    } finally {
      clearTimeout(timer);
    }
    return context;
  }

  async close(): Promise<void> {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = undefined;
    const { context } = this;
    this.context = undefined;
    if (context && context.state !== "closed") await context.close();
  }
}

async function connected(
  capture: Capture,
  stream: MediaStream,
  take: (chunk: Float32Array) => void,
  ended: (reason: string) => void,
): Promise<Microphone> {
  const [track] = stream.getAudioTracks();
  if (!track) throw new MicrophoneError("The microphone has no sound. Try another microphone.");
  const source = await sourceOf(capture, stream, track);
  const context = await capture.running();
  const modules = context.audioWorklet as AudioWorklet | undefined;
  if (!modules) throw new MicrophoneError("This browser is too old for the microphone: update it.");
  try {
    await modules.addModule(worklet);
  } catch (error) {
    throw new MicrophoneError("A file of this page could not be loaded: is its server still there? Load the page again.", { cause: error });
  }
  const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => take(data);
  source.connect(node);
  const disconnected = () => ended("The microphone was disconnected.");
  track.addEventListener("ended", disconnected);
  context.onstatechange = () => {
    // Safari only: a phone call, or another app that takes the microphone.
    if ((context.state as string) === "interrupted") ended("The system interrupted the microphone, for example for a call.");
  };
  return {
    rate: context.sampleRate,
    async stop() {
      track.removeEventListener("ended", disconnected);
      context.onstatechange = null;
      node.port.onmessage = null;
      await capture.close();
    },
  };
}

/** Connect the stream. Firefox wants the context at the microphone's own rate, so it gets one if the first has another. */
async function sourceOf(capture: Capture, stream: MediaStream, track: MediaStreamTrack): Promise<MediaStreamAudioSourceNode> {
  const context = capture.context!;
  try {
    return context.createMediaStreamSource(stream);
  } catch (error) {
    const rate = track.getSettings().sampleRate;
    if (!(error instanceof DOMException) || error.name !== "NotSupportedError") throw error;
    const told = (hz: number) => `${hz.toLocaleString("en")} Hz`;
    const failure = new MicrophoneError(
      `The microphone runs at ${rate ? told(rate) : "another sample rate"} and the browser's audio at ${told(context.sampleRate)}, which this browser cannot connect. Set both to one rate in the system's sound settings.`,
      { cause: error },
    );
    if (!rate || rate === context.sampleRate) throw failure;
    await context.close();
    try {
      capture.start(rate);
      return capture.context!.createMediaStreamSource(stream);
    } catch {
      throw failure;
    }
  }
}
