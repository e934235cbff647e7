"""What stands beside a bundle for TensorRT: its profiles, and the lines that build its engines. No torch, no onnx."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..runtime.bundle import Bundle, Card
from ..runtime.errors import BundleError
from ..runtime.files import is_file
from ..runtime.profiles import Profile, Shape

MANIFEST: Final = "tensorrt.json"
FORMAT: Final = 1
"""version of the manifest's schema"""
ROLES: Final = ("encoder", "head")
_NUMBERS: Final = re.compile(r"\[[\d,\s]+\]")


@dataclass(frozen=True)
class Manifest:
    """What stands beside the graphs.

    Attributes:
        profiles: each role to input to its shapes at least, best and most.
        trtexec: role to the line that builds its engine.
        checked: the table that operators and types were checked against.
    """

    profiles: Sequence[Mapping[str, Mapping[str, tuple[Shape, Shape, Shape]]]]
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
    lines = {
        role: trtexec(
            card.files[role].file,
            f"{card.name}-{role}.engine",
            [one[role] for one in shapes],
            ["--noTF32", "--timingCacheFile=timing.cache"],
        )
        for role in ROLES
    }
    return Manifest(shapes, lines, checked)


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
