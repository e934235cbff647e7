"""Aligning each band of the processed signal with the reference's, within 100 ms, as HAAQI does.

The peak of a correlation of some 100,000 samples at 4,800 lags is found in two steps: the bands' base-band signals,
`DECIMATION` times slower, are correlated by FFT and interpolated to every lag; the exact correlation is then summed
at the peaks and beside them only. Where a band's sound lies so far from its centre that decimation loses it (what is
left of loud low notes in a high band that is nearly empty), the exact correlation is computed at all lags.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.fft

from .cochlea import BANDS, RATE, centre_frequencies
from .kernels import DECIMATION, PAD, correlations
from .simd import jit

LAGS: Final = 2400
"""samples, 100 ms"""
_TAPS: Final = 16
_COARSE: Final = LAGS // DECIMATION + _TAPS // 2
"""coarse lags either way that the interpolation needs"""
_RIVAL: Final = 0.02
"""of the range between lowest and highest guess: peaks that are less below the highest are looked at exactly"""
_MARGIN: Final = 1.0
"""of the largest error that a guess may have: all lags that are less below the highest are looked at exactly"""
_MANY: Final = 150
"""such lags, from which on the exact correlation is computed at all lags"""
_UNKNOWN: Final = LAGS + 1

Complex = npt.NDArray[np.complex64]
Single = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class Aligner:
    """A reference's bands, to find the delays of others against.

    Args:
        signals: the bands' envelopes or motion, [32, PAD + samples + PAD].
        coarse: the same at base band, summed over `DECIMATION` samples, [32, samples / DECIMATION].
        carried: whether the signals oscillate around the bands' centre frequencies (motion), or not (envelopes).
    """

    def __init__(self, signals: Single, coarse: Complex, carried: bool) -> None:
        self._signals, self._carried = signals, carried
        self._samples = signals.shape[1] - 2 * PAD
        self._length = scipy.fft.next_fast_len(coarse.shape[1] + _COARSE)
        self._spectra = self._transformed(coarse)
        self._lost = self._lost_energy(signals, coarse)
        self._exact: dict[int, Complex] = {}

    def delays(self, signals: Single, coarse: Complex) -> Integers:
        """Samples [32] from -LAGS to LAGS - 1 by which other bands of the same length are behind the reference's."""
        correlation = self._coarse_correlations(self._transformed(coarse))
        real, imaginary = (np.ascontiguousarray(part, np.float32) for part in (correlation.real, correlation.imag))
        # What decimation loses of both signals can change their correlation by this much at most (Cauchy, Schwarz).
        error = DECIMATION * np.sqrt(self._lost * self._lost_energy(signals, coarse))
        found = np.zeros(BANDS, np.int64)
        tables = _interpolation(), _carriers()
        _peaks(self._signals, signals, PAD, self._samples, real, imaginary, *tables, self._carried, error, found)
        for band in np.flatnonzero(found == _UNKNOWN):
            found[band] = self._exact_delay(int(band), signals)
        return found

    def _transformed(self, coarse: Complex) -> Complex:
        """Spectra [32, length], long enough to correlate at the lags that are needed."""
        return np.asarray(scipy.fft.fft(coarse, self._length, axis=1))

    def _coarse_correlations(self, spectra: Complex) -> Complex:
        """Correlations [32, 2 _COARSE + 1] with the reference at multiples of `DECIMATION`."""
        product = np.conj(self._spectra)
        product *= spectra
        product *= _droop(self._length)
        correlation = scipy.fft.ifft(product, axis=1, overwrite_x=True)
        return np.concatenate([correlation[:, -_COARSE:], correlation[:, : _COARSE + 1]], axis=1)

    def _lost_energy(self, signals: Single, coarse: Complex) -> npt.NDArray[np.float64]:
        """The part [32] of the energy of base-band signals that their sums over `DECIMATION` samples don't hold."""
        energy = np.einsum("bn,bn->b", signals, signals).astype(np.float64) * (2 if self._carried else 1)
        kept = np.einsum("bn,bn->b", coarse.real, coarse.real) + np.einsum("bn,bn->b", coarse.imag, coarse.imag)
        return np.asarray(np.maximum(energy - kept / DECIMATION, 0.0))

    def _exact_delay(self, band: int, signals: Single) -> int:
        length = scipy.fft.next_fast_len(self._samples + LAGS, real=True)
        if band not in self._exact:
            self._exact[band] = np.conj(scipy.fft.rfft(self._signals[band, PAD:-PAD], length))
        product = self._exact[band] * scipy.fft.rfft(signals[band, PAD:-PAD], length)
        correlation = scipy.fft.irfft(product, length)
        return int(np.argmax(np.concatenate([correlation[-LAGS:], correlation[:LAGS]]))) - LAGS


