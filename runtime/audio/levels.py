"""Presentation level, silence and NAL-R amplification."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr

from ..audiogram import Audiogram
from ..errors import OptionError

LEVEL1: Final = 85.0
"""Default level in dB SPL of a signal with RMS 1.0. It presents music at -20 dBFS RMS at 65 dB SPL."""
_MIN_LEVEL, _MAX_LEVEL = 0.0, 140.0
"""Range of `level1` and `spl`, dB SPL."""
SILENCE: Final = 2.0**-24
"""Peak amplitude up to which samples are silent.

It is half a step of 24-bit audio. Only digital zero, and the ringing of a resampler around it, stay below it.
"""

_NALR_FREQUENCIES: Final = (250, 500, 1000, 2000, 4000, 6000)
_LOW_RATE: Final = 44
"""Sample rate whose pass band ends at 20 Hz, for `LoudnessMeter`."""
_MIN_RUMBLE: Final = 0.03
"""Part of the power, 0.13 dB, up to which an offset and rumble are not subtracted: most music has some."""
_MIN_RUMBLE_SECONDS: Final = 0.175
"""Shorter signals are not scored, and have hardly any period of 20 Hz."""
_NALR_BIAS: Final = (-17.0, -8.0, 1.0, -1.0, -2.0, -2.0)
_NALR_TAPS: Final = 140 / 24_000
"""Length of the filter in seconds. pyclarity's filter has order 140 at 24 kHz."""
_GRID: Final = 513
"""Frequency points of the filter design, as in MATLAB's fir2."""


def check_level(name: str, value: float) -> float:
    """Return a level as a float.

    Args:
        name: name of the option in the error message.
        value: dB SPL.

    Raises:
        OptionError: if the level is not from 0 to 140 dB SPL.
    """
    if not _MIN_LEVEL <= value <= _MAX_LEVEL:
        raise OptionError(
            f"{name}={value!r} is not a sound pressure level: give dB SPL from {_MIN_LEVEL:g} to {_MAX_LEVEL:g} "
            f"(level1 is the level of RMS 1.0, usually {LEVEL1:g}; spl the level of the clip, usually 65)"
        )
    return float(value)


def decibels(ratio: float) -> float:
    """Convert an amplitude ratio above 0 to dB, 20 log10."""
    return 20.0 * float(np.log10(ratio))


def amplitude(decibel: float) -> float:
    """Convert a level difference in dB to an amplitude ratio."""
    return float(10.0 ** (decibel / 20.0))


def nal_r_gains(audiogram: Audiogram) -> npt.NDArray[np.float64]:
    """Compute the NAL-R insertion gains for a listener.

    Returns:
        float64 [6], dB at 250, 500, 1000, 2000, 4000 and 6000 Hz. Negative gains are set to 0. All gains are 0 if no
        level exceeds 0 dB HL.

    Source: Byrne & Dillon (1986), Ear and Hearing 7(4), with the severe-loss slope that pyclarity's `NALR` uses.
    """
    loss = audiogram.at(_NALR_FREQUENCIES)
    if loss.max() <= 0:
        return np.zeros(len(_NALR_FREQUENCIES))
    total = float(loss[1] + loss[2] + loss[3])
    base = 0.05 * total if total <= 180 else 9.0 + 0.116 * (total - 180)
    gains: npt.NDArray[np.float64] = np.maximum(base + 0.31 * loss + np.array(_NALR_BIAS), 0.0)
    return gains


