"""Random listeners: realistic hearing losses, and correct and incorrect fittings of their hearing aids."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ...runtime.audiogram import FREQUENCIES, STANDARD, Audiogram

LOWEST, HIGHEST = -10, 110
"""Range of hearing levels in dB HL."""
LEVEL_SD: Final = 5.0
"""Standard deviation in dB of a listener's levels around those of the standard audiogram."""
Array = npt.NDArray[np.float64]

_OCTAVES: Final = np.log2(np.array(FREQUENCIES) / 1000)


def random_listener(rng: np.random.Generator) -> tuple[str, tuple[float, ...]]:
    """Draw a kind of listener and an audiogram.

    Returns:
        kind, levels: the kind is the name of one of the 11 standard audiograms in 65% (with random deviations of the
        levels), `notched` in 12%, `smooth` in 23%. Levels are 8 integers at `FREQUENCIES` in dB HL, -10 to 110.
    """
    kind = rng.random()
    if kind < 0.65:
        name = str(rng.choice(list(STANDARD)))
        levels = np.array(STANDARD[name]) + rng.normal(0, LEVEL_SD, len(FREQUENCIES))
    elif kind < 0.77:
        name, levels = "notched", _draw_notched(rng)
    else:
        name, levels = "smooth", _draw_smooth(rng)
    return name, tuple(float(level) + 0.0 for level in np.clip(np.round(levels), LOWEST, HIGHEST))


def _draw_notched(rng: np.random.Generator) -> Array:
    """Draw levels [8] of a noise-induced loss: near normal, a notch from 3 to 6 kHz, partial recovery above it."""
    distance = _OCTAVES - np.log2(np.exp(rng.uniform(np.log(3000), np.log(6000))) / 1000)
    notch = np.exp(-0.5 * (distance / rng.uniform(0.35, 0.7)) ** 2)
    recovery = rng.uniform(0.2, 0.8)
    notch = np.where(distance > 0, 1 - recovery * (1 - notch), notch)
    return np.asarray(rng.uniform(-2, 15) + rng.uniform(25, 60) * notch + rng.normal(0, 2, len(FREQUENCIES)))


def _draw_smooth(rng: np.random.Generator) -> Array:
    """Draw levels [8] from a cubic over log frequency: flat, sloping, rising, cookie-bite and intermediate shapes."""
    u = 2 * (_OCTAVES - _OCTAVES[0]) / (_OCTAVES[-1] - _OCTAVES[0]) - 1
    level, slope = rng.uniform(0, 90), rng.normal(12, 24)
    bend, twist = rng.normal(0, [12, 6])
    levels = level + slope * u + bend * (1.5 * u**2 - 0.5) + twist * (2.5 * u**3 - 1.5 * u)
    return np.asarray(np.clip(levels, -5, 100))


def random_aid(rng: np.random.Generator, audiogram: tuple[float, ...]) -> str:
    """Draw the fitting of a listener's hearing aid, as a name for `hearing_aids`.

    It is NAL-R in 70%, no aid in 10%, and NAL-R with an error of gain and tilt in 10%. In the other 10%, it is NAL-R
    for a standard audiogram whose average at 0.5, 1, 2 and 4 kHz is within 30 dB of the listener's.
    """
    kind = rng.random()
    if kind < 0.7:
        return "nal-r"
    if kind < 0.8:
        return "none"
    if kind < 0.9:
        return f"nal-r(gain={rng.uniform(-10, 10):.1f},tilt={rng.uniform(-3, 3):.1f})"
    averages = {name: _average(levels) for name, levels in STANDARD.items() if name != "NH"}  # NH has no gain
    own = _average(audiogram)
    near = [name for name, average in averages.items() if abs(average - own) <= 30]
    return f"nal-r(for={rng.choice(near or [min(averages, key=lambda name: abs(averages[name] - own))])})"


def _average(levels: tuple[float, ...]) -> float:
    return float(Audiogram(levels).at((500, 1000, 2000, 4000)).mean())
