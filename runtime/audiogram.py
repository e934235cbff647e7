"""The audiogram of a listener: eight hearing levels, read from a name, numbers, a mapping or a file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import AudiogramError
from .files import is_file

FREQUENCIES: Final = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
"""Audiogram frequencies in Hz, in the order in which every network reads them."""
LOWEST, HIGHEST = -10.0, 120.0
"""Range of hearing levels, dB HL."""

# Bisgaard, Vlaming & Dahlquist (2010), Trends in Amplification 14(2), at the frequencies above. The source ends at
# 6 kHz; 8 kHz repeats that level.
STANDARD: Final[Mapping[str, tuple[float, ...]]] = {
    "NH": (0, 0, 0, 0, 0, 0, 0, 0),
    "N1": (10, 10, 10, 15, 20, 30, 40, 40),
    "N2": (20, 20, 25, 35, 40, 45, 50, 50),
    "N3": (35, 35, 40, 50, 55, 60, 65, 65),
    "N4": (55, 55, 55, 65, 70, 75, 80, 80),
    "N5": (65, 70, 75, 80, 80, 80, 80, 80),
    "N6": (75, 80, 85, 90, 95, 100, 100, 100),
    "N7": (90, 95, 105, 105, 105, 105, 105, 105),
    "S1": (10, 10, 10, 15, 30, 55, 70, 70),
    "S2": (20, 20, 25, 55, 75, 95, 95, 95),
    "S3": (30, 35, 60, 75, 80, 80, 85, 85),
}

_FORMS = (
    f"a name ({', '.join(STANDARD)}), 8 numbers in dB HL at {', '.join(map(str, FREQUENCIES))} Hz "
    '(as "20,30,40,50,60,70,70,70" or "[20, 30, 40, 50, 60, 70, 70, 70]"), '
    "or a CSV or JSON file of frequency and level pairs"
)


@dataclass(frozen=True)
class Audiogram:
    """Hearing levels of one ear at 250, 500, 1000, 2000, 3000, 4000, 6000 and 8000 Hz.

        Audiogram.named("N3")
        Audiogram((20, 30, 40, 50, 60, 70, 70, 70), "left ear")

    Attributes:
        levels: 8 hearing levels in dB HL at `FREQUENCIES`, each from -10 to 120.
        name: name of the listener in results. Default: the levels themselves.

    Raises:
        AudiogramError: if there are not exactly 8 levels, or if a level is not a number from -10 to 120.
    """

    levels: tuple[float, ...]
    name: str = ""

    def __post_init__(self) -> None:
        levels = tuple(_number(level) for level in self.levels)
        if len(levels) != len(FREQUENCIES):
            raise AudiogramError(f"an audiogram has 8 hearing levels, got {len(levels)}: give {_FORMS}")
        for frequency, level in zip(FREQUENCIES, levels, strict=True):
            if not LOWEST <= level <= HIGHEST:  # also rejects NaN
                raise AudiogramError(
                    f"hearing level {level:g} dB HL at {frequency} Hz is outside {LOWEST:g} to {HIGHEST:g}: "
                    "give thresholds in dB HL, 0 being normal hearing"
                )
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "name", self.name or "[" + ", ".join(f"{level:g}" for level in levels) + "]")

    @classmethod
    def named(cls, name: str) -> Audiogram:
        """Return a standard audiogram.

        Args:
            name: `NH` (normal hearing, 0 dB HL), or `N1` to `N7` or `S1` to `S3` of Bisgaard et al. (2010). Upper and
                lower case are equivalent.

        Raises:
            AudiogramError: if the name is unknown.
        """
        key = name.strip().upper()
        if key not in STANDARD:
            raise AudiogramError(f"{name!r} is not the name of an audiogram: give {_FORMS}")
        return cls(STANDARD[key], key)

    @classmethod
    def from_pairs(cls, frequencies: Iterable[object], levels: Iterable[object], name: str = "") -> Audiogram:
        """Create an audiogram from levels at other frequencies.

        The levels are interpolated over log frequency. Below the lowest and above the highest measured frequency, the
        nearest level is used.

        Args:
            frequencies: at least two different frequencies above 0 Hz, in any order.
            levels: hearing levels in dB HL, one per frequency.
            name: name of the listener in results.

        Raises:
            AudiogramError: if there are fewer than two pairs, or if a frequency or a level is invalid.
        """
        hz, hl = [_number(f) for f in frequencies], [_number(level) for level in levels]
        if len(hz) != len(hl) or len(hz) < 2:
            raise AudiogramError(f"got {len(hz)} frequencies and {len(hl)} levels: give at least two pairs of both")
        if any(not (math.isfinite(f) and f > 0) for f in hz) or len(set(hz)) != len(hz):
            raise AudiogramError(f"frequencies {hz} must be above 0 Hz, each once")
        for f, level in zip(hz, hl, strict=True):
            if not LOWEST <= level <= HIGHEST:
                raise AudiogramError(f"hearing level {level:g} dB HL at {f:g} Hz is outside {LOWEST:g} to {HIGHEST:g}")
        order = np.argsort(hz)
        held = np.interp(np.log(FREQUENCIES), np.log(np.array(hz)[order]), np.array(hl)[order])
        return cls(tuple(held.tolist()), name)

    @classmethod
    def from_file(cls, path: str | Path) -> Audiogram:
        """Read an audiogram from a CSV or JSON file. The file name without its suffix becomes the name.

        Args:
            path: path of the file. A CSV file has one pair of frequency in Hz and level in dB HL per line, with or
                without a header line. A JSON file holds `{"250": 20, ...}`, `[[250, 20], ...]`,
                `{"frequencies": [...], "levels": [...]}` or a list of 8 levels.

        Raises:
            AudiogramError: if the file cannot be read or does not hold a valid audiogram.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:  # not UTF-8, or an impossible path
            raise AudiogramError(f"cannot read the audiogram {path}: {error}. Give {_FORMS}") from error
        if path.suffix.lower() == ".json":
            return _from_json(text, path.stem, str(path))
        try:
            rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise AudiogramError(f"{path} is not CSV ({error}): give {_FORMS}") from error
        if rows and not _is_number(rows[0][0]):
            del rows[0]  # the header line
        if not rows or any(len(row) != 2 for row in rows):
            raise AudiogramError(f"{path} is not an audiogram: expected lines of 'frequency in Hz, level in dB HL'")
        return cls.from_pairs([row[0] for row in rows], [row[1] for row in rows], path.stem)

    @classmethod
    def parse(cls, text: str) -> Audiogram:
        """Create an audiogram from text, as typed on a command line.

        Args:
            text: the name of a standard audiogram, 8 numbers in dB HL (comma-separated or JSON), JSON as in
                `from_file`, or the path of a CSV or JSON file.

        Raises:
            AudiogramError: if the text is none of these.
        """
        stripped = text.strip()
        if stripped.upper() in STANDARD:
            return cls.named(stripped)
        if stripped.startswith(("[", "{")):
            return _from_json(stripped, "", repr(text))
        if "," in stripped and all(_is_number(part) for part in stripped.split(",")):
            return cls(tuple(float(part) for part in stripped.split(",")))
        if Path(stripped).suffix.lower() in {".csv", ".json", ".txt"} or is_file(Path(stripped)):
            return cls.from_file(stripped)
        raise AudiogramError(f"{text!r} is not an audiogram: give {_FORMS}")

    def array(self) -> npt.NDArray[np.float32]:
        """Return the levels as the networks read them, float32 [8] in dB HL."""
        return np.array(self.levels, dtype=np.float32)

    def at(self, frequencies: Sequence[float]) -> npt.NDArray[np.float64]:
        """Return the levels at other frequencies, interpolated over log frequency.

        Args:
            frequencies: Hz. Below 250 Hz and above 8000 Hz, the nearest level is used.

        Returns:
            float64 [n], dB HL.
        """
        return np.interp(np.log(frequencies), np.log(FREQUENCIES), self.levels)


