"""The multiband compressor through which the CAD2 challenge passes the reference, for each ear of a listener.

It is pyclarity's `MultibandCompressor`: a crossover of Linkwitz-Riley filters (D'Appolito 1984, "Active realization of
multiway all-pass crossover systems"), and in each band a feed-forward compressor with a smoothed gain (Giannoulis,
Massberg & Reiss 2012, "Digital dynamic range compressor design", JAES 60).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import signal

from ..runtime.ears import EARS, Ear
from ..runtime.errors import AudioError, OptionError
from .simd import jit

Array = npt.NDArray[np.float64]
CROSSOVERS: Final = (353.55, 707.11, 1414.21, 2828.43, 5656.85)
"""Hz between the bands in CAD2"""
ATTACK: Final = (11.0, 11.0, 14.0, 13.0, 11.0, 11.0)
"""attack times of the bands in CAD2, ms"""
RELEASE: Final = (80.0, 80.0, 80.0, 80.0, 100.0, 100.0)
"""release times of the bands in CAD2, ms"""
THRESHOLD: Final = -30.0
"""level in dB of full scale above which a band is compressed in CAD2"""
_FLOOR: Final = -120.0
"""lowest level of a sample, dB of full scale"""
_FIELDS: Final[Mapping[Ear, tuple[str, str]]] = {"left": ("cr_l", "gain_l"), "right": ("cr_r", "gain_r")}


@dataclass(frozen=True)
class EarCompressor:
    """The compressor of an ear.

    Attributes:
        ratios: compression ratio of each of six bands, at least 1.
        gains: gain of each band, dB.

    Raises:
        OptionError: a value is missing or out of range.
    """

    ratios: tuple[float, ...]
    gains: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in (("ratios", self.ratios), ("gains", self.gains)):
            if len(values) != len(ATTACK) or not all(map(math.isfinite, values)):
                raise OptionError(f"{name}={values}: give {len(ATTACK)} finite numbers, one for each band")
        if min(self.ratios) < 1:
            raise OptionError(f"ratios={self.ratios}: a compression ratio is 1 or more")

    def apply(self, samples: Array, rate: int) -> Array:
        """Compress a signal.

        Args:
            samples: [n], of one channel. The threshold refers to full scale, 1.0.
            rate: Hz.

        Returns:
            float64 [n].

        Raises:
            AudioError: the rate is too low for the bands.
        """
        if rate <= 2 * CROSSOVERS[-1]:
            raise AudioError(
                f"a rate of {rate} Hz: the bands of the compressor reach above {CROSSOVERS[-1]:g} Hz; give the "
                f"recording at its original rate, more than {2 * CROSSOVERS[-1]:g} Hz"
            )
        total = np.zeros(len(samples))
        bands = _split(np.asarray(samples, dtype=np.float64), rate)
        for band, ratio, gain, attack, release in zip(bands, self.ratios, self.gains, ATTACK, RELEASE, strict=True):
            poles = (math.exp(-1000 / (rate * time)) for time in (attack, release))
            _add_compressed(total, np.ascontiguousarray(band), THRESHOLD, 1 / ratio, gain, *poles)
        return total


def load_compressors(path: str | Path) -> dict[str, dict[Ear, EarCompressor]]:
    """Read the compressors of listeners, as the file `compressor_params.valid.json` of CAD2 has them.

    Args:
        path: JSON file with a record for each listener, by name: `cr_l` and `cr_r` (six ratios), `gain_l` and `gain_r`
            (six gains in dB).

    Returns:
        The compressors of both ears, by listener.

    Raises:
        OptionError: the file cannot be read, or lacks a value.
    """
    expected = 'a record for each listener, such as {"L5001": {"cr_l": [...], "gain_l": [...], "cr_r": ...}}'
    try:
        records: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptionError(f"{path} does not exist: give the compressor_params.json of CAD2") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} cannot be read as JSON ({error}): expected {expected}") from error
    if not isinstance(records, dict) or not records:
        raise OptionError(f"{path} has no compressors: expected {expected}")
    return {str(name): _parse_record(record, f"{path}, {name}", expected) for name, record in records.items()}


def _parse_record(record: Any, place: str, expected: str) -> dict[Ear, EarCompressor]:
    found: dict[Ear, EarCompressor] = {}
    for ear in EARS:
        names = _FIELDS[ear]
        try:
            ratios, gains = (tuple(float(value) for value in record[name]) for name in names)
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError(
                f"{place}: {' and '.join(names)} must be lists of numbers: expected {expected}"
            ) from error
        try:
            found[ear] = EarCompressor(ratios, gains)
        except OptionError as error:
            raise OptionError(f"{place}, {ear} ear: {error}") from error
    return found


def _split(samples: Array, rate: int) -> list[Array]:
    """Return the bands of a signal, from low to high. Without compression, their sum has the magnitude of the signal.

    Each filter is a cascade of two Butterworth filters of second order. A low-pass and its high-pass add up to an
    all-pass, which every lower band passes too, so that all bands have the same phase.
    """
    low: list[Array] = []
    high: list[Array] = []
    both: list[Array] = []
    for frequency in CROSSOVERS:
        pairs = [signal.butter(2, frequency, kind, fs=rate) for kind in ("lowpass", "highpass")]
        for sections, (zeros, poles) in zip((low, high), pairs, strict=True):
            sections.append(np.tile(np.concatenate([zeros, poles]), (2, 1)))
        poles = pairs[0][1]
        both.append(np.concatenate([poles[::-1], poles])[np.newaxis])
    bands, rest = [], samples
    for number in range(len(CROSSOVERS)):
        band = signal.sosfilt(np.concatenate([low[number], *both[number + 1 :]]), rest)
        bands.append(np.asarray(band))
        rest = np.asarray(signal.sosfilt(high[number], rest))
    return [*bands, rest]


@jit
def _add_compressed(
    total: Array, band: Array, threshold: float, slope: float, gain: float, attack: float, release: float
) -> None:  # pragma: no cover - compiled
    """Add a compressed band to `total`. `slope` is the inverse of the ratio, `attack` and `release` are poles."""
    smooth = 0.0
    for i in range(len(band)):
        size = abs(band[i])
        level = max(20 * math.log10(size), _FLOOR) if size > 0 else _FLOOR
        reduction = (level - threshold) * (1 - slope) if level >= threshold else 0.0
        pole = attack if reduction > smooth else release
        smooth = pole * smooth + (1 - pole) * reduction
        total[i] += band[i] * 10 ** ((gain - smooth) / 20)
