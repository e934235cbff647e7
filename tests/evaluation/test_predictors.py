"""Judges: a network in PyTorch and its bundle give the same scores for any presentation and length."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import safetensors.torch
import torch
from haaqi_edge.evaluation.predictors import NetworkJudge, ScorerJudge, judge_of
from haaqi_edge.model import Nano, Student, Teacher
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.nano import WEIGHTS
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.audio.reading import AudioLike
from haaqi_edge.runtime.errors import AudioError, BundleNotFoundError, OptionError
from haaqi_edge.runtime.features.fbank import patches
from sounds import DEMO, RATE, music, samples_for

N3 = Audiogram.named("N3")


@pytest.fixture(scope="module")
def onnx() -> ScorerJudge:
    return ScorerJudge(Scorer("nano", threads=1))


@pytest.fixture(scope="module")
def network() -> NetworkJudge:
    return NetworkJudge(Nano.from_checkpoint(), "nano")


@pytest.mark.parametrize("options", [{}, {"spl": 65.0}, {"nal_r": True}, {"spl": 55.0, "nal_r": True}])
@pytest.mark.parametrize("seconds", [0.18, 3.0, 10.1, 20.0])
def test_network_and_bundle_agree(
    options: dict[str, Any], seconds: float, onnx: ScorerJudge, network: NetworkJudge
) -> None:
    sound = music(seconds, 24_000), 24_000
    for listener in (N3, Audiogram.named("S2")):
        assert network(sound, listener, **options) == pytest.approx(onnx(sound, listener, **options), abs=2e-6)


def test_silent_windows_count_for_neither(onnx: ScorerJudge, network: NetworkJudge) -> None:
    sound = np.concatenate([music(10.0), np.zeros(15 * RATE, dtype=np.float32)]), RATE
    assert network(sound, N3) == pytest.approx(onnx(sound, N3), abs=2e-6)


def test_what_cannot_be_scored_is_refused_by_both(onnx: ScorerJudge, network: NetworkJudge) -> None:
    for judge in (onnx, network):
        with pytest.raises(AudioError, match="shorter than one patch"):
            judge((music(0.15), RATE), N3)
        with pytest.raises(AudioError, match="silent"):
            judge((np.zeros(RATE, dtype=np.float32), RATE), N3)


def test_a_bundle_hears_what_it_is_told_to() -> None:
    given: list[dict[str, Any]] = []

    class Stub:
        card = SimpleNamespace(name="stub", precision="fp32")

        def score(self, audio: AudioLike, listener: Audiogram, **options: Any) -> Any:
            given.append({"audio": audio, "listener": listener.name, **options})
            return SimpleNamespace(score=0.25)

    judge = ScorerJudge(cast("Scorer", Stub()))
    assert judge("a.wav", N3, spl=65.0, nal_r=True) == judge("b.wav", Audiogram.named("S1")) == 0.25
    assert given == [
        {"audio": "a.wav", "listener": "N3", "spl": 65.0, "nal_r": True},
        {"audio": "b.wav", "listener": "S1", "spl": None, "nal_r": False},
    ]


def test_students_and_teachers_are_heard_window_by_window() -> None:
    torch.manual_seed(0)
    clip = music(3.2)[: samples_for(18)]
    student = Student().eval()
    teacher = Teacher(BeatsConfig(layers=1, norm_layers=1, width=48, heads=4, ffn=64, patch_width=32)).eval()
    levels = torch.from_numpy(N3.array())[None]
    with torch.inference_mode():
        for net, whole in (
            (student, torch.from_numpy(patches(clip)).flatten(0, 1)[None]),
            (teacher, torch.from_numpy(clip)[None]),
        ):
            expected = float(net(whole, levels).score)
            assert NetworkJudge(net, "x")((clip, RATE), N3) == pytest.approx(expected, abs=1e-6)
            halves = [NetworkJudge(net, "x")((part, RATE), N3) for part in (clip[: samples_for(9)], clip[9 * 2560 :])]
            cut = NetworkJudge(net, "x", window=9 * 0.16)((clip, RATE), N3)
            assert cut == pytest.approx(np.mean(halves), abs=1e-6)


@pytest.mark.parametrize("model", ["nano", Bundle("nano").folder, WEIGHTS])
def test_a_name_a_folder_or_a_checkpoint_makes_a_judge(model: str | Path, onnx: ScorerJudge) -> None:
    judge = judge_of(model, threads=1)
    assert judge(DEMO, N3) == pytest.approx(onnx(DEMO, N3), abs=2e-6)
    assert "nano" in judge.name
    assert ("PyTorch" in judge.name) == (model == WEIGHTS)


def test_other_checkpoints_and_names_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(OptionError, match="none of nano, student and teacher"):
        judge_of(tmp_path / "other.safetensors")
    with pytest.raises(BundleNotFoundError):
        judge_of("micro")
