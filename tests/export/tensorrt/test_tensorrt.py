"""Bundles for TensorRT: supported graphs in every precision, with known shapes and the scores of the network."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from guarded import check_heads, run_program
from haaqi_edge.calibration.layer_groups import FRONT_END, node_names
from haaqi_edge.calibration.quantizers import quantize_static_graph
from haaqi_edge.calibration.targets import TARGETS
from haaqi_edge.export.bundle import ExportSource, load_nano_source
from haaqi_edge.export.fp16 import convert_to_fp16, find_fp16_nodes
from haaqi_edge.export.guards import guard_head
from haaqi_edge.export.surgery import fold
from haaqi_edge.export.tensorrt import bundle as exporting
from haaqi_edge.export.tensorrt.bundle import make_clips_dynamic, write_tensorrt
from haaqi_edge.export.tensorrt.manifest import MANIFEST, Manifest, create_manifest
from haaqi_edge.export.tensorrt.shapes import check_profiles, infer_shapes
from haaqi_edge.export.tensorrt.support import find_problems, load_support
from haaqi_edge.export.tracing import trace_head, trace_teacher
from haaqi_edge.export.verify import Difference, Parity, probe_signal
from haaqi_edge.model import Student
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.model.teacher import Teacher
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.bundle import ROLES
from haaqi_edge.runtime.errors import BundleError, ExportError, OptionError
from haaqi_edge.runtime.features.front_ends import FEATURE_EXTRACTORS
from haaqi_edge.runtime.gpu.optimization_profiles import MAX_PATCHES, OptimizationProfile, default_profiles
from haaqi_edge.runtime.session import Session
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from quantizable import graphs, inputs, layer_groups, models, ranges
from sounds import RATE, music, samples_for
from strange_inputs import sizes_of

pytestmark = pytest.mark.slow

Run = Callable[[onnx.ModelProto, dict[str, np.ndarray]], list[np.ndarray]]
SMALL = BeatsConfig(layers=2, width=48, heads=4, ffn=64, patch_width=32)
HEAD = HeadConfig(width=32, hidden=10, heads=4)


def small_student() -> ExportSource:
    torch.manual_seed(0)
    student = Student(SMALL, HEAD).eval()
    return ExportSource("small", "student", student, fold(student), 8, 32, "0" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a small student for TensorRT in fp16, and return its folder."""
    found = tmp_path_factory.mktemp("tensorrt") / "small"
    write_tensorrt(
        small_student(), found, "fp16", [OptimizationProfile.parse("5"), OptimizationProfile.parse("1:9:20")]
    )
    return found


@pytest.fixture(scope="module")
def small(folder: Path) -> Mapping[str, onnx.ModelProto]:
    """Return the graphs of that student."""
    return {role: onnx.load(Bundle(folder).path(role)) for role in ROLES}


@cache
def nano() -> Mapping[str, onnx.ModelProto]:
    """Return the graphs of the shipped nano in fp16, with a head for several clips."""
    source = load_nano_source(None)
    head = trace_head(source.network, source.width)
    make_clips_dynamic(head)
    graphs = {**models(), "head": guard_head(head, clips=True)}
    return {role: convert_to_fp16(model) for role, model in graphs.items()}


def test_the_table_names_its_source() -> None:
    table = load_support()
    assert "onnx-tensorrt" in table.source
    assert table.version == "TensorRT 10.15"
    assert table.restricted <= table.operators.keys()
    assert {"FP32", "FP16"} <= table.operators["GRU"]
    assert "DFT" not in table.operators


def test_graphs_are_supported_and_their_shapes_known(folder: Path, small: Mapping[str, Any]) -> None:
    every = [OptimizationProfile(1, 1, 1), OptimizationProfile(1, 62, MAX_PATCHES), OptimizationProfile(375, 375, 375)]
    for card, ours in ((Bundle(folder).card, small), (Bundle("nano").card, nano())):
        assert not [problem for model in ours.values() for problem in find_problems(model)]
        check_profiles(ours, card, every)
    assert Bundle(folder).card.encoder_input == "samples"


