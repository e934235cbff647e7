"""Conversion of fp32 graphs to mixed precision: large products in fp16, the rest in fp32, with explicit casts."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..calibration.layer_groups import FRONT_END, MIN_WEIGHTS, PRODUCTS, RECURRENT
from ..runtime.errors import ExportError

MAX_FP16: Final = 65504.0
"""Largest value of fp16."""
_FP16_SUFFIX: Final = "/fp16"
"""Suffix of the name of a value that is rounded to fp16."""


def convert_to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its large products, and the nodes between two of them, in fp16.

    These parts stay in fp32:

    - The front end. Its samples are scaled by 2^15, and its power spectra are far outside the range of fp16.
    - Recurrent operators, because their errors accumulate over a window.
    - Nodes before the first and after the last product: the features, the tokens, the scores.
    - Inputs and outputs.

    Unlike general converters, this one does not round values to fp16 and back between two nodes in fp32.

    Args:
        graph: an fp32 graph with named nodes. It is not changed.

    Raises:
        ExportError: a weight is too large for fp16.
    """
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*inferred.value_info, *inferred.output]}
    kinds |= {value.name: value.type.tensor_type.elem_type for value in inferred.input}
    floats = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT}
    weights = {one.name: one for one in graph.graph.initializer if one.data_type == TensorProto.FLOAT}
    mixed = onnx.ModelProto()
    mixed.CopyFrom(graph)
    fp16_nodes, nodes, available = find_fp16_nodes(graph), list(mixed.graph.node), set[str]()
    del mixed.graph.node[:], mixed.graph.value_info[:]
    for node in nodes:
        if node.name not in fp16_nodes:
            mixed.graph.node.append(node)
            continue
        for index, name in enumerate(node.input):
            if name in weights or name in floats:
                node.input[index] = f"{name}{_FP16_SUFFIX}"
            if node.input[index] in available or name not in weights.keys() | floats:
                continue
            available.add(f"{name}{_FP16_SUFFIX}")
            if name in weights:
                mixed.graph.initializer.append(_round_weight(weights[name]))
            else:
                mixed.graph.node.append(_cast(name, f"{name}{_FP16_SUFFIX}", TensorProto.FLOAT16))
        outputs = [name for name in node.output if name in floats]
        node.output[:] = [f"{name}{_FP16_SUFFIX}" if name in floats else name for name in node.output]
        available.update(f"{name}{_FP16_SUFFIX}" for name in outputs)
        mixed.graph.node.append(node)
        mixed.graph.node.extend(_cast(f"{name}{_FP16_SUFFIX}", name, TensorProto.FLOAT) for name in outputs)
    return _remove_unused(mixed)


def _cast(before: str, after: str, kind: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [before], [after], f"{after}/Cast", to=kind)


def _round_weight(weight: onnx.TensorProto) -> onnx.TensorProto:
    values = numpy_helper.to_array(weight)
    if np.abs(values).max(initial=0.0) > MAX_FP16:
        raise ExportError(
            f"{weight.name} contains {np.abs(values).max():g}, above the limit of fp16 ({MAX_FP16:g}): export in fp32"
        )
    return numpy_helper.from_array(values.astype(np.float16), f"{weight.name}{_FP16_SUFFIX}")


def _remove_unused(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Remove casts and constants that nothing reads."""
    read = {name for node in graph.graph.node for name in node.input} | {one.name for one in graph.graph.output}
    for node in [node for node in graph.graph.node if node.op_type == "Cast" and node.output[0] not in read]:
        graph.graph.node.remove(node)
    for constant in [one for one in graph.graph.initializer if one.name not in read]:
        graph.graph.initializer.remove(constant)
    return graph


def find_fp16_nodes(graph: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes that `convert_to_fp16` computes in fp16."""
    products = {node.name for node in _find_products(graph)}
    nodes = [node for node in graph.graph.node if not (node.name.startswith(FRONT_END) or node.op_type in RECURRENT)]
    after = _find_downstream(nodes, products, [(node.input, node.output) for node in nodes])
    before = _find_downstream(nodes[::-1], products, [(node.output, node.input) for node in nodes[::-1]])
    return products | (after & before)


def _find_products(graph: onnx.ModelProto) -> Iterable[onnx.NodeProto]:
    """Yield products with large constant weights, and products of two computed matrices."""
    sizes = {constant.name: prod(constant.dims) for constant in graph.graph.initializer}
    for node in graph.graph.node:
        weights = [sizes[name] for name in node.input if name in sizes]
        if (
            node.op_type in PRODUCTS
            and not node.name.startswith(FRONT_END)
            and (not weights or sum(weights) >= MIN_WEIGHTS)
        ):
            yield node


def _find_downstream(
    nodes: list[onnx.NodeProto], products: set[str], ends: list[tuple[Iterable[str], Iterable[str]]]
) -> set[str]:
    """Return the nodes that read the output of a product or, in turn, of such a node.

    `ends` holds each node's inputs and outputs.
    """
    values: set[str] = set()
    downstream: set[str] = set()
    for node, (reads, gives) in zip(nodes, ends, strict=True):
        reached = any(name in values for name in reads)
        if reached:
            downstream.add(node.name)
        if reached or node.name in products:
            values.update(name for name in gives if name)
    return downstream
