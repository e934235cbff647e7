"""HAAQI version 1: the music-quality index that the networks learn to predict.

Kates & Arehart (2016), J. Audio Eng. Soc. 64(11). The auditory model, the modulation filterbank and the spectral
terms are pyclarity's; its two slowest steps, thousands of short Python-level sums, are written here as kernels that
give the same numbers (`tests/training/test_haaqi.py` compares the index with pyclarity's `compute_haaqi`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ..runtime.audiogram import Audiogram
from ..runtime.errors import AudioError, DependencyError
from ..runtime.levels import LEVEL1

HAAQI_FREQUENCIES: Final = (250, 500, 1000, 2000, 4000, 6000)
"""Hz; the only hearing levels that the index reads"""
SMOOTHING: Final = 8
"""ms, envelope smoothing window (50% overlap)"""
COVARIANCE_SEGMENT: Final = 16
"""ms, segments of the basilar-membrane covariance (50% overlap)"""
_SILENCE: Final = 2.5
"""dB SL, bands below do not count"""

Array = npt.NDArray[np.float64]


class Haaqi(NamedTuple):
    """The index, 0 to 1, and what it is made of (Kates & Arehart 2016, eqs. 9 to 13)."""

    score: float
    nonlinear: float
    linear: float
    cepstral: float
    """cepstral correlation of the envelope modulations, high modulation rates"""
    synchrony: float
    """basilar-membrane vibration correlation with loss of synchrony at high frequencies"""
    loudness: float
    """1 minus the standard deviation of the loudness spectra's difference"""
    spectrum: float
    """1 minus the standard deviation of the normalised spectra's difference"""


@dataclass(frozen=True)
class Ear:
    """Who listens, and how loud.

    Attributes:
        audiogram: hearing levels; HAAQI reads those at `HAAQI_FREQUENCIES`.
        level1: dB SPL of a signal whose RMS is 1.0.
    """

    audiogram: Audiogram
    level1: float = LEVEL1


class Reference:
    """A clean signal, as a listener would hear it amplified by NAL-R, to compare processed ones with.

    Args:
        signal: float [samples] in [-1, 1], the unamplified original.
        rate: Hz.
        ear: the listener.
        seed: of the noise that stands for the auditory threshold.
    """

    def __init__(self, signal: Array, rate: int, ear: Ear, seed: int = 0) -> None:
        if importlib.util.find_spec("clarity") is None:
            raise DependencyError("HAAQI needs pyclarity: pip install --no-deps pyclarity, beside haaqi-edge[train]")
        self.signal, self.rate, self.ear, self.seed = _checked(signal, "reference"), rate, ear, seed

    def score(self, processed: Array, rate: int) -> Haaqi:
        """The quality of a processed (and amplified) version, float [samples] at `rate` Hz, at the same `level1`."""
        from clarity.evaluator.haspi import eb

        with _noise_seed(self.seed):
            (env_x, bm_x, env_y, bm_y, sl_x, sl_y, model_rate) = eb.ear_model(
                self.signal,
                self.rate,
                _checked(processed, "processed"),
                rate,
                self.ear.audiogram.at(HAAQI_FREQUENCIES),
                1,  # the model amplifies the reference by NAL-R itself
                self.ear.level1,
            )
            smooth_x, smooth_y = (env_smooth(env, SMOOTHING, model_rate) for env in (env_x, env_y))
            cepstral = float(eb.melcor9(smooth_x, smooth_y, _SILENCE, 0.0, SMOOTHING)[2])
        covariance, mean_square = bm_covariance(bm_x, bm_y, COVARIANCE_SEGMENT, model_rate)
        synchrony = float(eb.ave_covary2(covariance, mean_square, _SILENCE)[1][4])
        loudness_stats, spectrum_stats, _ = eb.spectrum_diff(sl_x, sl_y)
        loudness = float(np.clip(1.0 - loudness_stats[1] / 2.5, 0, 1))
        spectrum = float(np.clip(1.0 - spectrum_stats[1] / 25.0, 0, 1))
        nonlinear = 0.754 * cepstral**3 + 0.246 * synchrony
        linear = 0.329 * loudness + 0.671 * spectrum
        score = 0.336 * nonlinear + 0.001 * linear + 0.501 * nonlinear**2 + 0.161 * linear**2
        return Haaqi(*map(float, (score, nonlinear, linear, cepstral, synchrony, loudness, spectrum)))


