"""Kaldi's log-mel filterbank in numpy, the front end of the teacher and the student.

`fbank` and `patches` compute the features of a whole signal. `PatchStream` splits a signal that arrives in chunks into
whole patches.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import patches as fe

Array = npt.NDArray[np.float32]

_BLOCK: Final = 128
"""Frames that are computed at once; their spectra fit in the second-level cache."""
_FLOOR: Final = np.finfo(np.float32).eps


@cache
def povey_window() -> Array:
    """Return Kaldi's Povey window, float32 [400]: the symmetric Hann window to the power 0.85."""
    return _constant(np.hanning(fe.FRAME_LENGTH) ** fe.POVEY_EXPONENT)


@cache
def mel_filters() -> Array:
    """Return the weight of each FFT bin in each mel band, float32 [256, 128].

    The rows are the FFT bins 0 to 255; the Nyquist bin has no weight. The filters are triangles of equal width on the
    scale 1127 ln(1 + f / 700), with straight sides on that scale.
    """

    place, band = _mel_places()[:, None], np.arange(fe.MEL_BINS)
    return _constant(np.maximum(0.0, np.minimum(place - band, band + 2 - place)))


def fbank(samples: Array) -> Array:
    """Compute the normalised log-mel features of a signal.

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
        work = padded[: len(part)]
        windowed = work[:, : fe.FRAME_LENGTH]
        windowed[:, 1:] = part[:, 1:] - np.float32(fe.PREEMPHASIS) * part[:, :-1]
        windowed[:, 0] = part[:, 0] * np.float32(1.0 - fe.PREEMPHASIS)
        windowed *= _scaled_window()
        spectrum = np.fft.rfft(work)[:, : fe.FFT_LENGTH // 2]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        features[start : start + len(part)] = _mel_bands(power)
    np.log(np.maximum(features, _FLOOR, out=features), out=features)
    features -= np.float32(fe.FBANK_MEAN)
    features /= np.float32(2.0 * fe.FBANK_STD)
    return features


def patches(samples: Array) -> Array:
    """Compute the features of a signal in whole patches.

    Samples after the last whole patch are ignored. A signal of fewer than 2,800 samples has no patch.

    Args:
        samples: float32 [n] at 16 kHz.

    Returns:
        float32 [patches, 16, 128].
    """
    count = fe.patch_count(len(samples))
    if count == 0:
        return np.empty((0, fe.PATCH_FRAMES, fe.MEL_BINS), dtype=np.float32)
    used = samples[: (count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH]
    return fbank(used).reshape(count, fe.PATCH_FRAMES, fe.MEL_BINS)


class PatchStream:
    """Splitter of a signal that arrives in chunks into the samples of whole patches.

    The patches do not depend on how the signal is split into chunks.

    Args:
        block: patches that the encoder reads together. Only whole blocks are returned before `finish`.
    """

    def __init__(self, block: int = 1) -> None:
        self._rest, self._block = np.empty(0, dtype=np.float32), block

    def push(self, samples: Array) -> Array:
        """Add samples, and return those that the newly completed patches read.

        Args:
            samples: float32 [n] at 16 kHz.

        Returns:
            float32 [(p - 1) * 2560 + 2800] for p patches of completed blocks, or [0] if no block is complete.
        """
        joined = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        count = fe.patch_count(len(joined)) // self._block * self._block
        self._rest = joined[count * fe.PATCH_SHIFT :]
        return joined[: (count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH] if count else joined[:0]

    def finish(self) -> Array:
        """End the signal, and return the samples that the whole patches of the incomplete block read; see `push`."""
        rest, self._rest = self._rest, self._rest[:0]
        return rest if fe.patch_count(len(rest)) else rest[:0]


def _mel_places() -> npt.NDArray[np.float64]:
    """Return the position of each FFT bin on the axis of mel bands, float64 [256].

    Band b rises from b to b + 1 and falls to b + 2.
    """
    bins = np.arange(fe.FFT_LENGTH // 2) * (fe.SAMPLE_RATE / fe.FFT_LENGTH)
    mel = 1127.0 * np.log1p(np.array([fe.MEL_LOW, fe.MEL_HIGH, *bins]) / 700.0)
    return np.asarray((mel[2:] - mel[0]) / (mel[1] - mel[0]) * (fe.MEL_BINS + 1))


class _Slopes(NamedTuple):
    """The mel triangles as sums over neighbouring bins. In each bin, one band falls and the next one rises."""

    bins: slice
    rise: Array
    fall: Array
    starts: npt.NDArray[np.intp]
    bands: npt.NDArray[np.intp]


@cache
def _slopes() -> _Slopes:
    place = _mel_places()
    first, last = np.flatnonzero((place > 0) & (place < fe.MEL_BINS + 1))[[0, -1]]
    within = place[first : last + 1]
    bands, starts = np.unique(within.astype(np.intp), return_index=True)
    rise = _constant(within % 1.0)
    return _Slopes(slice(int(first), int(last) + 1), rise, _constant(1.0 - within % 1.0), starts, bands)


def _mel_bands(power: Array) -> Array:
    """Multiply power spectra, float32 [frames, 256], by `mel_filters`; the result is [frames, 128].

    A matrix product would have two disadvantages. A BLAS rounds differently for different numbers of rows, so a patch
    would depend on the size of its batch. Its threads spin, which takes a hundred times as long on a busy machine.
    """
    slopes = _slopes()
    used = power[:, slopes.bins]
    bands = np.zeros((len(power), fe.MEL_BINS + 2), dtype=np.float32)
    bands[:, slopes.bands + 1] = np.add.reduceat(used * slopes.rise, slopes.starts, axis=1)
    bands[:, slopes.bands] += np.add.reduceat(used * slopes.fall, slopes.starts, axis=1)
    return bands[:, 1:-1]


@cache
def _scaled_window() -> Array:
    return _constant(povey_window().astype(np.float64) * fe.WAVE_SCALE)


def _constant(values: npt.NDArray[np.float64]) -> Array:
    constant = values.astype(np.float32)
    constant.flags.writeable = False
    return constant