def test_the_manifest(folder: Path) -> None:
    manifest = Manifest.load(Bundle(folder))
    assert manifest.profiles[1]["encoder"]["samples"] == ((1, 2800), (9, 2800), (20, 2800))
    assert manifest.profiles[1]["head"]["tokens"] == ((1, 8, 32), (1, 72, 32), (8, 160, 32))
    assert manifest.profiles[1]["head"]["audiogram"] == ((1, 8), (1, 8), (8, 8))
    line = shlex.split(manifest.trtexec["encoder"])
    assert line[0] == "trtexec"
    assert {"--stronglyTyped", "--noTF32", "--onnx=encoder.onnx"} <= set(line)
    assert not any("fp16" in part for part in line if "Engine" not in part)  # types are the graph's
    assert [part for part in line if part.startswith("--profile=")] == ["--profile=0", "--profile=1"]
    assert line[line.index("--profile=1") + 1 :] == [
        "--minShapes=samples:1x2800",
        "--optShapes=samples:9x2800",
        "--maxShapes=samples:20x2800",
    ]
    by_default = create_manifest(Bundle(folder).card, default_profiles(10.0), "table").profiles
    assert [profile["encoder"]["samples"][2][0] for profile in by_default] == [1, 62, MAX_PATCHES]
    assert by_default[2]["head"]["audiogram"][2] == (1, 8)  # the student's attention over 60 s: one listener at a time


def test_an_invalid_manifest_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="--target tensorrt"):
        Manifest.load(Bundle("nano"))
    copy = shutil.copytree(folder, tmp_path / "copy")
    for text in ("no json", "[]", "{}", '{"format": 2}', json.dumps({"format": 1, "profiles": [{}]})):
        (copy / MANIFEST).write_text(text)
        with pytest.raises(BundleError, match=r"tensorrt\.json"):
            Manifest.load(Bundle(copy))


def test_the_bundle_scores_on_the_cpu_too(folder: Path) -> None:
    scorer = Scorer(folder, threads=1)
    assert scorer.card.precision == "fp16"
    source, sound = small_student(), music(10.0)[: samples_for(30)]
    audiograms = np.stack([Audiogram.named(name).array() for name in ("N3", "S2")])
    features = torch.from_numpy(FEATURE_EXTRACTORS["fbank"](sound)).flatten(0, 1).expand(2, -1, -1)
    with torch.inference_mode():
        expected = source.original(features, torch.from_numpy(audiograms)).score.numpy()
    got = [score.score for score in scorer.score((sound, RATE), ["N3", "S2"])]
    assert 0 < np.abs(got - expected).max() < 1e-3


def test_strange_inputs_never_end_the_program(folder: Path, tmp_path: Path) -> None:
    bundle = Bundle(folder)
    _, (encoders, heads) = run_program([bundle.path(role) for role in ROLES], 200, tmp_path)
    assert [len(one) for one in encoders] == [sizes_of(run) for run in range(len(encoders))]
    check_heads(heads, bundle.card.width, clips=True)


def test_parts_in_int8_are_named() -> None:
    card = Bundle("nano-int8").card
    chosen = {"quantized": ["encoder: layers.5", "encoder: linear"], "left_in_fp32": ["encoder: layers.1"]}
    files = {**card.files, "head": replace(card.files["head"], precision="fp32")}
    card = replace(card, encoder_input="samples", figures={"quantization": {"chosen": chosen}}, files=files)
    manifest = create_manifest(card, default_profiles(card.window), "a table")
    parts = {"front end": "fp32", "encoder": "int8 in 2 of 3 layers", "head": "fp32"}
    assert json.loads(manifest.to_json())["precisions"] == parts
    assert "nano-int8-encoder-int8.engine" in manifest.trtexec["encoder"]
    assert "nano-int8-head-fp32.engine" in manifest.trtexec["head"]


@pytest.mark.parametrize("name", ["nano", "small"])
def test_a_head_accepts_several_clips(name: str, small: Mapping[str, Any]) -> None:
    head = (nano() if name == "nano" else small)["head"]
    session = Session(head.SerializeToString(), threads=1)
    width = session.inputs["tokens"][2]
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((4, 31, width)).astype(np.float32)
    audiograms = rng.uniform(0, 80, (4, 8)).astype(np.float32)
    frames, scores = session.run(tokens=tokens, audiogram=audiograms)[:2]
    for i in range(4):
        frame, score = session.run(tokens=tokens[i : i + 1], audiogram=audiograms[i : i + 1])[:2]
        np.testing.assert_allclose(frames[i], frame[0], atol=1e-6)
        np.testing.assert_allclose(scores[i], score[0], atol=1e-6)
    assert len(set(session.run(tokens=tokens[:1], audiogram=audiograms)[1])) == 4


