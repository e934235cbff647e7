"""Evaluation of a model on files with labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import run
from haaqi_edge.evaluation.labelled_files import Evaluation, LabelledFile, compute_labels, evaluate, read_labels
from haaqi_edge.evaluation.plots import save_scatter
from haaqi_edge.haaqi.clips import Convention, score_clip
from haaqi_edge.runtime import Audiogram, Scorer
from haaqi_edge.runtime.bundle import Scale
from haaqi_edge.runtime.errors import AudiogramError, OptionError
from haaqi_edge.training.statistics import agreement
from sounds import music

RATE = 24_000
N3 = Audiogram.named("N3")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Excerpts of the demo, and one reference."""
    folder = tmp_path_factory.mktemp("labelled")
    for place in range(6):
        clip = "clean" if place % 2 else "degraded"
        soundfile.write(folder / f"{place}.wav", music(0.6, RATE, 2.0 * place, clip), RATE)
    soundfile.write(folder / "reference.wav", music(0.6, RATE, 0.0), RATE)
    return folder


def write_table(folder: Path, *lines: str, columns: str = "file,audiogram,haaqi,reference,group") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([columns, *lines]) + "\n")
    return path


def test_labels_and_predictions(folder: Path, scorer: Scorer) -> None:
    lines = [f"{place}.wav,{who},{0.1 + 0.1 * place},,{place // 2}" for place in range(6) for who in ("N3", "NH")]
    rows = read_labels(write_table(folder, *lines))
    assert (rows[0].listener, rows[1].listener.name, rows[2].group, len(rows)) == (N3, "NH", "0", 12)
    found = evaluate(rows, scorer, nal_r=True)
    assert found.predicted[2] == pytest.approx(scorer.score(folder / "1.wav", "N3", nal_r=True).score, abs=1e-6)
    result = found.to_dict()
    expected = agreement(found.predicted, found.labels)
    assert result["lcc"]["value"] == expected.lcc
    assert result["rmse"]["value"] == math.sqrt(expected.mse)
    assert result["rmse"]["interval"] == pytest.approx([math.sqrt(end) for end in result["mse"]["interval"]])
    assert (result["files"], result["groups"], len(result["by_group"])) == (12, 3, 3)
    first = result["by_group"][0]
    assert first["files"] == 4
    assert first["rmse"] == pytest.approx(math.sqrt(np.mean((found.predicted[:4] - found.labels[:4]) ** 2)))


def test_haaqi_is_computed_where_it_is_missing(folder: Path) -> None:
    rows = read_labels(write_table(folder, "0.wav,N3,,reference.wav,", "1.wav,N3,0.5,,", "2.wav,N3,,missing.wav,"))
    labelled, errors = compute_labels(rows, Convention(amplify_processed=True), 1)
    expected = score_clip(
        folder / "reference.wav", folder / "0.wav", "N3", convention=Convention(amplify_processed=True)
    )
    assert [row.label for row in labelled] == [expected.score, 0.5]
    assert errors[0].file == folder / "2.wav"
    assert f"labels.csv, line 4, column file: {folder / '2.wav'}" not in str(errors[0].error)
    assert f"labels.csv, line 4, column reference: {folder / 'missing.wav'} does not exist" in str(errors[0].error)


def test_tables_of_german_spreadsheets(folder: Path) -> None:
    table = write_table(folder, "0.wav;20,25,30,40,50,60,65,70;0,25", columns="file;audiogram;haaqi")
    (row,) = read_labels(table)
    assert (row.label, row.listener.levels[-1]) == (0.25, 70)


def test_ratings_are_mapped_to_scores(folder: Path) -> None:
    table = write_table(folder, "0.wav,N3,4", "1.wav,N3,1", columns="file,listener,rating")
    assert [row.label for row in read_labels(table, scale=Scale("MOS", 1.0, 5.0))] == [0.75, 0.0]
    with pytest.raises(OptionError, match="line 2: ratings need a scale: give --scale"):
        read_labels(table)
    with pytest.raises(OptionError, match="line 2: label '4' is not a number from 1 to 3"):
        read_labels(table, scale=Scale("MOS", 1.0, 3.0))


