"""Settings of a run, from a YAML or JSON file and from command-line flags. HAAQI-Net's own file is supported too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

from ..runtime.errors import OptionError
from .configuration import ConfigReader
from .loop import TrainerConfig

T = TypeVar("T")
CONFIGS: Final = Path(__file__).parent / "configs"
"""Settings that the package includes: the published ones, and every row of the paper's Table IV."""
RENAMED: Final = {
    "batch": "batch_size",
    "free": "unfrozen_layers",
    "plan": "trainer",
    "clip": "max_grad_norm",
    "anchor": "anchor_weight",
}
"""Settings of version 0.1 and their present names."""
_READER: Final = ConfigReader(OptionError, min_int=1, min_float=0.0)


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


def build_settings(
    kind: type[T], values: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, origin: str = "the settings"
) -> T:
    """Create a dataclass of settings that has a `trainer`.

    Settings of the trainer (such as `epochs`, `seed`) may also be given at the top level.

    Args:
        kind: the dataclass.
        values: settings from a file.
        overrides: settings from flags, which take precedence. None stands for a flag that is not given.
        origin: the name of the file in messages.

    Raises:
        OptionError: a name is no setting, or a value has the wrong type or is out of range.
    """
    if former := sorted(values.keys() & RENAMED.keys()):
        names = ", ".join(f"{name} is now {RENAMED[name]}" for name in former)
        raise OptionError(f"{origin}: settings were renamed ({names}): use the new names")
    given = {**values, **{name: value for name, value in (overrides or {}).items() if value is not None}}
    if not isinstance(given.get("trainer") or {}, Mapping):
        return _READER.read(kind, given, origin)  # raises an error that says what was expected
    trainer = dict(given.get("trainer") or {})
    trainer |= {name: given.pop(name) for name in [field.name for field in fields(TrainerConfig)] if name in given}
    return _READER.read(kind, {**given, "trainer": trainer}, origin)


HAAQI_NET: Final = {
    "beats_model_path": "beats_path",
    "train_data": "table",
    "val_data": "valid",
    "batch_size": "batch_size",
    "epochs": "epochs",
}
"""Names of settings in HAAQI-Net's train_config.yaml, and the names of the corresponding flags here.

Its output paths and its number of data workers are not used.
"""


def from_haaqi_net(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Translate HAAQI-Net's settings to those of this package. Return None for any other file.

    Raises:
        OptionError: the settings describe a network of another kind than the published one.
    """
    model = values.get("model")
    if not isinstance(model, Mapping) or "input_size" not in model:
        return None
    sizes = {"linear_output": 256, "hidden_size": 100}
    for name, usual in sizes.items():
        sizes[name] = _READER.value(int, model.get(name, usual), f"model: {name}")
    width = sizes["linear_output"]
    for name, wanted in (("num_layers", 1), ("dropout", 0), ("act_fn", "relu"), ("input_size", width + 8)):
        if model.get(name, wanted) != wanted:
            raise OptionError(f"model: {name} is {model[name]!r}; this version builds networks of {wanted!r} only")
    found: dict[str, Any] = {"head": {"width": width, "hidden": sizes["hidden_size"]}}
    return found | {ours: values[theirs] for theirs, ours in HAAQI_NET.items() if values.get(theirs)}
