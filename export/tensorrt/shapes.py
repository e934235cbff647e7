"""Inference of all shapes in a graph for given input shapes. TensorRT must know them for every profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnx.reference
from onnx import numpy_helper

from ...runtime.bundle import Card
from ...runtime.errors import ExportError
from ...runtime.gpu.optimization_profiles import OptimizationProfile, Shape

_SIZE_OPERATORS: Final = ("Gather", "Sub", "Max", "Concat")
"""Operators of the guards that compute sizes."""


def infer_shapes(model: onnx.ModelProto, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """Infer the shape of every value in a graph for given input shapes.

    Raises:
        ExportError: shapes contradict each other, or a shape stays unknown.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, inputs[value.name], strict=True):
            if dim.HasField("dim_value") and dim.dim_value != size:
                raise ExportError(f"the graph fixes {value.name} at {dim.dim_value}, but {size} was requested")
            dim.dim_value = size
    for value in fixed.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.Clear()
    try:
        while True:  # each round may make more shapes known, on which others depend
            inferred = onnx.shape_inference.infer_shapes(fixed, check_type=True, strict_mode=True, data_prop=True).graph
            if not _fold_sizes(fixed.graph, inferred):
                break
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"shapes contradict each other for the inputs {dict(inputs)}: {error}") from error
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in [*inferred.value_info, *inferred.output]
    }
    unknown = sorted({name for node in fixed.graph.node for name in node.output if name} - shapes.keys())
    unknown += sorted(name for name, shape in shapes.items() if 0 in shape)
    if unknown:
        raise ExportError(f"shapes stay unknown for the inputs {dict(inputs)}: {', '.join(unknown)}")
    return shapes


def _fold_sizes(graph: onnx.GraphProto, inferred: onnx.GraphProto) -> bool:
    """Compute the nodes of a graph whose results are constant sizes, and put the results in their place.

    Shape inference does not follow all operators with which the guards compute the size of their padding.

    Returns:
        Whether any node was replaced.
    """
    values = [*inferred.value_info, *inferred.input]
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    sizes: dict[str, Any] = {
        constant.name: numpy_helper.to_array(constant)
        for constant in graph.initializer
        if constant.data_type == onnx.TensorProto.INT64
    }
    replaced = []
    for node in graph.node:
        if node.op_type == "Shape" and not node.attribute and all(shapes.get(node.input[0], [0])):
            sizes[node.output[0]] = np.array(shapes[node.input[0]], np.int64)
        elif node.op_type in _SIZE_OPERATORS and all(name in sizes for name in node.input):
            feeds: dict[str, Any] = {name: sizes[name] for name in node.input}
            outputs: Any = onnx.reference.ReferenceEvaluator(node).run(None, feeds)
            sizes[node.output[0]] = outputs[0]
        else:
            continue
        replaced.append(node)
        graph.initializer.append(numpy_helper.from_array(sizes[node.output[0]], node.output[0]))
    for node in replaced:
        graph.node.remove(node)
    return bool(replaced)


def check_profiles(graphs: Mapping[str, onnx.ModelProto], card: Card, profiles: Sequence[OptimizationProfile]) -> None:
    """Raise ExportError unless, for the min, opt and max of every profile, all shapes are known and outputs fit."""
    for profile in profiles:
        for role, inputs in profile.shapes(card).items():
            for point in range(3):  # min, opt, max
                given = {name: shapes[point] for name, shapes in inputs.items()}
                actual = infer_shapes(graphs[role], given)
                expected = _expected_outputs(role, given, card)
                wrong = {name: actual[name] for name, shape in expected.items() if actual[name] != shape}
                if wrong:
                    raise ExportError(f"the {role} outputs {wrong} for {given}; expected {expected}")


def _expected_outputs(role: str, given: Mapping[str, Shape], card: Card) -> dict[str, Shape]:
    if role == "encoder":
        return {"tokens": (given[card.encoder_input][0], card.tokens_per_patch, card.width)}
    listeners, tokens = given["audiogram"][0], given["tokens"][1]
    return {"frame_scores": (listeners, tokens), "score": (listeners,)}