@pytest.mark.parametrize(
    ("columns", "line", "message"),
    [
        ("audiogram,haaqi", "N3,0.5", "lacks file"),
        ("file,audiogram,haaqi", ",N3,0.5", "line 2, column file is empty"),
        ("file,audiogram,haaqi", "a.wav,N3,", "line 2: no label: give haaqi, rating, or the reference"),
        ("file,audiogram,haaqi", "a.wav,N3,1.5", "line 2: label '1.5' is not a number from 0 to 1"),
        ("file,audiogram,haaqi", "a.wav,N3,nan", "line 2: label 'nan'"),
        ("file,audiogram,haaqi,rating", "a.wav,N3,0.5,3", "line 2: haaqi and rating are both given"),
        ("file,audiogram,haaqi", "a.wav,N99,0.5", "line 2: .*N99"),
        ("file,haaqi", "a.wav,0.5", "line 2: no listener"),
        ("file,audiogram,haqi", "a.wav,N3,0.5", r"unknown column 'haqi': did you mean haaqi\?"),
        ("file,audiogram,ratings", "a.wav,N3,0.5", r"unknown column 'ratings': did you mean rating\?"),
    ],
)
def test_tables_that_cannot_be_read(columns: str, line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises((OptionError, AudiogramError), match=message):
        read_labels(write_table(tmp_path, line, columns=columns))


def evaluation(predicted: list[float], labels: list[float], half: float | None = None, groups: int = 5) -> Evaluation:
    rows = [LabelledFile(Path(f"{i}.wav"), N3, label, None, f"g{i % groups}") for i, label in enumerate(labels)]
    intervals = None if half is None else [(value - half, value + half) for value in predicted]
    return Evaluation(rows, np.array(predicted), np.array(labels), intervals, [])


def test_coverage_of_the_intervals() -> None:
    draw = np.random.default_rng(0)
    labels = draw.uniform(0, 1, 200)
    result = evaluation((labels + draw.normal(0, 0.1, 200)).tolist(), labels.tolist(), half=0.1645).to_dict()
    assert result["coverage"]["value"] == pytest.approx(0.9, abs=0.05)
    low, high = result["coverage"]["interval"]
    assert low < result["coverage"]["value"] < high
    assert result["mean_width"] == pytest.approx(0.329)
    assert len(result["by_group"]) == 5
    assert all(0.7 <= group["coverage"] <= 1 for group in result["by_group"])
    assert "coverage" not in evaluation([0.1, 0.2], [0.3, 0.4]).to_dict()


def test_undefined_correlations_are_none() -> None:
    result = evaluation([0.5, 0.5, 0.5], [0.1, 0.2, 0.3], groups=1).to_dict()
    assert result["lcc"] == {"value": None, "interval": [None, None]}
    assert result["by_group"][0]["srcc"] is None
    assert result["mse"]["value"] == pytest.approx(np.mean(np.square([0.4, 0.3, 0.2])))


def test_the_plot(tmp_path: Path) -> None:
    save_scatter(evaluation([0.1, 0.5, 0.8], [0.2, 0.4, 0.9], half=0.1), "nano", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_command(folder: Path, tmp_path: Path) -> None:
    lines = [f"{place}.wav,N3,{0.1 + 0.1 * place},,{place // 3}" for place in range(6)]
    table = write_table(folder, *lines, "missing.wav,N3,0.5,,0")
    argv = ("evaluate", table, "--nal-r", "--jobs", "1")
    outcome = run(*argv, "--plot", tmp_path / "plot.png")
    assert outcome.code == 1
    for part in ("LCC", "RMSE", "95% interval", "files: 6, groups: 2", "plot in"):
        assert part in outcome.out
    assert "labels.csv, line 8, column file: " in outcome.err
    assert "missing.wav does not exist" in outcome.err
    assert (tmp_path / "plot.png").is_file()
    found: dict[str, Any] = json.loads(run(*argv, "--json").out)
    assert [one["label"] for one in found["results"]] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert found["errors"][0]["type"] == "AudioFileNotFoundError"
    assert found["settings"] == {"nal_r": True, "level1": 85.0}
    one = run("evaluate", write_table(folder, "0.wav,N3,0.4,,"), "--jobs", "1")
    assert one.code == 0
    assert one.out.count("undefined") >= 3
    refused = run("evaluate", table, "--plot", tmp_path / "plot.pdf")
    assert "give the path of a PNG file" in refused.err
