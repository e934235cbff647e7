"""Variations of the clean music before anything degrades it, so that training hears each clip in many ways.

A variation is a chain of its own registry: `speed(ratio=1.1)|equalize(low=2,mid=-1,high=3)`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from scipy import signal

from .grammar import Array, Registry, apply, chain_of, condition, parse
from .signals import shape

VARIATIONS: Final[Registry] = {}


class Spread(NamedTuple):
    """How far variations go: the lowest and highest ratio of speed, and the equalizer's dB to both sides."""

    slowest: float
    fastest: float
    gain: float


SPREAD: Final = Spread(0.7, 1.4, 6.0)
FIRST_SPREAD: Final = Spread(0.8, 1.25, 4.0)
"""of the first rows of the table"""


@condition(VARIATIONS, ratio=(0.5, 2))
def speed(x: Array, rate: int, rng: np.random.Generator, *, ratio: float) -> Array:  # noqa: ARG001
    """Play `ratio` times as fast, higher in pitch: [n] samples become [n / ratio]."""
    exact = Fraction(f"{ratio:.3g}")
    return np.asarray(signal.resample_poly(x, exact.denominator, exact.numerator))


@condition(VARIATIONS, low=(-12, 12), mid=(-12, 12), high=(-12, 12))
def equalize(x: Array, rate: int, rng: np.random.Generator, *, low: float, mid: float, high: float) -> Array:  # noqa: ARG001
    """A low shelf below 250 Hz, a bell an octave wide to each side of 1 kHz, a high shelf above 4 kHz, in dB."""

    def gain(hz: Array) -> Array:
        bass, treble = 1 / (1 + (hz / 250) ** 2), 1 / (1 + (4000 / np.maximum(hz, 1.0)) ** 2)
        bell = np.exp(-0.5 * np.log2(np.maximum(hz, 1.0) / 1000) ** 2)
        return np.asarray(10 ** ((low * bass + mid * bell + high * treble) / 20))

    return shape(x, rate, gain)


def vary(x: Array, rate: int, variation: str) -> Array:
    """Apply a variation to clean music; speed changes the number of samples.

    Raises:
        OptionError: an unknown variation or parameter.
    """
    return apply(np.asarray(x, dtype=np.float64), rate, variation, 0, VARIATIONS)


def source_seconds(variation: str, duration: float) -> float:
    """Seconds of a clip that become `duration` seconds of its variation."""
    for entry, parameters in parse(variation, VARIATIONS):
        if entry is speed:
            duration *= parameters["ratio"]
    return duration


def random_variation(rng: np.random.Generator, fastest: float = 2.0, spread: Spread = SPREAD) -> str:
    """Draw a variation: none in 35%; speed, equalization or both in equal parts of the rest.

    Args:
        rng: what is drawn from.
        fastest: the ratio of speed that the clip is long enough for.
        spread: how far they go.
    """
    kind, place = rng.random(), rng.random()
    highest = max(min(fastest, spread.fastest), spread.slowest)
    ratio = spread.slowest * (highest / spread.slowest) ** place
    gains = rng.uniform(-spread.gain, spread.gain, 3).tolist()
    shelves = dict(zip(("low", "mid", "high"), gains, strict=True))
    if kind < 0.35:
        return ""
    links = [("speed", {"ratio": ratio}), ("equalize", shelves)]
    return chain_of(*(links[:1] if kind < 0.35 + 0.65 / 3 else links[1:] if kind < 0.35 + 1.3 / 3 else links))