@pytest.mark.parametrize("name", ["nano", "small"])
def test_the_parts_in_fp16(name: str, small: Mapping[str, Any]) -> None:
    for model in (nano() if name == "nano" else small).values():
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        kinds = {value.name: value.type.tensor_type.elem_type for value in [*inferred.value_info, *inferred.output]}
        halves = {n.name for n in model.graph.node if n.op_type != "Cast" and kinds[n.output[0]] == TensorProto.FLOAT16}
        assert halves
        assert not any(node.startswith(FRONT_END) for node in halves)
        assert not halves & {n.name for n in model.graph.node if n.op_type in ("GRU", "LSTM", "Sigmoid")}
        ends = [*model.graph.input, *model.graph.output]
        assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
        # Nothing goes through fp16 on its way from one fp32 node to another.
        made_by = {output: node for node in model.graph.node for output in node.output}
        for node in model.graph.node:
            if node.op_type == "Cast" and kinds[node.output[0]] == TensorProto.FLOAT:
                before = made_by.get(node.input[0])
                assert before is None or before.op_type != "Cast"


def test_fp16_equals_the_reference() -> None:
    """ONNX's evaluator computes each operator in its declared type. ONNX Runtime's CPU may compute in fp32."""
    features, audiograms = inputs()[0].features[:31], inputs()[0].audiograms[:1]

    def scores(graphs: Mapping[str, onnx.ModelProto], run: Run) -> float:
        tokens = run(graphs["encoder"], {"texture": features})[0]
        told = run(graphs["head"], {"tokens": tokens.reshape(1, -1, tokens.shape[2]), "audiogram": audiograms})
        return float(told[1][0])

    def evaluated(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        return list(ReferenceEvaluator(model).run(None, given))

    def ran(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        return list(Session(model.SerializeToString(), threads=1).run(**given))

    exact, rounded, on_cpu = scores(models(), ran), scores(nano(), evaluated), scores(nano(), ran)
    assert 0 < abs(rounded - exact) < 2e-3
    assert 0 < abs(on_cpu - exact) < 2e-3


def test_a_weight_beyond_fp16_is_an_error() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(models()["encoder"])
    inside = find_fp16_nodes(model)
    read = {name for node in model.graph.node if node.name in inside for name in node.input}
    weight = next(one for one in model.graph.initializer if one.name in read and len(one.dims) == 2)
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = 7e4
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ExportError, match="above the limit of fp16"):
        convert_to_fp16(model)


def quantized() -> onnx.ModelProto:
    return quantize_static_graph(
        models()["encoder"], node_names(layer_groups(), "encoder", "product"), ranges()["encoder"], TARGETS["tensorrt"]
    )


def test_int8_is_explicit_and_symmetric() -> None:
    model = quantized()
    assert not list(find_problems(model))
    known = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    products = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    assert len(products) == len(node_names(layer_groups(), "encoder", "product"))
    for node in products:
        activation, weight = (made_by[name] for name in node.input[:2])
        assert [activation.op_type, weight.op_type] == ["DequantizeLinear"] * 2
        assert made_by[activation.input[0]].op_type == "QuantizeLinear"
        assert list(made_by[activation.input[0]].input[1:]) == list(activation.input[1:])  # one scale, there and back
        assert known[weight.input[0]].dtype == np.int8
        assert known[weight.input[1]].ndim == 1  # a scale for each output
        assert all(known[name].dtype == np.float32 for name in node.input[2:])  # biases stay as they are
    for one in [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]:
        assert known[one.input[2]].dtype == np.int8
        assert not known[one.input[2]].any()
        assert (known[one.input[1]] > 0).all()


def one_node(
    node: onnx.NodeProto, kind: int = TensorProto.FLOAT, opset: int = 18, **constants: np.ndarray
) -> list[str]:
    """Return the problems of a graph with one node that reads `x` [2, 3, 4] and outputs `y`."""
    given = helper.make_tensor_value_info("x", kind, [2, 3, 4])
    made = [helper.make_empty_tensor_value_info(name) for name in node.output]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "one", [given], made, weights)
    return list(find_problems(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])))


