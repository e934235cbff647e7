/**
 * Stand-ins for the audio of iOS Safari, which no test here can run: a context that is created suspended and starts
 * only if `resume` is called while a click is handled; outside of one, `resume` never answers.
 */
import { vi } from "vitest";

/** What happened, in order. */
export const events: string[] = [];
/** Set while a click is handled, up to the first `await` of its handler. */
let gesture = false;

/** Handle a click as browsers do. */
export function click<T>(handler: () => T): T {
  gesture = true;
  try {
    return handler();
  } finally {
    gesture = false;
  }
}

export class Track extends EventTarget {
  stopped = false;
  constructor(readonly rate?: number) {
    super();
  }
  stop(): void {
    this.stopped = true;
  }
  getSettings(): MediaTrackSettings {
    return this.rate === undefined ? {} : { sampleRate: this.rate };
  }
}

export class Stream {
  constructor(readonly tracks: Track[]) {}
  getTracks(): Track[] {
    return this.tracks;
  }
  getAudioTracks(): Track[] {
    return this.tracks;
  }
}

/** What the stand-ins do otherwise than they should. */
export interface Faults {
  /** Thrown by the constructor of the context. */
  context?: Error;
  /** Thrown by `createMediaStreamSource` of a context at this rate. */
  source?: { rate: number; error: Error };
  module?: Error;
  node?: Error;
  noWorklet?: boolean;
  /** Opening the microphone interrupts the context; it runs again if it is resumed. */
  interrupts?: boolean;
  /** `resume` is refused. */
  resume?: Error;
}
let faults: Faults = {};

export class SafariContext {
  static readonly all: SafariContext[] = [];
  state = "suspended";
  onstatechange: (() => void) | null = null;
  currentTime = 0;
  readonly destination = {};
  readonly sampleRate: number;
  readonly audioWorklet: { addModule(): Promise<void> } | undefined;
  readonly sources: { started: [number, number] | null; stopped: boolean; onended: (() => void) | null }[] = [];

  constructor(options: { sampleRate?: number } = {}) {
    if (faults.context) throw faults.context;
    events.push(`context ${gesture ? "in" : "outside"} the gesture`);
    this.sampleRate = options.sampleRate ?? 48_000;
    SafariContext.all.push(this);
    if (!faults.noWorklet) {
      this.audioWorklet = { addModule: () => (faults.module ? Promise.reject(faults.module) : Promise.resolve()) };
    }
  }

  resume(): Promise<void> {
    events.push(`resume ${gesture ? "in" : "outside"} the gesture`);
    if (faults.resume) return Promise.reject(faults.resume);
    if (!gesture && this.state !== "interrupted") return new Promise(() => undefined);
    this.state = "running";
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.state = "closed";
    return Promise.resolve();
  }

  createMediaStreamSource(): { connect(): void } {
    if (faults.source?.rate === this.sampleRate) throw faults.source.error;
    return { connect: () => events.push(`connected at ${this.sampleRate} Hz`) };
  }

  createBufferSource(): unknown {
    const source = {
      started: null as [number, number] | null,
      stopped: false,
      onended: null as (() => void) | null,
      buffer: null,
      connect: () => undefined,
      disconnect: () => undefined,
      start: (when: number, offset: number) => {
        source.started = [when, offset];
      },
      stop: () => {
        source.stopped = true;
      },
    };
    this.sources.push(source);
    return source;
  }
}

class Buffer {
  readonly length: number;
  readonly duration: number;
  samples: Float32Array = new Float32Array(0);
  constructor({ length, sampleRate }: { length: number; sampleRate: number }) {
    this.length = length;
    this.duration = length / sampleRate;
  }
  copyToChannel(samples: Float32Array): void {
    this.samples = samples;
  }
}

export class WorkletNode {
  static last: WorkletNode | null = null;
  readonly port: { onmessage: ((event: { data: Float32Array }) => void) | null } = { onmessage: null };
  constructor() {
    if (faults.node) throw faults.node;
    WorkletNode.last = this;
  }
}

/** Put the stand-ins in place. `microphone` is what `getUserMedia` does. */
export function install(microphone?: () => Promise<Stream>, other: Faults = {}, secure = true): void {
  faults = other;
  events.length = 0;
  SafariContext.all.length = 0;
  vi.stubGlobal("AudioContext", SafariContext);
  vi.stubGlobal("AudioBuffer", Buffer);
  vi.stubGlobal("AudioWorkletNode", WorkletNode);
  vi.stubGlobal("isSecureContext", secure);
  const getUserMedia = async (constraints: MediaStreamConstraints) => {
    events.push(`getUserMedia ${gesture ? "in" : "outside"} the gesture ${JSON.stringify(constraints)}`);
    const stream = await microphone!();
    if (faults.interrupts) SafariContext.all[0].state = "interrupted";
    return stream;
  };
  vi.stubGlobal("navigator", microphone ? { mediaDevices: { getUserMedia } } : {});
}
