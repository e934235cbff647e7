"""The four terms of HAAQI, from the outputs of the hair cells for two sounds (Kates & Arehart 2016, eqs. 5 to 12).

They are the cepstral correlation of envelope modulations (pyclarity's `melcor9`), the synchrony of the motion
(`bm_covary`, `ave_covary2`), and two differences of long-term spectra (`spectrum_diff`).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy import signal

from . import segments
from .cochlea import BANDS, RATE, centre_frequencies
from .kernels import PAD, SMOOTHING
from .segments import SEGMENT

_SILENCE: Final = 2.5
"""dB above threshold; quieter windows and segments are ignored"""
_CEPSTRA: Final = 5
_EDGES: Final = (20.0, 32.0, 50.0, 80.0)
"""lower edges in Hz of the four high modulation bands; the last band has no upper edge"""
_TAPS: Final = 129
"""length of the modulation filters, half a second"""

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]


def loud_windows(smooth: Array) -> npt.NDArray[np.int64]:
    """Return the windows of a reference's envelopes [32, windows] that are above threshold, or none if there is one."""
    loud = np.flatnonzero(_phons(smooth) > _SILENCE)
    return loud if len(loud) > 1 else loud[:0]


def modulations(smooth: Array) -> Array:
    """Return band-pass filtered cepstra [4, 5, windows] without their means, of envelopes [32, windows]."""
    basis = np.cos(np.outer(np.arange(1, _CEPSTRA + 1), np.arange(BANDS)) * np.pi / (BANDS - 1))
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    cepstra = np.einsum("kb,bn->kn", basis, smooth)
    cepstra -= cepstra.mean(axis=1, keepdims=True)
    count, half = cepstra.shape[1], _TAPS // 2
    length = scipy.fft.next_fast_len(count + _TAPS - 1, real=True)
    product = scipy.fft.rfft(cepstra, length)[None] * _filter_spectra(length)[:, None]
    found = scipy.fft.irfft(product, length)[..., half : half + count]
    return np.asarray(found - found.mean(axis=-1, keepdims=True))


def cepstral_correlation(x: Array, y: Array) -> float:
    """Return the mean magnitude of normalized correlations along the last axis. They are 0 for constant signals."""
    xx, yy, xy = (np.einsum("...n,...n->...", a, b) for a, b in ((x, x), (y, y), (x, y)))
    known = (xx > 1e-30) & (yy > 1e-30)
    return float(np.mean(np.where(known, np.abs(xy) / np.sqrt(np.where(known, xx * yy, 1.0)), 0.0)))


def audible_segments(motion: Single, samples: int) -> npt.NDArray[np.bool_]:
    """Return which segments [32, segments] of a reference's motion are above threshold, per band and in total."""
    half = SEGMENT // 2
    count = 1 + samples // SEGMENT + (samples - half) // SEGMENT
    mean_square = np.empty((BANDS, count))
    window, _, power = _windows()
    segments.mean_squares(motion, PAD, motion.shape[1], window, power, mean_square)
    level = np.sqrt(2 * mean_square)  # the envelope in dB above threshold
    loud = _phons(level) > _SILENCE
    return (level > _SILENCE) & loud & (np.count_nonzero(loud) > 1)


def covariances(x: Single, y: Single, audible: npt.NDArray[np.bool_]) -> Single:
    """Return the largest normalized covariances [32, segments] of two motions within 1 ms. Inaudible ones are 0."""
    found = np.zeros(audible.shape, np.float32)
    if audible.any():
        window, norms, _ = _windows()
        segments.covariances(x, y, PAD, x.shape[1], window, norms, audible, found)
    return found


def synchrony(covariance: Single, audible: npt.NDArray[np.bool_]) -> float:
    """Return the mean covariance of audible segments [32, segments], with smaller weights for high bands.

    It is 0 if no segment is audible.
    """
    if not audible.any():
        return 0.0
    weights = audible * _synchrony_weights()[:, None]
    return float((weights * covariance).sum() / weights.sum())


def spectrum_terms(reference: Array, processed: Array) -> tuple[float, float]:
    """Return the loudness and the spectrum term of long-term levels [32] in dB above threshold (Moore & Tan 2004)."""
    x, y = (10 ** (level / 20) for level in (reference, processed))
    x, y = x / x.sum(), y / y.sum()
    loudness, spectrum = (BANDS * np.std(part) for part in (x - y, (x - y) / (x + y)))
    return float(np.clip(1 - loudness / 2.5, 0, 1)), float(np.clip(1 - spectrum / 25, 0, 1))


def _phons(level: Array) -> Array:
    """Return the loudness levels [segments] of band levels [32, segments] in dB above threshold."""
    return np.asarray(20 * np.log10(np.mean(10 ** (level / 20), axis=0)))


@lru_cache(maxsize=1)
def _windows() -> tuple[Single, Single, Array]:
    """Return the window of the covariance, the norms of its lags for whole and half window, and their power [2]."""
    window = np.hanning(SEGMENT)
    parts = window, window[SEGMENT // 2 :]
    power = np.array([np.sum(part**2) for part in parts])
    norms = []
    for part, total in zip(parts, power, strict=True):
        middle = len(part) - 1
        norms.append(total / np.correlate(part, part, "full")[middle - segments.LAGS : middle + segments.LAGS + 1])
    return window.astype(np.float32), np.stack(norms).astype(np.float32), power


@lru_cache(maxsize=1)
def _synchrony_weights() -> Array:
    """Return the loss of synchrony [32]: a fifth-order low-pass at 3.5 kHz (Johnson 1980)."""
    return np.asarray(np.sqrt(3500.0**10 / (3500.0**10 + centre_frequencies() ** 10)))


@lru_cache(maxsize=1)
def _filters() -> Array:
    """Return FIR filters [4, taps] of the high modulation bands, 20 to 125 Hz, at a rate of 250 Hz."""
    rate = RATE / SMOOTHING
    filters = [
        signal.firwin(_TAPS, [low, high], window="hann", pass_zero="bandpass", fs=rate)
        for low, high in pairwise(_EDGES)
    ]
    return np.stack([*filters, signal.firwin(_TAPS, _EDGES[-1], window="hann", pass_zero="highpass", fs=rate)])


@lru_cache(maxsize=8)
def _filter_spectra(length: int) -> npt.NDArray[np.complex128]:
    return np.asarray(scipy.fft.rfft(_filters(), length))
