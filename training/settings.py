"""Settings of a run, from a YAML or JSON file and from command-line flags. HAAQI-Net's own file is supported too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..runtime.errors import OptionError
from .loop import Plan

T = TypeVar("T")
CONFIGS: Final = Path(__file__).parent / "configs"
"""Settings that the package includes: the published ones, and every row of the paper's Table IV."""

_LEAST: Final = {"seed": 0, "free": 0, "predicts": 0, "folds": 2}
"""Minimum of whole numbers, by name. The minimum of others is 1."""


def shipped_configs() -> list[str]:
    """Return the names of the settings in the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read the settings in a file, or in the shipped file of a given name.

    Raises:
        OptionError: the file cannot be read, or does not hold a mapping.
    """
    import yaml

    file = CONFIGS / f"{path}.yaml" if str(path) in shipped_configs() else Path(path)
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise OptionError(
            f"the settings {path} cannot be read ({error}): give a YAML or JSON file, or one of "
            f"{', '.join(shipped_configs())}"
        ) from error
    if not isinstance(found, dict):
        raise OptionError(f"{path} holds no settings: expected lines such as `epochs: 10`")
    return found


def settings(kind: type[T], told: Mapping[str, Any], said: Mapping[str, Any] | None = None, origin: str = "") -> T:
    """Create a dataclass of settings that has a `plan`.

    Settings of the plan (such as `epochs`, `seed`) may also be given at the top level.

    Args:
        kind: the dataclass.
        told: settings from a file.
        said: settings from flags. They take precedence, except for None, which stands for a flag that is not given.
        origin: the name of the file in messages.

    Raises:
        OptionError: a name is no setting, or a value has the wrong type or is out of range.
    """
    said = {name: value for name, value in (said or {}).items() if value is not None}
    inner = told.get("plan") or {}
    if not isinstance(inner, Mapping):
        raise OptionError(f"{origin or 'the settings'}: plan is {inner!r}, expected settings such as `epochs: 10`")
    asked, plan = {**told, **said}, dict(inner)
    plan |= {name: asked.pop(name) for name in [field.name for field in fields(Plan)] if name in asked}
    return _build(kind, {**asked, "plan": plan}, origin or "the settings")


def _build(kind: type[T], told: Mapping[str, Any], origin: str) -> T:
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(str(name) for name in told.keys() - known.keys())
    if unknown:
        raise OptionError(f"{origin}: no such setting as {', '.join(unknown)}; there are {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, value in told.items():
        default: Any = known[name].default
        factory: Any = known[name].default_factory
        if default is MISSING and factory is not MISSING:
            default = factory()
        parts = (hints[name], *getattr(hints[name], "__args__", ()))
        inner = next((part for part in parts if isinstance(part, type) and is_dataclass(part)), None)
        if inner is not None and isinstance(value, Mapping):
            values[name] = _build(inner, {**(vars(default) if default else {}), **value}, f"{origin}, {name}")
        else:
            values[name] = _checked(value, hints[name], name, f"{origin}: {name}")
    return kind(**values)


def _checked(value: Any, hint: Any, name: str, place: str) -> Any:
    """Check the value of a setting of type `hint`. Numbers must be finite and not below `_LEAST`."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind, least = kinds[0], _LEAST.get(name, 1)
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        expected = " or ".join(map(str, get_args(kind)))
    elif get_origin(kind) is tuple:
        if isinstance(value, list | tuple):
            return tuple(_checked(each, get_args(kind)[0], name, place) for each in value)
        expected = "a list"
    elif kind is float:
        if (number := _number(value)) is not None and 0 <= number < math.inf:
            return number
        expected = "a number, 0 or more"
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        expected = f"a whole number, {least} or more"
    else:
        if isinstance(kind, type) and isinstance(value, kind):
            return value
        expected = {bool: "true or false", str: "a text"}.get(kind, "settings by name")
    raise OptionError(f"{place} is {value!r}, expected {expected}")


def _number(value: Any) -> float | None:
    """Convert a value to a number, including numbers that YAML reads as text (1e-3)."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


HAAQI_NET: Final = {
    "beats_model_path": "beats_path",
    "train_data": "table",
    "val_data": "valid",
    "batch_size": "batch",
    "epochs": "epochs",
}
"""Names of settings in HAAQI-Net's train_config.yaml, and the names of the corresponding flags here.

Its output paths and its number of data workers are not used.
"""


def from_haaqi_net(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """Translate HAAQI-Net's settings to those of this package. Return None for any other file.

    Raises:
        OptionError: the settings describe a network of another kind than the published one.
    """
    model = told.get("model")
    if not isinstance(model, Mapping) or "input_size" not in model:
        return None
    sizes = {"linear_output": 256, "hidden_size": 100}
    for name, usual in sizes.items():
        sizes[name] = _checked(model.get(name, usual), int, name, f"model: {name}")
    width = sizes["linear_output"]
    for name, wanted in (("num_layers", 1), ("dropout", 0), ("act_fn", "relu"), ("input_size", width + 8)):
        if model.get(name, wanted) != wanted:
            raise OptionError(f"model: {name} is {model[name]!r}; this version builds networks of {wanted!r} only")
    found: dict[str, Any] = {"head": {"width": width, "hidden": sizes["hidden_size"]}}
    return found | {ours: told[theirs] for theirs, ours in HAAQI_NET.items() if told.get(theirs)}
