"""Signal processing functions that several conditions use."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from .chains import Array


def rms(x: Array) -> float:
    """Return the root mean square of samples [n]."""
    return float(np.sqrt(np.mean(np.square(x))))


def mix(x: Array, disturbance: Array, snr: float) -> Array:
    """Add a disturbance [n] to `x` [n], at an RMS level that is `snr` dB lower."""
    return x + disturbance * (rms(x) / max(rms(disturbance), 1e-12) * 10 ** (-snr / 20))


def spectra(x: Array, rate: int) -> tuple[npt.NDArray[np.complex128], Array, int]:
    """Return the spectrum [bins] of `x`, the bins' frequencies in Hz [bins], and the length to which `x` is padded.

    The padding prevents filters from wrapping around.
    """
    length = fft.next_fast_len(len(x) + rate // 20, real=True)
    return fft.rfft(x, length), fft.rfftfreq(length, 1 / rate), length


def filter_zero_phase(x: Array, rate: int, gain: Callable[[Array], Array]) -> Array:
    """Filter `x` [n] without phase shift, by an amplitude ratio that is a function of the frequency in Hz."""
    spectrum, hz, length = spectra(x, rate)
    return np.asarray(fft.irfft(spectrum * gain(hz), length)[: len(x)])


def apply_tilt(x: Array, rate: int, slope: float) -> Array:
    """Apply a spectral tilt of `slope` dB per octave around 1 kHz to `x` [n]. The gain is constant below 50 Hz."""
    return filter_zero_phase(x, rate, lambda hz: 10 ** (slope * np.log2(np.maximum(hz, 50.0) / 1000.0) / 20))


def pole(ms: float, rate: float) -> float:
    """Return the pole of a one-pole smoother with a time constant in ms."""
    return float(np.exp(-1.0 / (rate * ms * 1e-3)))


@numba.njit(cache=True)
def peak_envelope(x: Array, up: float, down: float) -> Array:  # pragma: no cover - compiled
    """Return the peak envelope [n] of samples [n], with poles for attack (`up`) and release (`down`)."""
    level, out = 0.0, np.empty_like(x)
    for i in range(len(x)):
        value = abs(x[i])
        coefficient = up if value > level else down
        level = coefficient * level + (1.0 - coefficient) * value
        out[i] = level
    return out
