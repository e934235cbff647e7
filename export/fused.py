"""Fused graphs: front end, encoder and head of a bundle in one file, from waveform to score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..calibration.finalization import name_values
from ..runtime.bundle import Card, Precision
from ..runtime.features import patches as fe
from ..runtime.windows import window_patches
from .guards import guard_waveform, most_samples

_FRONT_END: Final = "front_end"
_TOKENS: Final = "tokens"


def fuse(front_end: onnx.ModelProto, encoder: onnx.ModelProto, head: onnx.ModelProto, window: int) -> onnx.ModelProto:
    """Join three graphs to one that maps `waveform` [1, samples] and `audiogram` [batch, 8] to the head's outputs.

    Its outputs are NaN for input without a score, see `guards.guard_waveform`.

    Args:
        front_end: maps `waveform` to the input of the encoder.
        encoder: of a bundle, in any precision, with any name of its input.
        head: of the same bundle, with its guards.
        window: number of patches up to which the graph gives scores.
    """
    parts = {_FRONT_END: copy_model(front_end), "encoder": copy_model(encoder), "head": copy_model(head)}
    features = f"{_FRONT_END}.features"
    joints = {
        _FRONT_END: {"waveform": "waveform", front_end.graph.output[0].name: features},
        "encoder": {encoder.graph.input[0].name: features, encoder.graph.output[0].name: "encoder.tokens"},
        "head": {_TOKENS: _TOKENS, "audiogram": "audiogram"} | {value.name: value.name for value in head.graph.output},
    }
    for role, part in parts.items():
        name_values(part)
        _add_prefix(part.graph, role, joints[role])
    flat = numpy_helper.from_array(np.array([1, -1, _width(head)], np.int64), f"{_TOKENS}.shape")
    reshape = helper.make_node("Reshape", ["encoder.tokens", flat.name], [_TOKENS], "tokens/Reshape")
    graph = helper.make_graph(
        [*parts[_FRONT_END].graph.node, *parts["encoder"].graph.node, reshape, *parts["head"].graph.node],
        "fused",
        [front_end.graph.input[0], *(value for value in head.graph.input if value.name == "audiogram")],
        list(head.graph.output),
        [flat, *(constant for part in parts.values() for constant in part.graph.initializer)],
    )
    opsets = {entry.domain: entry.version for part in parts.values() for entry in part.opset_import}
    for part in parts.values():
        assert all(opsets[entry.domain] == entry.version for entry in part.opset_import), "parts have one opset"
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets.items()],
        ir_version=max(part.ir_version for part in parts.values()),
    )
    guard_waveform(model, window, _TOKENS)
    return model


def fused_metadata(card: Card, precisions: Mapping[str, Precision]) -> dict[str, str]:
    """Return the metadata of a fused file: that of the bundle, limits of the input, and the precision of each part.

    Args:
        card: of the bundle.
        precisions: of `encoder` and `head`.
    """
    return {
        **card.metadata(),
        "window": f"{card.window:g}",
        "min_samples": str(fe.PATCH_LENGTH),
        "max_samples": str(most_samples(window_patches(card.window))),
        "parameters": str(card.parameters),
        "precision_front_end": "fp32",
        **{f"precision_{role}": precision for role, precision in precisions.items()},
    }


def _width(head: onnx.ModelProto) -> int:
    (tokens,) = (value for value in head.graph.input if value.name == _TOKENS)
    width: int = tokens.type.tensor_type.shape.dim[2].dim_value
    return width


def _add_prefix(graph: onnx.GraphProto, role: str, joints: Mapping[str, str]) -> None:
    """Put the role before the names of nodes and values. `joints` are values with names of their own."""

    def rename(name: str) -> str:
        has_role = not name or name.startswith((f"{role}/", f"{role}."))
        return joints.get(name, name if has_role else f"{role}.{name}")

    for node in graph.node:
        node.name = rename(node.name)
        node.input[:] = map(rename, node.input)
        node.output[:] = map(rename, node.output)
    for constant in graph.initializer:
        constant.name = rename(constant.name)


def copy_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a graph."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
