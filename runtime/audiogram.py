"""The audiogram of a listener: eight hearing levels, read from a name, numbers, a mapping, an object or a file.

`docs/audiograms.md` lists the accepted forms. Whatever can be read in two ways is an error.
"""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, KeysView, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import AudiogramError
from .files import is_file

FREQUENCIES: Final = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
"""Audiogram frequencies in Hz, in the order in which every network reads them."""
MIN_HEARING_LEVEL, MAX_HEARING_LEVEL = -10.0, 120.0
"""Range of hearing levels, dB HL."""
_RANGE = f"{MIN_HEARING_LEVEL:g} to {MAX_HEARING_LEVEL:g}"
_HZ, _KHZ = (100.0, 20_000.0), (0.1, 20.0)
"""Ranges of frequencies without a unit. They do not overlap, so that the numbers tell Hz from kHz."""

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
_LINES = "expected lines of 'frequency in Hz, level in dB HL'"
_SUFFIXES = (".csv", ".json", ".tsv", ".txt")
_MAX_BYTES = 1 << 20
"""Size limit of a file. A larger one is no audiogram, but for example audio."""

_NUMBER = r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:e[+-]?[0-9]+)?"
_LEVEL = re.compile(rf"({_NUMBER}|[+-]?(?:inf|infinity))\s*(?:db(?:\s*hl)?)?", re.IGNORECASE)
_FREQUENCY = re.compile(rf"({_NUMBER})\s*(k|khz|hz)?", re.IGNORECASE)
_NO_RESPONSE = re.compile(r"n\.?\s?r\.?|no response|120\s?\+|(?:>=?|≥)\s?120", re.IGNORECASE)
_MISSING = frozenset({"", "-", "--", "na", "n/a", "nan", "none", "null"})
_KHZ_OF_AUDIOMETRY = frozenset({0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0})
_FREQUENCY_KEYS = frozenset({"frequencies", "frequency", "freqs", "cfs", "audiogram_cfs"})
_LEVEL_KEY = re.compile(r"(?:audiogram_)?(?:levels?|hl|thresholds?)(?:_(l|r|left|right))?")
_FREQUENCY_WORD = re.compile(r"fr[eé]q|k?hz|cfs?\b", re.IGNORECASE)
_THOUSANDS = re.compile(r"[0-9]{1,3}(?: [0-9]{3})+(?: ?k?hz)?", re.IGNORECASE)
_LEFT = frozenset({"l", "left", "links", "gauche"})
_RIGHT = frozenset({"r", "right", "rechts", "droite"})
"""words for the ears, in English, German and French"""


class _SelectionError(AudiogramError):
    """Raised if a file has several audiograms and none of them is selected, or not the one that is."""


class AudiogramWarning(UserWarning):
    """Issued if levels of an audiogram were not measured, and which ones are taken in their place."""


@dataclass(frozen=True)
class Audiogram:
    """Hearing levels of one ear at 250, 500, 1000, 2000, 3000, 4000, 6000 and 8000 Hz.

        Audiogram.named("N3")
        Audiogram((20, 30, 40, 50, 60, 70, 70, 70), "left ear")

    Attributes:
        levels: 8 hearing levels in dB HL at `FREQUENCIES`, each from -10 to 120. "NR" (no response) becomes 120, with
            an `AudiogramWarning`.
        name: name of the listener in results. Default: the levels themselves.

    Raises:
        AudiogramError: if there are not exactly 8 levels, or if a level is not a number from -10 to 120.
    """

    levels: tuple[float, ...]
    name: str = ""

    def __post_init__(self) -> None:
        levels = _eight_levels(_ordered(self.levels))
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
            raise AudiogramError(f"{_show(name)} is not the name of an audiogram: give {_FORMS}")
        return cls(STANDARD[key], key)

    @classmethod
    def from_pairs(cls, frequencies: Iterable[object], levels: Iterable[object], name: str = "") -> Audiogram:
        """Create an audiogram from levels at any frequencies.

        A level measured at one of the eight frequencies is used as it is. The others are interpolated over log
        frequency between their measured neighbours, as pyclarity does. Below the lowest and above the highest measured
        frequency the nearest level is used, with an `AudiogramWarning`.

        Args:
            frequencies: different frequencies in any order, all from 100 to 20,000 (Hz) or all from 0.1 to 20 (kHz), or
                text with a unit such as "250 Hz" or "1k". At least two are from 250 to 8000 Hz.
            levels: hearing levels in dB HL, one per frequency. "NR" (no response) becomes 120, with an
                `AudiogramWarning`.
            name: name of the listener in results.

        Raises:
            AudiogramError: if a frequency or a level is invalid or missing, or if the pairs can be read in two ways.
        """
        return cls(_levels_of_pairs(_Pairs(_ordered(frequencies), _ordered(levels))), name)

    @classmethod
    def from_file(cls, path: str | Path, selection: str | None = None) -> Audiogram:
        """Read an audiogram from a CSV or JSON file.

        The file name without its suffix becomes the name, followed by `:selection` if there is one.

        Args:
            path: path of the file. A JSON file (suffix `.json`) holds for example `{"250": 20, ...}`, `[[250, 20],
                ...]`, `{"frequencies": [...], "levels": [...]}` or a list of 8 levels. Any other file is a table: a
                pair of frequency and level per line, or a header line of frequencies, or one line of 8 levels.
            selection: which audiogram to read if the file has several: "left", "right", the name of a column or row,
                or "L5001:left" for an ear of a listener in a `listeners.json` of the Clarity and Cadenza challenges.

        Raises:
            AudiogramError: if the file cannot be read, does not hold a valid audiogram, or can be read in two ways.
        """
        path = Path(path)
        parts = () if selection is None else tuple(part.strip() for part in selection.split(":"))
        text = _read_text(path)
        if path.suffix.lower() == ".json":
            levels = _levels_of_json(text, parts, str(path))
        else:
            levels = _levels_of_table(text, parts, str(path))
        return cls(levels, ":".join((path.stem, *parts)))

    @classmethod
    def parse(cls, text: str) -> Audiogram:
        """Create an audiogram from text, as typed on a command line.

        Args:
            text: the name of a standard audiogram, 8 numbers in dB HL (comma-separated or JSON), JSON as in
                `from_file`, the path of a CSV or JSON file, or such a path with a selection, as `ears.csv:left`. A
                name is preferred to a file, and a file whose name contains the colon to a selection.

        Raises:
            AudiogramError: if the text is none of these.
        """
        stripped = text.strip()
        if stripped.upper() in STANDARD:
            return cls.named(stripped)
        if stripped.startswith(("[", "{")):
            return cls(_levels_of_json(stripped, (), ""))
        if "," in stripped and all(_is_level(part) for part in stripped.split(",")):
            return cls(tuple(stripped.split(",")))  # type: ignore[arg-type]
        if (file := _split_path(stripped)) is not None:
            return cls.from_file(*file)
        raise AudiogramError(f"{_show(text)} is not an audiogram: give {_FORMS}")

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


