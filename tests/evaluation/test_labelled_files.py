"""Evaluation of a model on files with labels."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import run
from haaqi_edge.evaluation.labelled_files import (
    Evaluation,
    LabelledFile,
    LabelsFile,
    compute_labels,
    evaluate,
    read_labels,
)
from haaqi_edge.evaluation.plots import save_scatter
from haaqi_edge.haaqi.clips import Convention, score_clip
from haaqi_edge.haaqi.index import level1_of
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
        (
            "file,audiogram,ref,note",
            "a.wav,N3,b.wav,x",
            r"line 2: no label: .*Columns that were ignored: ref \(did you mean reference\?\), note",
        ),
        ("file,aud,haaqi", "a.wav,N3,0.5", r"line 2: .*Columns that were ignored: aud \(did you mean audiogram\?\)"),
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


def test_saved_labels_are_a_table_of_labels(folder: Path, tmp_path: Path) -> None:
    table = write_table(folder, "0.wav,N3,,reference.wav,a", "1.wav,N3,0.25,,b", "2.wav,N3,,missing.wav,c")
    saved = tmp_path / "saved.csv"
    argv = ("evaluate", table, "--nal-r", "--jobs", "1", "--save-labels", saved)
    outcome = run(*argv)
    assert outcome.code == 1
    assert "labels: 1 given, 1 computed by HAAQI" in outcome.out
    assert "85 dB SPL of RMS 1.0; the reference is amplified by HAAQI (equalisation 1), the processed" in outcome.out
    assert "step 1 of 2: computing HAAQI" in outcome.err
    assert "they resample only 2 groups" in outcome.err
    assert "interval" in outcome.out
    rows = [line.split(",") for line in saved.read_text().splitlines()]
    assert rows[0] == ["file", "audiogram", "haaqi", "reference", "group"]
    assert [row[2] for row in rows[1:]][1:] == ["0.25", ""]
    expected, _ = compute_labels(read_labels(table)[:1], Convention(amplify_processed=True), 1)
    (again,) = read_labels(write_table(saved.parent, ",".join(rows[1]), columns=",".join(rows[0])))
    assert again.label == expected[0].label
    assert again.file.samefile(folder / "0.wav")
    assert again.reference is not None
    assert again.reference.samefile(folder / "reference.wav")
    assert [row.group for row in read_labels(saved, ()) if row.label is not None] == ["a", "b"]


def test_saved_labels_replace_only_a_table_of_the_same_rows(folder: Path, tmp_path: Path) -> None:
    rows = read_labels(write_table(folder, "0.wav,N3,0.5,,a", "1.wav,N3,,reference.wav,b"))
    LabelsFile(tmp_path / "saved.csv", rows).write(rows)
    LabelsFile(tmp_path / "saved.csv", rows).write([rows[0], dataclasses.replace(rows[1], label=0.75)])
    assert [row.label for row in read_labels(tmp_path / "saved.csv")] == [0.5, 0.75]
    before = (tmp_path / "saved.csv").read_text()
    with pytest.raises(OptionError, match=r"saved.csv exists and is not a table of the same rows: give another file"):
        LabelsFile(tmp_path / "saved.csv", rows[:1])
    assert (tmp_path / "saved.csv").read_text() == before
    for name, message in (("labels.json", "which ends in .csv"), ("no/labels.csv", "in a folder that exists")):
        with pytest.raises(OptionError, match=message):
            LabelsFile(tmp_path / name, rows)
    (tmp_path / "song.csv").write_bytes(b"\xff\x00RIFF")
    with pytest.raises(OptionError, match="is not a table of the same rows"):
        LabelsFile(tmp_path / "song.csv", rows)


def test_the_level_is_that_of_the_reference_as_for_haaqi(folder: Path, scorer: Scorer) -> None:
    rows = read_labels(write_table(folder, "0.wav,N3,0.5,reference.wav,", "1.wav,N3,0.5,,"))
    found = evaluate(rows, scorer, spl=60.0, nal_r=True)
    level1 = level1_of(soundfile.read(folder / "reference.wav")[0], 60.0)
    expected = [
        scorer.score(folder / "0.wav", "N3", level1=level1, nal_r=True).score,
        scorer.score(folder / "1.wav", "N3", spl=60.0, nal_r=True).score,
    ]
    assert found.predicted == pytest.approx(expected, abs=1e-3)
    refused = run("evaluate", folder / "labels.csv", "--spl", "60", "--level1", "85")
    assert (refused.code, "--level1 and --spl both set the level" in refused.err) == (2, True)
    document = json.loads(run("evaluate", folder / "labels.csv", "--spl", "60", "--nal-r", "--json").out)
    assert document["settings"] == {"nal_r": True, "spl": 60.0}


def test_rows_of_one_sound_have_one_prediction(folder: Path, scorer: Scorer) -> None:
    """Rounding between rows of a batch must not look like a correlation."""
    found = evaluate(read_labels(write_table(folder, "0.wav,N3,0.9,,", "0.wav,N3,0.1,,", "0.wav,N3,0.3,,")), scorer)
    assert len(set(found.predicted.tolist())) == 1
    assert found.to_dict()["lcc"]["value"] is None


def test_files_at_the_ear_may_be_above_120_db_spl(tmp_path: Path, scorer: Scorer) -> None:
    loud = music(1.0, RATE)
    loud *= 10 ** ((125 - 85) / 20) / np.sqrt(np.mean(loud**2))
    soundfile.write(tmp_path / "loud.wav", loud, RATE, subtype="FLOAT")
    rows = read_labels(write_table(tmp_path, "loud.wav,N7,0.5", columns="file,audiogram,haaqi"))
    assert evaluate(rows, scorer).errors == []
    (error,) = evaluate(rows, scorer, nal_r=True).errors
    assert "above the limit of 120 dB SPL: no music is louder before amplification" in str(error.error)


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