def test_the_problems_that_the_parser_would_reject() -> None:
    scale = np.array(0.1, np.float32)
    assert one_node(helper.make_node("Relu", ["x"], ["y"])) == []
    assert "an unsupported operator" in one_node(helper.make_node("Shrink", ["x"], ["y"], domain="elsewhere"))[0]
    assert "an unsupported operator" in one_node(helper.make_node("BitwiseNot", ["x"], ["y"]), TensorProto.INT32)[0]
    assert "opset 8" in one_node(helper.make_node("Relu", ["x"], ["y"]), opset=8)[0]
    assert "an unsupported type" in one_node(helper.make_node("Relu", ["x"], ["y"]), TensorProto.DOUBLE)[0]
    assert "conditions that are not checked here" in one_node(helper.make_node("Hardmax", ["x"], ["y"]))[-1]
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    assert one_node(quantize, s=scale, z=np.array(0, np.int8)) == []
    assert "zero point" in one_node(quantize, s=scale, z=np.array(3, np.int8))[0]
    assert any("zero point" in why for why in one_node(quantize, s=scale, z=np.array(0, np.uint8)))
    assert "expected int8" in " ".join(one_node(helper.make_node("QuantizeLinear", ["x", "s"], ["y"]), s=scale))
    stored = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["y"])
    words = one_node(stored, w=np.arange(4, dtype=np.int32), s=scale, z=np.array(0, np.int32))
    assert "in INT32" in words[0]
    weights = {"w": np.zeros((2, 8, 4), np.float32), "r": np.zeros((2, 8, 2), np.float32)}
    lstm = {"hidden_size": 2, "direction": "bidirectional"}
    assert one_node(helper.make_node("LSTM", ["x", "w", "r"], ["y"], **lstm), **weights) == []
    assert "layout 1" in one_node(helper.make_node("LSTM", ["x", "w", "r"], ["y"], layout=1, **lstm), **weights)[0]
    differ = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Relu"]
    one = one_node(helper.make_node("LSTM", ["x", "w", "r"], ["y"], activations=differ, **lstm), **weights)
    assert "different activations in the two directions" in one[0]


def test_an_unsupported_graph_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = onnx.ModelProto()
    bad.CopyFrom(models()["head"])
    score = bad.graph.output[1].name
    for node in bad.graph.node:
        node.output[:] = [name if name != score else "before" for name in node.output]
    bad.graph.node.append(helper.make_node("Hardmax", ["before"], [score], "hard", axis=0))
    monkeypatch.setattr(exporting, "trace_encoder", lambda *_, **__: onnx.load_from_string(graphs()["encoder"]))
    monkeypatch.setattr(exporting, "trace_head", lambda *_: bad)
    monkeypatch.setattr(exporting, "verify_bundle", lambda *_: Parity(Difference("all", 0.0), 1))
    with pytest.raises(
        ExportError, match=r"hard \(Hardmax\) is supported only under conditions .* nothing was written"
    ):
        write_tensorrt(load_nano_source(None), tmp_path / "out", "fp32")
    assert list(tmp_path.iterdir()) == []


def test_profiles() -> None:
    assert OptimizationProfile.parse("62") == OptimizationProfile(62, 62, 62)
    assert OptimizationProfile.parse("1:62:375") == OptimizationProfile(1, 62, 375)
    assert [str(one) for one in default_profiles(10.0)] == ["1", "62", "1:62:375"]
    for text in ("", "1:2", "a", "-1", "0", "376", "2:1:3", "1:2:3:4", "1:5:4"):
        with pytest.raises(OptionError, match=r"profile|expected"):
            OptimizationProfile.parse(text)


def test_contradictory_shapes_are_an_error(small: Mapping[str, Any]) -> None:
    head = small["head"]
    found = infer_shapes(head, {"tokens": (1, 24, 32), "audiogram": (3, 8)})
    assert (found["frame_scores"], found["score"]) == ((3, 24), (3,))
    for tokens, audiogram in (((1, 24, 31), (3, 8)), ((2, 24, 32), (3, 8))):
        with pytest.raises(ExportError):
            infer_shapes(head, {"tokens": tokens, "audiogram": audiogram})


def test_the_teacher_as_a_graph() -> None:
    torch.manual_seed(0)
    teacher = Teacher(replace(SMALL, layers=1), HEAD).eval()
    samples = 20_000
    model = trace_teacher(teacher, samples)
    assert not list(find_problems(model))
    sound = probe_signal(samples)[None]
    audiograms = np.full((2, 8), 40, dtype=np.float32)
    with torch.inference_mode():
        expected = teacher(torch.from_numpy(sound).expand(2, -1), torch.from_numpy(audiograms)).score
    for one, tolerance in ((model, 1e-5), (convert_to_fp16(model), 5e-3)):
        assert not list(find_problems(one))
        got = Session(one.SerializeToString(), threads=1).run(waveform=sound, audiogram=audiograms)[1]
        np.testing.assert_allclose(got, expected.numpy(), atol=tolerance)