@dataclass(frozen=True)
class EarPair:
    """The audiograms of a listener's two ears.

    Attributes:
        left: audiogram of the left ear.
        right: audiogram of the right ear.
        name: name of the listener in results. Default: the names of both audiograms.
    """

    left: Audiogram
    right: Audiogram
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or f"{self.left.name}, {self.right.name}")


class MeasuredLevels(Protocol):
    """An object with levels at its own frequencies, such as pyclarity's `Audiogram`."""

    levels: Any
    frequencies: Any


class LabelledLevels(Protocol):
    """A pandas `Series` of levels with frequencies as its index, or a `DataFrame` of one listener."""

    @property
    def index(self) -> Any: ...
    @property
    def iloc(self) -> Any: ...


class ListenerOfTwoEars(Protocol):
    """An object with the audiograms of two ears, such as pyclarity's `Listener`."""

    audiogram_left: Any
    audiogram_right: Any


AudiogramLike: TypeAlias = (
    "str | Path | Audiogram | Sequence[float] | Mapping[Any, Any] | npt.NDArray[Any] | MeasuredLevels | LabelledLevels"
)


EarsLike: TypeAlias = "str | Path | EarPair | tuple[AudiogramLike, AudiogramLike] | ListenerOfTwoEars"


def as_audiogram(value: AudiogramLike) -> Audiogram:
    """Convert a value to an `Audiogram`.

    Args:
        value: an `Audiogram`, text or a path as for `Audiogram.parse`, 8 numbers in dB HL, a mapping of Hz to dB HL, an
            object with `frequencies` and `levels` (pyclarity's `Audiogram`), a pandas `Series` with the frequencies as
            its index, or a `DataFrame` of one row or one column.

    Raises:
        AudiogramError: if the value is none of these.
    """
    if isinstance(value, Audiogram):
        return value
    if isinstance(value, str | Path):
        return Audiogram.parse(str(value))
    if isinstance(value, Mapping):
        return Audiogram(_levels_of_mapping(value, (), ""))
    if _is_pandas(value):
        return _from_pandas(value)
    measured: Any = value
    if _has_frequencies(measured):
        return Audiogram.from_pairs(measured.frequencies, measured.levels)
    return Audiogram(_ordered(value))


def as_audiograms(value: AudiogramLike | Sequence[AudiogramLike]) -> tuple[list[Audiogram], bool]:
    """Convert one audiogram or a list of audiograms.

    Args:
        value: a value as for `as_audiogram`, or a list of such values.

    Returns:
        The audiograms, and whether `value` was a list of audiograms (even of one).

    Raises:
        AudiogramError: if there is no audiogram, or an invalid one.
    """
    one: Any = value
    if isinstance(one, str | Path | Audiogram | Mapping) or _is_pandas(one) or _has_frequencies(one):
        return [as_audiogram(one)], False
    items = _ordered(one)
    if not items:
        raise AudiogramError(f"no audiogram was given: give {_FORMS}, or a list of them")
    if isinstance(items[0], int | float | np.number):
        return [Audiogram(items)], False
    return [as_audiogram(item) for item in items], True


def as_ears(value: EarsLike | Sequence[EarsLike]) -> tuple[list[EarPair], bool]:
    """Convert the two ears of a listener, or a list of listeners.

    Args:
        value: `(left, right)`, each an audiogram as for `as_audiogram`; an `EarPair`; an object with `audiogram_left`
            and `audiogram_right` (pyclarity's `Listener`); text or a path of one listener, such as
            `listeners.json:L5001`; or a list of these, such as that of `load_listeners`.

    Returns:
        The pairs, and whether `value` was a list of listeners (even of one).

    Raises:
        AudiogramError: if an audiogram is invalid, or if there are not two for each listener.
    """
    one: Any = value
    if _is_ears(one) and not _is_ears_list(one):
        return [_to_ears(one)], False
    items = _ordered(one)
    if not items or not all(map(_is_ears, items)):
        raise AudiogramError(
            f"ears={_show(value)}: give (left, right), an audiogram for each ear, or a list of such pairs"
        )
    return [_to_ears(item) for item in items], True


def load_listeners(path: str | Path) -> list[EarPair]:
    """Read a file of listeners in the format of the Clarity and Cadenza challenges (`listeners.json`).

    Such a file holds one record for each listener, by the listener's name, with the fields `audiogram_cfs`,
    `audiogram_levels_l` and `audiogram_levels_r`. Other records of two ears are accepted as well, see `from_file`.

    Args:
        path: path of the file.

    Returns:
        One pair per listener, in the order of the file. Names are as in `listeners:L5001`, those of the ears as in
        `listeners:L5001:left`.

    Raises:
        AudiogramError: if the file cannot be read, or if it is no file of listeners.
    """
    path = Path(path)
    value = _load_json(_read_text(path), str(path))
    if not _are_listeners(value):
        raise AudiogramError(
            f"{path} is no file of listeners: expected a record for each listener, such as "
            '{"L5001": {"audiogram_cfs": [...], "audiogram_levels_l": [...], "audiogram_levels_r": [...]}}'
        )
    return [_listener_of_record(record, str(path), f"{path.stem}:{key}", key) for key, record in value.items()]


