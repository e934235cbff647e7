"""Constants of the front end, and functions on patches.

The constants are defined here only; `model/` and `export/` import them.

Source: Kaldi's fbank as used by BEATs and HAAQI-Net (Chen et al. 2023; Wisnu et al. 2025).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE: Final = 16_000
"""Sample rate of every network, Hz."""
FRAME_LENGTH: Final = 400
"""Samples in an fbank frame (25 ms)."""
FRAME_SHIFT: Final = 160
"""Samples from one fbank frame to the next (10 ms)."""
FFT_LENGTH: Final = 512
MEL_BINS: Final = 128
MEL_LOW: Final = 20.0
"""Lower edge of the first triangle, Hz."""
MEL_HIGH: Final = 8_000.0
"""Upper edge of the last triangle, Hz."""
PREEMPHASIS: Final = 0.97
POVEY_EXPONENT: Final = 0.85
WAVE_SCALE: Final = 32_768.0
"""Factor applied to waveforms in [-1, 1], because Kaldi reads 16-bit integers."""
FBANK_MEAN: Final = 15.41663
FBANK_STD: Final = 6.55582
"""Features are normalised as (fbank - FBANK_MEAN) / (2 FBANK_STD)."""
PATCH_FRAMES: Final = 16
"""fbank frames in a patch."""
PATCH_SHIFT: Final = PATCH_FRAMES * FRAME_SHIFT
"""Samples from the start of one patch to the next (2,560; 160 ms)."""
PATCH_LENGTH: Final = (PATCH_FRAMES - 1) * FRAME_SHIFT + FRAME_LENGTH
"""Samples that one patch reads (2,800; 175 ms). This is the shortest audio that can be scored."""
PATCH_SECONDS: Final = PATCH_SHIFT / SAMPLE_RATE


def patch_count(samples: int) -> int:
    """Return the number of whole patches in `samples` samples at 16 kHz."""
    return 0 if samples < PATCH_LENGTH else 1 + (samples - PATCH_LENGTH) // PATCH_SHIFT


def patch_end(patches: int) -> float:
    """Return the time in seconds at which the last of `patches` patches ends."""
    return (patches * PATCH_SHIFT + PATCH_LENGTH - PATCH_SHIFT) / SAMPLE_RATE


def overlapping_segments(
    samples: npt.NDArray[np.float32], *each: tuple[int, int], length: int
) -> npt.NDArray[np.float32]:
    """Return a view of overlapping segments of a signal.

    Equivalent to numpy's `sliding_window_view`, whose checks take longer than the work on one patch.

    Args:
        samples: float32 [n]. The samples are copied only if they are not contiguous.
        each: for each axis, the number of segments and the samples from one to the next. All segments must lie within
            the samples; this is not checked.
        length: samples in a segment.

    Returns:
        float32 [count, ..., length].
    """
    samples = np.ascontiguousarray(samples)
    step = samples.itemsize
    shape, strides = [count for count, _ in each], [shift * step for _, shift in each]
    return np.ndarray((*shape, length), samples.dtype, samples, 0, (*strides, step))
