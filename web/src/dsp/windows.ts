/** Windows: runs of patches that have one score each, as in `runtime/windows.py`. */
import { PATCH_SECONDS } from "../constants";

/** A window: its first patch, its number of patches, and how many patches at its end no earlier window covers. */
export interface WindowSlice {
  readonly start: number;
  readonly size: number;
  readonly added: number;
}

/** Return the number of whole patches in a window of a length in seconds. */
export function windowPatches(seconds: number): number {
  return Math.floor(seconds / PATCH_SECONDS + 1e-9);
}

/** Slice consecutive windows of `length` patches. The last ends with the last patch. A short clip is one window. */
export function sliceWindows(patches: number, length: number): WindowSlice[] {
  const slices: WindowSlice[] = [];
  for (let end = length; end <= patches; end += length) slices.push({ start: end - length, size: length, added: length });
  const added = patches % length;
  if (added > 0) {
    const size = Math.min(length, patches);
    slices.push({ start: patches - size, size, added });
  }
  return slices;
}