def env_smooth(envelopes: Array, segment_ms: float, rate: float) -> Array:
    """Smooth and decimate envelopes by half-overlapping raised-cosine windows.

    Args:
        envelopes: float [bands, samples].
        segment_ms: window length.
        rate: Hz.

    Returns:
        float [bands, segments], the first and last of half a window; as pyclarity's `eb.env_smooth`.
    """
    width = round(segment_ms * 0.001 * rate)
    width += width % 2
    half, window = width // 2, np.hanning(width)
    samples = envelopes.shape[1]
    segments = 1 + samples // width + int((samples - width / 2) // width)
    smooth = np.empty((len(envelopes), segments))
    smooth[:, 0] = envelopes[:, :half] @ window[half:] / window[half:].sum()
    whole = np.lib.stride_tricks.sliding_window_view(envelopes, width, axis=1)[:, half::half][:, : segments - 2]
    smooth[:, 1:-1] = whole @ window / window.sum()
    last = half * (segments - 1)
    smooth[:, -1] = envelopes[:, last : last + half] @ window[:half] / window[half:].sum()
    return smooth


def bm_covariance(reference: Array, processed: Array, segment_ms: float, rate: float) -> tuple[Array, Array]:
    """Short-time normalised covariance of basilar-membrane motion within 1 ms of lag.

    Args:
        reference, processed: float [bands, samples].
        segment_ms: segment length, half-overlapping.
        rate: Hz.

    Returns:
        covariance [bands, segments] in 0 to 1, and the reference's mean square [bands, segments]; as pyclarity's
        `eb.bm_covary`.
    """
    width = round(segment_ms * 0.001 * rate)
    width += width % 2
    samples = reference.shape[1]
    segments = 1 + samples // width + int((samples - width / 2) // width)
    x, y = np.ascontiguousarray(reference), np.ascontiguousarray(processed)
    covariance, mean_square = _covariance(x, y, np.hanning(width), segments, round(0.001 * rate))
    return covariance, mean_square


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _correlate(x: Array, y: Array, max_lag: int) -> Array:  # pragma: no cover - compiled
    """sum_n x[n] y[n - lag] for lags -max_lag to max_lag."""
    out = np.empty(2 * max_lag + 1)
    n = len(x)
    for lag in range(-max_lag, max_lag + 1):
        a = x[max(0, lag) : min(n, n + lag)]
        b = y[max(0, -lag) : min(n, n - lag)]
        total = 0.0
        for i in range(len(a)):  # from 0 and equal lengths: the compiler can vectorise it
            total += a[i] * b[i]
        out[lag + max_lag] = total
    return out


@numba.njit(cache=True)
def _covariance(x: Array, y: Array, window: Array, segments: int, max_lag: int) -> Any:  # pragma: no cover - compiled
    small = 1e-30
    half = len(window) // 2
    covariance = np.zeros((x.shape[0], segments))
    mean_square = np.zeros((x.shape[0], segments))
    whole_norm = 1.0 / _correlate(window, window, max_lag)
    half_norm = 1.0 / _correlate(window[half:], window[half:], max_lag)
    for band in range(x.shape[0]):
        for segment in range(segments):
            start = half * segment
            w, norm = window, whole_norm
            if segment == 0:
                w, norm = window[half:], half_norm
            elif segment == segments - 1:
                w, norm = window[:half], half_norm
            a = x[band, start : start + len(w)] * w
            b = y[band, start : start + len(w)] * w
            a = a - a.mean()
            b = b - b.mean()
            power = 1.0 / np.sum(w**2)
            energy_a, energy_b = np.sum(a**2) * power, np.sum(b**2) * power
            if energy_a > small and energy_b > small:
                peak = np.abs(_correlate(a, b, max_lag) * norm).max()
                covariance[band, segment] = min(peak / np.sqrt(energy_a * energy_b), 1.0)
            mean_square[band, segment] = 2.0 * energy_a
    return covariance, mean_square


def _checked(signal: Array, which: str) -> Array:
    signal = np.asarray(signal, dtype=np.float64)
    if signal.ndim != 1 or len(signal) == 0 or not np.isfinite(signal).all():
        raise AudioError(f"the {which} signal must be finite samples of one channel, got shape {signal.shape}")
    return signal


@contextmanager
def _noise_seed(seed: int) -> Iterator[None]:
    """pyclarity draws its threshold noise from numpy's global generator: seed it, and put it back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
