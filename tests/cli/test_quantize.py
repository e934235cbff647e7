"""`haaqi-edge quantize`, and `export --int8`: bundles that score, figures for programs, nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command import get_output, run
from haaqi_edge.calibration import calibration_data as excerpts
from haaqi_edge.calibration import quantization as quantizing
from haaqi_edge.calibration.calibration_data import CalibrationData
from haaqi_edge.cli import console
from haaqi_edge.runtime import Bundle
from haaqi_edge.runtime.bundle import Card
from haaqi_edge.runtime.errors import AudioError, BundleError, BundleNotFoundError, ExportError, OptionError
from sounds import DEMO


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few excerpts do for what is tested here."""
    whole = excerpts.create_synthetic_data, excerpts.create_folder_data
    monkeypatch.setattr(excerpts, "create_synthetic_data", lambda: whole[0](10, 6))
    monkeypatch.setattr(excerpts, "create_folder_data", lambda folder: whole[1](folder, 10, 6))
    monkeypatch.setattr(console.out, "width", 200)


@pytest.mark.slow
def test_a_bundle_from_music_of_ones_own(tmp_path: Path) -> None:
    printed = run("quantize", "nano", "-o", tmp_path / "int8", "--calibration", DEMO.parent, "--json")
    assert printed.code == 0
    found = json.loads(printed.out)
    assert found["name"] == "nano-int8"
    assert found["calibration"] == {"source": str(DEMO.parent), "excerpts": 10, "seconds_of_music": 25.0}  # of 40
    assert found["chosen"]["change"]["p99"] <= found["budget"] == 0.005
    assert any("less than 60 s" in line for line in found["advice"])
    assert found["chosen"]["method"] in found["verdict"]
    assert len(found["others"]) == 1
    assert Bundle(tmp_path / "int8").card.figures["quantization"]["chosen"] == found["chosen"]
    scored = json.loads(get_output("score", DEMO, "-a", "N3", "--nal-r", "--model", tmp_path / "int8", "--json"))
    shipped = json.loads(get_output("score", DEMO, "-a", "N3", "--nal-r", "--json"))
    score, expected = (one["results"][0]["scores"][0]["score"] for one in (scored, shipped))
    assert score == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_what_a_person_reads(tmp_path: Path) -> None:
    printed = run("quantize", "nano", "-o", tmp_path / "int8", "--target", "arm64", "--method", "static", "--rank")
    assert printed.code == 0
    assert "for arm64 (S8S8)" in printed.out
    assert "99% of scores move by at most" in printed.out
    assert "encoder: layers.1" in printed.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8", "int8.work"]


@pytest.mark.slow
def test_export_in_int8(tmp_path: Path) -> None:
    argv = ("-o", tmp_path / "int8", "--fused", tmp_path / "fused.ort", "--log", tmp_path / "log.txt")
    printed = run("export", "nano", "--int8", *argv)
    assert printed.code == 0
    card = Bundle(tmp_path / "int8").card
    assert (card.precision, card.encoder_input, card.name) == ("int8", "texture", "nano-int8")
    assert "scores agree with the int8 encoder and head within" in printed.out
    assert (tmp_path / "fused.ort").stat().st_size < 1_300_000
    assert (tmp_path / "fused.config").is_file()
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "step 1 of 3: tracing the encoder" in log
    assert "measuring layers (static)" in log
    text = get_output("inspect", tmp_path / "fused.ort")
    assert "front end fp32, encoder int8, head int8" in text
    both = [
        json.loads(get_output("score", DEMO, "-a", "N3", "--nal-r", "--model", tmp_path / name, "--json"))
        for name in ("int8", "fused.ort")
    ]
    scores = [one["results"][0]["scores"][0]["score"] for one in both]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.slow
def test_with_the_front_end_in_the_graph(tmp_path: Path) -> None:
    assert run("export", "nano", "-o", tmp_path / "fp32", "--samples").code == 0
    quick = ("--method", "static", "--ranges", "minmax", "--budget", "0.05")
    assert run("quantize", tmp_path / "fp32", "-o", tmp_path / "int8", *quick).code == 0
    assert Bundle(tmp_path / "int8").card.encoder_input == "samples"
    both = [
        json.loads(get_output("score", DEMO, "-a", "N3", "--nal-r", "--model", tmp_path / name, "--json"))
        for name in ("fp32", "int8")
    ]
    scores = [one["results"][0]["scores"][0]["score"] for one in both]
    assert 0 < abs(scores[0] - scores[1]) < 0.02


@pytest.mark.slow
def test_an_interrupted_run_leaves_the_old_bundle_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "int8"
    shutil.copytree(Bundle("nano").folder, folder)
    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir())

    def interrupt(*_: object) -> CalibrationData:
        raise KeyboardInterrupt

    monkeypatch.setattr(quantizing, "measure_speeds", interrupt)
    monkeypatch.setattr(quantizing, "runs_natively", lambda _: True)
    outcome = run("quantize", "nano", "-o", folder, "--method", "static")
    assert outcome.code == 130
    assert "run the same command again to resume" in outcome.err
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == before


@pytest.mark.slow
def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "silence").mkdir()
    for argv, error, words, code in (
        (["nano-int8"], BundleError, "int8 already", 2),
        (["nano", "--target", "neon"], OptionError, "x86-vnni, x86, arm64, tensorrt", 2),
        (["nano", "--target", "tensorrt", "--method", "dynamic"], OptionError, "static quantization only", 2),
        (["nano", "--calibration", tmp_path / "silence"], AudioError, "no audio in", 2),
        (["nano", "--calibration", tmp_path / "nowhere"], OptionError, "does not exist", 2),
        (["nano", "--calibration", DEMO], OptionError, "is a file: give a folder", 2),
        (["nano", "--lstm", "--method", "static"], OptionError, "dynamic quantization only", 2),
        ([DEMO], BundleNotFoundError, "it is a file", 2),
        (["nano", "--method", "static", "--budget", "0"], ExportError, "no part of nano can be quantized", 1),
    ):
        outcome = run("quantize", "-o", tmp_path / "out", *argv)
        assert outcome.code == code
        assert isinstance(outcome.errors[0], error)
        assert words in str(outcome.errors[0])
        assert not (tmp_path / "out").exists()


def test_cards_of_both_precisions_agree_on_the_model() -> None:
    fp32, int8 = (Bundle(name).card for name in ("nano", "nano-int8"))
    same = ("family", "window", "level1", "encoder_input", "tokens_per_patch", "width", "parameters", "source_sha256")
    assert all(getattr(fp32, name) == getattr(int8, name) for name in same)
    assert isinstance(int8, Card)
    assert sum(path.stat().st_size for path in Bundle("nano-int8").folder.iterdir()) < 1_000_000
