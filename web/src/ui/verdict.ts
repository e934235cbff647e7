/** What two scores say about two versions of one piece, in plain words (`docs/how-to-read-a-score.md`). */

export interface Compared {
  readonly score: number | null;
  readonly seconds: number;
  /** dB SPL before amplification. */
  readonly level: number;
}

/** Formats of one file differ by less than this: it is no difference. */
const EQUAL = 0.005;
/** Differences of length (seconds, and part of the longer one) and level (dB) from which two versions are hard to compare. */
const LENGTH = 0.5;
const PART = 0.02;
const LEVEL = 1;

/** Return the difference as it is shown: of the scores with two decimals, so that it fits them. */
export function difference(from: number, to: number): number {
  return (Math.round(100 * to) - Math.round(100 * from)) / 100;
}

/** Say which of A and B scores higher, and by how much. */
export function comparison(a: Compared, b: Compared): string {
  if (a.score === null || b.score === null) return "A and B cannot be compared: one of them has no score.";
  const by = difference(a.score, b.score);
  if (Math.abs(by) < EQUAL) return "A and B score the same.";
  return `B scores ${Math.abs(by).toFixed(2)} ${by < 0 ? "lower" : "higher"} than A.`;
}

/** Name what makes the comparison unfair: other lengths, other levels. */
export function caveats(a: Compared, b: Compared): string[] {
  const found: string[] = [];
  const [longer, shorter] = [Math.max(a.seconds, b.seconds), Math.min(a.seconds, b.seconds)];
  if (longer - shorter > Math.max(LENGTH, PART * longer)) {
    found.push(`A lasts ${a.seconds.toFixed(1)} s and B ${b.seconds.toFixed(1)} s: compare the same part of the piece.`);
  }
  const louder = Math.round(b.level) - Math.round(a.level);
  if (Math.abs(louder) > LEVEL) {
    found.push(
      `B is ${Math.abs(louder)} dB ${louder > 0 ? "louder" : "softer"} than A, and the score depends on the level: compare at one level, unless the level is what you changed.`,
    );
  }
  return found;
}
