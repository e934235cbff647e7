/** The microphone without echo cancellation, noise suppression and automatic gain control. */
import worklet from "./microphone-worklet?worker&url";

export interface Microphone {
  readonly rate: number;
  stop(): Promise<void>;
}

/** Open the microphone. `take` receives mono chunks at `rate`. `ended` is called if the microphone is disconnected. */
export async function openMicrophone(take: (chunk: Float32Array) => void, ended: () => void): Promise<Microphone> {
  if (!navigator.mediaDevices) {
    throw new Error("The browser gives a microphone to pages from this machine or over https only.");
  }
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    const refused = error instanceof DOMException && error.name === "NotAllowedError";
    throw new Error(refused ? "The microphone was not allowed." : "No microphone was found.");
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule(worklet);
  const source = context.createMediaStreamSource(stream);
  const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => take(data);
  source.connect(node);
  const [track] = stream.getAudioTracks();
  track.addEventListener("ended", ended);
  return {
    rate: context.sampleRate,
    async stop() {
      track.removeEventListener("ended", ended);
      node.port.onmessage = null;
      for (const each of stream.getTracks()) each.stop();
      await context.close();
    },
  };
}
