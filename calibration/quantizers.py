"""int8 graphs from fp32 ones, by ONNX Runtime's quantizers."""

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

from .groups import PRODUCTS
from .targets import Target

_LIMIT: Final = 127
"""largest int8 that a stored weight takes; -128 is left out, so that the range is symmetric"""


def static_graph(graph: onnx.ModelProto, nodes: Sequence[str], ranges: TensorsData, target: Target) -> onnx.ModelProto:
    """The products of `nodes` in explicit QDQ form: int8 weights with a scale for each output, activations by range.

    What a product gives stays in floating point, and so does what others read of its input (residuals): nothing is
    rounded but what is multiplied.

    Args:
        graph: fp32, left as it is.
        nodes: names of MatMul and Gemm nodes with constant weights.
        ranges: of every activation that they read.
        target: the number formats.
    """
    if not nodes:
        return _copy(graph)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        source, result, known = (Path(folder) / name for name in ("fp32.onnx", "int8.onnx", "ranges.json"))
        _prepare(graph, source)
        save_tensors_data(ranges, known)
        quantize_static(
            source,
            result,
            None,
            calibration_cache_path=known,
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


def dynamic_graph(
    graph: onnx.ModelProto, nodes: Sequence[str], target: Target, lstms: Sequence[str] = ()
) -> onnx.ModelProto:
    """The products of `nodes`, and of the LSTMs of `lstms`, with int8 weights and activations whose scale is found anew
    in every run, from all that is computed together.

    Args:
        graph: fp32, left as it is.
        nodes: names of MatMul and Gemm nodes with constant weights.
        target: whether weights have 7 bits.
        lstms: names of LSTM nodes; ONNX Runtime's own operator, not ONNX's.
    """
    if not nodes and not lstms:
        return _copy(graph)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        source, result = (Path(folder) / name for name in ("fp32.onnx", "int8.onnx"))
        _prepare(graph, source)
        quantize_dynamic(
            source,
            result,
            op_types_to_quantize=["MatMul", "LSTM"],  # a Gemm is made a MatMul first
            nodes_to_quantize=[*nodes, *lstms, *(f"{node}_MatMul" for node in nodes)],
            per_channel=True,
            reduce_range=target.reduced,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(result)


def store_int8(graph: onnx.ModelProto, nodes: Sequence[str]) -> onnx.ModelProto:
    """The graph with the weights of recurrent nodes stored in int8, a scale for each gate's unit, and computed in fp32.

    Weights are written as Cast and Mul rather than DequantizeLinear: ONNX Runtime folds those once, when the graph is
    loaded, where it would dequantize in every run.

    Args:
        graph: left as it is.
        nodes: names of LSTM and GRU nodes.
    """
    stored = _copy(graph)
    constants = {initializer.name: initializer for initializer in stored.graph.initializer}
    for node in [node for node in stored.graph.node if node.name in nodes]:
        for place in (1, 2):  # W and R, [directions, gates x hidden, inputs]; biases are few
            weight = constants[node.input[place]]
            whole, scale = rounded(numpy_helper.to_array(weight))
            name = weight.name
            stored.graph.initializer.remove(weight)
            stored.graph.initializer.extend(
                [numpy_helper.from_array(whole, f"{name}_int8"), numpy_helper.from_array(scale, f"{name}_scale")]
            )
            cast = onnx.helper.make_node(
                "Cast", [f"{name}_int8"], [f"{name}_cast"], f"{name}/Cast", to=onnx.TensorProto.FLOAT
            )
            times = onnx.helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name], f"{name}/Mul")
            stored.graph.node.insert(0, times)
            stored.graph.node.insert(0, cast)
    return stored


def rounded(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Weights [..., rows, inputs] in int8, and the scales [..., rows, 1]."""
    scale = np.abs(weight).max(axis=-1, keepdims=True) / _LIMIT
    scale[scale == 0] = 1.0
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


def _with_float_residuals(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The quantizer sends a quantized activation to all that read it; what is no product gets the exact one back."""
    made_by = {output: node for node in graph.graph.node for output in node.output}
    for node in graph.graph.node:
        if node.op_type in (*PRODUCTS, "QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            dequantizer = made_by.get(name)
            if dequantizer is not None and dequantizer.op_type == "DequantizeLinear":
                quantizer = made_by.get(dequantizer.input[0])
                if quantizer is not None and quantizer.op_type == "QuantizeLinear":
                    node.input[place] = quantizer.input[0]
    return graph


def _prepare(graph: onnx.ModelProto, path: Path) -> None:
    """The graph with its shapes inferred, as the quantizers want it; its operators stay as they are."""
    raw = path.with_name("raw.onnx")
    onnx.save(graph, raw)
    quant_pre_process(raw, path, skip_optimization=True, skip_symbolic_shape=True)


def _copy(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return copy


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizers log advice about preparation that was done; failures come as exceptions all the same."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
