"""The teacher against the golden files, and on small networks of the same code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from haaqi_edge.benchmarks.golden import (
    GOLDEN_TOKENS,
    LAYER_TOLERANCE,
    SCORE_TOLERANCE,
    Arrays,
    audiogram,
    load_published_shapes,
    max_difference,
    waveform,
)
from haaqi_edge.model.beats import BeatsConfig, position_buckets
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.model.teacher import Teacher
from haaqi_edge.runtime.errors import AudioError, AudiogramError, CheckpointError
from torch import Tensor

SMALL = BeatsConfig(layers=2, width=48, heads=4, ffn=64, patch_width=32, position_groups=4)


@pytest.fixture(scope="module")
def small() -> Teacher:
    torch.manual_seed(0)
    return Teacher(SMALL, HeadConfig(width=32, hidden=10, heads=4)).eval()


@pytest.fixture(autouse=True)
def _no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


@pytest.mark.slow
def test_every_golden_file(teacher: Teacher, golden: dict[str, Arrays]) -> None:
    outputs: list[tuple[Tensor, ...]] = []
    handle = teacher.beats_model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        for name, clip in golden.items():
            scores = teacher(waveform(clip), audiogram(clip))
            first, last = outputs[-1][0], outputs[-1][-1]
            assert max_difference(scores.frame_scores[0], clip["teacher_frames"]) < SCORE_TOLERANCE, name
            assert max_difference(scores.score, clip["teacher_clip"]) < SCORE_TOLERANCE, name
            assert max_difference(first[0, :GOLDEN_TOKENS], clip["beats_layer1"]) < LAYER_TOLERANCE, name
            assert max_difference(last[0, :GOLDEN_TOKENS], clip["beats_layer12"]) < LAYER_TOLERANCE, name
    finally:
        handle.remove()


def test_the_front_end_equals_the_golden_files(golden: dict[str, Arrays], small: Teacher) -> None:
    for clip in golden.values():
        difference = (small.fbank(waveform(clip))[0] - torch.from_numpy(clip["fbank"])).abs()
        assert difference.max() < 1e-3
        assert difference.mean() < 1e-5


@pytest.mark.slow
def test_parameters(teacher: Teacher) -> None:
    assert sum(p.numel() for p in teacher.parameters()) == 91_134_781
    assert sum(p.numel() for p in teacher.beats_model.parameters()) == 90_311_792


@pytest.mark.slow
def test_from_checkpoint_of_a_bare_state_dict(teacher: Teacher, shared: Path) -> None:
    assert teacher.checkpoint_sha256 is not None
    assert not teacher.training
    assert {key: list(tensor.shape) for key, tensor in teacher.state_dict().items()} == load_published_shapes(
        shared, "haaqinet"
    )


def test_the_clips_of_a_batch_are_independent(small: Teacher) -> None:
    clips, audiograms = 0.1 * torch.randn(3, 24_000), 60 * torch.rand(3, 8)
    together = small(clips, audiograms)
    for index in range(3):
        alone = small(clips[index : index + 1], audiograms[index : index + 1])
        assert max_difference(together.frame_scores[index], alone.frame_scores[0].numpy()) < SCORE_TOLERANCE


def test_differing_copies_of_the_shared_table_are_refused(small: Teacher) -> None:
    state = small.state_dict()
    key = "beats_model.encoder.layers.1.self_attn.relative_attention_bias.weight"
    with pytest.raises(CheckpointError, match=key.replace(".", r"\.") + " differs from"):
        small.load_published(state | {key: state[key] + 1})
    small.load_published(state)


def test_buckets() -> None:
    buckets = position_buckets(2_000, BeatsConfig())
    assert buckets[5, 5] == 0
    assert buckets[5, 6] == 161
    assert buckets[6, 5] == 1
    assert buckets[0, 79] == 160 + 79
    assert buckets[0, 80] == 160 + 80
    assert buckets[0, 1_999] == 319
    assert buckets[1_999, 0] == 159


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_gradient_reaches_the_waveform_and_is_finite(small: Teacher, level: float) -> None:
    clip = (level * torch.randn(1, 8_000)).requires_grad_()
    small(clip, torch.zeros(1, 8)).score.sum().backward()
    assert clip.grad is not None
    assert clip.grad.isfinite().all()
    assert bool(clip.grad.any()) == bool(level)


@pytest.mark.parametrize(
    ("clips", "audiograms", "error", "words"),
    [
        ((1, 2_799), (1, 8), AudioError, "2799 samples .* at least 2800"),
        ((16_000,), (1, 8), AudioError, "add the batch axis"),
        ((1, 16_000), (1, 7), AudiogramError, r"\[1, 7\] .* expected \[batch, 8\]"),
        ((2, 16_000), (1, 8), AudiogramError, r"2 clip\(s\); expected \[2, 8\]"),
    ],
)
def test_wrong_shapes_are_refused(
    small: Teacher, clips: tuple[int, ...], audiograms: tuple[int, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        small(torch.zeros(clips), torch.zeros(audiograms))