AudiogramLike: TypeAlias = "str | Audiogram | Sequence[float] | Mapping[Any, Any] | npt.NDArray[Any]"


def as_audiogram(value: AudiogramLike) -> Audiogram:
    """Convert a value to an `Audiogram`.

    Args:
        value: an `Audiogram`, text as for `Audiogram.parse`, 8 numbers in dB HL, or a mapping of Hz to dB HL.

    Raises:
        AudiogramError: if the value is none of these.
    """
    if isinstance(value, Audiogram):
        return value
    if isinstance(value, Mapping):
        return _from_mapping(value, "")
    if isinstance(value, str | Path):
        return Audiogram.parse(str(value))
    try:
        return Audiogram(tuple(value))
    except TypeError as error:
        raise AudiogramError(f"{value!r} is not an audiogram: give {_FORMS}") from error


def as_audiograms(value: AudiogramLike | Sequence[AudiogramLike]) -> tuple[list[Audiogram], bool]:
    """Convert one audiogram or a list of audiograms.

    Args:
        value: a value as for `as_audiogram`, or a list of such values.

    Returns:
        The audiograms, and whether `value` was a list of audiograms (even of one).

    Raises:
        AudiogramError: if there is no audiogram, or an invalid one.
    """
    if isinstance(value, str | Path | Audiogram | Mapping):
        return [as_audiogram(value)], False
    try:
        items = list(value)
    except TypeError as error:
        raise AudiogramError(f"{value!r} is not an audiogram: give {_FORMS}, or a list of them") from error
    if not items:
        raise AudiogramError(f"no audiogram was given: give {_FORMS}, or a list of them")
    if isinstance(items[0], int | float | np.number):
        return [as_audiogram(items)], False
    return [as_audiogram(item) for item in items], True


def _number(value: object) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError("true and false are not levels")
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise AudiogramError(f"{value!r} is not a number in an audiogram: give {_FORMS}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_json(text: str, name: str, origin: str) -> Audiogram:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AudiogramError(f"{origin} is not JSON ({error}): give {_FORMS}") from error
    if isinstance(value, dict):
        return _from_mapping(value, name)
    if isinstance(value, list) and value and all(isinstance(item, list) and len(item) == 2 for item in value):
        return Audiogram.from_pairs([item[0] for item in value], [item[1] for item in value], name)
    if isinstance(value, list):
        return Audiogram(tuple(value), name)
    raise AudiogramError(f"{origin} does not hold an audiogram: give {_FORMS}")


def _from_mapping(value: Mapping[Any, Any], name: str) -> Audiogram:
    """Read a mapping of Hz to dB HL, or one of `frequencies` and `levels` to lists."""
    frequencies, levels = value.get("frequencies"), value.get("levels")
    if isinstance(frequencies, list | tuple | np.ndarray) and isinstance(levels, list | tuple | np.ndarray):
        return Audiogram.from_pairs(frequencies, levels, name)
    return Audiogram.from_pairs(value.keys(), value.values(), name)
