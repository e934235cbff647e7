"""Quantizers: int8 graphs give the same on ONNX Runtime and on ONNX's reference evaluator, for every target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from haaqi_edge.calibration.calibration_data import ModelInputs
from haaqi_edge.calibration.layer_groups import MIN_WEIGHTS, find_layer_groups, node_names
from haaqi_edge.calibration.measurement import score_graphs
from haaqi_edge.calibration.quantizers import quantize_dynamic_graph, quantize_static_graph, store_weights_int8
from haaqi_edge.calibration.ranges import collect_ranges
from haaqi_edge.calibration.targets import TARGETS
from haaqi_edge.export.bundle import ExportSource
from haaqi_edge.export.surgery import fold
from haaqi_edge.export.tracing import trace_encoder, trace_head
from haaqi_edge.model import Student
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.runtime.session import Session
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from quantizable import graphs, inputs, layer_groups, models, ranges

PRODUCTS = ("MatMul", "Gemm")


def nodes(role: str, kind: str = "product") -> list[str]:
    return node_names(layer_groups(), role, kind)


def static(role: str, target: str) -> onnx.ModelProto:
    return quantize_static_graph(models()[role], nodes(role), ranges()[role], TARGETS[target])


def constants(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    return {initializer.name: numpy_helper.to_array(initializer) for initializer in model.graph.initializer}


def small_student() -> ExportSource:
    config = BeatsConfig(layers=2, width=48, heads=4, ffn=64, patch_width=32)
    student = Student(config, HeadConfig(width=32, hidden=10, heads=4)).eval()
    return ExportSource("small", "student", student, fold(student), 8, 32, "0" * 64)


def test_groups_are_products_and_recurrences_with_weights() -> None:
    names = [group.name for group in layer_groups()]
    assert names == [
        "encoder: layers.1",
        "encoder: layers.5",
        "encoder: linear",
        "head: conditioning.2",
        "head: audibility",
        "head: gru",
    ]
    assert all(group.parameters >= MIN_WEIGHTS for group in layer_groups())
    assert [group.kind for group in layer_groups()] == ["product"] * 5 + ["recurrent"]


@pytest.mark.slow
def test_the_front_end_is_in_no_group() -> None:
    source = small_student()
    model = trace_encoder(source.network, samples=True)
    assert any(node.op_type == "Conv" for node in model.graph.node)
    assert not any("front_end" in group.node for group in find_layer_groups("encoder", model))


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_equal_the_reference(target: str) -> None:
    """The evaluator computes in floating point: a kernel that overflows would differ."""
    model = static("encoder", target)
    features = np.concatenate([one.features for one in inputs()[:2]])
    written = onnx.ModelProto()
    written.CopyFrom(model)
    written.opset_import[0].version = 21  # the evaluator knows no older DequantizeLinear; they mean the same
    expected = ReferenceEvaluator(written).run(None, {"texture": features})[0]
    got = Session(model.SerializeToString()).run(texture=features)[0]
    # A value between two steps may go to either in the next layer, so a few tokens differ by a step.
    assert np.quantile(np.abs(got - expected), 0.99) < 1e-3
    assert np.abs(got - expected).max() < 0.05


@pytest.mark.parametrize("target", TARGETS)
def test_formats_are_those_of_the_target(target: str) -> None:
    model, wanted = static("encoder", target), TARGETS[target]
    values = constants(model)
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantizers) == len(nodes("encoder"))
    for node in quantizers:
        zero = values[node.input[2]]
        assert zero.dtype == wanted.activations
        assert not wanted.symmetric or not zero.any()
    weights = [value for value in values.values() if value.ndim == 2 and value.dtype == np.int8]
    assert len(weights) == len(nodes("encoder"))
    assert all(np.abs(w.astype(int)).max() <= (64 if wanted.reduced else 128) for w in weights)
    scales = [values[n.input[1]] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in values]
    assert all(scale.ndim == 1 and len(scale) > 1 for scale in scales if scale.size > 1)
    assert sum(scale.ndim == 1 for scale in scales) >= len(weights)  # a scale for each output


@pytest.mark.slow
def test_only_products_read_rounded_values() -> None:
    source = small_student()
    model = trace_encoder(source.network, samples=False)
    found = find_layer_groups("encoder", model)
    features = 2 * np.random.default_rng(0).standard_normal((9, 16, 128)).astype(np.float32)
    names = [group.node for group in found]
    head = trace_head(source.network, source.width)
    both = {"encoder": model.SerializeToString(), "head": head.SerializeToString()}
    ranges = collect_ranges(both, found, [ModelInputs(features, np.full((2, 8), 40.0, dtype=np.float32))])["minmax"]
    quantized = quantize_static_graph(model, names, ranges["encoder"], TARGETS["x86"])
    producers = {output: node.op_type for node in quantized.graph.node for output in node.output}
    readers = {
        node.op_type
        for node in quantized.graph.node
        for name in node.input
        if producers.get(name) == "DequantizeLinear" and node.op_type not in PRODUCTS
    }
    assert not readers
    difference = (
        Session(quantized.SerializeToString()).run(fbank=features)[0] - Session(both["encoder"]).run(fbank=features)[0]
    )
    assert 0 < np.abs(difference).mean() < 0.05


def test_static_tokens_do_not_depend_on_the_batch() -> None:
    features = inputs()[0].features
    session = Session(static("encoder", "x86").SerializeToString())
    together = session.run(texture=features)[0]
    alone = np.concatenate([session.run(texture=features[i : i + 1])[0] for i in range(len(features))])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_dynamic_products() -> None:
    model = quantize_dynamic_graph(models()["encoder"], nodes("encoder"), TARGETS["x86"])
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("MatMulInteger") == len(nodes("encoder"))
    assert not set(kinds) & set(PRODUCTS)
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}
    tokens = [Session(m).run(texture=inputs()[0].features)[0] for m in (graphs()["encoder"], model.SerializeToString())]
    assert 0 < np.abs(tokens[0] - tokens[1]).mean() < 0.02


def test_an_excluded_group_does_not_change() -> None:
    left = quantize_dynamic_graph(models()["encoder"], nodes("encoder")[1:], TARGETS["x86"])
    assert [node.op_type for node in left.graph.node].count("MatMulInteger") == len(nodes("encoder")) - 1
    assert quantize_dynamic_graph(models()["encoder"], [], TARGETS["x86"]) == models()["encoder"]
    assert quantize_static_graph(models()["encoder"], [], ranges()["encoder"], TARGETS["x86"]) == models()["encoder"]


@pytest.mark.slow
def test_lstms_run_in_int8_on_request() -> None:
    source = small_student()
    model = trace_head(source.network, source.width)
    lstm = [node.name for node in model.graph.node if node.op_type == "LSTM"]
    quantized = quantize_dynamic_graph(model, [], TARGETS["x86"], lstm)
    assert [n.op_type for n in quantized.graph.node if n.domain == "com.microsoft"] == ["DynamicQuantizeLSTM"]
    tokens = np.random.default_rng(0).standard_normal((1, 40, 32)).astype(np.float32)
    audiograms = np.full((2, 8), 30.0, dtype=np.float32)
    got, expected = (
        Session(m.SerializeToString()).run(tokens=tokens, audiogram=audiograms)[1] for m in (quantized, model)
    )
    np.testing.assert_allclose(got, expected, atol=0.02)


def rounding(stored: Sequence[NDArray[np.generic]], whole: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the rounding error of each weight, in steps."""
    value, scale = (array.astype(np.float64) for array in stored)
    return np.abs(value * scale - whole) / scale


def test_recurrent_weights_are_stored_in_int8_and_used_in_fp32() -> None:
    model = store_weights_int8(models()["head"], nodes("head", "recurrent"))
    stored, before = constants(model), constants(models()["head"])
    (gru,) = (node for node in model.graph.node if node.op_type == "GRU")
    for name in gru.input[1:3]:
        value, scale = stored[f"{name}_int8"], stored[f"{name}_scale"]
        assert value.dtype == np.int8
        assert scale.shape == (*before[name].shape[:2], 1)
        assert rounding((value, scale), before[name].astype(np.float32)).max() < 0.501
        assert name not in stored
    weights = sum(before[name].size for name in gru.input[1:3])
    assert model.ByteSize() < models()["head"].ByteSize() - 3 * weights + 10_000
    both = [{**graphs(), "head": head} for head in (graphs()["head"], model.SerializeToString())]
    scores = [score_graphs(one, inputs()) for one in both]
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.005
