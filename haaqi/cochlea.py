"""The auditory model of HAAQI: parameters of its bands, and processing before the bands.

Sources: Kates (2013), "An auditory model for intelligibility and quality predictions", Proc. Meet. Acoust. 19, 050184;
Kates & Arehart (2014), "The Hearing-Aid Speech Quality Index (HASQI) version 2", J. Audio Eng. Soc. 62(3). The tests
compare the results with pyclarity's `eb.ear_model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy import signal

from .simd import jit

RATE: Final = 24_000
"""sample rate of the auditory model in Hz"""
BANDS: Final = 32
_EAR_Q: Final = 9.26449
_MIN_BANDWIDTH: Final = 24.7
_FREQUENCIES: Final = (250.0, 500.0, 1000.0, 2000.0, 4000.0, 6000.0)

Array = npt.NDArray[np.float64]


@lru_cache(maxsize=1)
def centre_frequencies() -> Array:
    """Return the centre frequencies, float64 [32]: 80 to 8,000 Hz, equidistant on the ERB scale.

    Sources: Moore & Glasberg 1983; Slaney 1993.
    """
    corner = _EAR_Q * _MIN_BANDWIDTH
    steps = np.arange(BANDS) / (BANDS - 1)
    return np.flip(-corner + np.exp(steps * np.log((80 + corner) / (8000 + corner))) * (8000 + corner))


def erb() -> Array:
    """Return the equivalent rectangular bandwidths [32] in Hz of the bands of a normal ear."""
    return np.asarray(_MIN_BANDWIDTH + centre_frequencies() / _EAR_Q)


@dataclass(frozen=True)
class Loss:
    """Effect of a hearing loss on each band, float64 [32].

    Attributes:
        outer: attenuation of the outer hair cells in dB.
        inner: attenuation of the inner hair cells in dB.
        bandwidth: of the filters at low levels, relative to a normal ear.
        knee: dB SPL at which compression begins.
        ratio: of the compression.
    """

    outer: Array
    inner: Array
    bandwidth: Array
    knee: Array
    ratio: Array

    @classmethod
    def of(cls, levels: npt.ArrayLike) -> Loss:
        """Create a loss from hearing levels [6] in dB HL at 250, 500, 1000, 2000, 4000 and 6000 Hz."""
        loss = np.maximum(np.interp(centre_frequencies(), _FREQUENCIES, np.asarray(levels, np.float64)), 0.0)
        ratio = 1.25 + 2.25 * np.arange(BANDS) / (BANDS - 1)
        most = 1.25 * 70 * (1 - 1 / ratio)  # loss with which the outer hair cells have no function
        outer = 0.8 * np.minimum(loss, most)
        inner = loss - outer
        knee = outer + 30
        compressed = (100 - knee) / (30 + 70 / ratio + outer - knee)
        return cls(outer, inner, 1 + outer / 50 + 2 * (outer / 50) ** 6, knee, compressed)


@lru_cache(maxsize=1)
def widest_bandwidths() -> Array:
    """Return the bandwidths [32] of the control filters, which are those of an ear with a loss of 100 dB."""
    return Loss.of(np.full(6, 100.0)).bandwidth


def adjusted_bandwidth(control_power: Array, least: Array, level1: float) -> Array:
    """Return bandwidths [32], which increase with the level of the control path.

    Args:
        control_power: mean squares [32] of the control path.
        least: bandwidths [32] at low levels.
        level1: dB SPL of power 1.
    """
    with np.errstate(divide="ignore"):
        level = 10 * np.log10(control_power) + level1
    return np.asarray(least + np.clip((level - 50) / 50, 0, 1) * (widest_bandwidths() - least))


@dataclass(frozen=True)
class Gammatone:
    """Coefficients of the bands' fourth-order gammatone filters, demodulated to base band (Cooke 1993), float64 [32].

    Attributes:
        pole: of the four one-pole low-passes. The zeros are 1 + 4 pole z^-1 + 4 pole^2 z^-2.
        gain: 2 at the centre frequency, which gives the magnitude of the analytic signal.
    """

    pole: Array
    gain: Array

    @classmethod
    def of(cls, bandwidth: Array) -> Gammatone:
        """Create filters from bandwidths [32] relative to a normal ear."""
        a = np.exp(-2 * np.pi / RATE * 1.019 * bandwidth * erb())
        return cls(a, 2 * (1 - a) ** 4 / (1 + 4 * a + 4 * a * a))

    def delay_to_latest(self) -> npt.NDArray[np.int64]:
        """Return the delays [32] in samples that align all bands to the latest, by group delays at the centres."""
        a = self.pole
        delay = np.rint((4 * a + 8 * a * a) / (1 + 4 * a + 4 * a * a) + 4 * a / (1 - a)).astype(np.int64)
        return np.asarray(delay.max() - delay)


def resample(x: Array, rate: float) -> Array:
    """Resample a signal to the rate of the model, and keep its power below 10.5 kHz. Rates are rounded to kHz."""
    khz, own = round(rate / 1000), RATE // 1000
    if khz == own:
        return x
    y = signal.resample_poly(x, own, khz)
    before, after = x, y
    if khz > own:
        before, after = (signal.lfilter(*signal.cheby2(7, 30, 21 / k), s) for s, k in ((x, khz), (y, own)))
    power = np.mean(after**2)
    return np.asarray(y * np.sqrt(np.mean(before**2) / power)) if power > 0 else y


def broad_delay(reference: Array, processed: Array, spectrum: npt.NDArray[np.complex64] | None = None) -> int:
    """Return the delay of the processed signal [n] in samples, from the largest magnitude of the correlation.

    Args:
        reference, processed: [n].
        spectrum: `correlation_spectrum(reference)`. None computes it.
    """
    n = len(reference)
    length = correlation_length(n)
    spectrum = correlation_spectrum(reference) if spectrum is None else spectrum
    product = scipy.fft.rfft((processed - processed.mean()).astype(np.float32), length)
    product *= np.conj(spectrum)
    correlation = scipy.fft.irfft(product, length, overwrite_x=True)
    np.abs(correlation, out=correlation)
    # Index d is a delay of d. Indices from the end are negative delays.
    ahead, behind = correlation[length - n + 1 :], correlation[:n]
    if len(ahead) and ahead.max() > behind.max():
        return int(np.argmax(ahead)) - (n - 1)
    return int(np.argmax(behind))


def correlation_length(samples: int) -> int:
    """Return the length of transforms that correlate two signals of `samples` samples at all lags."""
    return int(scipy.fft.next_fast_len(2 * samples - 1, real=True))


def correlation_spectrum(x: Array) -> npt.NDArray[np.complex64]:
    """Return the spectrum of a signal without its mean, padded for correlation at all lags."""
    return np.asarray(scipy.fft.rfft((x - x.mean()).astype(np.float32), correlation_length(len(x))))


def shift(x: Array, delay: int) -> Array:
    """Shift a signal [n] to earlier times by `delay` samples, or to later times if negative. The length stays."""
    y = np.zeros_like(x)
    if abs(delay) >= len(x):
        return y
    if delay > 0:
        y[: len(x) - delay] = x[delay:]
    else:
        y[-delay:] = x[: len(x) + delay]
    return y


@lru_cache(maxsize=1)
def _middle_ear() -> Any:
    filters = signal.butter(1, 5000, fs=RATE), signal.butter(2, 350, "high", fs=RATE)
    return tuple(tuple(tuple(part.tolist()) for part in each) for each in filters)


def middle_ear(x: Array) -> npt.NDArray[np.float32]:
    """Apply a low-pass at 5 kHz and a high-pass at 350 Hz, roughly the equal-loudness contour at threshold."""
    y = np.empty(len(x), np.float32)
    first, second = _middle_ear()
    _filter_twice(np.asarray(x, np.float64), first, second, y)
    return y


@jit
def _filter_twice(x: Any, first: Any, second: Any, y: Any) -> None:  # pragma: no cover - compiled
    """Filter x [n] with a first-order and a second-order filter, each (b, a), and write the result to y [n]."""
    (b0, b1), (_, a1) = first
    (c0, c1, c2), (_, d1, d2) = second
    z = z1 = z2 = 0.0
    for n in range(len(x)):
        v = b0 * x[n] + z
        z = b1 * x[n] - a1 * v
        w = c0 * v + z1
        z1 = c1 * v - d1 * w + z2
        z2 = c2 * v - d2 * w
        y[n] = w


def spectrum_level(power: Array, control_power: Array, loss: Loss, level1: float) -> Array:
    """Return long-term levels [32] in dB above threshold, from mean squares of bands and control paths [32]."""
    level, control = (level1 + 10 * np.log10(np.maximum(p, 1e-60)) for p in (power, control_power))
    gain = -loss.outer - (np.clip(control, loss.knee, 100) - loss.knee) * (1 - 1 / loss.ratio)
    return np.maximum(np.maximum(level, 0) + gain - loss.inner, 0)
