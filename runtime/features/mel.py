"""Log-mel spectrum of the front end of small, and its combination with the texture.

The encoder of small begins with the first layers of a network that was trained on AudioSet. Its input is that network's
log-mel spectrum, up to 8 kHz. Source: Schmid, Koutini & Widmer 2023, "Efficient large-scale audio tagging via
transformer-to-CNN knowledge distillation" (ICASSP), and the authors' implementation (EfficientAT).
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from . import patches as fe
from .texture import detrend, hann, textures

Array = npt.NDArray[np.float32]

MEL_BANDS: Final = 104
"""Bands up to 8 kHz. The original network has 128 of them, up to 15 kHz."""
_ALL_BANDS: Final = 128
_HIGHEST: Final = 15_000.0
"""Upper edge of the last of all bands, Hz. The first one begins at 0 Hz."""
_ORIGINAL_RATE: Final = 32_000
"""Sample rate of the original network, Hz, at which its pre-emphasis is defined."""
_PREEMPHASIS: Final = 0.97
FLOOR: Final = 1e-5
"""Added to the power of a band."""
_BLOCK: Final = 16
"""Patches that are computed at once, which limits the memory."""
OFFSET: Final = 4.5
SCALE: Final = 5.0
"""Features are (log power + `OFFSET`) / `SCALE`."""
SILENT_BANDS: Final = 8
"""Number of the lowest bands, up to about 110 Hz, that hold `SILENT_VALUE`. What rumble leaves would leak into them.
The texture describes these frequencies."""
SILENT_VALUE: Final = -1.4
"""About the value of silence."""


def mel_patches(samples: Array) -> Array:
    """Compute the log-mel spectrum of a signal in whole patches.

    As in the texture's version 2, a direct-current offset and rumble are removed from each patch first.

    Args:
        samples: float32 [n] at 16 kHz, full scale 1.0. Samples after the last whole patch are ignored.

    Returns:
        float32 [patches, 16, 104]: frames of 25 ms every 10 ms.
    """
    count = fe.patch_count(len(samples))
    out = np.empty((count, fe.PATCH_FRAMES, MEL_BANDS), dtype=np.float32)
    if count == 0:
        return out
    patches = fe.overlapping_segments(samples, (count, fe.PATCH_SHIFT), length=fe.PATCH_LENGTH)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        signals = detrend(patches[block])
        each = (len(signals), fe.PATCH_LENGTH), (fe.PATCH_FRAMES, fe.FRAME_SHIFT)
        frames = fe.overlapping_segments(signals.reshape(-1), *each, length=fe.FRAME_LENGTH)
        spectrum = np.fft.rfft(frames * hann(fe.FRAME_LENGTH), fe.FFT_LENGTH, axis=2)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        np.matmul(power, mel_weights(), out=out[block])  # one product per patch: see `texture`
    out += np.float32(FLOOR)
    np.log(out, out=out)
    out += np.float32(OFFSET)
    out /= np.float32(SCALE)
    out[..., :SILENT_BANDS] = SILENT_VALUE
    return out


def texture_mel(samples: Array) -> Array:
    """Compute texture (version 2) and log-mel spectrum of a signal in whole patches, the input of small.

    Args:
        samples: float32 [n] at 16 kHz, full scale 1.0. Samples after the last whole patch are ignored.

    Returns:
        float32 [patches, 16, 136]: the texture [16 planes, 32 bands], then the spectrum [16 frames, 104 bands].
    """
    return np.concatenate([textures(samples, version=2), mel_patches(samples)], axis=2)


@cache
def mel_weights() -> Array:
    """Return the weights of the bins of a frame's power spectrum in each band, float32 [257, 104].

    They contain the gain of the original network's pre-emphasis at the frequency of each bin, and the factor 4 that
    makes up for a frame of half as many samples.
    """
    mel = 1127 * np.log1p(np.arange(fe.FFT_LENGTH // 2 + 1) * fe.SAMPLE_RATE / fe.FFT_LENGTH / 700)
    edges = np.linspace(0, 1127 * np.log1p(_HIGHEST / 700), _ALL_BANDS + 2)
    width = edges[1] - edges[0]
    rising, falling = (mel[:, None] - edges[:-2]) / width, (edges[2:] - mel[:, None]) / width
    triangles = np.maximum(0, np.minimum(rising, falling))[:, :MEL_BANDS]
    radians = 2 * np.pi * np.arange(fe.FFT_LENGTH // 2 + 1) * fe.SAMPLE_RATE / fe.FFT_LENGTH / _ORIGINAL_RATE
    emphasis = np.abs(1 - _PREEMPHASIS * np.exp(-1j * radians)) ** 2
    weights = np.ascontiguousarray(triangles * (4 * emphasis)[:, None], dtype=np.float32)
    weights.flags.writeable = False
    return weights
