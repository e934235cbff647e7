"""Read dataclasses from YAML and JSON documents: one reader for settings of training and for recipes of corpora.

The type hints of a dataclass say what a document may contain. Supported are numbers, texts, booleans, literals, tuples
of one type, mappings, dataclasses, and optional values. `Annotated` adds limits (`Min`), checks (`Check`, `NonEmpty`)
and conversions (`Convert`). Every error names the file and the key.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..runtime.errors import HaaqiEdgeError, OptionError

T = TypeVar("T")


@dataclass(frozen=True)
class Min:
    """Minimum of a number. It replaces the reader's."""

    value: float


@dataclass(frozen=True)
class NonEmpty:
    """Requires at least one element."""


@dataclass(frozen=True)
class Label:
    """Marks the text that names a dataclass in messages, such as the name of a source in a list."""


@dataclass(frozen=True)
class Check:
    """A further check: `function` raises ValueError with a message unless it accepts a value of the right type."""

    function: Callable[[Any], None]


@dataclass(frozen=True)
class Convert:
    """Reads a value as the type `source`, and converts it by `function` to the annotated type."""

    source: Any
    function: Callable[[Any], Any]


PositiveInt = Annotated[int, Min(1)]
NonNegativeInt = Annotated[int, Min(0)]
NonNegativeFloat = Annotated[float, Min(0)]
_TEXTS: Final = {bool: "true or false", str: "a text", Path: "a path"}


def brief_repr(value: object) -> str:
    """Return the short form of a value for messages. Nested lists, which YAML's aliases can make huge, are cut."""
    short = Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 60, 60
    return short.repr(value)


