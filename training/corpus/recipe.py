"""Recipes of corpora: YAML files that list packages, folders, rendered scores, and the rules by which clips are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final, get_args

from ...runtime.errors import CorpusError
from ..configuration import Check, ConfigReader, NonNegativeFloat, NonNegativeInt
from .clips import Split
from .cutting import CutRules
from .packages import PackageName
from .recorded import RecordedMusic, load_recorded

RECIPES: Final = Path(__file__).parent / "recipes"
"""folder of the recipes in the package"""
_READER: Final = ConfigReader(CorpusError)


def _check_file_name(name: str) -> None:
    if not Path(name).name or Path(name).name == "..":
        raise ValueError(f"{name!r} is not the name of a YAML file beside the recipe")


@dataclass(frozen=True)
class RenderedMusic:
    """Rendered scores.

    Attributes:
        packages: Debian packages of sound fonts, drum kits, accompaniment styles and scores.
        counts: number of pieces by split.
        seconds: maximum duration of a piece.
        cut: rules for clips of renderings.
    """

    counts: Mapping[Split, NonNegativeInt]
    packages: tuple[PackageName, ...] = ()
    seconds: NonNegativeFloat = 45.0
    cut: CutRules = field(default_factory=CutRules)


@dataclass(frozen=True)
class _Document:
    """The content of a recipe's YAML file. `recorded` names a file beside it. See `Recipe`."""

    folders: tuple[str, ...] = ()
    recorded: Annotated[str, Check(_check_file_name)] | None = None
    cut: CutRules = field(default_factory=CutRules)
    rendered: RenderedMusic | None = None
    speech: tuple[PackageName, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """The content of a corpus.

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
    recorded: RecordedMusic | None
    cut: CutRules
    rendered: RenderedMusic | None
    speech: tuple[str, ...]
    digest: str


def shipped_recipes() -> list[str]:
    """Return the names of the recipes in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml") if not path.stem.startswith("recorded"))


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Args:
        path: of the YAML file, or the name of a shipped recipe. The file that it names as `recorded` is in the same
            folder, and so is the table of checksums: `recorded.yaml` and `recorded-sha256.csv`.

    Raises:
        CorpusError: the file does not exist, or a key or value is invalid.
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
    document = _READER.read(_Document, found, str(path))
    digest = hashlib.sha256(text)
    tracks = None
    if document.recorded is not None:
        beside = file.parent / document.recorded
        sums = beside.with_name(f"{beside.stem}-sha256.csv")
        tracks = load_recorded(beside, sums)
        digest.update(beside.read_bytes() + sums.read_bytes())
    rendered = document.rendered
    if rendered is not None:
        rendered = replace(rendered, counts={split: rendered.counts.get(split, 0) for split in get_args(Split)})
    return Recipe(file.stem, document.folders, tracks, document.cut, rendered, document.speech, digest.hexdigest())
