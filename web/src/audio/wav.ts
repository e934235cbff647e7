/** The chunks of a wav file, and whether the file is complete. Browsers decode a truncated file as a shorter one. */

export interface Chunk {
  readonly name: string;
  /** Start of the content, and its size in bytes according to the header. */
  readonly start: number;
  readonly size: number;
}

/** Size that programs write for a stream of unknown length. Some leave the file's size at 0. */
const UNKNOWN = 0xffffffff;

/** Return the chunks whose headers are in the file. There are none if it is not a wav file. */
export function chunksOf(bytes: Uint8Array): Chunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));
  const chunks: Chunk[] = [];
  if (text(0) !== "RIFF" || text(8) !== "WAVE") return chunks;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    chunks.push({ name: text(at), start: at + 8, size });
    at += 8 + size + (size % 2);
  }
  return chunks;
}

/**
 * Return an error message if a wav file is truncated or has no samples, as the command line does.
 *
 * @returns null if nothing is wrong, or if it is not a wav file
 */
export function flawOf(bytes: Uint8Array): string | null {
  const chunks = chunksOf(bytes);
  if (chunks.length === 0) return null;
  const whole = { start: 8, size: new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true) };
  const data = chunks.find(({ name }) => name === "data");
  const known = [whole, data ?? whole].filter(({ size }) => size !== UNKNOWN);
  const announced = Math.max(0, ...known.map(({ start, size }) => start + size));
  if (bytes.length < announced - 1) {
    const told = (count: number) => count.toLocaleString("en");
    return `This file is truncated: it announces ${told(announced)} bytes and holds ${told(bytes.length)}. Copy it again.`;
  }
  return !data || data.size === 0 || data.start >= bytes.length ? "This file holds no samples." : null;
}
