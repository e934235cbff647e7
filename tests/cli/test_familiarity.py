"""The command line warns of sounds that are unlike the training data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import get_output, run
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.bundle import CARD
from haaqi_edge.runtime.features.familiarity import Familiarity, describe_tokens
from output_schema import check
from sounds import RATE, music

RESULTS = {"rows": 1500, "flagged": 30, "rmse": 0.174, "rmse_others": 0.202, "coverage": 0.93, "coverage_others": 0.9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Music, a tone, and a model for which the tone alone is unfamiliar."""
    folder = tmp_path_factory.mktemp("sounds")
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)
    soundfile.write(folder / "music.wav", music(2.0, start=3.0), RATE)
    soundfile.write(folder / "tone.wav", tone, RATE)
    scorer = Scorer("nano", threads=1)
    known, strange = (
        describe_tokens(scorer.encode(folder / name).encoded.tokens).astype(np.float64)
        for name in ("music.wav", "tone.wav")
    )
    direction = (strange - known)[np.newaxis]
    found = Familiarity.create(known, direction / np.linalg.norm(direction), share=0.02, min_patches=6)
    found = replace(found, threshold=float(np.linalg.norm(direction)) / 2, results={**RESULTS, "sounds": {}})
    model = folder / "model"
    model.mkdir()
    for path in Path(str(Bundle("nano").folder)).iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    (model / CARD).write_text(replace(scorer.card, familiarity=found).to_json(), encoding="utf-8")
    return folder


def options(folder: Path) -> tuple[object, ...]:
    return "-a", "N3", "--model", folder / "model"


def test_one_file(folder: Path) -> None:
    outcome = run("score", folder / "tone.wav", *options(folder), "--threads", "1")
    assert outcome.code == 0
    assert outcome.err == (
        "warning: tone.wav is unlike the sounds that nano was trained on: a score of something other than music has no "
        "meaning. Of the music that it was tested on, 2% is as unlike: the error of its scores is 0.17 (root mean "
        "squared; others: 0.20); HAAQI is in the interval for 93% (others: 90%)\n"
    )
    assert run("score", folder / "music.wav", *options(folder), "--threads", "1").err == ""
    assert run("score", folder / "tone.wav", "-a", "N3", "--model", "nano", "--window", "1").code == 0


def test_several_files_and_listeners_give_one_warning(folder: Path, tmp_path: Path) -> None:
    files = folder / "music.wav", folder / "tone.wav"
    outcome = run("score", *files, "-a", "S1", *options(folder), "--threads", "1", "-o", tmp_path / "scores.csv")
    assert outcome.err.startswith("warning: 1 of 2 files (tone.wav) are unlike the sounds that nano was trained on")
    assert outcome.err.count("warning") == 1


def test_json(folder: Path) -> None:
    text = run("score", folder / "music.wav", folder / "tone.wav", *options(folder), "--json", "--threads", "1")
    assert text.err == ""
    document = check(text.out, "score")
    assert document["familiarity"] == {"share": 0.02, **RESULTS}
    scores = [result["scores"][0] for result in document["results"]]
    assert [score["unfamiliar"] for score in scores] == [False, True]
    assert scores[0]["unfamiliarity"] < 1 < scores[1]["unfamiliarity"]


def test_stream(folder: Path) -> None:
    argv = ("stream", folder / "tone.wav", *options(folder), "--pace", "fast")
    assert "tone.wav is unlike the sounds that nano was trained on" in run(*argv).err
    *updates, summary = get_output(*argv, "--json").splitlines()
    for line in updates:
        check(line, "stream_update")
    assert check(summary, "stream_summary")["totals"][0]["unfamiliar"] is True
    assert json.loads(updates[-1])["readings"][0]["unfamiliar"] is True
    assert "unfamiliar" not in json.loads(updates[0])["readings"][0]
