"""The student against the golden files, with and without what changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from haaqi_edge.benchmarks.golden import (
    GOLDEN_TOKENS,
    LAYER_TOLERANCE,
    SCORE_TOLERANCE,
    Arrays,
    audiogram,
    fbank,
    max_difference,
)
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.model.student import Student, split_patches
from haaqi_edge.runtime.errors import AudioError, AudiogramError, CheckpointError
from torch import Tensor

SMALL = BeatsConfig(layers=2, width=48, heads=4, ffn=64, patch_width=32)
SMALL_HEAD = HeadConfig(width=32, hidden=10, heads=4)


@pytest.fixture(scope="module")
def pruned(student_state: dict[str, Tensor]) -> Student:
    network = Student(dead_branches=False)
    network.load_published(student_state)
    return network.eval()


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("form", ["student", "pruned"])
def test_scores_of_every_golden_file(form: str, golden: dict[str, Arrays], request: pytest.FixtureRequest) -> None:
    network: Student = request.getfixturevalue(form)
    for name, clip in golden.items():
        scores = network(fbank(clip), audiogram(clip))
        assert max_difference(scores.frame_scores[0], clip["student_frames"]) < SCORE_TOLERANCE, name
        assert max_difference(scores.score, clip["student_clip"]) < SCORE_TOLERANCE, name


@pytest.mark.slow
def test_predicted_layers_of_every_golden_file(student: Student, golden: dict[str, Arrays]) -> None:
    for name, clip in golden.items():
        tokens = student.encode(split_patches(fbank(clip))).flatten(0, 1)[:GOLDEN_TOKENS]
        for layer, predicted in zip((6, 9, 12), student.teacher_predictions(tokens), strict=True):
            assert max_difference(predicted, clip[f"student_te{layer}"]) < LAYER_TOLERANCE, (name, layer)


def test_parameters(student: Student, pruned: Student) -> None:
    assert sum(p.numel() for p in student.parameters()) == 24_383_744
    assert sum(p.numel() for p in pruned.parameters()) == 19_055_300


def test_the_clips_of_a_batch_are_independent(student: Student, golden: dict[str, Arrays]) -> None:
    clips = list(golden.values())
    frames = min(len(clip["fbank"]) for clip in clips)
    features = torch.cat([fbank(clip)[:, :frames] for clip in clips])
    audiograms = torch.cat([audiogram(clip) for clip in clips])
    together = student(features, audiograms)
    for index in range(len(clips)):
        alone = student(features[index : index + 1], audiograms[index : index + 1])
        assert max_difference(together.frame_scores[index], alone.frame_scores[0].numpy()) < SCORE_TOLERANCE


def test_one_encoding_serves_many_listeners(student: Student, golden: dict[str, Arrays]) -> None:
    features = fbank(golden["short-0.9s"])
    listeners = torch.tensor([[0.0] * 8, [40.0] * 8, [90.0] * 8])
    tokens = student.encode(split_patches(features)).flatten(0, 1)[None]
    together = student.head(tokens, listeners)
    for index in range(3):
        alone = student(features, listeners[index : index + 1])
        assert max_difference(alone.score[0], together.score[index].numpy()) < SCORE_TOLERANCE


def test_patches_are_independent(pruned: Student) -> None:
    columns = torch.randn(5, 16, 128)
    together = pruned.encode(columns)
    assert together.shape == (5, 8, 768)
    for index in range(5):
        assert max_difference(together[index], pruned.encode(columns[index : index + 1])[0].numpy()) < 1e-5


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
@pytest.mark.parametrize("dead_branches", [True, False])
def test_a_state_dict_that_is_not_exactly_the_published_one_is_refused(change: str, dead_branches: bool) -> None:
    state = dict(Student(SMALL, SMALL_HEAD).state_dict())
    network = Student(SMALL, SMALL_HEAD, dead_branches=dead_branches)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    if change == "missing":
        del state["encoder1.fc2.bias"], state["encoder8.weight"]
        words = r"missing: encoder1\.fc2\.bias, encoder8\.weight"
    elif change == "unexpected":
        state["extra.weight"] = torch.ones(1)
        words = r"unexpected: extra\.weight"
    else:
        state["linear0.weight"] = torch.ones(3, 5)
        words = r"linear0\.weight \[3, 5\] where \[32, 48\] was expected"
    with pytest.raises(CheckpointError, match=words):
        network.load_published(state)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_the_published_keys_do_not_change(student: Student, student_state: dict[str, Tensor]) -> None:
    assert {key: tensor.shape for key, tensor in student.state_dict().items()} == {
        key: tensor.shape for key, tensor in student_state.items()
    }


@pytest.mark.slow
def test_from_checkpoint(student_state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "haaqi_net_distillBEATs.pth"
    torch.save({"model": student_state, "epoch": 7}, path)
    whole, pruned = Student.from_checkpoint(path), Student.from_checkpoint(path, dead_branches=False)
    assert not whole.training
    assert torch.equal(whole.state_dict()["encoder2.fc1.weight"], student_state["encoder2.fc1.weight"])
    assert whole.checkpoint_sha256 == pruned.checkpoint_sha256

    own = tmp_path / "student.safetensors"
    safetensors.torch.save_file(pruned.state_dict(), own)
    again = Student.from_checkpoint(own)
    assert not again.dead_branches
    assert all(torch.equal(tensor, pruned.state_dict()[key]) for key, tensor in again.state_dict().items())


def test_training_only_heads_without_dead_branches() -> None:
    network = Student(SMALL, SMALL_HEAD, dead_branches=False, predicts=(2, 3))
    tokens = network.encode(torch.randn(4, 16, 128))
    assert [list(layer.shape) for layer in network.teacher_predictions(tokens)] == [[4, 8, 48]] * 2
    assert {"encoder2.weight", "encoder3.weight"} < set(network.state_dict())


@pytest.mark.parametrize(
    ("features", "audiograms", "error", "words"),
    [
        ((1, 15, 128), (1, 8), AudioError, "at least 16 frames"),
        ((100, 128), (1, 8), AudioError, "add the batch axis"),
        ((1, 100, 80), (1, 8), AudioError, r"\[1, 100, 80\] .* \[batch, frames, 128\]"),
        ((1, 100, 128), (8,), AudiogramError, r"\[8\] .* expected \[batch, 8\]"),
        ((3, 100, 128), (2, 8), AudiogramError, r"expected \[3, 8\]"),
    ],
)
def test_wrong_shapes_are_refused(
    features: tuple[int, ...], audiograms: tuple[int, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Student(SMALL, SMALL_HEAD)(torch.zeros(features), torch.zeros(audiograms))
