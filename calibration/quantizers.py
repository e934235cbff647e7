"""Create int8 graphs from fp32 graphs with ONNX Runtime's quantizers."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from .layer_groups import PRODUCTS
from .targets import Target

_MAX_INT8: Final = 127
"""largest magnitude of a stored int8 weight; -128 is not used, so that the range is symmetric"""


def quantize_static_graph(
    graph: onnx.ModelProto, nodes: Sequence[str], ranges: TensorsData, target: Target
) -> onnx.ModelProto:
    """Quantize matrix products statically, in explicit QDQ form.

    Weights are int8 with one scale per output. Activations are quantized by their calibrated ranges. Only the operands
    of products are rounded: outputs of products stay in floating point, and other nodes that read the same input
    (residual connections) get the exact values.

    Args:
        graph: fp32 graph; it is not modified.
        nodes: names of MatMul and Gemm nodes with constant weights.
        ranges: ranges of all activations that these nodes read.
        target: the number formats.
    """
    if not nodes:
        return _copy(graph)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        source, result, cache = (Path(folder) / name for name in ("fp32.onnx", "int8.onnx", "ranges.json"))
        _prepare(graph, source)
        save_tensors_data(ranges, cache)
        quantize_static(
            source,
            result,
            None,
            calibration_cache_path=cache,
            calibrate_method=ranges.calibration_method,
            op_types_to_quantize=list(PRODUCTS),
            nodes_to_quantize=list(nodes),
            per_channel=True,
            reduce_range=target.reduced,
            activation_type=QuantType.QUInt8 if target.activations == "uint8" else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": target.symmetric,
                "QuantizeBias": target.biases,
                "OpTypesToExcludeOutputQuantization": list(PRODUCTS),
            },
        )
        quantized = onnx.load(result)
    return _with_float_residuals(quantized)


def quantize_dynamic_graph(
    graph: onnx.ModelProto, nodes: Sequence[str], target: Target, lstms: Sequence[str] = ()
) -> onnx.ModelProto:
    """Quantize matrix products and LSTMs dynamically.

    Weights are int8. The scale of an activation is computed in every run, from all values that are processed together.

    Args:
        graph: fp32 graph; it is not modified.
        nodes: names of MatMul and Gemm nodes with constant weights.
        target: determines whether weights have 7 bits.
        lstms: names of LSTM nodes; they become ONNX Runtime's own operator, which is not part of ONNX.
    """
    if not nodes and not lstms:
        return _copy(graph)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        source, result = (Path(folder) / name for name in ("fp32.onnx", "int8.onnx"))
        _prepare(graph, source)
        quantize_dynamic(
            source,
            result,
            op_types_to_quantize=["MatMul", "LSTM"],  # the quantizer converts a Gemm to a MatMul first
            nodes_to_quantize=[*nodes, *lstms, *(f"{node}_MatMul" for node in nodes)],
            per_channel=True,
            reduce_range=target.reduced,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(result)


def store_weights_int8(graph: onnx.ModelProto, nodes: Sequence[str]) -> onnx.ModelProto:
    """Store the weights of recurrent nodes in int8, with one scale per gate unit. The nodes still compute in fp32.

    Cast and Mul restore the weights instead of DequantizeLinear. ONNX Runtime folds Cast and Mul once, when it loads
    the graph, but would run DequantizeLinear in every run. The Cast by way of int32 lets OpenVINO fold them as well: it
    keeps weights that are cast from int8 directly, and its recurrent operators need constants.

    Args:
        graph: it is not modified.
        nodes: names of LSTM and GRU nodes.
    """
    stored = _copy(graph)
    constants = {initializer.name: initializer for initializer in stored.graph.initializer}
    for node in [node for node in stored.graph.node if node.name in nodes]:
        for index in (1, 2):  # W and R, [directions, gates x hidden, inputs]; biases are small
            weight = constants[node.input[index]]
            integers, scale = round_to_int8(numpy_helper.to_array(weight))
            name = weight.name
            stored.graph.initializer.remove(weight)
            stored.graph.initializer.extend(
                [numpy_helper.from_array(integers, f"{name}_int8"), numpy_helper.from_array(scale, f"{name}_scale")]
            )
            casts = [
                onnx.helper.make_node("Cast", [before], [after], node_name, to=kind)
                for before, after, node_name, kind in (
                    (f"{name}_int8", f"{name}_int32", f"{name}/Cast", onnx.TensorProto.INT32),
                    (f"{name}_int32", f"{name}_cast", f"{name}/Cast.2", onnx.TensorProto.FLOAT),
                )
            ]
            times = onnx.helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name], f"{name}/Mul")
            for place, added in enumerate((*casts, times)):
                stored.graph.node.insert(place, added)
    return stored


def round_to_int8(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Round weights to int8.

    Args:
        weight: float32 [..., rows, inputs].

    Returns:
        int8 [..., rows, inputs], and the scales, float32 [..., rows, 1].
    """
    scale = np.abs(weight).max(axis=-1, keepdims=True) / _MAX_INT8
    scale[scale == 0] = 1.0
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


def _with_float_residuals(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Give the exact activation back to nodes that are not products.

    The quantizer passes a quantized activation to all nodes that read it.
    """
    producers = {output: node for node in graph.graph.node for output in node.output}
    for node in graph.graph.node:
        if node.op_type in (*PRODUCTS, "QuantizeLinear", "DequantizeLinear"):
            continue
        for index, name in enumerate(node.input):
            dequantizer = producers.get(name)
            if dequantizer is not None and dequantizer.op_type == "DequantizeLinear":
                quantizer = producers.get(dequantizer.input[0])
                if quantizer is not None and quantizer.op_type == "QuantizeLinear":
                    node.input[index] = quantizer.input[0]
    return graph


def _prepare(graph: onnx.ModelProto, path: Path) -> None:
    """Save the graph with inferred shapes, as the quantizers require; its operators do not change."""
    raw = path.with_name("raw.onnx")
    onnx.save(graph, raw)
    quant_pre_process(raw, path, skip_optimization=True, skip_symbolic_shape=True)


def _copy(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return copy


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the quantizers' log messages.

    They recommend a preparation that is already done. Failures still raise exceptions.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
