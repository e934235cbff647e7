"""`train teacher | student`, `distil`, `finetune-mos`, scoring with a checkpoint: HAAQI-Net's commands, in small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from command import get_output, run
from haaqi_edge.cli.training_progress import format_duration, show_progress
from haaqi_edge.model import Nano, Student, Teacher
from haaqi_edge.model.backend import load_backend
from haaqi_edge.runtime import Audiogram, Scorer
from haaqi_edge.training.loop import Progress
from sounds import music

SIZES = "head: {width: 16, hidden: 6, heads: 2}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    tiny.save_beats_checkpoint(folder)
    tiny.write_train_json(folder)
    (folder / "teacher.yaml").write_text(f"{SIZES}batch_size: 4\nepochs: 1\n")
    (folder / "haaqi-net.yaml").write_text(
        "model: {input_size: 24, hidden_size: 6, num_layers: 1, dropout: 0, linear_output: 16, act_fn: relu}\n"
        f"beats_model_path: {folder / 'beats.pt'}\n"
    )
    return folder


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Path:
    outcome = run(
        *("train", "teacher", "--beats", folder / "beats.pt", "--table", folder / "train.json", "--jobs", 1),
        *("--config", folder / "teacher.yaml", "-o", folder / "teacher", "--json"),
    )
    assert outcome.code == 0, outcome.err
    assert "output of 10 sounds will be cached" in outcome.err
    assert "epoch 1: loss" in outcome.err
    found = json.loads(outcome.out)
    assert found["epochs"] == found["best"]["epoch"] == 1
    assert (folder / "teacher" / "curves.png").exists()
    return Path(found["weights"])


@pytest.mark.slow
def test_the_teacher_scores_as_haaqi_nets_test_does(teacher: Path, folder: Path) -> None:
    sound = folder / "0.wav"
    hl = "[20, 30, 40, 50, 60, 70, 70, 70]"
    argv = ["score", "--audio", sound, "--hl", hl, "--model", teacher, "--config", folder / "haaqi-net.yaml"]
    found = json.loads(get_output(*argv, "--json"))
    network, samples = Teacher.from_checkpoint(teacher), torch.from_numpy(music(0.9, clip="degraded"))[None]
    expected = network(samples, torch.from_numpy(Audiogram.parse(hl).array())[None]).score.item()
    assert found["results"][0]["scores"][0]["score"] == pytest.approx(expected, abs=1e-4)
    assert f"{expected:.2f}" in get_output(*argv)
    other = run("score", "--audio", sound, "--hl", hl, "--model", teacher, "--config", folder / "train.json")
    assert other.code == 2
    assert "not HAAQI-Net's config.yaml" in other.err
    (folder / "wide.yaml").write_text("model: {input_size: 264, hidden_size: 100}\n")
    assert "a head of width 256 with 100 units" in run(*argv[:-1], folder / "wide.yaml").err.replace("\n", " ")
    assert run("score", "--hl", hl, "--audio", sound, "--config", folder / "wide.yaml").code == 2
    assert "no audio: give files" in run("score", "--hl", hl).err


@pytest.mark.slow
def test_nano_learns_from_audio_files(folder: Path) -> None:
    """A JSON file has scores alone: no parts of HAAQI, clean music or dense targets."""
    argv = ["train", "nano", "--table", folder / "train.json", "--valid", folder / "train.json", "--jobs", 1]
    outcome = run(*argv, "--epochs", 1, "--batch-size", 4, "-o", folder / "nano", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["best"]["rows"] == 5  # the other half calibrates the intervals
    scorer = Scorer(found["bundle"], threads=1)
    score = scorer.score(folder / "0.wav", "N3")
    assert score.score == pytest.approx(Scorer(load_backend(found["weights"])).score(folder / "0.wav", "N3").score)
    assert score.interval is not None
    assert scorer.card.figures["valid"]["rows"] == 5
    assert scorer.card.notes["data"] == "audio files with scores: 10, and 10 for validation"


@pytest.mark.slow
@pytest.mark.parametrize("student", ["student", "nano"])
def test_distil(student: str, teacher: Path, folder: Path) -> None:
    outcome = run(
        *("distil", "--teacher", teacher, "--student", student, "--table", folder / "train.json", "--epochs", 1),
        *("--batch-size", 4, "--labels", 5, "--jobs", 1, "-o", folder / f"distil-{student}", "--json"),
    )
    assert outcome.code == 0, outcome.err
    weights = Path(json.loads(outcome.out)["weights"])
    network = Student.from_checkpoint(weights) if student == "student" else Nano.from_checkpoint(weights)
    assert sum(p.numel() for p in network.parameters()) > 1000


@pytest.mark.slow
def test_a_student_from_scratch(folder: Path) -> None:
    (folder / "scratch.yaml").write_text(
        f"{SIZES}tune_blstm: true\nbeats: {{layers: 3, width: 16, heads: 2, ffn: 24, patch_width: 8}}\n"
    )
    argv = ["train", "student", "--table", folder / "train.json", "--config", folder / "scratch.yaml", "--jobs", 1]
    out = run(*argv, "--epochs", 1, "--batch-size", 4, "-o", folder / "scratch").out
    assert "best epoch 1 of 1: LCC" in out
    assert Student.from_checkpoint(folder / "scratch" / "haaqi_net_distillBEATs.pth").config.width == 16


@pytest.mark.slow
def test_ratings_end_in_a_bundle_that_knows_its_scale(folder: Path) -> None:
    lines = ["file,audiogram,rating"]
    lines += [f"{n}.wav,N3,{1 + 9 * (n % 4) / 3}" for n in range(8)]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    outcome = run(
        *("finetune-mos", "--model", "nano", "--ratings", folder / "ratings.csv", "--scale", 1, 10, "--jobs", 1),
        *("--folds", 2, "--epochs", 1, "-o", folder / "mos"),
    )
    assert outcome.code == 0, outcome.err
    assert "fine-tuned - before, 95%" in outcome.out
    bundle = folder / "mos" / "bundle"
    scorer = Scorer(bundle, threads=1)
    found = scorer.score(folder / "0.wav", "N3")
    assert str(scorer.card.predicts) == "MOS, 1 to 10"
    assert found.value == pytest.approx(1 + 9 * found.score)
    assert f"{found.value:.3f} MOS, 1 to 10" in get_output("score", folder / "0.wav", "-a", "N3", "-m", bundle)
    told = json.loads(get_output("score", folder / "0.wav", "-a", "N3", "-m", bundle, "--json"))
    assert told["predicts"] == {"name": "MOS", "low": 1.0, "high": 10.0}
    assert told["results"][0]["scores"][0]["value"] == pytest.approx(found.value)
    streamed = run("stream", folder / "0.wav", "-a", "N3", "-m", bundle, "--pace", "fast")
    assert "scores from 0 to 1 represent MOS, 1 to 10" in streamed.err
    shown = get_output("inspect", bundle)
    assert "MOS, 1 to 10" in shown
    assert "8 ratings" in shown
    assert np.isfinite(scorer.card.figures["mos"]["after"]["mse"])


@pytest.mark.slow
def test_bad_input_is_refused_before_anything_is_computed(folder: Path, teacher: Path, tmp_path: Path) -> None:
    table = folder / "train.json"
    theirs = ["--config", folder / "haaqi-net.yaml", "--beats", folder / "beats.pt"]
    for argv, said in (
        (["train", "teacher", "--beats", folder / "beats.pt"], "no labels"),
        (["train", "teacher", "--table", table], "no BEATs"),
        (["train", "teacher", "--table", table, "--beats", table], "not a checkpoint"),
        (["train", "teacher", "--table", table, "--beats", folder / "beats.pt", "--unfrozen-layers", "x"], "or `all`"),
        (["train", "student", "--table", folder], "give the folder with --corpus"),
        (["train", "student", "--table", table, "--config", "absent.yaml"], "cannot be read"),
        (["train", "student", "--table", table, "--config", folder / "haaqi-net.yaml"], "its teacher: use it with"),
        (["train", "teacher", "--table", folder / "absent.json", *theirs], "absent.json does not exist"),
        (["score", "-a", "N3", folder / "0.wav", "-m", teacher.parent], f"give its weights, {teacher},"),
        (["stream", folder / "0.wav", "-a", "N3", "-m", teacher], "whole window"),
        (["distil", "--teacher", folder / "beats.pt", "--table", table], "for training a teacher"),
        (["finetune-mos", "--ratings", table], "lacks columns: expected file, audiogram, rating"),
        (["finetune-mos", "--ratings", table, "--scale", 5, 1], "lowest rating, then the highest"),
    ):
        outcome = run(*argv, *(() if argv[0] in ("score", "stream") else ("-o", tmp_path / "run")))
        assert outcome.code == 2, argv
        assert said in " ".join(outcome.err.split()), outcome.err
        assert not (tmp_path / "run").exists()


def test_an_interruption_says_how_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(early: bool) -> None:
        with show_progress() as callbacks:
            assert callbacks.on_features
            assert callbacks.on_step
            callbacks.on_features("fbank", 3, 10)
            if not early:
                callbacks.start_stage("fold 1 of 2")
                callbacks.on_step(Progress(0, 1, 1, 5, 0.5, 1.0, 4.0))
            raise KeyboardInterrupt

    for early in (True, False):
        with pytest.raises(KeyboardInterrupt):
            interrupt(early)
        printed_text = " ".join(capsys.readouterr().err.split())
        state = "stopped before the first step; saved: fbank of 3 of 10 sounds" if early else "stopped while training"
        assert f"{state}: run the same command again to resume" in printed_text


def test_durations_are_formatted() -> None:
    assert [format_duration(seconds) for seconds in (4.6, 65, 3661)] == ["0:05 min", "1:05 min", "1 h 01 min"]
