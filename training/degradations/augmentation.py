"""Variations of the clean music before its degradation, so that training uses each clip in many versions.

A variation is a chain with its own registry: `speed(ratio=1.1)|equalize(low=2,mid=-1,high=3)`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

import numba
import numpy as np
from scipy import signal

from .chains import Array, Registry, apply_chain, degradation, format_chain, parse_steps
from .signals import filter_zero_phase, mix

VARIATIONS: Final[Registry] = {}


class VariationRange(NamedTuple):
    """Range of variations: the lowest and highest speed ratio, and the equalizer's maximum gain in dB, up or down."""

    slowest: float
    fastest: float
    gain: float


RANGE: Final = VariationRange(0.7, 1.4, 6.0)
FIRST_RANGE: Final = VariationRange(0.8, 1.25, 4.0)
"""The range in the first rows of the table."""


@degradation(VARIATIONS, ratio=(0.5, 2))
def speed(x: Array, rate: int, rng: np.random.Generator, *, ratio: float) -> Array:  # noqa: ARG001
    """Play `ratio` times as fast, with a higher pitch: [n] samples become [n / ratio]."""
    exact = Fraction(f"{ratio:.3g}")
    return np.asarray(signal.resample_poly(x, exact.denominator, exact.numerator))


@degradation(VARIATIONS, low=(-12, 12), mid=(-12, 12), high=(-12, 12))
def equalize(x: Array, rate: int, rng: np.random.Generator, *, low: float, mid: float, high: float) -> Array:  # noqa: ARG001
    """Apply a low shelf below 250 Hz, a bell with one octave to each side of 1 kHz, a high shelf above 4 kHz, in dB."""

    def gain(hz: Array) -> Array:
        bass, treble = 1 / (1 + (hz / 250) ** 2), 1 / (1 + (4000 / np.maximum(hz, 1.0)) ** 2)
        bell = np.exp(-0.5 * np.log2(np.maximum(hz, 1.0) / 1000) ** 2)
        return np.asarray(10 ** ((low * bass + mid * bell + high * treble) / 20))

    return filter_zero_phase(x, rate, gain)


def apply_variation(x: Array, rate: int, variation: str) -> Array:
    """Apply a variation to clean music. A change of speed changes the number of samples.

    Raises:
        OptionError: a variation or parameter is unknown.
    """
    return apply_chain(np.asarray(x, dtype=np.float64), rate, variation, 0, VARIATIONS)


def source_seconds(variation: str, duration: float) -> float:
    """Return the number of seconds of a clip that become `duration` seconds of its variation."""
    for entry, parameters in parse_steps(variation, VARIATIONS):
        if entry is speed:
            duration *= parameters["ratio"]
    return duration


def random_variation(rng: np.random.Generator, fastest: float = 2.0, spread: VariationRange = RANGE) -> str:
    """Draw a variation: none in 35%. The rest is divided equally between speed, equalization, and both.

    Args:
        rng: the random generator.
        fastest: highest speed ratio for which the clip is long enough.
        spread: range of the parameters.
    """
    kind, place = rng.random(), rng.random()
    highest = max(min(fastest, spread.fastest), spread.slowest)
    ratio = spread.slowest * (highest / spread.slowest) ** place
    gains = rng.uniform(-spread.gain, spread.gain, 3).tolist()
    shelves = dict(zip(("low", "mid", "high"), gains, strict=True))
    if kind < 0.35:
        return ""
    links = [("speed", {"ratio": ratio}), ("equalize", shelves)]
    return format_chain(*(links[:1] if kind < 0.35 + 0.65 / 3 else links[1:] if kind < 0.35 + 1.3 / 3 else links))


# Noises of old recordings, which belong to the clean music


