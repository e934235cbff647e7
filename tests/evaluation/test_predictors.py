"""Predictors: a bundle and a checkpoint give the same scores for any presentation and length."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import safetensors.torch
import torch
from haaqi_edge.evaluation.predictors import ScorerPredictor, open_predictor
from haaqi_edge.model import Nano, Student, Teacher
from haaqi_edge.model.backend import TorchBackend
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.audio.reading import AudioLike
from haaqi_edge.runtime.errors import AudioError, BundleNotFoundError, OptionError
from haaqi_edge.runtime.features.fbank import patches
from haaqi_edge.runtime.features.patches import PATCH_SHIFT
from sounds import DEMO, RATE, music, samples_for

N3 = Audiogram.named("N3")


@pytest.fixture(scope="module")
def onnx() -> ScorerPredictor:
    return open_predictor("nano", threads=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "nano.safetensors"
    safetensors.torch.save_file(Nano.shipped().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> ScorerPredictor:
    return open_predictor(checkpoint)


@pytest.mark.parametrize("options", [{}, {"spl": 65.0}, {"nal_r": True}, {"spl": 55.0, "nal_r": True}])
@pytest.mark.parametrize("seconds", [0.18, 3.0, 10.1, 20.0])
def test_checkpoint_and_bundle_agree(
    options: dict[str, Any], seconds: float, onnx: ScorerPredictor, network: ScorerPredictor
) -> None:
    sound = music(seconds, 24_000), 24_000
    for listener in (N3, Audiogram.named("S2")):
        assert network(sound, listener, **options) == pytest.approx(onnx(sound, listener, **options), abs=2e-6)


def test_sounds_that_cannot_be_scored_are_refused_by_both(onnx: ScorerPredictor, network: ScorerPredictor) -> None:
    for predictor in (onnx, network):
        with pytest.raises(AudioError, match="shorter than one patch"):
            predictor((music(0.15), RATE), N3)
        with pytest.raises(AudioError, match="silent"):
            predictor((np.zeros(RATE, dtype=np.float32), RATE), N3)


def test_the_presentation_is_passed_to_the_scorer() -> None:
    calls: list[dict[str, Any]] = []

    class Recorder:
        card = SimpleNamespace(name="recorder", precision="fp32", files={})
        placement: ClassVar = {}

        def score(self, audio: AudioLike, listener: Audiogram, **options: Any) -> Any:
            calls.append({"audio": audio, "listener": listener.name, **options})
            return SimpleNamespace(score=0.25)

    predictor = ScorerPredictor(cast("Scorer", Recorder()))
    assert predictor("a.wav", N3, spl=65.0, nal_r=True) == predictor("b.wav", Audiogram.named("S1")) == 0.25
    assert calls == [
        {"audio": "a.wav", "listener": "N3", "spl": 65.0, "nal_r": True},
        {"audio": "b.wav", "listener": "S1", "spl": None, "nal_r": False},
    ]


def test_students_and_teachers_are_scored_window_by_window() -> None:
    torch.manual_seed(0)
    clip = music(3.2)[: samples_for(18)]
    student = Student().eval()
    teacher = Teacher(BeatsConfig(layers=1, norm_layers=1, width=48, heads=4, ffn=64, patch_width=32)).eval()
    levels = torch.from_numpy(N3.array())[None]
    halves = (clip[: samples_for(9)], clip[9 * PATCH_SHIFT :])
    for network, features in (
        (student, torch.from_numpy(patches(clip)).flatten(0, 1)[None]),
        (teacher, torch.from_numpy(clip)[None]),
    ):
        with torch.inference_mode():
            expected = float(network(features, levels).score)
        scorer = Scorer(TorchBackend(network, "x"))
        assert ScorerPredictor(scorer)((clip, RATE), N3) == pytest.approx(expected, abs=1e-6)
        scores = [scorer.score((half, RATE), N3).score for half in halves]
        assert scorer.score((clip, RATE), N3, window=9 * 0.16).score == pytest.approx(np.mean(scores), abs=1e-6)


def test_a_name_a_folder_or_a_checkpoint_opens_a_predictor(checkpoint: Path, onnx: ScorerPredictor) -> None:
    for model in ("nano", Bundle("nano").folder, checkpoint):
        predictor = open_predictor(model, threads=1)
        assert predictor(DEMO, N3) == pytest.approx(onnx(DEMO, N3), abs=2e-6)
        assert "nano" in predictor.name
        assert ("PyTorch" in predictor.name) == (model == checkpoint)


def test_other_checkpoints_and_names_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(OptionError, match="none of nano, small, student and teacher"):
        open_predictor(tmp_path / "other.safetensors")
    with pytest.raises(BundleNotFoundError):
        open_predictor("micro")