def parse_audiograms(texts: Iterable[str]) -> list[Audiogram]:
    """Create audiograms from the texts of a command line.

    Args:
        texts: texts as for `Audiogram.parse`. A file of two ears, or a listener of a `listeners.json`
            (`listeners.json:L5001`), gives the left and the right ear. A whole `listeners.json` gives both ears of all
            its listeners.

    Raises:
        AudiogramError: if a text is none of these.
    """
    found: list[Audiogram] = []
    for text in texts:
        for one in _parse_listeners(text):
            found += [one.left, one.right] if isinstance(one, EarPair) else [one]
    return found


def parse_ears(texts: Iterable[str]) -> list[EarPair]:
    """Create pairs of ears from the texts of a command line.

    Args:
        texts: texts as for `parse_audiograms`. Audiograms of one ear come in pairs: left, then right.

    Raises:
        AudiogramError: if a text is no audiogram, or if a left ear has no right one.
    """
    found: list[EarPair] = []
    left: Audiogram | None = None
    for one in (one for text in texts for one in _parse_listeners(text)):
        if isinstance(one, Audiogram) and left is not None:
            found.append(EarPair(left, one))
            left = None
        elif isinstance(one, Audiogram):
            left = one
        elif left is None:
            found.append(one)
        else:
            break
    if left is not None:
        raise AudiogramError(
            f"the audiogram {left.name} is of one ear, and its other ear is missing: give the left and the right ear, "
            "such as -a N2 -a N3, or a listener with both, such as -a listeners.json:L5001"
        )
    return found


def _parse_listeners(text: str) -> list[Audiogram | EarPair]:
    """Return the audiogram, the two ears or the listeners of a text."""
    file = _split_path(text.strip())
    if file is None or text.strip().upper() in STANDARD:
        return [Audiogram.parse(text)]
    path, selection = file
    if selection is None and _is_listeners_file(str(path)):
        return list(load_listeners(path))
    try:
        return [Audiogram.from_file(path, selection)]
    except _SelectionError:
        pair = _read_two_ears(path, selection)
        if pair is None:
            raise
        return [pair]


def _read_two_ears(path: Path, selection: str | None) -> EarPair | None:
    """Return the two ears of a file or of a selection, or None if there are none.

    Raises:
        AudiogramError: both ears exist, but the levels of one are invalid.
    """
    start = "" if selection is None else f"{selection}:"
    ears: list[Audiogram] = []
    invalid: AudiogramError | None = None
    for ear in ("left", "right"):
        try:
            ears.append(Audiogram.from_file(path, f"{start}{ear}"))
        except _SelectionError:
            return None
        except AudiogramError as error:
            invalid = invalid or error
    if invalid is not None:
        raise invalid
    left, right = ears
    return EarPair(left, right, left.name.removesuffix(":left"))


def _split_path(text: str) -> tuple[Path, str | None] | None:
    """Split text into the path of a file and a selection. Return None for text that is no path.

    The path is as long as possible: it may contain a colon itself, as that of a Windows drive.
    """
    if text.startswith(("[", "{")) or ("," in text and all(_is_level(part) for part in text.split(","))):
        return None
    colons = [match.start() for match in re.finditer(":", text)][::-1]
    candidates = [(text, None), *((text[:colon], text[colon + 1 :]) for colon in colons)]
    for is_path in (is_file, _has_suffix):
        for path, selection in candidates:
            if is_path(Path(path)):
                return Path(path), selection
    return None


# Objects of other libraries, recognized by their attributes, so that the libraries are not imported.


