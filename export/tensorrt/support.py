"""Checks that TensorRT's ONNX parser supports a graph: its operators, types and conditions.

The checks use the table `operators.json`, onnx-tensorrt's own list. The table names its source and version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from ...calibration.finalization import ONNX_DOMAINS
from ...runtime.errors import ExportError

TABLE: Final = Path(__file__).with_name("operators.json")
_NAMES: Final = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
}
"""The table's names of ONNX's types. It has no names for other types."""
_INDICES: Final = ("INT32", "INT64", "BOOL")
"""Types of shapes, indices and conditions. Inputs other than an operator's data may have these types in any case."""
_CONSTANT_AXES: Final = ("Reduce", "Squeeze", "Unsqueeze")
"""Beginnings of the names of operators whose second input, the axes, must be constant."""


@dataclass(frozen=True)
class Support:
    """The capabilities of TensorRT's parser.

    Attributes:
        source, version: of the table.
        opsets: the first and the last supported opset.
        operators: supported operators with their supported types, both by the table's names.
        restricted: operators that are supported under conditions. `_CONDITIONS` checks those that we use.
    """

    source: str
    version: str
    opsets: tuple[int, int]
    operators: Mapping[str, frozenset[str]]
    restricted: frozenset[str]


@cache
def load_support() -> Support:
    """Read the table."""
    raw = json.loads(TABLE.read_text(encoding="utf-8"))
    first, last = raw["opsets"]
    operators = {name: frozenset(types.split()) for name, types in raw["operators"].items()}
    return Support(raw["source"], raw["version"], (first, last), operators, frozenset(raw["restricted"]))


def check_supported(model: onnx.ModelProto, name: str) -> None:
    """Raise ExportError if `find_problems` finds any. `name` is the name of the graph in the message."""
    problems = list(find_problems(model))
    if problems:
        raise ExportError(f"{load_support().version} would reject {name}: {'; '.join(problems)}; nothing was written")


def find_problems(model: onnx.ModelProto) -> Iterator[str]:
    """Yield descriptions of everything that the parser would reject: opsets, domains, operators, types, conditions."""
    first, last = load_support().opsets
    for entry in model.opset_import:
        if entry.domain in ONNX_DOMAINS and not first <= entry.version <= last:
            yield f"opset {entry.version}, expected {first} to {last}"
    unknown = [n for n in model.graph.node if n.domain not in ONNX_DOMAINS or n.op_type not in load_support().operators]
    yield from (f"{_describe(node)} is an unsupported operator" for node in unknown)
    if unknown:
        return  # the types after an unknown operator cannot be inferred
    graph = _Graph(model)
    for node in model.graph.node:
        description = _describe(node)
        yield from (f"{description} {problem}" for problem in _find_type_problems(node, graph))
        if node.op_type in load_support().restricted:
            condition = _condition(node.op_type)
            if condition is None:
                yield f"{description} is supported only under conditions that are not checked here"
            else:
                yield from (f"{description} {problem}" for problem in condition(node, graph))


def _describe(node: onnx.NodeProto) -> str:
    return f"{node.name or node.output[0]} ({node.op_type})"


class _Graph:
    """A graph with its inferred types by name, and its constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
        values = [*inferred.input, *inferred.value_info, *inferred.output]
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.types |= {constant.name: constant.data_type for constant in inferred.initializer}
        self._constants = {constant.name: constant for constant in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t

    def constant(self, node: onnx.NodeProto, index: int) -> npt.NDArray[Any] | None:
        """Return the value of an input if it is constant."""
        value = self._constants.get(node.input[index]) if index < len(node.input) else None
        return None if value is None else numpy_helper.to_array(value)


def _find_type_problems(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    """Yield types that an operator does not support. Inputs after the first may also have index types."""
    supported = load_support().operators[node.op_type]
    for index, name in enumerate([*node.input, *node.output]):
        if not name:
            continue
        kind = _NAMES.get(graph.types.get(name, 0), "an unsupported type")
        beside = index > 0 or node.op_type in ("ConstantOfShape", "Expand")
        quantizes = node.op_type in ("QuantizeLinear", "DequantizeLinear") and kind in ("FP32", "FP16", "INT8")
        if (
            kind not in supported
            and not (index > 0 and (kind in _INDICES or quantizes))
            and not (beside and kind == "INT64")
        ):
            yield f"has {name} in {kind}, but supports {', '.join(sorted(supported))}"


_Check = Callable[[onnx.NodeProto, _Graph], Iterator[str]]


def _condition(operator: str) -> _Check | None:
    if operator in _CONDITIONS:
        return _CONDITIONS[operator]
    return _constant_axes if operator.startswith(_CONSTANT_AXES) else None


def _constant_axes(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    if len(node.input) > 1 and graph.constant(node, 1) is None:
        yield "reads axes that are not constant"


def _recurrent(node: onnx.NodeProto, _: _Graph) -> Iterator[str]:
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    activations = given.get("activations", [])
    half = len(activations) // 2
    if given.get("direction") == b"bidirectional" and activations[:half] != activations[half:]:
        yield "has different activations in the two directions"
    for name in ("layout", "input_forget"):
        if given.get(name):
            yield f"has {name} {given[name]}, expected 0"


def _one_output(node: onnx.NodeProto, _: _Graph) -> Iterator[str]:
    if any(node.output[1:]):
        yield "has more than one output"


def _quantization(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    scale, zero = graph.constant(node, 1), graph.constant(node, 2)
    if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
        yield "has a scale that is not constant and positive"
    if len(node.input) < 3:
        yield "has no zero point and therefore quantizes to uint8, expected int8"
    elif zero is None or zero.dtype != np.int8 or zero.any():
        yield "has a zero point that is not 0 in int8"


_CONDITIONS: Final[Mapping[str, _Check]] = {
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "LayerNormalization": _one_output,
    "QuantizeLinear": _quantization,
    "DequantizeLinear": _quantization,
}
