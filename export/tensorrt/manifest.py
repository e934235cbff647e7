"""The manifest of a TensorRT bundle: optimization profiles, and the trtexec commands that build its engines.

This module needs neither torch nor onnx.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ...runtime.bundle import ROLES, Bundle, Card
from ...runtime.errors import BundleError
from ...runtime.files import is_file
from ...runtime.gpu.optimization_profiles import OptimizationProfile, Shape

Shapes = Sequence[Mapping[str, Mapping[str, tuple[Shape, Shape, Shape]]]]
"""One mapping per profile: role to input to its min, opt and max shapes."""
MANIFEST: Final = "tensorrt.json"
FORMAT: Final = 1
"""Version of the manifest's schema."""
_SHAPE: Final = re.compile(r"\[[\d,\s]+\]")


@dataclass(frozen=True)
class Settings:
    """How to build an engine.

    Attributes:
        tf32: allow fp32 products to round their factors to 10 bits of mantissa. Without it, they are computed in fp32.
        level: TensorRT's optimization level, 0 to 5. Higher levels search longer.
        workspace: maximum number of bytes of GPU memory that a layer may use while it runs. None uses
            TensorRT's default.
    """

    tf32: bool = False
    level: int = 3
    workspace: int | None = None

    @property
    def options(self) -> list[str]:
        """The same settings as trtexec options."""
        options = [] if self.tf32 else ["--noTF32"]
        options.append(f"--builderOptimizationLevel={self.level}")
        return options if self.workspace is None else [*options, f"--memPoolSize=workspace:{self.workspace}B"]


@dataclass(frozen=True)
class Manifest:
    """The file beside the graphs of a TensorRT bundle.

    Attributes:
        profiles: one mapping per profile: role to input to its min, opt and max shapes.
        trtexec: role to the command that builds its engine.
        checked: the table against which operators and types were checked.
        precisions: part (`front end`, `encoder`, `head`) to the precision of its products, see `describe_parts`.
    """

    profiles: Shapes
    trtexec: Mapping[str, str]
    checked: str
    precisions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the content of `tensorrt.json`."""
        checked = {"checked": self.checked, "precisions": self.precisions}
        content = {"format": FORMAT, **checked, "profiles": self.profiles, "trtexec": self.trtexec}
        text = json.dumps(content, indent=2)
        return _SHAPE.sub(lambda match: re.sub(r"\s+", "", match[0]).replace(",", ", "), text) + "\n"

    @classmethod
    def load(cls, bundle: Bundle) -> Manifest:
        """Load the manifest of a bundle.

        Raises:
            BundleError: the bundle has no manifest, or one that this version cannot read.
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
                    f"{path} has the format {raw['format']!r}; this version reads {FORMAT}: export the bundle again"
                )
            profiles = [
                {role: {name: _parse_shapes(of) for name, of in profile[role].items()} for role in ROLES}
                for profile in raw["profiles"]
            ]
            return cls(
                profiles,
                {role: str(raw["trtexec"][role]) for role in ROLES},
                str(raw["checked"]),
                raw.get("precisions", {}),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(f"{path} is not a valid manifest ({error!r}): export the bundle again") from error


def create_manifest(card: Card, profiles: Sequence[OptimizationProfile], checked: str) -> Manifest:
    """Return the manifest of a bundle whose files are listed in its card."""
    shapes = [profile.shapes(card) for profile in profiles]
    return Manifest(shapes, format_commands(card, shapes, Settings()), checked, describe_parts(card))


def describe_parts(card: Card) -> dict[str, str]:
    """Return the precision of the products of each part of a bundle, which is in fp32 in all other operators.

    Args:
        card: of a bundle whose encoder includes the front end, with its files.
    """
    parts = {"front end": "fp32"}
    chosen = card.figures.get("quantization", {}).get("chosen", {})
    for role in ROLES:
        precision: str = card.files[role].precision
        if precision == "int8" and chosen:
            counts = [
                sum(name.startswith(f"{role}: ") for name in chosen[key]) for key in ("quantized", "left_in_fp32")
            ]
            precision = f"int8 in {counts[0]} of {sum(counts)} layers"
        parts[role] = precision
    return parts


def format_commands(card: Card, profiles: Shapes, settings: Settings, folder: Path = Path()) -> dict[str, str]:
    """Return the trtexec command for each role, to be run in the bundle's folder on a machine with a GPU.

    Args:
        card: lists the files.
        profiles: those of the manifest.
        settings: how to build.
        folder: destination of the engines, which must exist. The default is the bundle's folder.
    """
    options = [*settings.options, f"--timingCacheFile={folder / 'timing.cache'}"]
    return {
        role: format_trtexec(
            card.files[role].file, str(engine_path(card, role, folder)), [one[role] for one in profiles], options
        )
        for role in ROLES
    }


def engine_path(card: Card, role: str, folder: Path = Path()) -> Path:
    """Return the path of the engine that the command from `format_commands` writes."""
    return folder / f"{card.name}-{role}-{card.files[role].precision}.engine"


def _parse_shapes(shapes: Sequence[Sequence[int]]) -> tuple[Shape, Shape, Shape]:
    min_shape, opt_shape, max_shape = (tuple(int(size) for size in shape) for shape in shapes)
    return min_shape, opt_shape, max_shape


def format_trtexec(graph: str, engine: str, shapes: Sequence[Mapping[str, Any]], options: Sequence[str] = ()) -> str:
    """Return the command that builds an engine with TensorRT's trtexec.

    Args:
        graph, engine: paths of the ONNX file and of the engine.
        shapes: one mapping per profile: input to its min, opt and max shapes.
        options: further options of trtexec.
    """
    words = ["trtexec", f"--onnx={graph}", f"--saveEngine={engine}", "--stronglyTyped", "--skipInference", *options]
    for number, inputs in enumerate(shapes):
        if len(shapes) > 1:
            words.append(f"--profile={number}")
        for index, name in enumerate(("min", "opt", "max")):
            each = (f"{key}:{'x'.join(map(str, shape[index]))}" for key, shape in inputs.items())
            words.append(f"--{name}Shapes={','.join(each)}")
    return shlex.join(words)