def _has_suffix(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _is_listeners_file(path: str) -> bool:
    if not path.lower().endswith(".json") or not is_file(Path(path)):
        return False
    return _are_listeners(_load_json(_read_text(Path(path)), path))


def _are_listeners(value: object) -> bool:
    """Return whether a value is a mapping of names to the records of listeners."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(item, Mapping) for item in value.values()):
        return False
    return not {str(key).strip().casefold() for key in value} & {"audiogram", "l", "r", "left", "right"}


def _listener_of_record(record: Any, origin: str, name: str, key: str) -> EarPair:
    left, right = (
        Audiogram(_levels_of_value(record, (ear,), f"{origin}:{key}"), f"{name}:{ear}") for ear in ("left", "right")
    )
    return EarPair(left, right, name)


def _has_two_ears(value: object) -> bool:
    return hasattr(value, "audiogram_left") and hasattr(value, "audiogram_right")


def _is_ears(value: object) -> bool:
    """Return whether a value has the form of a listener's two ears."""
    if isinstance(value, EarPair | str | Path) or _has_two_ears(value):
        return True
    return isinstance(value, tuple | list) and len(value) == 2 and not isinstance(value[0], int | float | np.number)


def _is_ears_list(value: object) -> bool:
    """Return whether a value of two items is a list of two listeners. Two texts are the two ears of one."""
    if not isinstance(value, tuple | list):
        return False
    return all(map(_is_ears, value)) and not all(isinstance(item, str | Path) for item in value)


def _to_ears(value: Any) -> EarPair:
    if isinstance(value, EarPair):
        return value
    if isinstance(value, str | Path):
        pairs = parse_ears([str(value)])
        if len(pairs) != 1:
            raise AudiogramError(
                f"{value} has {len(pairs)} listeners: give one of them, such as {_show(f'{value}:NAME')}, or "
                f"load_listeners({str(value)!r}) for all"
            )
        return pairs[0]
    if _has_two_ears(value):
        name = str(getattr(value, "id", "") or "")
        ears = (value.audiogram_left, value.audiogram_right)
        left, right = (Audiogram.from_pairs(ear.frequencies, ear.levels) for ear in ears)
        if not name:
            return EarPair(left, right)
        return EarPair(Audiogram(left.levels, f"{name}:left"), Audiogram(right.levels, f"{name}:right"), name)
    left, right = (as_audiogram(ear) for ear in value)
    return EarPair(left, right)


def _is_pandas(value: object) -> bool:
    return hasattr(value, "iloc") and hasattr(value, "index")


def _has_frequencies(value: object) -> bool:
    if _has_two_ears(value):
        raise AudiogramError(
            "a listener has two ears: give its audiogram_left or its audiogram_right, or for stereo ears=listener"
        )
    return hasattr(value, "levels") and hasattr(value, "frequencies")


def _from_pandas(value: Any) -> Audiogram:
    """Convert a `Series` of levels, or a `DataFrame` of one row or one column."""
    if value.ndim == 2:
        rows, columns = value.shape
        keys = [str(column).strip().casefold() for column in value.columns]
        if columns == 2 and keys[0] in _FREQUENCY_KEYS and _LEVEL_KEY.fullmatch(keys[1]):
            return Audiogram.from_pairs(value.iloc[:, 0], value.iloc[:, 1])
        if 1 not in (rows, columns):
            raise AudiogramError(
                f"a DataFrame of {rows} rows and {columns} columns is not one audiogram: give one row or column of "
                "levels, such as frame.loc[listener], labelled with frequencies"
            )
        value = value.iloc[0] if rows == 1 else value.iloc[:, 0]
    name, frequencies, levels = value.name, list(value.index), list(value)
    name = name if isinstance(name, str) else ""
    if frequencies == list(range(len(FREQUENCIES))):  # no frequencies, but the default index
        return Audiogram(tuple(levels), name)
    return Audiogram.from_pairs(frequencies, levels, name)


def _ordered(value: Any) -> tuple[Any, ...]:
    """Return the items of a list, array or the like. Refuse what has no order, and text."""
    if not isinstance(value, str | bytes | bytearray | memoryview | Set | Mapping) or isinstance(value, KeysView):
        try:
            return tuple(value)
        except TypeError:
            pass
    raise AudiogramError(f"{_show(value)} is not an audiogram: give {_FORMS}")


# Frequencies and levels


@dataclass(frozen=True)
class _Pairs:
    """Frequencies with their levels, and where they were read.

    Attributes:
        frequencies, levels: the pairs.
        origin: the file.
        lines: the line of each pair.
        column: name of the column of the levels, if the file has several.
        shared: whether other audiograms of the file have the same frequencies.
    """

    frequencies: Sequence[object]
    levels: Sequence[object]
    origin: str = ""
    lines: Sequence[int] = ()
    column: str = ""
    shared: bool = False

    def place(self, index: int | None = None) -> str:
        """Return the beginning of a message."""
        if index is not None and self.lines:
            column = f", column {_show(self.column)}" if self.column else ""
            return f"{self.origin}, line {self.lines[index]}{column}: "
        return f"{self.origin}: " if self.origin else ""


def _levels_of_pairs(pairs: _Pairs) -> tuple[float, ...]:
    """Return the levels at the eight frequencies."""
    count = len(pairs.frequencies)
    if count != len(pairs.levels) or count < 2:
        raise AudiogramError(
            f"{pairs.place()}got {count} frequencies and {len(pairs.levels)} levels: give at least two pairs of both"
        )
    hz = _hertz_of_pairs(pairs)
    levels = _parse_levels(pairs.levels, hz, pairs.place, pairs.shared)
    measured = dict(zip(hz, levels, strict=True))
    if sum(FREQUENCIES[0] <= f <= FREQUENCIES[-1] for f in hz) < 2:
        raise AudiogramError(
            f"{pairs.place()}frequencies {_join(sorted(hz))} Hz: give at least two from {FREQUENCIES[0]} to "
            f"{FREQUENCIES[-1]} Hz"
        )
    lowest, highest = min(hz), max(hz)
    for held, nearest in (
        ([f for f in FREQUENCIES if f < lowest], lowest),
        ([f for f in FREQUENCIES if f > highest], highest),
    ):
        if held:
            warnings.warn(
                f"{pairs.place()}no level at {_join(held)} Hz: the level at {nearest:g} Hz is used there",
                AudiogramWarning,
                stacklevel=4,
            )
    order = np.argsort(hz)
    interpolated = np.interp(np.log(FREQUENCIES), np.log(np.array(hz)[order]), np.array(levels)[order])
    return tuple(measured.get(f, level) for f, level in zip(FREQUENCIES, interpolated.tolist(), strict=True))


def _hertz_of_pairs(pairs: _Pairs) -> list[float]:
    """Return the frequencies in Hz. Refuse duplicates, and pairs whose levels may be the frequencies."""
    try:
        hz = _hertz(pairs.frequencies, pairs.place)
    except AudiogramError as error:
        if all(map(_split_frequency, pairs.frequencies)) and _are_frequencies(pairs.levels):
            raise AudiogramError(
                f"{pairs.place(0)}frequencies and levels are swapped: got frequency {_show(pairs.frequencies[0])} with "
                f"level {_show(pairs.levels[0])}, give each frequency before its level"
            ) from error
        raise
    seen: dict[float, int] = {}
    for index, f in enumerate(hz):
        if f in seen:
            line = f" is also in line {pairs.lines[seen[f]]}" if pairs.lines else " occurs twice"
            raise AudiogramError(f"{pairs.place(index)}frequencies {hz} must be above 0 Hz, each once: {f:g} Hz{line}")
        seen[f] = index
    read = [_split_frequency(value) for value in pairs.frequencies]
    if all(parts is not None and not parts[1] for parts in read):
        numbers = [parts[0] for parts in read if parts is not None]
        if len(numbers) >= 5 and numbers == list(range(1, len(numbers) + 1)):
            raise AudiogramError(
                f"{pairs.place()}frequencies 1 to {len(numbers)} look like row numbers: give frequencies in Hz"
            )
        if max(numbers) <= _KHZ[1]:
            levels = [_split_frequency(value) for value in pairs.levels]
            possible = {parts[0] for parts in levels if parts is not None}
            if len(possible) == len(levels) and possible <= _KHZ_OF_AUDIOMETRY:
                raise AudiogramError(
                    f"{pairs.place()}the levels {_join(possible)} may be frequencies in kHz: if they are levels, give "
                    "the frequencies in Hz"
                )
    return hz


def _hertz(values: Sequence[object], place: Callable[[int], str]) -> list[float]:
    """Convert frequencies to Hz. Those without a unit are all in Hz or all in kHz, recognized by their range."""
    numbers, units = [], []
    for index, value in enumerate(values):
        parts = _split_frequency(value)
        if parts is None:
            raise AudiogramError(
                f"{place(index)}{_show(value)} is not a number in an audiogram: give a frequency in Hz, such as 250"
            )
        numbers.append(parts[0])
        units.append(parts[1])
    for index, number in enumerate(numbers):
        if not (math.isfinite(number) and number > 0):
            raise AudiogramError(f"{place(index)}frequencies {numbers} must be above 0 Hz, each once")
    plain = [number for number, unit in zip(numbers, units, strict=True) if not unit]
    kilo = len(plain) == len(numbers) and max(plain, default=math.inf) <= _KHZ[1]
    hz = []
    for index, (number, unit) in enumerate(zip(numbers, units, strict=True)):
        f = round(number * 1000, 6) if unit.startswith("k") or (kilo and not unit) else number
        if not _HZ[0] <= f <= _HZ[1]:
            if not unit and _KHZ[0] <= number <= _KHZ[1]:
                raise AudiogramError(
                    f"{place(index)}frequency {number:g} is in kHz, others are in Hz or have a unit: give "
                    "all of them in Hz"
                )
            raise AudiogramError(
                f"{place(index)}frequency {number:g}{unit} is neither in Hz ({_HZ[0]:g} to {_HZ[1]:g}) nor in kHz "
                f"({_KHZ[0]:g} to {_KHZ[1]:g})"
            )
        hz.append(f)
    return hz


def _are_frequencies(values: Sequence[object]) -> bool:
    """Return whether these can be the frequencies of an audiogram."""
    try:
        hz = _hertz(values, lambda _: "")
    except AudiogramError:
        return False
    return len(set(hz)) == len(hz) and sum(FREQUENCIES[0] <= f <= FREQUENCIES[-1] for f in hz) >= 2


def _split_frequency(value: object) -> tuple[float, str] | None:
    """Return the number and the unit ("k", "khz", "hz" or ""), or None for anything else."""
    if isinstance(value, str):
        match = _FREQUENCY.fullmatch(value.strip())
        return match and (_to_float(match[1]), (match[2] or "").lower())
    try:
        return None if isinstance(value, bool | np.bool_) else (float(value), "")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _eight_levels(values: Sequence[object], place: str = "") -> tuple[float, ...]:
    if len(values) != len(FREQUENCIES):
        raise AudiogramError(f"{place}an audiogram has 8 hearing levels, got {len(values)}: give {_FORMS}")
    return tuple(_parse_levels(values, FREQUENCIES, lambda _: place))


def _parse_levels(
    values: Sequence[object], hz: Sequence[float], place: Callable[[int], str], shared: bool = False
) -> list[float]:
    levels, unanswered = [], []
    for index, (value, f) in enumerate(zip(values, hz, strict=True)):
        if isinstance(value, str) and _NO_RESPONSE.fullmatch(value.strip()):
            unanswered.append(index)
            level = MAX_HEARING_LEVEL
        else:
            level = _parse_level(value, f, place(index), shared)
        if not MIN_HEARING_LEVEL <= level <= MAX_HEARING_LEVEL:  # also rejects NaN
            hint = "leave out a frequency that was not measured" if math.isnan(level) else "0 is normal hearing"
            raise AudiogramError(
                f"{place(index)}hearing level {level:g} dB HL at {f:g} Hz is outside {_RANGE}: give thresholds in "
                f"dB HL; {hint}"
            )
        levels.append(level)
    if unanswered:
        where = _join([hz[index] for index in unanswered])
        warnings.warn(
            f"{place(unanswered[0])}no response at {where} Hz: {MAX_HEARING_LEVEL:g} dB HL is used there",
            AudiogramWarning,
            stacklevel=4,
        )
    return levels


def _parse_level(value: object, hz: float, place: str, shared: bool) -> float:
    hint = f"give {_FORMS}"
    if isinstance(value, str):
        if match := _LEVEL.fullmatch(_ascii_minus(value)):
            return _to_float(match[1])
        hint = f"give the level at {hz:g} Hz in dB HL, or NR for no response, which is taken as {MAX_HEARING_LEVEL:g}"
    if value is None or (isinstance(value, str) and value.strip().lower() in _MISSING):
        hint = (
            f"the level at {hz:g} Hz is missing. If it was not measured, leave out this frequency, and its neighbours "
            "are interpolated. If there was no response, write NR"
        )
        if shared:
            hint += ". If the other ears have this level, write this ear into a file of its own, without the frequency"
    elif not isinstance(value, str | bool | np.bool_):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            pass
    raise AudiogramError(f"{place}{_show(value)} is not a number in an audiogram: {hint}")


def _is_level(text: str) -> bool:
    """Return whether text has the form of a level, within the range or not."""
    return bool(_LEVEL.fullmatch(_ascii_minus(text)) or _NO_RESPONSE.fullmatch(text.strip()))


def _ascii_minus(text: str) -> str:
    return text.strip().replace("\N{MINUS SIGN}", "-")


def _to_float(number: str) -> float:
    return float(number.replace(",", "."))


def _join(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in sorted(numbers))


def _show(value: object) -> str:
    """Return the value as messages show it, on one line and not too long."""
    try:
        text = " ".join(repr(value).split())
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text)} characters)"


