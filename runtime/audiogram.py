"""The audiogram: eight hearing levels, however a person writes them down."""

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
"""Hz; the order in which every network of the family reads an audiogram"""
LOWEST, HIGHEST = -10.0, 120.0
"""dB HL"""

# Bisgaard, Vlaming & Dahlquist (2010), Trends in Amplification 14(2), at the frequencies above; they end at 6 kHz,
# and 8 kHz holds that value.
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
    """Hearing levels of one ear.

    Attributes:
        levels: 8 hearing levels in dB HL at `FREQUENCIES`, each from -10 to 120.
        name: what the listener is called in results; the levels themselves when empty.

    Raises:
        AudiogramError: not 8 levels, or a level that is not a number from -10 to 120.
    """

    levels: tuple[float, ...]
    name: str = ""

    def __post_init__(self) -> None:
        levels = tuple(_number(level) for level in self.levels)
        if len(levels) != len(FREQUENCIES):
            raise AudiogramError(f"an audiogram has 8 hearing levels, got {len(levels)}: give {_FORMS}")
        for frequency, level in zip(FREQUENCIES, levels, strict=True):
            if not LOWEST <= level <= HIGHEST:  # false for NaN too
                raise AudiogramError(
                    f"hearing level {level:g} dB HL at {frequency} Hz is outside {LOWEST:g} to {HIGHEST:g}: "
                    "give thresholds in dB HL, 0 being normal hearing"
                )
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "name", self.name or "[" + ", ".join(f"{level:g}" for level in levels) + "]")

    @classmethod
    def named(cls, name: str) -> Audiogram:
        """A standard audiogram: NH, N1 to N7, S1 to S3, in any case (Bisgaard et al. 2010)."""
        key = name.strip().upper()
        if key not in STANDARD:
            raise AudiogramError(f"{name!r} is not the name of an audiogram: give {_FORMS}")
        return cls(STANDARD[key], key)

    @classmethod
    def from_pairs(cls, frequencies: Iterable[object], levels: Iterable[object], name: str = "") -> Audiogram:
        """An audiogram measured at other frequencies.

        Args:
            frequencies: Hz, at least two, each above 0, none twice; in any order.
            levels: dB HL, as many.

        The levels are interpolated over log frequency; below and above the measured frequencies the ends are held.
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
        """Read a CSV (a pair a line, a heading allowed) or JSON file ({"250": 20, ...}, [[250, 20], ...],
        {"frequencies": [...], "levels": [...]}, or 8 levels); the file's stem becomes the name."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:  # not UTF-8, or a name that cannot be one
            raise AudiogramError(f"cannot read the audiogram {path}: {error}. Give {_FORMS}") from error
        if path.suffix.lower() == ".json":
            return _from_json(text, path.stem, str(path))
        try:
            rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise AudiogramError(f"{path} is not CSV ({error}): give {_FORMS}") from error
        if rows and not _is_number(rows[0][0]):
            del rows[0]  # a heading
        if not rows or any(len(row) != 2 for row in rows):
            raise AudiogramError(f"{path} is not an audiogram: expected lines of 'frequency in Hz, level in dB HL'")
        return cls.from_pairs([row[0] for row in rows], [row[1] for row in rows], path.stem)

    @classmethod
    def parse(cls, text: str) -> Audiogram:
        """Read what a person types: a name, 8 numbers as JSON or comma-separated, or a file's path."""
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
        """The levels as the networks read them: float32 [8], dB HL."""
        return np.array(self.levels, dtype=np.float32)

    def at(self, frequencies: Sequence[float]) -> npt.NDArray[np.float64]:
        """Levels in dB HL at other frequencies in Hz, interpolated over log frequency, ends held."""
        return np.interp(np.log(frequencies), np.log(FREQUENCIES), self.levels)


AudiogramLike: TypeAlias = "str | Audiogram | Sequence[float] | Mapping[Any, Any] | npt.NDArray[Any]"


def as_audiogram(value: AudiogramLike) -> Audiogram:
    """One listener from anything that says one: a name or text, 8 numbers, a mapping of Hz to dB HL, an `Audiogram`."""
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
    """Listeners, and whether several were asked for (a list, even of one) rather than a single one."""
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
    """Hz to dB HL, or `frequencies` and `levels` to lists of them."""
    frequencies, levels = value.get("frequencies"), value.get("levels")
    if isinstance(frequencies, list | tuple | np.ndarray) and isinstance(levels, list | tuple | np.ndarray):
        return Audiogram.from_pairs(frequencies, levels, name)
    return Audiogram.from_pairs(value.keys(), value.values(), name)
