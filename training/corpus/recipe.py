"""Recipes of corpora: YAML files that list packages, folders, rendered scores, and the rules by which clips are cut."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from ...runtime.errors import CorpusError
from . import recorded
from .clips import Split
from .cutting import CutRules
from .packages import is_package
from .recorded import brief

T = TypeVar("T")
RECIPES: Final = Path(__file__).parent / "recipes"
"""recipes that come with the package"""
_LEAST: Final[Mapping[str, float]] = {
    "rate": 1,
    "shortest": 0,
    "length": 1,
    "per_track": 1,
    "gap": 0,
    "silence": 0,
    "clipping": 0,
    "treble_from": 0,
    "edge": 0,
    "edge_step": 0,
}
"""smallest values of rules"""


@dataclass(frozen=True)
class Rendered:
    """Rendered scores.

    Attributes:
        packages: Debian packages of sound fonts, drum kits, accompaniment styles and scores.
        counts: pieces by split.
        seconds: longest piece.
        cut: rules for clips of renderings.
    """

    packages: tuple[str, ...]
    counts: Mapping[Split, int]
    seconds: float
    cut: CutRules


@dataclass(frozen=True)
class Recipe:
    """What belongs to a corpus.

    Attributes:
        name: of the recipe.
        folders: names of folders that the user supplies: `music` is a folder of clips that is included as it is.
        recorded: sources of recorded tracks, or None.
        cut: rules for clips of recorded tracks.
        rendered: rendered scores, or None.
        speech: Debian packages of voices.
        digest: SHA-256 of the recipe's files.
    """

    name: str
    folders: tuple[str, ...]
    recorded: recorded.Recorded | None
    cut: CutRules
    rendered: Rendered | None
    speech: tuple[str, ...]
    digest: str


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml") if not path.stem.startswith("recorded"))


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Args:
        path: of the YAML file, or the name of a shipped recipe. The file that it names under `recorded` lies beside it,
            so does the table of checksums: `recorded.yaml` and `recorded-sha256.csv`.

    Raises:
        CorpusError: no such file, or a key or value that is not understood.
    """
    import yaml

    file = RECIPES / f"{path}.yaml" if str(path) in shipped_recipes() else Path(path)
    try:
        text = file.read_bytes()
        found = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CorpusError(
            f"the recipe {path} cannot be read ({error}): give a YAML file, or one of {', '.join(shipped_recipes())}"
        ) from error
    told = _mapping(found, str(path), {"folders", "recorded", "cut", "rendered", "speech"})
    digest = hashlib.sha256(text)
    tracks = None
    if told.get("recorded"):
        beside = file.parent / _file_name(told["recorded"], f"{path}: recorded")
        sums = beside.with_name(f"{beside.stem}-sha256.csv")
        tracks = recorded.load(beside, sums)
        digest.update(beside.read_bytes() + sums.read_bytes())
    rendered = None
    if told.get("rendered"):
        inner = _mapping(told["rendered"], f"{path}: rendered", {"packages", "counts", "seconds", "cut"})
        counts = _mapping(inner.get("counts"), f"{path}: rendered, counts", set(get_args(Split)))
        rendered = Rendered(
            _packages(inner.get("packages"), f"{path}: rendered, packages"),
            {
                split: int(_number(counts.get(split, 0), f"{path}: rendered, counts, {split}"))
                for split in get_args(Split)
            },
            _number(inner.get("seconds", 45.0), f"{path}: rendered, seconds"),
            _rules(inner.get("cut"), f"{path}: rendered, cut"),
        )
    return Recipe(
        file.stem,
        _texts(told.get("folders"), f"{path}: folders"),
        tracks,
        _rules(told.get("cut"), f"{path}: cut"),
        rendered,
        _packages(told.get("speech"), f"{path}: speech"),
        digest.hexdigest(),
    )


def _mapping(value: Any, place: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CorpusError(f"{place} is {brief(value)}, expected keys of {', '.join(sorted(known))}")
    if unknown := sorted(map(str, value.keys() - known)):
        raise CorpusError(f"{place}: no such key as {', '.join(unknown)}; expected {', '.join(sorted(known))}")
    return value


def _texts(value: Any, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise CorpusError(f"{place} is {brief(value)}, expected a list of names")
    return tuple(value)


def _packages(value: Any, place: str) -> tuple[str, ...]:
    names = _texts(value, place)
    for name in names:
        if not is_package(name):
            raise CorpusError(f"{place}: {name!r} is not the name of a Debian package")
    return names


def _file_name(value: Any, place: str) -> str:
    if not isinstance(value, str) or not Path(value).name or Path(value).name == "..":
        raise CorpusError(f"{place} is {brief(value)}, expected the name of a YAML file beside the recipe")
    return value


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise CorpusError(f"{place} is {brief(value)}, expected a number, 0 or more")
    return float(value)


def _rules(value: Any, place: str) -> CutRules:
    if value is None:
        return CutRules()
    known = {field.name: field.default for field in fields(CutRules) if isinstance(field.default, int | float)}
    told = _mapping(value, place, set(known))
    for name, given in told.items():
        if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
            raise CorpusError(f"{place}, {name} is {brief(given)}, expected a number")
        if name in _LEAST and given < _LEAST[name]:
            raise CorpusError(f"{place}, {name} is {brief(given)}, expected {_LEAST[name]:g} or more")
    values: dict[str, Any] = {name: type(known[name])(given) for name, given in told.items()}
    return CutRules(**values)
