/**
 * The chunks of a wav file, and where its samples end. Browsers decode a truncated file as a shorter one, and some read
 * nothing of a file whose header does not know its length.
 *
 * The rules are those of the command line, and so is the table of cases that tests them (`tests/wav_cases.py`): a
 * placeholder means the rest of the file; a size that is too large a truncated file, unless the file is whole by its
 * other size; a size that is too small is ignored.
 */

export interface Chunk {
  readonly name: string;
  /** Start of the content, and its size in bytes according to the header. */
  readonly start: number;
  readonly size: number;
}

export interface Wav {
  /** The file, with a header that holds. */
  readonly bytes: Uint8Array;
  /** Number of frames, or of blocks of a compressed format. */
  readonly frames: number;
}

/** Sizes that ffmpeg, sox and arecord write into pipes, give or take a header. */
const PLACEHOLDERS = [0x7ffff000, 0x7fffffff, 0x80000000, 0xffffffff];
/** Largest error in bytes of a size, if another size shows that the file is whole. */
const SLACK = 256;
/** Shorter tails without structure are garbage rather than audio. */
const MIN_TAIL_SECONDS = 0.25;
const KNOWN_CHUNKS =
  "LIST,id3 ,ID3 ,bext,fact,cue ,smpl,inst,PEAK,afsp,JUNK,junk,_PMX,iXML,LGWV,ResU,acid,axml,cart,DISP,PAD ,pad ,FLLR,umid,minf,elm1,regn,plst,labl,note,ltxt,strc,tlst,data,fmt ,chna,dbmd,levl,link,mext,qlty,INFO".split(
    ",",
  );
const TAGS = ["TAG", "ID3", "APETAGEX", "LYRICSBEGIN"];
const [PCM, FLOAT, EXTENSIBLE] = [1, 3, 0xfffe];

/** Return the chunks whose headers are in the file. There are none if it is not a wav file. */
export function chunksOf(bytes: Uint8Array): Chunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: Chunk[] = [];
  if (textOf(bytes, 0, 4) !== "RIFF" || textOf(bytes, 8, 4) !== "WAVE") return chunks;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    chunks.push({ name: textOf(bytes, at, 4), start: at + 8, size });
    at += 8 + size;
    // A byte follows a chunk of odd size, but some programs leave it out.
    const known = [at, at + 1].map((start) => KNOWN_CHUNKS.includes(textOf(bytes, start, 4)));
    if (size % 2 && !(known[0] && !known[1])) at++;
  }
  return chunks;
}

/**
 * Return a wav file with a header that holds.
 *
 * @returns null if it is not a wav file
 * @throws an error if it is truncated or holds no samples
 */
export function repairWav(bytes: Uint8Array): Wav | null {
  const chunks = chunksOf(bytes);
  if (chunks.length === 0) {
    if (textOf(bytes, 0, 4) !== "RIFF" || textOf(bytes, 8, 4) !== "WAVE") return null;
    throw truncated(bytes.length + 1, bytes.length);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const riff = view.getUint32(4, true);
  const end = isPlaceholder(riff) ? null : 8 + riff;
  const format = chunks.find(({ name }) => name === "fmt ");
  const data = chunks.find(({ name }) => name === "data");
  if (!data || !format || format.start + 16 > bytes.length) {
    const last = chunks[chunks.length - 1];
    const announced = Math.max(end ?? 0, last.start + last.size);
    if (announced > bytes.length + 1) throw truncated(announced, bytes.length);
    throw new Error("This file holds no samples.");
  }
  const align = Math.max(1, view.getUint16(format.start + 12, true));
  const stop = endOfSamples(bytes, data, end, align, view.getUint32(format.start + 8, true));
  const frames = Math.floor((stop - data.start) / align);
  if (frames === 0) throw new Error("This file holds no samples.");
  const codec = view.getUint16(format.start, true);
  const size = frames * align;
  const holds = data.size === size && end !== null && end <= bytes.length;
  if (holds || ![PCM, FLOAT, EXTENSIBLE].includes(codec)) return { bytes, frames };
  const description = bytes.subarray(format.start - 8, Math.min(format.start + format.size, data.start - 8));
  return { bytes: join(description, bytes.subarray(data.start, data.start + size)), frames };
}

/** Return the end of the samples in bytes from the start of the file. */
function endOfSamples(bytes: Uint8Array, data: Chunk, end: number | null, align: number, perSecond: number): number {
  const stop = bytes.length;
  if (isPlaceholder(data.size) && !(data.size === 0 && isChunk(bytes, data.start))) return stop;
  const missing = data.start + data.size - stop;
  const complete = end !== null && Math.abs(end - stop) <= 1;
  if (missing >= align && !(complete && missing <= SLACK)) throw truncated(data.start + data.size, stop);
  const used = Math.min(stop, data.start + data.size);
  const after = used + ((used - data.start) % 2);
  const limit = end === null ? stop : Math.min(end, stop);
  if (isChunk(bytes, after)) return used;
  if (limit > after) return isAudio(bytes, used, limit, perSecond) ? limit : used;
  if (TAGS.some((tag) => textOf(bytes, used, tag.length) === tag)) return used;
  return isAudio(bytes, used, stop, perSecond) ? stop : used;
}

function isPlaceholder(size: number): boolean {
  return size === 0 || PLACEHOLDERS.some((value) => Math.abs(size - value) <= SLACK);
}

/** Return whether a chunk begins at a position: a known one, or one that ends within the file. */
function isChunk(bytes: Uint8Array, at: number): boolean {
  if (at + 8 > bytes.length) return at >= bytes.length;
  const name = textOf(bytes, at, 4);
  const size = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at + 4, true);
  return KNOWN_CHUNKS.includes(name) || (/^[ -~]{4}$/.test(name) && at + 8 + size <= bytes.length);
}

/** Return whether bytes are more audio than the header announces: neither few nor zeros. */
function isAudio(bytes: Uint8Array, start: number, stop: number, perSecond: number): boolean {
  return stop - start >= MIN_TAIL_SECONDS * perSecond && bytes.subarray(start, stop).some((byte) => byte !== 0);
}

/** Return a wav file of the chunk `fmt ` and samples. */
function join(description: Uint8Array, samples: Uint8Array): Uint8Array {
  const padding = description.length % 2;
  const head = 12 + description.length + padding + 8;
  const bytes = new Uint8Array(head + samples.length);
  const view = new DataView(bytes.buffer);
  const put = (text: string, at: number) => bytes.set([...text].map((letter) => letter.charCodeAt(0)), at);
  put("RIFF", 0);
  view.setUint32(4, bytes.length - 8, true);
  put("WAVE", 8);
  bytes.set(description, 12);
  put("data", head - 8);
  view.setUint32(head - 4, samples.length, true);
  bytes.set(samples, head);
  return bytes;
}

function truncated(announced: number, there: number): Error {
  const told = (count: number) => count.toLocaleString("en");
  return new Error(
    `This file is truncated: it announces ${told(announced)} bytes and holds ${told(there)}. Copy it again.`,
  );
}

function textOf(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}
