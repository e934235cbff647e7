"""Alignment of each band of the processed signal with the reference, within 100 ms.

The peak of a correlation of about 100,000 samples at 4,800 lags is found in two steps. First, the base-band signals of
the bands, decimated by `DECIMATION`, are correlated by FFT, and the result is interpolated to all lags. Then the exact
correlation is computed at the peaks and their neighbours only. If the energy of a band is so far from its centre that
decimation loses it (such as the remains of loud low notes in an almost empty high band), the exact correlation is
computed at all lags.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.fft

from . import simd
from .cochlea import BANDS, RATE, centre_frequencies
from .kernels import DECIMATION, PAD, correlation_around
from .simd import jit

LAGS: Final = 2400
"""maximum lag in samples, 100 ms"""
_TAPS: Final = 16
_COARSE: Final = LAGS // DECIMATION + _TAPS // 2
"""coarse lags to each side that the interpolation needs"""
_RIVAL: Final = 0.02
"""share of the range of estimates: peaks that are at most this much below the highest are computed exactly"""
_MARGIN: Final = 1.0
"""share of the largest possible error: lags that are at most this much below the highest are computed exactly"""
_MANY: Final = 150
"""number of such lags from which on the exact correlation is computed at all lags"""
_UNKNOWN: Final = LAGS + 1
_BLOCK: Final = 2048
"""length of the transforms in coarse samples"""
_REACH: Final = _COARSE + 32
"""coarse lags to each side in a transform; the correction of the droop makes the outermost ones unusable"""
_HOP: Final = _BLOCK - 2 * _REACH
_FINE_BLOCK: Final = 15_360
"""length in samples of the transforms of bands that are correlated at all lags"""
_FIRST: Final = DECIMATION
"""index of the estimate for the first lag"""
_ZERO: Final = np.float32(0.0)

Complex = npt.NDArray[np.complex64]
Single = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class Aligner:
    """The bands of a reference, with which the bands of processed signals are aligned.

    Args:
        signals: the bands' envelopes or motion, [32, PAD + samples + PAD].
        coarse: the same at base band, summed over `DECIMATION` samples, [32, samples / DECIMATION].
        carried: whether the signals oscillate at the centre frequencies of the bands (motion), or not (envelopes).
        energy: sums of squares [2, 32] of `signals` and `coarse`. None computes them.
    """

    def __init__(
        self, signals: Single, coarse: Single | Complex, carried: bool, energy: npt.NDArray[np.float64] | None = None
    ) -> None:
        self._signals, self._carried = signals, carried
        self._samples = signals.shape[1] - 2 * PAD
        self._spectra = _spectra(coarse, 0)
        np.conj(self._spectra, out=self._spectra)
        self._lost = self._lost_energy(signals, coarse, energy)
        self._exact: dict[int, Complex] = {}

    def delays(
        self, signals: Single, coarse: Single | Complex, energy: npt.NDArray[np.float64] | None = None
    ) -> Integers:
        """Return the delays [32] in samples, from -LAGS to LAGS - 1, of other bands of the same length."""
        correlation = self._coarse_correlations(coarse)
        real = np.ascontiguousarray(correlation.real, np.float32)
        imaginary = np.ascontiguousarray(correlation.imag, np.float32) if self._carried else real
        # Largest change of the correlation by the energy that decimation loses (Cauchy-Schwarz inequality).
        error = DECIMATION * np.sqrt(self._lost * self._lost_energy(signals, coarse, energy))
        found = np.zeros(BANDS, np.int64)
        tables = _interpolation(), _carriers()
        _peaks(self._signals, signals, PAD, self._samples, real, imaginary, *tables, self._carried, error, found)
        for band in np.flatnonzero(found == _UNKNOWN):
            found[band] = self._exact_delay(int(band), signals)
            at = int(band) * signals.shape[1] + PAD
            found[band] = _climb(self._signals, signals, at, self._samples, found[band])[0]
        return found

    def _coarse_correlations(self, coarse: Single | Complex) -> Single | Complex:
        """Return the correlations [32, 2 _COARSE + 1] with the reference at multiples of `DECIMATION`."""
        product = _summed_product(self._spectra, _spectra(coarse, _REACH))
        product *= _droop(_BLOCK)[: product.shape[1]]
        inverse: Any = scipy.fft.ifft if self._carried else scipy.fft.irfft
        correlation = np.asarray(inverse(product, _BLOCK, axis=1, overwrite_x=True))
        return correlation[:, _REACH - _COARSE : _REACH + _COARSE + 1]

    def _lost_energy(
        self, signals: Single, coarse: Single | Complex, energy: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.float64]:
        """Return the energy [32] of base-band signals that is lost by summing over `DECIMATION` samples."""
        if energy is None:
            parts = coarse.view(np.float32)
            energy = np.stack([np.einsum("bn,bn->b", x, x).astype(np.float64) for x in (signals, parts)])
        whole = energy[0] * (2 if self._carried else 1)
        return np.asarray(np.maximum(whole - energy[1] / DECIMATION, 0.0))

    def _exact_delay(self, band: int, signals: Single) -> int:
        if band not in self._exact:
            self._exact[band] = np.conj(_fine_spectra(self._signals[band], self._samples, 0))
        product = _summed_product(self._exact[band], _fine_spectra(signals[band], self._samples, LAGS))
        return int(np.argmax(scipy.fft.irfft(product[0], _FINE_BLOCK)[: 2 * LAGS])) - LAGS


def _fine_spectra(signal: Single, samples: int, reach: int) -> Complex:
    """Return `_spectra` of the signal of one band [PAD + samples + PAD]: [1, blocks, bins]."""
    hop = _FINE_BLOCK - 2 * LAGS
    blocks = -(-samples // hop)
    long = np.zeros(blocks * hop + 2 * reach, np.float32)
    long[reach : reach + samples] = signal[PAD : PAD + samples]
    parts = np.lib.stride_tricks.sliding_window_view(long, hop + 2 * reach)[::hop]
    return np.asarray(scipy.fft.rfft(parts, _FINE_BLOCK))[None]


def _spectra(coarse: Single | Complex, reach: int) -> Complex:
    """Return the spectra [32, blocks, bins] of blocks of `_HOP` samples, extended by `reach` samples on both sides.

    Blocks are zero-padded to `_BLOCK`. The product of the spectra of a block without and with extension contains its
    correlations at all lags within `reach`.
    """
    blocks = -(-coarse.shape[1] // _HOP)
    long = np.zeros((BANDS, blocks * _HOP + 2 * reach), coarse.dtype)
    long[:, reach : reach + coarse.shape[1]] = coarse
    parts = np.lib.stride_tricks.sliding_window_view(long, _HOP + 2 * reach, axis=1)[:, ::_HOP]
    transform: Any = scipy.fft.fft if np.iscomplexobj(coarse) else scipy.fft.rfft
    return np.asarray(transform(parts, _BLOCK, axis=2))


@jit
def _summed_product(x: Complex, y: Complex) -> Complex:  # pragma: no cover - compiled
    """Return the products of spectra [bands, blocks, bins], summed over the blocks."""
    bands, blocks, bins = x.shape
    total = np.zeros((bands, bins), np.complex64)
    for band in range(bands):
        for block in range(blocks):
            for k in range(bins):
                total[band, k] += x[band, block, k] * y[band, block, k]
    return total


@lru_cache(maxsize=8)
def _droop(length: int) -> Single:
    """Return the inverse power response of sums over `DECIMATION` samples."""
    x = np.pi * np.fft.fftfreq(length) / DECIMATION
    response = np.ones(length)
    response[1:] = np.sin(DECIMATION * x[1:]) / (DECIMATION * np.sin(x[1:]))
    return np.asarray(response**-2, dtype=np.float32)


@lru_cache(maxsize=1)
def _interpolation() -> Single:
    """Return windowed-sinc weights [_TAPS, DECIMATION] for the lags between two coarse lags."""
    at = np.arange(_TAPS)[:, None] - (_TAPS // 2 - 1) - np.arange(DECIMATION) / DECIMATION
    return np.asarray(np.sinc(at) * np.cos(np.pi * at / _TAPS) ** 2, dtype=np.float32)


@lru_cache(maxsize=1)
def _carriers() -> Single:
    """Return cosine and sine [bands, 2, 2 LAGS] of the centre frequencies at the lags from -LAGS on."""
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
    """Write the delay of each band to `found`, or `_UNKNOWN` if the possible error of the estimates is too large.

    An estimate is `DECIMATION` times a correlation, or twice that if carried.
    """
    lags = 2 * LAGS
    guess = np.empty(lags + 16, np.float32)  # the first lag's at 8
    guess[:] = -np.inf
    scratch = np.empty(16, np.float32)
    reach = 1 if carried else DECIMATION  # envelopes are too smooth for peaks that lie closer
    for band in range(len(found)):
        for k in range(lags // DECIMATION):
            re = im = simd.splat(_ZERO)
            for tap in range(_TAPS):
                weight = simd.load(weights, tap * DECIMATION)
                re = re + weight * real[band, k + tap + 1]
                if carried:
                    im = im + weight * imaginary[band, k + tap + 1]
            i = k * DECIMATION
            if carried:  # motion is the real part of base band times exp(i w n)
                at = 2 * band * lags + i
                re = re * simd.load(carriers, at) - im * simd.load(carriers, at + lags)
            simd.store(guess, _FIRST + i, re)
        most = least = simd.load(guess, _FIRST)
        for i in range(_FIRST + DECIMATION, _FIRST + lags, DECIMATION):
            value = simd.load(guess, i)
            most, least = simd.maximum(most, value), simd.minimum(least, value)
        simd.store(scratch, 0, most)
        simd.store(scratch, 8, least)
        highest = scratch[:8].max()
        span = highest - scratch[8:].min()
        if span <= 0:
            found[band] = LAGS - 1  # silence; as in pyclarity, the first of equal values
            continue
        possible = highest - _MARGIN * error[band]
        if (guess[_FIRST : _FIRST + lags] >= possible).sum() > _MANY:
            found[band] = _UNKNOWN
            continue
        at = band * x.shape[1] + first
        best = -np.inf
        floor = highest - _RIVAL * span
        for i in range(lags):
            value = guess[_FIRST + i]
            if value >= floor and value >= guess[_FIRST + i - reach : _FIRST + 1 + i + reach].max():
                lag, exact = _climb(x, y, at, samples, i - LAGS)
                if exact > best:
                    best = exact
                    found[band] = lag
        i, climbed = 0, found[band]
        while i < lags:
            if guess[_FIRST + i] < possible:
                i += 1
                continue
            lag = min(i + 1, lags - 2) - LAGS
            here, before, after = correlation_around(x, y, at, at + lag, samples)
            for step, exact in ((-1, here + before), (0, here), (1, here + after)):
                if exact > best:
                    best = exact
                    found[band] = lag + step
            i += 3
        if found[band] != climbed:
            found[band] = _climb(x, y, at, samples, found[band])[0]


@jit
def _climb(x: Array, y: Array, at: int, samples: int, lag: int) -> Any:  # pragma: no cover - compiled
    """Return the local maximum of the exact correlation that is reached uphill from a lag, and its value."""
    here, before, after = correlation_around(x, y, at, at + lag, samples)
    if before > 0 and before >= after:
        while before > 0 and lag > -LAGS:
            lag -= 1
            here, before, after = correlation_around(x, y, at, at + lag, samples)
    else:
        while after > 0 and lag < LAGS - 1:
            lag += 1
            here, before, after = correlation_around(x, y, at, at + lag, samples)
    return lag, here
