"""Noise floors of real recordings: measured in the quietest frames of tracks, and synthesized for rendered music."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import fft

Array = npt.NDArray[np.float64]
FLOORS: Final = Path(__file__).parents[1] / "recipes" / "noise-floors.json"
_FRAME: Final = 2_048
_POINTS: Final = 48
"""number of frequencies of a floor's spectrum"""
_HIGHEST: Final = 12_000.0
"""Hz"""
_RANGE: Final = (-90.0, -55.0)
"""levels of frames in dBFS that count as a floor: lower ones are digital silence or dither, higher ones music"""
_BELOW: Final = 25.0
"""minimum distance of a floor from the level of the track, in dB"""
_ENOUGH: Final = 12
"""frames"""


@dataclass(frozen=True)
class Floor:
    """The noise floor of a recording.

    Attributes:
        level: RMS relative to the recording's, dB.
        spectrum: amplitude at 48 frequencies from 0 to 12 kHz, evenly spaced; largest 1.
    """

    level: float
    spectrum: tuple[float, ...]


def measure_floor(samples: npt.NDArray[np.floating[Any]], rate: int) -> Floor | None:
    """Measure the noise floor of a track.

    Args:
        samples: float [n], mono, full scale is 1.
        rate: Hz.

    Returns:
        the floor, or None if no part of the track is quiet enough, or only digital silence is.
    """
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    levels = 10 * np.log10(power + 1e-15)
    whole = 10 * np.log10(power.mean() + 1e-15) if len(power) else -150.0
    quiet = np.flatnonzero((levels > _RANGE[0]) & (levels < min(_RANGE[1], whole - _BELOW)))
    quiet = quiet[np.argsort(levels[quiet], kind="stable")][: 4 * _ENOUGH]
    if len(quiet) < _ENOUGH:
        return None
    spectra = np.abs(fft.rfft(frames[quiet] * np.hanning(_FRAME)))
    hz = fft.rfftfreq(_FRAME, 1 / rate)
    # The median over frames: a note that fades away is in few of them.
    amplitude = np.interp(np.linspace(0, _HIGHEST, _POINTS), hz, np.median(spectra, axis=0))
    if amplitude.max() <= 0:
        return None
    level = float(np.median(levels[quiet]) - whole)
    return Floor(round(level, 2), tuple(float(f"{a:.3g}") for a in amplitude / amplitude.max()))


@dataclass(frozen=True)
class NoiseFloors:
    """Generates noise with the spectrum and the level of a measured noise floor."""

    floors: Sequence[Floor]

    @classmethod
    def shipped(cls) -> NoiseFloors:
        """Return the floors in the package, which were measured in the recorded tracks of train."""
        entries = json.loads(FLOORS.read_text(encoding="utf-8"))
        return cls([Floor(entry["level"], tuple(entry["spectrum"])) for entry in entries])

    def __call__(self, rng: np.random.Generator, samples: int, rate: int) -> Array | None:
        """Synthesize stationary noise.

        Args:
            rng: random generator.
            samples: length.
            rate: Hz.

        Returns:
            float64 [samples], for music whose RMS is 1; None if there are no floors.
        """
        if not self.floors:
            return None
        floor = self.floors[int(rng.integers(len(self.floors)))]
        length = fft.next_fast_len(samples, real=True)
        hz = fft.rfftfreq(length, 1 / rate)
        shape = np.interp(hz, np.linspace(0, _HIGHEST, _POINTS), floor.spectrum)
        noise = fft.irfft(fft.rfft(rng.standard_normal(length)) * shape, length)[:samples]
        return np.asarray(noise * (10 ** (floor.level / 20) / max(float(np.sqrt(np.mean(noise**2))), 1e-12)))