@lru_cache(maxsize=8)
def _droop(length: int) -> Single:
    """What undoes the response of sums over `DECIMATION` samples in a power spectrum."""
    x = np.pi * np.fft.fftfreq(length) / DECIMATION
    response = np.ones(length)
    response[1:] = np.sin(DECIMATION * x[1:]) / (DECIMATION * np.sin(x[1:]))
    return np.asarray(response**-2, dtype=np.float32)


@lru_cache(maxsize=1)
def _interpolation() -> Single:
    """Windowed-sinc weights [DECIMATION, _TAPS] of the lags between two coarse ones."""
    at = np.arange(_TAPS) - (_TAPS // 2 - 1) - np.arange(DECIMATION)[:, None] / DECIMATION
    return np.asarray(np.sinc(at) * np.cos(np.pi * at / _TAPS) ** 2, dtype=np.float32)


@lru_cache(maxsize=1)
def _carriers() -> Single:
    """Cosine and sine [bands, 2, 2 LAGS] of each band's centre frequency at the lags from -LAGS on."""
    phase = 2 * np.pi / RATE * centre_frequencies()[:, None] * np.arange(-LAGS, LAGS)
    return np.stack([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)


@jit
def _peaks(
    x: Array,
    y: Array,
    first: int,
    samples: int,
    real: Array,
    imaginary: Array,
    weights: Array,
    carriers: Array,
    carried: bool,
    error: Array,
    found: Array,
) -> None:  # pragma: no cover - compiled
    """Write each band's delay, or `_UNKNOWN` where the largest error of a guess is too large.

    A guess is `DECIMATION` times a correlation, twice that if carried.
    """
    lags = 2 * LAGS
    guess = np.empty(lags + 2, np.float32)
    guess[0] = guess[lags + 1] = -np.inf
    reach = 1 if carried else DECIMATION  # envelopes are too smooth for peaks that lie closer
    for band in range(len(found)):
        for k in range(lags // DECIMATION):
            for phase in range(DECIMATION):
                re = im = np.float32(0.0)
                for tap in range(_TAPS):
                    re += weights[phase, tap] * real[band, k + tap + 1]
                    im += weights[phase, tap] * imaginary[band, k + tap + 1]
                i = k * DECIMATION + phase
                # motion is the real part of base band times exp(i w n)
                guess[1 + i] = re * carriers[band, 0, i] - im * carriers[band, 1, i] if carried else re
        highest = guess.max()
        span = highest - guess[1 : lags + 1].min()
        if span <= 0:
            found[band] = LAGS - 1  # silence; as pyclarity, which takes the first of equals
            continue
        possible = highest - _MARGIN * error[band]
        if (guess[1 : lags + 1] >= possible).sum() > _MANY:
            found[band] = _UNKNOWN
            continue
        at = band * x.shape[1] + first
        best = -np.inf
        floor = highest - _RIVAL * span
        for i in range(lags):
            value = guess[1 + i]
            if value >= floor and value >= guess[max(1 + i - reach, 0) : 2 + i + reach].max():
                lag, exact = _climb(x, y, at, samples, i - LAGS)
                if exact > best:
                    best = exact
                    found[band] = lag
        i = 0
        while i < lags:
            if guess[1 + i] < possible:
                i += 1
                continue
            lag = min(i + 1, lags - 2) - LAGS
            for step, exact in enumerate(correlations(x, y, at, at + lag, samples)):
                if exact > best:
                    best = exact
                    found[band] = lag + step - 1
            i += 3


@jit
def _climb(x: Array, y: Array, at: int, samples: int, lag: int) -> Any:  # pragma: no cover - compiled
    """The local maximum of the exact correlation that is uphill from a lag, and its value."""
    while True:
        before, here, after = correlations(x, y, at, at + lag, samples)
        if before > here and before >= after and lag > -LAGS:
            lag -= 1
        elif after > here and lag < LAGS - 1:
            lag += 1
        else:
            return lag, here
