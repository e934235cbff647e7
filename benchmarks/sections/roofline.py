"""Roofline: the operations of a graph's products, divided by the rate at which this machine computes a product.

Operations that are not products (norms, activations, sums) are not counted. So no implementation can be faster than
the roofline.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from ...calibration.layer_groups import find_layer_groups, node_names
from ...calibration.quantizers import quantize_static_graph
from ...calibration.targets import native_target
from ...evaluation.timing import time_interleaved
from ...runtime import Audiogram, Bundle
from ...runtime.bundle import ROLES
from ...runtime.features.front_ends import FEATURE_EXTRACTORS
from ...runtime.session import Session
from ..context import LISTENER

_SHAPE: Final = (496, 768, 3072)
"""rows, inputs and outputs of the product that measures the machine's rate: the student's largest, for 10 s of audio"""
_RECURRENT: Final = ("LSTM", "GRU")
Array = npt.NDArray[np.float32]


class OperationCounts(NamedTuple):
    """Billions of operations; a multiplication and an addition are two operations.

    Attributes:
        constant: in products whose weights are constants, which int8 models compute in int8.
        rest: in all other products, which stay in floating point.
    """

    constant: float
    rest: float

    def seconds(self, rates: Mapping[str, float], precision: str) -> float:
        """Return the shortest possible time in seconds.

        Args:
            rates: billions of operations per second, by precision.
            precision: precision of the model.
        """
        return self.constant / rates["int8" if precision == "int8" else "fp32"] + self.rest / rates["fp32"]


def time_products(runs: int, threads: int) -> dict[str, list[float]]:
    """Time one large product in fp32, and in int8 in the formats of this machine.

    Input and output of both are in floating point. `product_rate` converts a time to a rate.

    Args:
        runs: number of interleaved runs.
        threads: threads of ONNX Runtime.

    Returns:
        seconds of each run, by precision.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import TensorsData

    rows, inner, outer = _SHAPE
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((inner, outer)).astype(np.float32)
    sample = rng.standard_normal((rows, inner)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", inner])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", outer])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    ranges = TensorsData(CalibrationMethod.MinMax, {"x": (sample.min(), sample.max())})
    quantized = quantize_static_graph(model, ["product"], ranges, native_target())
    sessions = {
        name: Session(one.SerializeToString(), None, threads) for name, one in (("fp32", model), ("int8", quantized))
    }
    return time_interleaved({name: lambda one=one: one.run(x=sample) for name, one in sessions.items()}, runs)  # type: ignore[misc]


def product_rate(seconds: float) -> float:
    """Convert the seconds of the large product to billions of operations per second."""
    return 2e-9 * prod(_SHAPE) / seconds


def count_operations(bundle: Bundle, windows: list[Array]) -> OperationCounts:
    """Count the operations of encoder and head.

    The count uses the actual shapes of the tensors in the fp32 graphs.

    Args:
        bundle: the fp32 bundle.
        windows: samples of each window, float32 [n] at 16 kHz.
    """
    reads, listener = bundle.card.encoder_input, Audiogram.named(LISTENER).array()[None]
    total = np.zeros(2)
    models = {role: onnx.load(bundle.path(role)) for role in ROLES}
    constant = {role: node_names(find_layer_groups(role, models[role]), role, "product") for role in ROLES}
    for samples in windows:
        tokens, counts = _run_and_count(
            models["encoder"], {reads: FEATURE_EXTRACTORS[bundle.card.front_end_name](samples)}, constant["encoder"]
        )
        total += counts
        inputs = {"tokens": tokens.reshape(1, -1, bundle.card.width), "audiogram": listener}
        total += _run_and_count(models["head"], inputs, constant["head"])[1]
    return OperationCounts(*(1e-9 * total))


def _run_and_count(
    model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[Any]], constant: list[str]
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Return the first output of a graph, and its operations: [in products with constant weights, in the others]."""
    weights = {one.name: tuple(one.dims) for one in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv", *_RECURRENT)]
    names = (
        {name for node in products for name in (*node.input[:3], node.output[0]) if name}
        - weights.keys()
        - inputs.keys()
    )
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    outputs = [output.name for output in model.graph.output]
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names - set(outputs)))
    session = Session(extended.SerializeToString(), None, 1)
    values = dict(zip(session.outputs, session.run(**inputs), strict=True))
    shapes = weights | {name: value.shape for name, value in (*inputs.items(), *values.items())}
    total = np.zeros(2)
    for node in products:
        total[0 if node.name in constant else 1] += 2 * _multiplications(node, shapes)
    return values[outputs[0]], total


def _multiplications(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    first, weight = shapes[node.input[0]], shapes[node.input[1]]
    if node.op_type in _RECURRENT:  # first [steps, batch, inputs], weight [directions, gates x hidden, inputs]
        recurrent = shapes[node.input[2]]
        return first[0] * first[1] * weight[0] * weight[1] * (weight[2] + recurrent[2])
    if node.op_type == "Conv":  # weight [out, in / groups, *kernel]
        return prod(shapes[node.output[0]]) * prod(weight[1:])
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return prod(shapes[node.output[0]]) * first[0 if transposed else -1]