@degradation(VARIATIONS, hiss_db=(-100, -20), wow=(0, 2), seed=(0, 999))
def tape(x: Array, rate: int, rng: np.random.Generator, *, hiss_db: float, wow: float, seed: float) -> Array:
    """Add the sound of a tape recorder: hiss, and wow and flutter.

    Args:
        x: float [n].
        rate: in Hz.
        rng: not used, because a variation has the same generator for all clips.
        hiss_db: relative to the RMS of the music.
        wow: peak deviation of the speed in % at 0.5 to 1.5 Hz, and a third of it at 6 to 10 Hz.
        seed: of noise and wow, an integer.
    """
    rng = np.random.default_rng([1, int(seed)])
    if wow > 0:
        seconds = np.arange(len(x)) / rate
        deviation = np.zeros(len(x))
        for part, low, high in ((1.0, 0.5, 1.5), (1 / 3, 6.0, 10.0)):
            angular, phase = 2 * np.pi * rng.uniform(low, high), rng.uniform(0, 2 * np.pi)
            deviation += part / angular * (np.sin(angular * seconds + phase) - np.sin(phase))
        x = _interpolate(x, np.arange(len(x)) + wow / 100 * rate * deviation)
    hiss = filter_zero_phase(rng.standard_normal(len(x)), rate, lambda hz: np.sqrt((100 + hz) / (1000 + hz)))
    return mix(x, hiss, -hiss_db)


@degradation(VARIATIONS, crackle_db=(-100, -20), hiss_db=(-100, -20), seed=(0, 999))
def vinyl(x: Array, rate: int, rng: np.random.Generator, *, crackle_db: float, hiss_db: float, seed: float) -> Array:
    """Add the sound of a record: crackle of 5 to 50 clicks per second with very different levels, and surface noise.

    Args:
        x: float [n].
        rate: in Hz.
        rng: not used, because a variation has the same generator for all clips.
        crackle_db, hiss_db: relative to the RMS of the music.
        seed: of both, an integer.
    """
    rng = np.random.default_rng([2, int(seed)])
    clicks = max(rng.poisson(len(x) / rate * rng.uniform(5, 50)), 1)
    impulses = np.zeros(len(x))
    strengths = rng.lognormal(0, 1, clicks) * rng.choice([-1.0, 1.0], clicks)
    np.add.at(impulses, rng.integers(0, len(x), clicks), strengths)
    crackle = signal.lfilter(*signal.iirpeak(rng.uniform(1500, 4000), 1.0, fs=rate), impulses)
    surface = filter_zero_phase(rng.standard_normal(len(x)), rate, lambda hz: (hz > 15) / np.sqrt(100 + hz))
    return mix(x, surface, -hiss_db) + (mix(x, np.asarray(crackle), -crackle_db) - x)


def random_clean_noise(rng: np.random.Generator) -> str:
    """Draw the noise of an old recording, for the end of a variation.

    There is none in 85%. The rest is divided equally between tape and record, 40 to 70 dB below the music.
    """
    kind, seed = rng.random(), int(rng.integers(1000))
    levels, wow = rng.uniform(-70, -40, 2).tolist(), rng.uniform(0, 0.3)
    if kind < 0.85:
        return ""
    if kind < 0.925:
        return format_chain(("tape", {"hiss_db": levels[0], "wow": wow, "seed": seed}))
    return format_chain(("vinyl", {"crackle_db": levels[0], "hiss_db": levels[1], "seed": seed}))


@numba.njit(cache=True)
def _interpolate(x: Array, places: Array) -> Array:  # pragma: no cover - compiled
    """Interpolate `x` [n] at fractional positions [n] with 24 taps of a Hann-windowed sinc. Outside, `x` is zero."""
    half = 12
    offsets = np.arange(1 - half, half + 1)
    cosines, sines = np.cos(np.pi * offsets / half), np.sin(np.pi * offsets / half)
    y = np.zeros(len(places))
    for n in range(len(places)):
        whole = int(np.floor(places[n]))
        part = places[n] - whole
        if part < 1e-9:
            y[n] = x[whole] if 0 <= whole < len(x) else 0.0
            continue
        cosine, sine, total = np.cos(np.pi * part / half), np.sin(np.pi * part / half), 0.0
        for tap in range(max(0, half - 1 - whole), min(2 * half, len(x) - whole + half - 1)):
            k = offsets[tap]
            window = 0.5 + 0.5 * (cosine * cosines[tap] + sine * sines[tap])  # of the distance, part - k
            sample = x[whole + k] * window / (part - k)
            total += sample if k % 2 == 0 else -sample
        y[n] = total * np.sin(np.pi * part) / np.pi
    return y
