/** The runtime's constants, generated from the Python package (`web/build.py`). */
import generated from "./generated/constants.json";

/** Sample rate of all networks in Hz. */
export const SAMPLE_RATE = generated.sampleRate;
/** Samples from the start of one patch to the next, and samples that a patch reads. */
export const PATCH_SHIFT = generated.patchShift;
export const PATCH_LENGTH = generated.patchLength;
export const PATCH_SECONDS = PATCH_SHIFT / SAMPLE_RATE;
/** Frequencies of an audiogram in Hz, in the networks' order. */
export const FREQUENCIES: readonly number[] = generated.frequencies;
/** Those of them that nano reads. */
export const NANO_FREQUENCIES: readonly number[] = generated.nanoFrequencies;
/** Range of a hearing level in dB HL. */
export const LOWEST_LEVEL = generated.lowestLevel;
export const HIGHEST_LEVEL = generated.highestLevel;
/** Standard audiograms of Bisgaard et al. (2010) and normal hearing: eight levels in dB HL by name. */
export const AUDIOGRAMS: Readonly<Record<string, readonly number[]>> = generated.audiograms;
/** Peak amplitude up to which samples count as silence. */
export const SILENCE = generated.silence;
/** The design of the NAL-R filter: Hz, dB, seconds of taps, frequency points. */
export const NAL_R: Readonly<{ frequencies: readonly number[]; bias: readonly number[]; seconds: number; grid: number }> =
  generated.nalR;

/** Return the number of whole patches in a number of samples at 16 kHz. */
export function patchCount(samples: number): number {
  return samples < PATCH_LENGTH ? 0 : 1 + Math.floor((samples - PATCH_LENGTH) / PATCH_SHIFT);
}

/** Return the end in seconds of the last of a number of patches. */
export function patchEnd(patches: number): number {
  return (patches * PATCH_SHIFT + PATCH_LENGTH - PATCH_SHIFT) / SAMPLE_RATE;
}
