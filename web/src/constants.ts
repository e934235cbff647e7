/** The runtime's constants, generated from the Python package (`web/build.py`). */
import generated from "./generated/constants.json";

/** Hz; the rate at which every network of the family listens. */
export const SAMPLE_RATE = generated.sampleRate;
/** Samples from one patch to the next, and those that a patch reads. */
export const PATCH_SHIFT = generated.patchShift;
export const PATCH_LENGTH = generated.patchLength;
export const PATCH_SECONDS = PATCH_SHIFT / SAMPLE_RATE;
/** Hz, in the order in which the networks read an audiogram. */
export const FREQUENCIES: readonly number[] = generated.frequencies;
/** Those among them that nano looks at. */
export const HEARD: readonly number[] = generated.heard;
/** dB HL that a level may have. */
export const LOWEST_LEVEL = generated.lowestLevel;
export const HIGHEST_LEVEL = generated.highestLevel;
/** Bisgaard et al. (2010) and normal hearing: name to eight levels in dB HL. */
export const AUDIOGRAMS: Readonly<Record<string, readonly number[]>> = generated.audiograms;
/** Peak amplitude up to which samples count as silence. */
export const SILENCE = generated.silence;
/** The design of the NAL-R filter: Hz, dB, seconds of taps, frequency points. */
export const NAL_R: Readonly<{ frequencies: readonly number[]; bias: readonly number[]; seconds: number; grid: number }> =
  generated.nalR;

/** Whole patches in so many samples at 16 kHz. */
export function patchCount(samples: number): number {
  return samples < PATCH_LENGTH ? 0 : 1 + Math.floor((samples - PATCH_LENGTH) / PATCH_SHIFT);
}

/** Seconds at which the last of so many patches ends. */
export function patchEnd(patches: number): number {
  return (patches * PATCH_SHIFT + PATCH_LENGTH - PATCH_SHIFT) / SAMPLE_RATE;
}
