"""What stands beside a bundle for TensorRT: its profiles, and the lines that build its engines. No torch, no onnx."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..runtime.bundle import Bundle, Card
from ..runtime.errors import BundleError
from ..runtime.files import is_file
from ..runtime.profiles import Profile, Shape

Shapes = Sequence[Mapping[str, Mapping[str, tuple[Shape, Shape, Shape]]]]
"""of each profile: role to input to its shapes at least, best and most"""
MANIFEST: Final = "tensorrt.json"
FORMAT: Final = 1
"""version of the manifest's schema"""
ROLES: Final = ("encoder", "head")
_NUMBERS: Final = re.compile(r"\[[\d,\s]+\]")


@dataclass(frozen=True)
class Settings:
    """How to build.

    Attributes:
        tf32: let products of fp32 matrices round their factors to 10 bits; without it, fp32 is fp32.
        level: how hard TensorRT searches, 0 to 5.
        workspace: most bytes of GPU memory that a layer may use while it runs; None leaves it to TensorRT.
    """

    tf32: bool = False
    level: int = 3
    workspace: int | None = None

    @property
    def options(self) -> list[str]:
        """The same for trtexec."""
        found = [] if self.tf32 else ["--noTF32"]
        found.append(f"--builderOptimizationLevel={self.level}")
        return found if self.workspace is None else [*found, f"--memPoolSize=workspace:{self.workspace}B"]


@dataclass(frozen=True)
class Manifest:
    """What stands beside the graphs.

    Attributes:
        profiles: each role to input to its shapes at least, best and most.
        trtexec: role to the line that builds its engine.
        checked: the table that operators and types were checked against.
    """

    profiles: Shapes
    trtexec: Mapping[str, str]
    checked: str

    def to_json(self) -> str:
        """The text of `tensorrt.json`."""
        content = {"format": FORMAT, "checked": self.checked, "profiles": self.profiles, "trtexec": self.trtexec}
        text = json.dumps(content, indent=2)
        return _NUMBERS.sub(lambda found: re.sub(r"\s+", "", found[0]).replace(",", ", "), text) + "\n"

    @classmethod
    def of(cls, bundle: Bundle) -> Manifest:
        """That of a bundle.

        Raises:
            BundleError: there is none, or one that this version does not understand.
        """
        path = bundle.folder / MANIFEST
        if not is_file(path):
            raise BundleError(
                f"{bundle.folder} has no {MANIFEST}: export it for TensorRT first "
                f"(haaqi-edge export {bundle.card.family} --target tensorrt -o FOLDER)"
            )
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] != FORMAT:
                raise BundleError(
                    f"{path} has the schema {raw['format']!r}, this version reads {FORMAT}: export it again"
                )
            profiles = [
                {role: {name: _three(of) for name, of in profile[role].items()} for role in ROLES}
                for profile in raw["profiles"]
            ]
            return cls(profiles, {role: str(raw["trtexec"][role]) for role in ROLES}, str(raw["checked"]))
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(f"{path} is not a manifest ({error!r}): export it again") from error


def manifest_of(card: Card, profiles: Sequence[Profile], checked: str) -> Manifest:
    """The manifest of a bundle whose files are named by its card."""
    shapes = [profile.shapes(card) for profile in profiles]
    return Manifest(shapes, lines(card, shapes, Settings()), checked)


def lines(card: Card, profiles: Shapes, settings: Settings, folder: Path = Path()) -> dict[str, str]:
    """Role to the line for trtexec, to be run in the bundle's folder on any machine with a GPU.

    Args:
        card: names the files.
        profiles: the manifest's.
        settings: how to build.
        folder: of the engines, which must be there; by default the bundle's.
    """
    options = [*settings.options, f"--timingCacheFile={folder / 'timing.cache'}"]
    return {
        role: trtexec(
            card.files[role].file, str(engine_of(card, role, folder)), [one[role] for one in profiles], options
        )
        for role in ROLES
    }


def engine_of(card: Card, role: str, folder: Path = Path()) -> Path:
    """What `lines` saves an engine as."""
    return folder / f"{card.name}-{role}.engine"


def _three(shapes: Sequence[Sequence[int]]) -> tuple[Shape, Shape, Shape]:
    least, best, most = (tuple(int(size) for size in shape) for shape in shapes)
    return least, best, most


def trtexec(graph: str, engine: str, shapes: Sequence[Mapping[str, Any]], options: Sequence[str] = ()) -> str:
    """The line that builds an engine with TensorRT's own tool.

    Args:
        graph, engine: paths of the ONNX file and of what is built.
        shapes: of each profile: input to its shapes at least, best and most.
        options: more of trtexec's.
    """
    line = ["trtexec", f"--onnx={graph}", f"--saveEngine={engine}", "--stronglyTyped", "--skipInference", *options]
    for number, inputs in enumerate(shapes):
        if len(shapes) > 1:
            line.append(f"--profile={number}")
        for place, name in enumerate(("min", "opt", "max")):
            each = (f"{key}:{'x'.join(map(str, of[place]))}" for key, of in inputs.items())
            line.append(f"--{name}Shapes={','.join(each)}")
    return shlex.join(line)