# Files


def _read_text(path: Path) -> str:
    """Read a file in UTF-8, or in UTF-16 with a byte order mark."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        if "\0" in text:
            raise ValueError("it has null bytes, as audio or UTF-16 without a byte order mark")
    except UnicodeError as error:
        hint = "Save it as text in UTF-8 (in a spreadsheet: 'CSV UTF-8')"
        raise AudiogramError(f"cannot read the audiogram {path}: {error}. {hint}") from error
    except (OSError, ValueError) as error:  # or an impossible path
        raise AudiogramError(f"cannot read the audiogram {path}: {error}. Give {_FORMS}") from error
    return text


@dataclass(frozen=True)
class _Series:
    """One audiogram of a table, with its labels: the header of its column, or the first cells of its row."""

    labels: tuple[str, ...]
    pairs: _Pairs


_Row: TypeAlias = tuple[int, list[str]]
"""The number of a line, and its cells."""


def _levels_of_table(text: str, parts: tuple[str, ...], origin: str) -> tuple[float, ...]:
    """Read pairs in lines, a table with a header line of frequencies, or eight levels."""
    rows = _split_rows(text, origin)
    width = len(rows[0][1]) if rows else 0
    if not rows:
        raise AudiogramError(f"{origin} is not an audiogram: {_LINES}, got no line")
    cells = [cell for _, row in rows for cell in row]
    if (len(rows) == 1 or width == 1) and (
        len(cells) == len(FREQUENCIES) or (len(cells) > 2 and all(map(_is_level, cells)))
    ):
        _refuse_selection(parts, origin)
        return _eight_levels(cells, f"{origin}, line {rows[0][0]}: " if len(rows) == 1 else f"{origin}: ")
    columns, lines = _split_columns(rows, origin), _split_lines(rows, origin)
    if not columns and not lines and (header := _find_header(rows, origin)):
        _check_lines_above(rows, header, origin)
        rows = rows[header:]
        columns, lines = _split_columns(rows, origin), _split_lines(rows, origin)
    if columns and lines:
        first = rows[0][1][0]
        # Both readings are possible. A word in the first cell of the header decides, or an invalid level.
        word = first if _split_frequency(first) is None else ""
        if _FREQUENCY_WORD.search(word):
            lines = []
        elif word or not any(_is_valid(series) for series in columns):
            columns = []
        elif not any(_is_valid(series) for series in lines):
            lines = []
        else:
            raise AudiogramError(
                f"{origin}: frequencies may be in the first column or in the first line: give them in Hz, in lines of "
                "'frequency in Hz, level in dB HL', or begin with a line 'frequency,level'"
            )
    if not columns and not lines:
        _refuse_table(rows, text, origin)
    return _levels_of_pairs(_select(columns or lines, parts, origin, "columns" if columns else "lines"))


def _split_text(text: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", text)


def _split_rows(text: str, origin: str) -> list[_Row]:
    """Split text into cells. Leave out blank lines, comments and empty columns at the end."""
    lines = list(enumerate(_split_text(text), 1))
    lines = [
        (number, line)
        for number, line in lines
        if line.strip(" \t,;") and not line.lstrip().startswith("#") and not re.fullmatch(r"sep=.", line.strip())
    ]
    # The header may contain any of these characters. Commas may be decimal.
    delimiter = next((mark for mark in (";", "\t", ",") if lines and mark in lines[-1][1]), None)
    rows = []
    for number, line in lines:
        try:
            line = line if delimiter else " ".join(line.split())
            cells = next(csv.reader([line], delimiter=delimiter or " ", skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise AudiogramError(f"{origin}, line {number} is not CSV ({error}): give {_FORMS}") from error
        rows.append((number, [_plain_number(cell.strip()) if delimiter else cell.strip() for cell in cells]))
    rows = [(number, cells) for number, cells in rows if any(cells)]
    width = max((index for _, cells in rows for index, cell in enumerate(cells, 1) if cell), default=0)
    return [(number, (cells + [""] * width)[:width]) for number, cells in rows]


def _plain_number(cell: str) -> str:
    """Return a number in ASCII digits and without spaces between thousands, as in `1 000`; other cells as they are."""
    if not re.match(r"[+-]?\d", cell):
        return cell
    plain = unicodedata.normalize("NFKC", cell)  # also for spaces that do not break lines
    return re.sub(r"(?<=\d) (?=\d)", "", plain) if _THOUSANDS.fullmatch(plain) else plain


def _has_header(rows: list[_Row]) -> bool:
    """Return whether the first line names the columns: it has no numbers, or begins with a word such as "Hz"."""
    first, *others = rows[0][1]
    words = not any(_is_level(cell) or _split_frequency(cell) for cell in others)
    unnamed = not first and others == [str(index) for index in range(len(others))]  # as pandas numbers them
    return not re.match(r"[0-9.,+-]", first) and (words or unnamed or bool(_FREQUENCY_WORD.search(first)))


def _find_header(rows: list[_Row], origin: str) -> int:
    """Return the index of an unmistakable header below other lines, or 0 if there is none.

    Such a header has a word for the frequency or an ear and is above numbers, or has frequencies that are no levels.
    """
    for index in range(1, len(rows) - 1):
        head, below = rows[index][1], rows[index:]
        names_columns = _has_header(below) and not any(map(_is_number, head))
        if (
            names_columns
            and (_FREQUENCY_WORD.search(head[0]) or any(map(_ear, head)))
            and _split_columns(below, origin)
        ):
            return index
        frequencies = [parts for cell in head if (parts := _split_frequency(cell))]
        plain = [number for number, unit in frequencies if not unit]
        no_levels = min(plain, default=math.inf) > MAX_HEARING_LEVEL or (
            len(plain) >= 5 and _KHZ_OF_AUDIOMETRY.issuperset(plain) and plain == sorted(plain)
        )
        if len(frequencies) > 1 and no_levels and _split_lines(below, origin):
            return index
    return 0


def _check_lines_above(rows: list[_Row], header: int, origin: str) -> None:
    """Raise an error if a line above the header has numbers, and may thus be one of levels."""
    if any(_is_number(cell) for _, cells in rows[:header] for cell in cells):
        first, last = rows[0][0], rows[header - 1][0]
        lines = f"line {first} is" if first == last else f"lines {first}-{last} are"
        raise AudiogramError(
            f"{origin}: {lines} before the header in line {rows[header][0]}, with numbers: delete "
            f"{'it' if first == last else 'them'}"
        )


def _is_number(cell: str) -> bool:
    return _is_level(cell) or _split_frequency(cell) is not None


def _split_columns(rows: list[_Row], origin: str) -> list[_Series]:
    """Return the columns of levels of a table whose first column has the frequencies. Otherwise, return nothing."""
    head = rows[0][1]
    others = head[1:]
    has_header = _has_header(rows)
    body = rows[1:] if has_header else rows
    frequencies = [cells[0] for _, cells in body]
    if not others or not body or not _are_numbers_in_hertz(frequencies):
        return []
    if "" in others if has_header else len(others) > 1:  # more cells than the header, or columns without names
        return []
    numbers = [number for number, _ in body]
    return [
        _Series(
            (others[column],) if has_header else (),
            _Pairs(
                frequencies,
                [cells[column + 1] for _, cells in body],
                origin,
                numbers,
                column=others[column] if len(others) > 1 else "",
                shared=len(others) > 1,
            ),
        )
        for column in range(len(others))
    ]


def _split_lines(rows: list[_Row], origin: str) -> list[_Series]:
    """Return the lines of levels of a table whose first line has the frequencies. Otherwise, return nothing."""
    head, body = rows[0][1], rows[1:]
    labels = next((index for index, cell in enumerate(head) if _split_frequency(cell)), len(head))
    frequencies = head[labels:]
    if not body or (len(body) > 1 and not labels) or not _are_frequencies(frequencies):
        return []
    return [
        _Series(
            tuple(label for label in cells[:labels] if label),
            _Pairs(frequencies, cells[labels:], origin, [number] * len(frequencies), shared=len(body) > 1),
        )
        for number, cells in body
    ]


def _are_numbers_in_hertz(values: Sequence[object]) -> bool:
    """Return whether these are frequencies, perhaps with duplicates."""
    try:
        _hertz(values, lambda _: "")
    except AudiogramError:
        return False
    return True


def _is_valid(series: _Series) -> bool:
    """Return whether all levels are in range."""
    matches = [(cell, _LEVEL.fullmatch(_ascii_minus(str(cell)))) for cell in series.pairs.levels]
    return all(
        MIN_HEARING_LEVEL <= _to_float(match[1]) <= MAX_HEARING_LEVEL if match else _is_level(str(cell))
        for cell, match in matches
    )


def _refuse_table(rows: list[_Row], text: str, origin: str) -> NoReturn:
    """Raise the error of a table that has its frequencies neither in the first column nor in the first line."""
    source = _split_text(text)
    if len(rows[0][1]) != 2:
        counts = [len([cell for cell in cells if cell]) for _, cells in rows]
        headers = (
            index
            for index, (_, cells) in enumerate(rows)
            if _FREQUENCY_WORD.search(cells[0]) and not any(map(_is_number, cells))
        )
        named = next(headers, None)
        body = rows if named is None else rows[named + 1 :]
        if named is not None and counts[named] > 2 and max(counts[named:]) == counts[named]:
            # The header is right. If a first cell is no frequency, this raises the error that tells which.
            _hertz([cells[0] for _, cells in body], lambda index: f"{origin}, line {body[index][0]}: ")
        expected = 2 if named is None else counts[named]
        number = next((row[0] for row, count in zip(rows, counts, strict=True) if count != expected), rows[0][0])
        line = source[number - 1].strip()
        advice = []
        if "," in line and ";" not in line:
            advice.append("Separate columns by semicolons if commas are decimal.")
        if named is None:
            advice.append("Several columns of levels need a header line, such as 'frequency,left,right'.")
        else:
            advice.append(f"The header in line {rows[named][0]} has {counts[named]} columns: give each line as many.")
        raise AudiogramError(
            f"{origin} is not an audiogram: {_LINES}, got {_show(line)} in line {number}. {' '.join(advice)}"
        )
    body = rows[1:] if _has_header(rows) else rows
    if body:
        frequencies, levels = zip(*(cells for _, cells in body), strict=True)
        _levels_of_pairs(_Pairs(frequencies, levels, origin, [number for number, _ in body]))
    raise AudiogramError(
        f"{origin} is not an audiogram: {_LINES}, got {_show(source[rows[0][0] - 1].strip())} in line {rows[0][0]}"
    )


def _ear(label: str) -> str:
    """Return "left" or "right" if a label names an ear, as "L", "left ear" or "HL_right" do. Otherwise, return ""."""
    words = set(re.split(r"[^a-z]+", label.casefold()))
    left, right = not words.isdisjoint(_LEFT), not words.isdisjoint(_RIGHT)
    return "" if left == right else "left" if left else "right"


def _select(series: list[_Series], parts: tuple[str, ...], origin: str, kind: str) -> _Pairs:
    """Return the one audiogram of a table, or the one that is selected."""
    if not parts and len(series) == 1:
        return series[0].pairs
    wanted = [part.casefold() for part in parts]
    labels = [{label.casefold() for label in one.labels} for one in series]
    found = [one for one, names in zip(series, labels, strict=True) if wanted and names.issuperset(wanted)]
    if not found:
        labels = [names | {_ear(name) for name in names} for names in labels]
        wanted = [_ear(part) or part for part in wanted]
        found = [one for one, names in zip(series, labels, strict=True) if any(wanted) and names.issuperset(wanted)]
    if len(found) == 1:
        return found[0].pairs
    names = [":".join(one.labels) for one in series if one.labels]
    got = f"{len(found) or 'no'} {kind} named {_show(':'.join(parts))}" if parts else f"{len(series)} {kind} of levels"
    hint = f"select one, such as {_show(f'{origin}:{names[0]}')}" if names else "give them a header line"
    raise _SelectionError(f"{origin} has {got} (names: {', '.join(map(_show, names)) or 'none'}): {hint}")


def _refuse_selection(parts: tuple[str, ...], origin: str) -> None:
    if parts:
        raise _SelectionError(f"{origin} has one audiogram: leave out {_show(':' + ':'.join(parts))}")


def _levels_of_json(text: str, parts: tuple[str, ...], origin: str) -> tuple[float, ...]:
    return _levels_of_value(_load_json(text, origin), parts, origin)


def _load_json(text: str, origin: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        if isinstance(error, _DuplicateKeyError):
            raise AudiogramError(
                f"{origin or _show(text)}: key {error} occurs twice: give each frequency once"
            ) from error
        raise AudiogramError(f"{origin or _show(text)} is not JSON ({error}): give {_FORMS}") from error


class _DuplicateKeyError(ValueError):
    """Raised if a JSON object has a key twice."""


def _unique_keys(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise _DuplicateKeyError(_show(key))
        found[key] = value
    return found


def _levels_of_value(value: Any, parts: tuple[str, ...], origin: str) -> tuple[float, ...]:
    """Read a mapping or a list, from JSON or Python."""
    if isinstance(value, Mapping):
        return _levels_of_mapping(value, parts, origin)
    if not _is_list(value):
        raise AudiogramError(f"{origin or _show(value)} does not hold an audiogram: give {_FORMS}")
    _refuse_selection(parts, origin)
    items = list(value)
    if items and all(isinstance(item, Mapping) for item in items):
        keys = [(_one_key(item, _FREQUENCY_KEYS.__contains__), _one_key(item, _LEVEL_KEY.fullmatch)) for item in items]
        frequencies = [item.get(key) for item, (key, _) in zip(items, keys, strict=True)]
        levels = [item.get(key) for item, (_, key) in zip(items, keys, strict=True)]
        return _levels_of_pairs(_Pairs(frequencies, levels, origin))
    if items and all(_is_list(item) and len(item) == 2 for item in items):
        return _levels_of_pairs(_Pairs([item[0] for item in items], [item[1] for item in items], origin))
    return _eight_levels(items, f"{origin}: " if origin else "")


def _levels_of_mapping(value: Mapping[Any, Any], parts: tuple[str, ...], origin: str) -> tuple[float, ...]:
    """Read levels by frequency, lists of frequencies and levels, a record of two ears, or one of these in a field."""
    place = f"{origin}: " if origin else ""
    if _are_listeners(value):
        return _levels_of_listeners(value, parts, origin)
    keys = {key: str(key).strip().casefold() for key in value}
    fields = [key for key, text in keys.items() if text == "audiogram" and not isinstance(value[key], str)]
    ears = [key for key, text in keys.items() if text in {"l", "r", "left", "right"}]
    frequencies = [key for key, text in keys.items() if text in _FREQUENCY_KEYS]
    levels = [key for key, text in keys.items() if _LEVEL_KEY.fullmatch(text)]
    pairs = [key for key in value if _split_frequency(key)]
    forms = [form for form in (fields, ears, frequencies + levels, pairs) if form]
    if len(forms) > 1 or len(fields) > 1 or len(frequencies) > 1:
        raise AudiogramError(f"{place}keys {_show(list(value))} are of more than one audiogram: give one of them")
    if fields:
        inner = value[fields[0]]
        if isinstance(inner, Mapping) and any(str(key).strip().casefold() == "audiogram" for key in inner):
            raise AudiogramError(f"{place}an audiogram within an audiogram is not one: give {_FORMS}")
        return _levels_of_value(inner, parts, origin)
    if ears:
        return _levels_of_value(value[_select_key(ears, parts, origin)], (), origin)
    if frequencies or levels:
        selected: Any = value[_select_key(levels, parts, origin)] if levels else None
        if not _is_list(selected) or (frequencies and not _is_list(value[frequencies[0]])):
            raise AudiogramError(
                f"{place}{_show(dict(value))} is not an audiogram: its frequencies and its levels must be "
                "lists of numbers"
            )
        if not frequencies:
            return _eight_levels(list(selected), place)
        return _levels_of_pairs(_Pairs(list(value[frequencies[0]]), list(selected), origin, shared=len(levels) > 1))
    _refuse_selection(parts, origin)
    return _levels_of_pairs(_Pairs(list(value.keys()), list(value.values()), origin))


def _levels_of_listeners(value: Mapping[Any, Any], parts: tuple[str, ...], origin: str) -> tuple[float, ...]:
    """Read an ear of the selected listener."""
    names = [str(key) for key in value]
    chosen = [key for key in value if parts and str(key).strip().casefold() == parts[0].casefold()]
    if len(chosen) == 1:
        return _levels_of_value(value[chosen[0]], parts[1:], f"{origin}:{chosen[0]}")
    place = f"{origin}: " if origin else ""
    hint = f"such as {_show(f'{origin}:{names[0]}')} for both ears, or ':left' after it for one" if origin else ""
    if parts:
        raise AudiogramError(
            f"{place}no listener named {_show(parts[0])} among {len(names)}: select one of {', '.join(names[:8])}"
            f"{', ...' if len(names) > 8 else ''}, {hint}"
        )
    raise AudiogramError(
        f"{place}the keys {_show(names)} are no frequencies, but may be listeners: give the audiogram of one listener"
        f"{', ' if hint else ''}{hint}"
    )


def _one_key(value: Mapping[Any, Any], test: Callable[[str], object]) -> Any:
    keys = [key for key in value if test(str(key).strip().casefold())]
    if len(keys) != 1:
        raise AudiogramError(
            f"{_show(value)} is not a frequency with its level: give {{'frequency': 250, 'level': 20}}"
        )
    return keys[0]


def _select_key(keys: list[Any], parts: tuple[str, ...], origin: str) -> Any:
    """Return the one key of levels, or that of the selected ear."""
    if not parts and len(keys) == 1 and not _ear(str(keys[0])):
        return keys[0]
    found = [key for key in keys if len(parts) == 1 and _ear(parts[0]) and _ear(str(key)) == _ear(parts[0])]
    if len(found) == 1:
        return found[0]
    got = f"levels {_show(keys)}"
    if not origin:
        raise _SelectionError(f"got {got} of several ears: give the levels of one, as 'levels'")
    ears = [_ear(str(key)) for key in keys if _ear(str(key))]
    hint = f"select one, such as {_show(f'{origin}:{ears[0]}')}" if ears else f"leave out {_show(':'.join(parts))}"
    raise _SelectionError(f"{origin} has {got}: {hint}")


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray) or _is_pandas(value)
