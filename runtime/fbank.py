"""Kaldi's log-mel filterbank in numpy: the front end of every network of the family.

`PatchStream` takes samples in any chunks; `fbank` and `patches` take a whole signal and are the same computation.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from . import frontend as fe

Array = npt.NDArray[np.float32]

_BLOCK: Final = 128
"""frames computed at once, whole patches: their spectra stay in the second-level cache"""
_FLOOR: Final = np.finfo(np.float32).eps


@cache
def povey_window() -> Array:
    """Float32 [400]: the symmetric Hann window to the power 0.85, which Kaldi calls Povey's."""
    return _constant(np.hanning(fe.FRAME_LENGTH) ** fe.POVEY_EXPONENT)


@cache
def mel_filters() -> Array:
    """Float32 [256, 128]: weights of the FFT bins 0 to 255 (the Nyquist bin counts nowhere) in each mel band.

    Triangles of equal width on the scale 1127 ln(1 + f / 700), their sides straight on that scale.
    """

    def mel(hz: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.asarray(1127.0 * np.log1p(hz / 700.0))

    low, high = mel(np.array([fe.MEL_LOW, fe.MEL_HIGH]))
    step = (high - low) / (fe.MEL_BINS + 1)
    left = low + step * np.arange(fe.MEL_BINS)
    bins = mel(np.arange(fe.FFT_LENGTH // 2) * (fe.SAMPLE_RATE / fe.FFT_LENGTH))[:, None]
    return _constant(np.maximum(0.0, np.minimum((bins - left) / step, (left + 2 * step - bins) / step)))


def fbank(samples: Array) -> Array:
    """Normalised log-mel features of a signal.

    Args:
        samples: float32 [n] at 16 kHz, n at least 400, full scale 1.0.

    Returns:
        float32 [1 + (n - 400) // 160, 128], (ln energy - 15.41663) / (2 * 6.55582).
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, fe.FRAME_LENGTH)[:: fe.FRAME_SHIFT]
    features = np.empty((len(frames), fe.MEL_BINS), dtype=np.float32)
    padded = np.zeros((_BLOCK, fe.FFT_LENGTH), dtype=np.float32)
    for start in range(0, len(frames), _BLOCK):
        part = frames[start : start + _BLOCK]
        part = part - part.mean(axis=1, keepdims=True)
        work = padded[: -(-len(part) // fe.PATCH_FRAMES) * fe.PATCH_FRAMES]
        windowed = work[: len(part), : fe.FRAME_LENGTH]
        windowed[:, 1:] = part[:, 1:] - np.float32(fe.PREEMPHASIS) * part[:, :-1]
        windowed[:, 0] = part[:, 0] * np.float32(1.0 - fe.PREEMPHASIS)
        windowed *= _scaled_window()
        spectrum = np.fft.rfft(work)[:, : fe.FFT_LENGTH // 2]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        # One product of 16 rows a patch: a BLAS rounds differently by the number of rows, and a patch may not depend
        # on how many others come with it.
        bands = np.matmul(power.reshape(-1, fe.PATCH_FRAMES, fe.FFT_LENGTH // 2), mel_filters())
        features[start : start + len(part)] = bands.reshape(-1, fe.MEL_BINS)[: len(part)]
    np.log(np.maximum(features, _FLOOR, out=features), out=features)
    features -= np.float32(fe.FBANK_MEAN)
    features /= np.float32(2.0 * fe.FBANK_STD)
    return features


def patches(samples: Array) -> Array:
    """Features of a signal in whole patches: float32 [n] at 16 kHz to float32 [patches, 16, 128].

    Samples after the last whole patch are left out; none fit in fewer than 2,800 samples.
    """
    count = fe.patch_count(len(samples))
    if count == 0:
        return np.empty((0, fe.PATCH_FRAMES, fe.MEL_BINS), dtype=np.float32)
    used = samples[: (count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH]
    return fbank(used).reshape(count, fe.PATCH_FRAMES, fe.MEL_BINS)


class PatchStream:
    """Cuts a signal that arrives in chunks into the samples of whole patches; no patch depends on the chunks."""

    def __init__(self) -> None:
        self._rest = np.empty(0, dtype=np.float32)

    def push(self, samples: Array) -> Array:
        """Take samples float32 [n] at 16 kHz; give the samples that the patches completed by them read: float32
        [(p - 1) * 2560 + 2800], or [0] where none is complete."""
        joined = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        count = fe.patch_count(len(joined))
        self._rest = joined[count * fe.PATCH_SHIFT :]
        return joined[: (count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH] if count else joined[:0]


@cache
def _scaled_window() -> Array:
    return _constant(povey_window().astype(np.float64) * fe.WAVE_SCALE)


def _constant(values: npt.NDArray[np.float64]) -> Array:
    constant = values.astype(np.float32)
    constant.flags.writeable = False
    return constant