@dataclass(frozen=True)
class ConfigReader:
    """Reads dataclasses from mappings.

    Attributes:
        error: type of the errors.
        min_int, min_float: minimum of numbers without a `Min`.
    """

    error: type[HaaqiEdgeError] = OptionError
    min_int: float = -math.inf
    min_float: float = -math.inf

    def read(self, kind: type[T], values: object, place: str, default: T | None = None) -> T:
        """Create a dataclass from a mapping.

        Args:
            kind: the dataclass.
            values: a mapping whose keys are names of its fields.
            place: name of the document in messages.
            default: provides the values of fields that the mapping lacks. None uses the defaults of the dataclass.

        Raises:
            HaaqiEdgeError: of the type `error`: a key is unknown or missing, or a value has the wrong type or is out of
                range.
        """
        hints = get_type_hints(kind, include_extras=True)
        known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
        given = self.mapping(values, place, known)
        labels = [given.get(name) for name, hint in hints.items() if _metadata(hint, Label)]
        if labels and isinstance(labels[0], str):
            place = f"{place} ({labels[0]:.60})"
        found: dict[str, Any] = {}
        for name, field in known.items():
            if name in given:
                inner = getattr(default, name) if default is not None else _default(field)
                found[name] = self.value(hints[name], given[name], join(place, name), inner)
            elif default is None and field.default is MISSING and field.default_factory is MISSING:
                raise self.error(f"{join(place, name)} is missing, expected {self._expected(hints[name])}")
        return kind(**found) if default is None else replace(default, **found)  # type: ignore[type-var]

    def mapping(self, values: object, place: str, known: Mapping[str, object] | None = None) -> Mapping[str, Any]:
        """Return values if they are a mapping with known names as keys; None allows all names.

        Raises:
            HaaqiEdgeError: of the type `error`.
        """
        names = f": {', '.join(known)}" if known else ""
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            raise self.error(f"{place} is {brief_repr(values)}, expected a mapping with the keys{names or ' as names'}")
        if known is not None and (unknown := sorted(values.keys() - known.keys())):
            raise self.error(f"{place}: unknown key {', '.join(unknown)}; known keys{names}")
        return values

    def value(self, hint: Any, value: object, place: str, default: Any = None) -> Any:
        """Check and convert the value of a type hint.

        Args:
            hint: the type.
            value: as a YAML or JSON document gives it.
            place: document and key in messages.
            default: of the value. A mapping for a dataclass changes fields of its default. A list or mapping without
                content is its default.

        Raises:
            HaaqiEdgeError: of the type `error`.
        """
        if get_origin(hint) is not Annotated:
            return self._plain(hint, value, place, default, None)
        inner, *extras = get_args(hint)
        for extra in extras:
            if isinstance(extra, Convert):
                return extra.function(self.value(extra.source, value, place))
        least = next((extra.value for extra in extras if isinstance(extra, Min)), None)
        found = self._plain(inner, value, place, default, least)
        for extra in extras:
            if isinstance(extra, NonEmpty) and not found:
                raise self._wrong(hint, value, place)
            if isinstance(extra, Check):
                try:
                    extra.function(found)
                except ValueError as error:
                    raise self.error(f"{place}: {error}") from error
        return found

    def _plain(self, hint: Any, value: Any, place: str, default: Any, least: float | None) -> Any:
        """Read the value of a type without metadata; `least` is the minimum of a number."""
        origin, args = get_origin(hint), get_args(hint)
        if value is None and default is not None and (origin in (tuple, dict, Mapping) or is_dataclass(hint)):
            return default  # a key without content
        if origin in (Union, types.UnionType):
            if value is None and type(None) in args:
                return None
            (inner,) = (arg for arg in args if arg is not type(None))
            return self.value(inner, value, place, default)
        if is_dataclass(hint) and isinstance(hint, type):
            return value if isinstance(value, hint) else self.read(hint, value, place, default)
        if origin is tuple:
            if isinstance(value, list | tuple):
                if args[-1:] == (...,):
                    args = (args[0],) * len(value)
                if len(args) == len(value):
                    pairs = enumerate(zip(args, value, strict=True))
                    return tuple(self.value(arg, each, f"{place}[{i}]") for i, (arg, each) in pairs)
        elif origin in (dict, Mapping) or hint is Mapping:
            known = dict.fromkeys(get_args(args[0])) if get_origin(args[0]) is Literal else None
            given = self.mapping(value, place, known)
            return {key: self.value(args[1], each, join(place, key)) for key, each in given.items()}
        elif origin is Literal:
            if value in args and type(value) in {type(arg) for arg in args}:
                return value
        elif hint is float:
            number = _number(value)
            if number is not None and math.isfinite(number) and number >= self._least(hint, least):
                return number
        elif hint is int:
            if isinstance(value, int) and not isinstance(value, bool) and value >= self._least(hint, least):
                return value
        elif hint is str:
            if isinstance(value, str) and value.strip():
                return value.strip()
        elif hint is Path:
            if isinstance(value, str) and value.strip():
                return Path(value)
        elif isinstance(hint, type) and isinstance(value, hint):
            return value
        raise self._wrong(hint if least is None else Annotated[hint, Min(least)], value, place)

    def _wrong(self, hint: Any, value: object, place: str) -> HaaqiEdgeError:
        return self.error(f"{place} is {brief_repr(value)}, expected {self._expected(hint)}")

    def _least(self, hint: Any, least: float | None) -> float:
        return least if least is not None else self.min_int if hint is int else self.min_float

    def _expected(self, hint: Any) -> str:
        """Describe the values of a type."""
        least = None
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
            sources = [extra.source for extra in extras if isinstance(extra, Convert)]
            if sources:
                return self._expected(sources[0])
            least = next((extra.value for extra in extras if isinstance(extra, Min)), None)
            if any(isinstance(extra, NonEmpty) for extra in extras):
                return self._expected(hint) + " that is not empty"
        origin, args = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            return self._expected(next(arg for arg in args if arg is not type(None)))
        if origin is Literal:
            return "one of " + ", ".join(map(str, args))
        if origin is tuple:
            return "a list of names" if _bare(args[0]) is str else "a list"
        if hint in (int, float):
            least = self._least(hint, least)
            return ("a whole number" if hint is int else "a number") + (
                f", {least:g} or more" if math.isfinite(least) else ""
            )
        if is_dataclass(hint) and isinstance(hint, type):
            return f"a mapping with the keys: {', '.join(field.name for field in fields(hint))}"
        return _TEXTS.get(hint, "a mapping")


def join(place: str, key: str) -> str:
    """Return the place of a key: `FILE: KEY`, or `FILE: OUTER, KEY` within another key."""
    return f"{place}, {key}" if ": " in place else f"{place}: {key}"


def _metadata(hint: Any, kind: type) -> bool:
    return get_origin(hint) is Annotated and any(isinstance(extra, kind) for extra in get_args(hint)[1:])


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _default(field: Any) -> Any:
    """Return the default of a field; None if it has none."""
    if field.default is not MISSING:
        return field.default
    return None if field.default_factory is MISSING else field.default_factory()


def _number(value: object) -> float | None:
    """Convert a value to a number, including numbers that YAML reads as text (1e-3)."""
    try:
        return None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
