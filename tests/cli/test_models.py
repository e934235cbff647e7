"""Tests of `--model FILE`: `score` and `stream` run a checkpoint in PyTorch as they run a bundle."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import soundfile
from command import get_output, run
from haaqi_edge.export.bundle import load_nano_source, write_bundle_and_fused
from haaqi_edge.model import Nano
from haaqi_edge.runtime.bundle import RANDOM_WEIGHTS
from haaqi_edge.runtime.errors import CheckpointNotFoundError, DependencyError, OptionError
from sounds import DEMO, RATE, music

SAME = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, and one that is silent."""
    path = tmp_path_factory.mktemp("clips")
    soundfile.write(path / "a.wav", music(3.0), RATE)
    soundfile.write(path / "b.wav", music(2.0, start=5.0), RATE)
    soundfile.write(path / "silent.wav", 0 * music(1.0), RATE)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights of nano as a checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "mine.safetensors"
    safetensors.torch.save_file(Nano.shipped().state_dict(), path)
    return path


@pytest.mark.slow
def test_random_weights_are_not_scored_without_a_word(folder: Path, tmp_path: Path) -> None:
    source = load_nano_source(None, "mine", figures={}, notes={"source": RANDOM_WEIGHTS})
    write_bundle_and_fused(source, tmp_path / "bundle", tmp_path / "fused.onnx")
    for model in (tmp_path / "bundle", tmp_path / "fused.onnx"):
        outcome = run("score", folder / "a.wav", "-a", "N3", "--model", model)
        assert outcome.code == 0
        assert "mine has random weights: its scores mean nothing" in " ".join(outcome.err.split())
    stream = run("stream", folder / "a.wav", "-a", "N3", "--model", tmp_path / "fused.onnx")
    assert "stream does not work with a fused file" in str(stream.errors[0])


def scored(code: int, *argv: object) -> dict[str, Any]:
    """The document that `score` prints."""
    outcome = run("score", *argv, "--json")
    assert outcome.code == code, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def assert_same_scores(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert [result["file"] for result in found["results"]] == [result["file"] for result in expected["results"]]
    for result, other in zip(found["results"], expected["results"], strict=True):
        for score, other_score in zip(result["scores"], other["scores"], strict=True):
            assert score.keys() == other_score.keys()
            assert score["score"] == pytest.approx(other_score["score"], abs=SAME)
            assert [w["score"] for w in score["windows"]] == pytest.approx(
                [w["score"] for w in other_score["windows"]], abs=SAME
            )
            if "frame_scores" in score:
                assert score["frame_scores"] == pytest.approx(other_score["frame_scores"], abs=1e-4)


@pytest.mark.parametrize(
    "options", [(), ("--frames", "--window", "1.5", "--nal-r"), ("--spl", 65, "--batch-size", 20), ("--jobs", 2)]
)
def test_a_checkpoint_scores_as_its_bundle(options: tuple[object, ...], folder: Path, checkpoint: Path) -> None:
    argv = (folder, "-a", "N3", "-a", "S2", *options)
    found, expected = scored(1, *argv, "-m", checkpoint), scored(1, *argv)
    assert_same_scores(found, expected)
    assert found["errors"] == expected["errors"]
    assert [error["type"] for error in found["errors"]] == ["AudioError"]
    assert found["settings"] == expected["settings"]
    assert (found["model"], found["predicts"]) == (checkpoint.name, expected["predicts"])
    assert found["provider"].startswith("PyTorch")


def test_a_checkpoint_for_people(checkpoint: Path) -> None:
    text = get_output("score", DEMO, "-a", "N3", "-m", checkpoint, "--threads", 1)
    assert text.splitlines()[0].startswith("clean.flac, 19.9 s scored")
    assert f"with {checkpoint.name} on PyTorch" in text
    assert "1 thread" in text.splitlines()[-1]


def test_a_checkpoint_streams(folder: Path, checkpoint: Path) -> None:
    argv = ("stream", folder / "a.wav", "-a", "N3", "--pace", "fast", "--json")
    found = [json.loads(line) for line in get_output(*argv, "-m", checkpoint).splitlines()]
    expected = [json.loads(line) for line in get_output(*argv).splitlines()]
    assert len(found) == len(expected) > 10
    assert found[-1]["totals"][0]["score"] == pytest.approx(expected[-1]["totals"][0]["score"], abs=SAME)


def test_bad_input_is_refused(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    run_directory = tmp_path / "run"
    run_directory.mkdir()
    shutil.copy(checkpoint, run_directory / "nano.safetensors")
    for options, error, words in (
        (("-m", checkpoint, "--cuda-graphs"), OptionError, "--cuda-graphs cannot be used with a checkpoint"),
        (("-m", checkpoint, "--provider", "tensorrt"), OptionError, "--provider tensorrt cannot run a checkpoint"),
        (("-m", tmp_path / "absent.pth"), CheckpointNotFoundError, "absent.pth"),
        (("-m", run_directory), OptionError, f"is a run directory, not a bundle: give its weights, {run_directory}"),
        (("--config", folder / "config.yaml"), OptionError, "--config needs a checkpoint as --model"),
    ):
        outcome = run("score", folder / "a.wav", "-a", "N3", *options)
        assert outcome.code == 2, words
        assert isinstance(outcome.errors[0], error)
        assert words in str(outcome.errors[0])


def test_without_torch_the_extra_is_named(folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest)
    )
    outcome = run("score", folder / "a.wav", "-a", "N3", "-m", checkpoint)
    assert outcome.code == 2
    assert isinstance(outcome.errors[0], DependencyError)
    assert "pip install 'haaqi-edge[export]'" in str(outcome.errors[0])
