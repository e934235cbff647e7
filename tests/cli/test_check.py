"""Tests of `haaqi-edge check`: comparisons, the budget and its exit code, label tables, bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
from command import get_output, run
from haaqi_edge.cli import console
from haaqi_edge.model import Nano
from haaqi_edge.runtime.errors import AudioFileError, CheckpointError, CorpusError, HaaqiEdgeError, OptionError
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.data.labels import write_rows
from haaqi_edge.training.data.rows import plan_rows
from sounds import DEMO


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.out, "width", 200)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped nano with another bias of its frame scores."""
    state = Nano.shipped().state_dict()
    state["head.frame.bias"] += 0.3
    path = tmp_path_factory.mktemp("changed") / "changed.safetensors"
    safetensors.torch.save_file(state, path)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A label table of 24 rows, and its music."""
    folder = tmp_path_factory.mktemp("labelled")
    music = folder / "music"
    music.mkdir()
    (music / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nclean.flac,test,demo,acoustic,20\n")
    (music / "clean.flac").write_bytes(DEMO.read_bytes())
    rows = plan_rows(Corpus(music).of("test"), "test", 0, 24, 2.0, speech=False)
    labelled = [dataclasses.replace(row, score=(k * 7 % 24) / 24) for k, row in enumerate(rows)]
    write_rows(folder / "table" / "test-0000.parquet", labelled)
    return folder / "table", music


@pytest.mark.slow
def test_a_bundle_and_its_checkpoint_agree(tmp_path: Path) -> None:
    picture, weights = tmp_path / "check.png", tmp_path / "nano.safetensors"
    safetensors.torch.save_file(Nano.shipped().state_dict(), weights)
    found = json.loads(
        get_output("check", "nano", "--against", weights, "--audio", DEMO.parent, "--picture", picture, "--json")
    )
    assert found["within_budget"]
    assert found["budget"] == 0.005
    assert found["sounds"] == 8  # two files, four listeners
    assert found["largest"] < 2e-6
    assert found["lcc"] == pytest.approx(1)
    assert found["by"].keys() == {"audiogram"}
    assert "against_haaqi" not in found
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_changed_model_exceeds_the_budget(changed: Path) -> None:
    outcome = run("check", changed, "--against", "nano", "--audio", DEMO.parent, "-a", "N3", "--nal-r", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 1
    assert not found["within_budget"]
    assert found["sounds"] == 2
    assert found["bias"] > 0.005
    allowed = get_output("check", changed, "--against", "nano", "--audio", DEMO.parent, "-a", "N3", "--budget", "0.5")
    assert "is within the budget of 0.5" in allowed
    refused = run("check", changed, "--against", "nano", "--audio", DEMO.parent, "-a", "N3")
    assert refused.code == 1
    assert "exceeds the budget of 0.005" in refused.out


@pytest.mark.slow
def test_a_label_table_adds_the_comparison_with_haaqi(changed: Path, table: tuple[Path, Path]) -> None:
    folder, music = table
    outcome = run("check", changed, "--against", "nano", "--audio", folder, "--music", music, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 1
    assert found["sounds"] == 24
    assert found["against_haaqi"].keys() == {"lcc", "srcc", "mse"}
    assert found["by"].keys() == {"audiogram", "condition", "level"}
    some = json.loads(
        run("check", changed, "--against", "nano", "--audio", folder, "--music", music, "--rows", "5", "--json").out
    )
    assert some["sounds"] == 5
    text = run("check", changed, "--against", "nano", "--audio", folder, "--music", music).out
    for part in ("LCC", "SRCC", "MSE", "largest changes", "condition", "listener", "99th percentile"):
        assert part in text


@pytest.mark.parametrize(
    ("argv", "error", "words"),
    [
        (["--audio", "{d}/absent"], OptionError, "is not a folder"),
        (["--audio", "{d}/empty"], AudioFileError, "no audio"),
        (["--audio", "{demo}", "--rows", "5"], OptionError, "is not a label table"),
        (["--audio", "{table}"], OptionError, "give the folder of its music with --music"),
        (["--audio", "{table}", "--music", "{music}", "-a", "N3"], OptionError, "leave out --audiogram"),
        (["--audio", "{table}", "--music", "{music}", "--split", "tset"], CorpusError, "no table tset in"),
        (["--audio", "{demo}", "--picture", "{d}/absent/x.png"], OptionError, "the folder does not exist"),
        (["--audio", "{demo}", "--picture", "{d}/x.pdf"], OptionError, "a name that ends in .png"),
        (["--audio", "{demo}", "--against", "{d}/x.pth"], CheckpointError, "expected a checkpoint file"),
    ],
)
def test_bad_input_is_refused(
    argv: list[str], error: type[HaaqiEdgeError], words: str, table: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"d": tmp_path, "demo": DEMO.parent, "table": table[0], "music": table[1]}
    outcome = run("check", "nano", "--against", "nano", *(text.format(**places) for text in argv))
    assert outcome.code == 2
    assert isinstance(outcome.errors[0], error)
    assert words in str(outcome.errors[0])
