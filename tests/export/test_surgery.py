"""Surgery loses nothing, and what it leaves exports with every axis dynamic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from haaqi_edge.benchmarks.golden import SCORE_TOLERANCE, Arrays, audiogram, fbank, max_difference
from haaqi_edge.export.recurrent import replace_recurrents
from haaqi_edge.export.surgery import FoldedStudent, fold, measure_steps
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.model.student import Student
from torch import Tensor, nn

SMALL = BeatsConfig(layers=3, width=48, heads=4, ffn=64, patch_width=32)
SMALL_HEAD = HeadConfig(width=32, hidden=10, heads=4)
PATCHES = (1, 2, 7, 62, 63, 188)


@pytest.fixture(scope="module")
def folded(student: Student) -> FoldedStudent:
    return fold(student)


def scrambled(seed: int = 0, *, dead_branches: bool = True) -> Student:
    """Return a small student whose tensors are all far from their initial values."""
    torch.manual_seed(seed)
    student = Student(SMALL, SMALL_HEAD, dead_branches=dead_branches).eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return student


@pytest.mark.slow
def test_every_golden_file(folded: FoldedStudent, golden: dict[str, Arrays]) -> None:
    with torch.inference_mode():
        for name, clip in golden.items():
            scores = folded(fbank(clip), audiogram(clip))
            assert max_difference(scores.frame_scores[0], clip["student_frames"]) < SCORE_TOLERANCE, name
            assert max_difference(scores.score, clip["student_clip"]) < SCORE_TOLERANCE, name


@pytest.mark.slow
def test_every_step_is_measured(student: Student, golden: dict[str, Arrays]) -> None:
    clip = golden["odd-2.003s"]
    taken = measure_steps(student, fbank(clip), audiogram(clip))
    assert [step.parameters for step in taken] == [24_383_744, 22_611_968, 19_055_300, 17_283_524, 16_559_041]
    assert [step.difference for step in taken[:3]] == [0, 0, 0]
    assert max(step.difference for step in taken) < SCORE_TOLERANCE


@pytest.mark.parametrize("dead_branches", [True, False])
def test_folding_is_exact(dead_branches: bool) -> None:
    student = scrambled(dead_branches=dead_branches).double()
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    features, audiograms = torch.randn(3, 50, 128, dtype=torch.float64), 90 * torch.rand(3, 8, dtype=torch.float64)
    with torch.inference_mode():
        expected, got = student(features, audiograms), fold(student)(features, audiograms)
    assert max_difference(got.frame_scores, expected.frame_scores.numpy()) < 1e-12
    assert max_difference(got.score, expected.score.numpy()) < 1e-12
    assert expected.frame_scores.std() > 1e-3
    assert all(torch.equal(tensor, before[key]) for key, tensor in student.state_dict().items())


def test_a_student_without_dead_branches_is_measured_too() -> None:
    taken = measure_steps(scrambled(dead_branches=False), torch.randn(1, 64, 128), torch.zeros(1, 8))
    assert taken[0].parameters == taken[2].parameters > taken[3].parameters > taken[4].parameters


def export(
    module: nn.Module, inputs: dict[str, Tensor], axes: dict[str, dict[int, str]], path: Path
) -> onnx.ModelProto:
    dynamic = {name: {axis: torch.export.Dim(label) for axis, label in axes[name].items()} for name in inputs}
    program = torch.onnx.export(
        replace_recurrents(module),
        (),
        kwargs=inputs,
        dynamo=True,
        dynamic_shapes=dynamic,
        opset_version=18,
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_parts_export_with_dynamic_axes(tmp_path: Path) -> None:
    student = scrambled()
    folded = fold(student)
    encoder, head = tmp_path / "encoder.onnx", tmp_path / "head.onnx"
    export(folded.encoder, {"fbank": torch.randn(3, 16, 128)}, {"fbank": {0: "patches"}}, encoder)
    example = {"tokens": torch.randn(1, 24, 32), "audiogram": torch.zeros(2, 8)}
    model = export(folded.head, example, {"tokens": {1: "tokens"}, "audiogram": {0: "batch"}}, head)
    assert [node.op_type for node in model.graph.node].count("LSTM") == 1
    assert not {"Loop", "Scan", "Slice"} & {node.op_type for node in model.graph.node}
    axes = [[dim.dim_param or dim.dim_value for dim in out.type.tensor_type.shape.dim] for out in model.graph.output]
    assert axes == [["batch", "tokens"], ["batch"]]

    encode, score = (onnxruntime.InferenceSession(path) for path in (encoder, head))
    audiograms = torch.tensor([[0.0] * 8, [20.0, 20, 30, 40, 50, 60, 70, 80], [90.0] * 8])
    for count in PATCHES:
        columns = torch.randn(count, 16, 128)
        with torch.inference_mode():
            expected = student(columns.reshape(1, -1, 128).expand(3, -1, -1), audiograms)
        (tokens,) = encode.run(None, {"fbank": columns.numpy()})
        assert tokens.shape == (count, 8, 32)
        frames, scores = score.run(None, {"tokens": tokens.reshape(1, -1, 32), "audiogram": audiograms.numpy()})
        assert max_difference(expected.frame_scores, frames) < 1e-5
        assert max_difference(expected.score, scores) < 1e-5


class Recurrent(nn.Module):
    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.recurrent(x)[0]
        return out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_recurrent_network_is_one_operator(kind: type[nn.LSTM | nn.GRU], bidirectional: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = Recurrent(kind(40, 100, batch_first=True, bidirectional=bidirectional)).eval()
    path = tmp_path / "recurrent.onnx"
    model = export(module, {"x": torch.randn(2, 9, 40)}, {"x": {0: "batch", 1: "time"}}, path)
    assert [node.op_type for node in model.graph.node].count(kind.__name__) == 1
    session = onnxruntime.InferenceSession(path)
    for batch, time in ((1, 1), (3, 2), (2, 63), (1, 1_504)):
        x = torch.randn(batch, time, 40)
        with torch.inference_mode():
            np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], module(x).numpy(), atol=5e-6)


def test_recurrent_networks_without_an_onnx_form_are_refused() -> None:
    for recurrent in (nn.GRU(4, 4), nn.LSTM(4, 4, num_layers=2, batch_first=True)):
        with pytest.raises(ValueError, match="expected one layer, batch_first"):
            replace_recurrents(recurrent)
