"""The front end's constants, the one place they are written: `model/` and `export/` read them from here; patches.

Source: Kaldi's fbank as BEATs and HAAQI-Net use it (Chen et al. 2023; Wisnu et al. 2025).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE: Final = 16_000
"""Hz; every network of the family listens at this rate."""
FRAME_LENGTH: Final = 400
"""samples (25 ms)"""
FRAME_SHIFT: Final = 160
"""samples (10 ms)"""
FFT_LENGTH: Final = 512
MEL_BINS: Final = 128
MEL_LOW: Final = 20.0
"""Hz, lower edge of the first triangle"""
MEL_HIGH: Final = 8_000.0
"""Hz, upper edge of the last triangle"""
PREEMPHASIS: Final = 0.97
POVEY_EXPONENT: Final = 0.85
WAVE_SCALE: Final = 32_768.0
"""Kaldi reads 16-bit integers: waveforms in [-1, 1] are scaled by this."""
FBANK_MEAN: Final = 15.41663
FBANK_STD: Final = 6.55582
"""features are normalised as (fbank - FBANK_MEAN) / (2 FBANK_STD)"""
PATCH_FRAMES: Final = 16
"""fbank frames in a patch"""
PATCH_SHIFT: Final = PATCH_FRAMES * FRAME_SHIFT
"""samples between the starts of two patches (2,560; 160 ms)"""
PATCH_LENGTH: Final = (PATCH_FRAMES - 1) * FRAME_SHIFT + FRAME_LENGTH
"""samples that one patch reads (2,800; 175 ms): the least that can be scored"""
PATCH_SECONDS: Final = PATCH_SHIFT / SAMPLE_RATE


def patch_count(samples: int) -> int:
    """Whole patches in `samples` samples at 16 kHz."""
    return 0 if samples < PATCH_LENGTH else 1 + (samples - PATCH_LENGTH) // PATCH_SHIFT


def patch_end(patches: int) -> float:
    """Seconds at which the last of so many patches ends."""
    return (patches * PATCH_SHIFT + PATCH_LENGTH - PATCH_SHIFT) / SAMPLE_RATE


def stretches(samples: npt.NDArray[np.float32], *each: tuple[int, int], length: int) -> npt.NDArray[np.float32]:
    """A view of overlapping stretches of samples float32 [n]: float32 [count, ..., length].

    Args:
        samples: not copied where they lie in one piece.
        each: of every axis how many stretches, and how many samples apart; all must lie within the samples.
        length: of a stretch.

    As numpy's `sliding_window_view`, whose checks take longer than the work on one patch.
    """
    samples = np.ascontiguousarray(samples)
    step = samples.itemsize
    shape, strides = [count for count, _ in each], [shift * step for _, shift in each]
    return np.ndarray((*shape, length), samples.dtype, samples, 0, (*strides, step))