@lru_cache(maxsize=64)
def nal_r_filter(audiogram: Audiogram, rate: int, order: int | None = None) -> npt.NDArray[np.float64]:
    """Design the linear-phase FIR filter of the NAL-R gains, as pyclarity's `NALR(order, rate).build` does.

    Args:
        audiogram: the listener.
        rate: sample rate of the signal, above 12 kHz.
        order: order of the filter, even. Default: 140 at 24 kHz, and the same duration at other rates. The recipes of
            the Clarity and Cadenza challenges use 220 at 44.1 kHz.

    Returns:
        float64 [order + 1]. The delay is order / 2 samples. If the listener needs no gain, the filter is a unit
        impulse.
    """
    order = 2 * round(_NALR_TAPS * rate / 2) if order is None else order
    taps = np.zeros(order + 1)
    if max(audiogram.at(_NALR_FREQUENCIES)) <= 0:
        taps[order // 2] = 1.0
        return taps
    gains = nal_r_gains(audiogram)
    nyquist = rate / 2
    points = np.linspace(0.0, 1.0, order + 1)
    decibel = np.interp(nyquist * points, _NALR_FREQUENCIES, gains)  # constant beyond both ends
    gain = 10.0 ** (decibel / 20.0)
    # Frequency sampling as in MATLAB's fir2: piecewise linear between the points, each of which falls on an index of
    # the grid. It follows fir2 exactly, because pyclarity's filter is defined by it.
    edges = np.concatenate([[0], np.trunc(points[1:] * _GRID).astype(int)])
    response = np.empty(_GRID)
    for start, stop, low, high in zip(edges[:-1], edges[1:], gain[:-1], gain[1:], strict=True):
        response[start:stop] = np.linspace(low, high, stop - start) if stop - start > 1 else low
    phase = np.exp(-1j * np.pi * (order / 2) * np.arange(_GRID) / (_GRID - 1))
    taps[:] = np.fft.irfft(response * phase)[: order + 1] * np.hamming(order + 1)
    taps.flags.writeable = False  # cached: shared by all callers
    return taps


def nal_r_design() -> dict[str, Any]:
    """Return the constants of `nal_r_gains` and `nal_r_filter`, for other implementations of the filter design."""
    return {
        "frequencies": list(_NALR_FREQUENCIES),
        "bias": list(_NALR_BIAS),
        "seconds": _NALR_TAPS,
        "grid": _GRID,
    }


class LoudnessMeter:
    """Mean power of a signal above 20 Hz. An offset (DC) and rumble are not heard, and HAAQI ignores them.

    A copy of the signal at 44 Hz holds what lies below 20 Hz. Its power is subtracted if it is a part of the whole that
    matters.

    Args:
        rate: sample rate of the signal, Hz.
    """

    def __init__(self, rate: int) -> None:
        self._low = [soxr.ResampleStream(rate, _LOW_RATE, 1, dtype="float64", quality="HQ") for _ in range(2)]
        self._parts: tuple[list[npt.NDArray[np.float64]], ...] = ([], [])
        self._energy = self._sum = 0.0
        self._samples, self._min_samples = 0, int(_MIN_RUMBLE_SECONDS * rate)

    def push(self, block: npt.NDArray[np.float32]) -> None:
        """Add a block, float32 [n]."""
        self._add(block.astype(np.float64), False)

    def _add(self, block: npt.NDArray[np.float64], last: bool) -> None:
        self._energy += float(np.dot(block, block))
        self._sum += float(block.sum())
        self._samples += len(block)
        for parts, stream, signal in zip(self._parts, self._low, (block, np.ones_like(block)), strict=True):
            parts.append(stream.resample_chunk(signal, last=last))

    def finish(self) -> float:
        """Return the mean square of the signal above 20 Hz, at least 0."""
        self._add(np.empty(0), True)
        power = self._energy / max(1, self._samples)
        if self._samples < self._min_samples:
            return power
        mean = self._sum / self._samples
        # Without the offset, the ends of the signal are no steps, which the slow copy would smear.
        slow, ones = (np.concatenate(parts) for parts in self._parts)
        below = mean**2 + float(np.mean(np.square(slow - mean * ones)))
        return max(0.0, power - below) if below > _MIN_RUMBLE * power else power


class NalR:
    """NAL-R amplification of a signal that arrives in blocks, with the delay of the filter removed.

    Call `push` for each block, then `finish`. Together the outputs have as many samples as the inputs and are aligned
    with them. They do not depend on how the signal is split into blocks.

    Args:
        audiogram: the listener.
        rate: sample rate, Hz.
    """

    def __init__(self, audiogram: Audiogram, rate: int) -> None:
        self._taps = nal_r_filter(audiogram, rate).astype(np.float32)
        self._history = np.zeros(len(self._taps) - 1, dtype=np.float32)
        self._skip = len(self._taps) // 2

    def push(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Amplify a block, float32 [n], and return the amplified samples that are ready."""
        joined = np.concatenate([self._history, samples])
        if len(joined) < len(self._taps):
            self._history = joined
            return joined[:0]
        self._history = joined[len(joined) - len(self._taps) + 1 :]
        ready = np.convolve(joined, self._taps, "valid")
        dropped = min(self._skip, len(ready))
        self._skip -= dropped
        return ready[dropped:]

    def finish(self) -> npt.NDArray[np.float32]:
        """Return the last samples, which waited for the filter's look-ahead."""
        return self.push(np.zeros(len(self._taps) // 2, dtype=np.float32))


def nal_r(samples: npt.NDArray[np.float32], rate: int, audiogram: Audiogram) -> npt.NDArray[np.float32]:
    """Amplify music for a listener by NAL-R.

    Args:
        samples: float32 [n], unamplified.
        rate: sample rate, Hz.
        audiogram: the listener.

    Returns:
        float32 [n], aligned with the input.
    """
    stage = NalR(audiogram, rate)
    return np.concatenate([stage.push(samples), stage.finish()])
