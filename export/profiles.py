"""Optimization profiles: the shapes that TensorRT prepares an engine for, checked by inference, and as trtexec has them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnx

from ..runtime import frontend as fe
from ..runtime.audiogram import FREQUENCIES
from ..runtime.bundle import Card
from ..runtime.errors import ExportError, OptionError
from ..runtime.head import listeners_at_once
from ..runtime.windows import LONGEST, window_patches

MOST: Final = int(LONGEST / fe.PATCH_SECONDS)
"""patches of the longest window"""
LISTENERS: Final = 8
"""that the head scores at once, if memory allows"""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Patches that an engine takes at least and at most, and those that it is tuned for.

    Raises:
        OptionError: out of order, or more than the longest window has.
    """

    least: int
    best: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most <= MOST:
            raise OptionError(f"the profile {self}: expected 1 <= MIN <= OPT <= MAX <= {MOST} patches (60 s)")

    def __str__(self) -> str:
        numbers = (self.least, self.best, self.most)
        return str(self.best) if self.least == self.most else ":".join(map(str, numbers))

    @classmethod
    def parse(cls, text: str) -> Profile:
        """`62`, or `1:62:375` for least, best and most."""
        parts = text.split(":")
        if len(parts) not in (1, 3) or not all(part.isdecimal() for part in parts):
            raise OptionError(f"the profile {text!r}: give a number of patches, or MIN:OPT:MAX, as 1:62:375")
        numbers = [int(part) for part in parts]
        return cls(*(numbers * 3 if len(numbers) == 1 else numbers))

    def shapes(self, card: Card) -> dict[str, dict[str, tuple[Shape, Shape, Shape]]]:
        """Role to input to its shapes at least, best and most."""
        sizes = (self.least, self.best, self.most)
        heard = min(LISTENERS, listeners_at_once(self.most * card.tokens_per_patch))
        listeners = (1, 1, heard)

        def three(*shapes: Shape) -> tuple[Shape, Shape, Shape]:
            least, best, most = shapes
            return least, best, most

        tokens = [(clips, n * card.tokens_per_patch, card.width) for clips, n in zip(listeners, sizes, strict=True)]
        return {
            "encoder": {"samples": three(*((n, fe.PATCH_LENGTH) for n in sizes))},
            "head": {
                "tokens": three(*tokens),
                "audiogram": three(*((n, len(FREQUENCIES)) for n in listeners)),
            },
        }


def default_profiles(window: float) -> tuple[Profile, ...]:
    """A patch, as streams have them; a window of so many seconds; anything up to the longest window."""
    patches = window_patches(window)
    assert patches is not None
    return Profile(1, 1, 1), Profile(patches, patches, patches), Profile(1, patches, MOST)


def shapes_at(model: onnx.ModelProto, given: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shape of every value in a graph whose inputs have these shapes.

    Raises:
        ExportError: a shape that contradicts another, or stays unknown.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, given[value.name], strict=True):
            if dim.HasField("dim_value") and dim.dim_value != size:
                raise ExportError(f"the graph fixes {value.name} at {dim.dim_value} where {size} is asked for")
            dim.dim_value = size
    for value in fixed.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.Clear()
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, check_type=True, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"shapes contradict each other for the inputs {dict(given)}: {error}") from error
    found = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in [*inferred.value_info, *inferred.output]
    }
    unknown = sorted({name for node in fixed.graph.node for name in node.output if name} - found.keys())
    unknown += sorted(name for name, shape in found.items() if 0 in shape)
    if unknown:
        raise ExportError(f"shapes stay unknown for the inputs {dict(given)}: {', '.join(unknown)}")
    return found


def check_profiles(graphs: Mapping[str, onnx.ModelProto], card: Card, profiles: Sequence[Profile]) -> None:
    """Raise ExportError unless every shape is known, and the outputs' right, at both ends and the best of each."""
    for profile in profiles:
        for role, inputs in profile.shapes(card).items():
            for point in range(3):
                given = {name: shapes[point] for name, shapes in inputs.items()}
                found = shapes_at(graphs[role], given)
                expected = _outputs(role, given, card)
                wrong = {name: found[name] for name, shape in expected.items() if found[name] != shape}
                if wrong:
                    raise ExportError(f"the {role} gives {wrong} for {given}, expected {expected}")


def _outputs(role: str, given: Mapping[str, Shape], card: Card) -> dict[str, Shape]:
    if role == "encoder":
        return {"tokens": (given["samples"][0], card.tokens_per_patch, card.width)}
    listeners, tokens = given["audiogram"][0], given["tokens"][1]
    return {"frame_scores": (listeners, tokens), "score": (listeners,)}


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
