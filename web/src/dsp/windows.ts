/** Windows: the stretches of patches that one score covers each, as `runtime/windows.py` cuts them. */
import { PATCH_SECONDS } from "../constants";

/** A window: its first patch, its patches, and how many of them, at its end, no earlier window covered. */
export interface Cut {
  readonly start: number;
  readonly size: number;
  readonly added: number;
}

/** Whole patches in a window of so many seconds. */
export function windowPatches(seconds: number): number {
  return Math.floor(seconds / PATCH_SECONDS + 1e-9);
}

/** Consecutive windows of `length` patches, the last one ending with the last patch; a short clip is one window. */
export function cut(patches: number, length: number): Cut[] {
  const cuts: Cut[] = [];
  for (let end = length; end <= patches; end += length) cuts.push({ start: end - length, size: length, added: length });
  const added = patches % length;
  if (added > 0) {
    const size = Math.min(length, patches);
    cuts.push({ start: patches - size, size, added });
  }
  return cuts;
}
