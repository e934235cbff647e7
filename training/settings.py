"""Settings of a run from a YAML or JSON file, and from what is said beside it; HAAQI-Net's own file is understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from ..runtime.errors import OptionError
from .loop import Plan

T = TypeVar("T")
CONFIGS: Final = Path(__file__).parent / "configs"
"""settings that come with the package: the published ones, and every row of the paper's Table IV"""


def shipped_configs() -> list[str]:
    """Names of the settings in the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def read_settings(path: str | Path) -> dict[str, Any]:
    """The mapping in a file, or in the shipped file of a name.

    Raises:
        OptionError: no such file, or no mapping in it.
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
    """A dataclass of settings, with a `plan`, from what a file tells and what flags say; None says nothing.

    The plan's own settings (`epochs`, `seed`) may stand beside the others, without its name.

    Raises:
        OptionError: a name that is no setting, or a value of the wrong type.
    """
    said = {name: value for name, value in (said or {}).items() if value is not None}
    asked, plan = {**told, **said}, dict(told.get("plan") or {})
    plan |= {name: asked.pop(name) for name in [field.name for field in fields(Plan)] if name in asked}
    return _build(kind, {**asked, "plan": plan}, origin or "the settings")


def _build(kind: type[T], told: Mapping[str, Any], origin: str) -> T:
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(told.keys() - known.keys())
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
        elif isinstance(default, float) and _is_number(value):
            values[name] = float(value)
        elif isinstance(default, tuple) and isinstance(value, list):
            values[name] = tuple(value)
        else:
            values[name] = _checked(value, default, f"{origin}: {name}")
    return kind(**values)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and float(value) == float(value)
    except (TypeError, ValueError):
        return False


def _checked(value: Any, default: Any, place: str) -> Any:
    if default is not MISSING and default is not None and not isinstance(value, type(default)):
        raise OptionError(f"{place} is {value!r}, expected a value such as {default!r}")
    return value


HAAQI_NET: Final = {
    "beats_model_path": "beats_path",
    "train_data": "table",
    "val_data": "valid",
    "batch_size": "batch",
    "epochs": "epochs",
}
"""what HAAQI-Net's train_config.yaml calls settings, and what is said by flags here; where its weights go, and how many
workers read, is left to ours"""


def from_haaqi_net(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """HAAQI-Net's settings in our words; None where the file is not HAAQI-Net's.

    Raises:
        OptionError: a network that is not the published one's kind.
    """
    model = told.get("model")
    if not isinstance(model, Mapping) or "input_size" not in model:
        return None
    width = int(model.get("linear_output", 256))
    for name, wanted in (("num_layers", 1), ("dropout", 0), ("act_fn", "relu"), ("input_size", width + 8)):
        if model.get(name, wanted) != wanted:
            raise OptionError(f"model: {name} is {model[name]!r}; this version builds networks of {wanted!r} only")
    found: dict[str, Any] = {"head": {"width": width, "hidden": int(model.get("hidden_size", 100))}}
    return found | {ours: told[theirs] for theirs, ours in HAAQI_NET.items() if told.get(theirs)}
