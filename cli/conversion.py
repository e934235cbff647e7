"""Convert simple values of options without pydantic.

typer builds a pydantic adapter for each option of a command, which takes longer than scoring a clip. Text, paths, plain
numbers and choices need no adapter. All other values, and all that are invalid, are left to typer and its messages.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal

_NUMBERS: Final[dict[type, re.Pattern[str]]] = {
    int: re.compile(r"[0-9]{1,15}"),
    float: re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?"),
}
_NOT_CONVERTED: Final = object()


def use_simple_conversion(command: Any) -> None:
    """Let the parameters of a command, and of the commands of a group, convert simple values themselves.

    Args:
        command: object of typer's.
    """
    for member in getattr(command, "commands", {}).values():
        use_simple_conversion(member)
    hints = {} if command.callback is None else typing.get_type_hints(command.callback, include_extras=True)
    command.get_params = partial(_get_params, command.get_params, hints)


def _get_params(get_params: Callable[[Any], list[Any]], hints: dict[str, Any], context: Any) -> list[Any]:
    parameters = get_params(context)
    for parameter in parameters:
        if isinstance(parameter.process_value, partial):
            continue  # typer returns the same parameters in each call
        if parameter.callback is not None:
            parameter.process_value = partial(_process_flag, parameter, parameter.process_value)
        elif parameter.name in hints:
            hint = hints[parameter.name]
            parameter.process_value = partial(_process_value, parameter, hint, parameter.process_value)
    return parameters


def convert(value: Any, hint: Any) -> Any:
    """Convert a value of the command line, or a default, to the type of its parameter.

    Args:
        value: text, a sequence of texts, a default, or None.
        hint: type of the parameter.

    Returns:
        The converted value; a special object if the value is not simple.
    """
    limits: Any = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, limits = typing.get_args(hint)[:2]
    members = [member for member in typing.get_args(hint) if member is not NoneType]
    if isinstance(hint, UnionType):
        hint = members[0] if len(members) == 1 else object
        members = list(typing.get_args(hint))
    origin = typing.get_origin(hint)
    if origin is list and isinstance(value, tuple | list):
        values = [convert(item, members[0]) for item in value]
        return _NOT_CONVERTED if any(item is _NOT_CONVERTED for item in values) else values
    if origin is Literal:
        return value if value in members else _NOT_CONVERTED
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is str and isinstance(value, str):
        return value
    if hint in _NUMBERS:
        return _convert_number(value, hint, getattr(limits, "min", None), getattr(limits, "max", None))
    return _NOT_CONVERTED


def _convert_number(value: Any, kind: type, low: float | None, high: float | None) -> Any:
    if isinstance(value, str):
        if not _NUMBERS[kind].fullmatch(value):
            return _NOT_CONVERTED
        value = kind(value)
    elif type(value) is not kind:
        return _NOT_CONVERTED
    in_range = (low is None or low <= value) and (high is None or value <= high)
    return value if in_range else _NOT_CONVERTED


def _process_value(
    parameter: Any, hint: Any, process_value: Callable[[Any, Any], Any], context: Any, value: Any
) -> Any:
    if value is None and not parameter.required:
        return () if parameter.multiple or parameter.nargs == -1 else None
    converted = convert(value, hint) if value or not parameter.required else _NOT_CONVERTED
    return process_value(context, value) if converted is _NOT_CONVERTED else converted


def _process_flag(parameter: Any, process_value: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    """Process a flag such as `--help`, whose callback treats None as False."""
    return process_value(context, False if value is None and parameter.is_flag else value)
