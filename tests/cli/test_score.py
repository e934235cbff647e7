"""`haaqi-edge score`: what it prints, for people and as JSON, is what the Scorer says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import get_output, run
from haaqi_edge.cli import console
from haaqi_edge.cli.console import draw_curve, format_interval
from haaqi_edge.runtime import Audiogram, Scorer

DEMO = Path(__file__).resolve().parents[2] / "demo"
CLEAN = DEMO / "clean.flac"
LEVELS = "[20, 30, 40, 50, 60, 70, 70, 70]"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no cell is folded."""
    monkeypatch.setattr(console.out, "width", 250)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Excerpts of the demo in a folder with subfolders, a hidden file and some that are no audio."""
    folder = tmp_path_factory.mktemp("music")
    samples, rate = soundfile.read(CLEAN, dtype="float32")
    for name, start, seconds in (("b.wav", 0, 2), ("a.flac", 3, 3), ("sub/c.ogg", 6, 2), ("sub/deep/D.WAV", 8, 1)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, samples[start * rate : (start + seconds) * rate], rate)
    (folder / "notes.txt").write_text("not audio")
    (folder / ".hidden.wav").write_text("not audio either")
    return folder


def shown(*argv: object) -> str:
    return get_output("score", "--threads", "1", *argv)


def parsed(*argv: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(*argv, "--json"))
    return found


KEYS = {"audiogram", "levels", "score", "interval", "unfamiliar", "unfamiliarity", "windows"}
"""keys of a score without its frames"""


def test_json_says_what_the_scorer_says(scorer: Scorer) -> None:
    found = parsed(CLEAN, "-a", "N3", "--hl", LEVELS, "--audiogram", "s2", "--frames")
    keys = {"model", "predicts", "version", "provider", "settings", "elapsed_seconds", "results", "errors"}
    assert found.keys() == keys | {"left_out", "familiarity"}
    assert found["predicts"] == {"name": "HAAQI", "low": 0.0, "high": 1.0}
    assert found["settings"] == {"nal_r": False, "level1": 85.0, "spl": None, "window": 10.0, "channel": "mix"}
    assert (found["model"], found["provider"], found["errors"]) == ("nano", "CPUExecutionProvider", [])
    assert found["elapsed_seconds"] > 0
    assert [result["file"] for result in found["results"]] == [str(CLEAN)]
    expected = scorer.score(CLEAN, ["N3", Audiogram((20, 30, 40, 50, 60, 70, 70, 70)), "S2"])
    scores = found["results"][0]["scores"]
    assert [s["audiogram"] for s in scores] == ["N3", LEVELS, "S2"]
    for got, score in zip(scores, expected, strict=True):
        assert got.keys() == KEYS | {"frame_scores", "times"}
        assert (got["unfamiliar"], got["unfamiliarity"]) == (False, round(score.unfamiliarity or 0.0, 4))
        assert got["score"] == score.score
        assert 0 < got["score"] < 1
        assert got["levels"] == list(score.audiogram.levels)
        assert [(w["start"], w["end"], w["score"]) for w in got["windows"]] == [
            (w.start, w.end, w.score) for w in score.windows
        ]
        np.testing.assert_allclose(got["frame_scores"], score.frame_scores, atol=1e-6)
        np.testing.assert_allclose(got["times"], score.times, atol=1e-4)
        assert len(got["frame_scores"]) == 1 + (20 * 16_000 - 2_800) // 2_560
    assert len({s["score"] for s in scores}) == 3


def test_json_leaves_the_frames_out_unless_asked() -> None:
    found = parsed(CLEAN, "-a", "N3")
    assert found["results"][0]["scores"][0].keys() == KEYS


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["--level1", "75"], {"level1": 75.0}),
        (["--spl", "65"], {"spl": 65.0}),
        (["--nal-r"], {"nal_r": True}),
        (["--nal-r", "--spl", "70"], {"nal_r": True, "spl": 70.0}),
        (["--window", "4.5"], {"window": 4.5}),
        (["--window", "whole"], {"window": "whole"}),
    ],
)
def test_options_reach_the_scorer(options: list[str], arguments: dict[str, Any], scorer: Scorer) -> None:
    found = parsed(CLEAN, "-a", "N4", "-a", "N1", *options)
    expected = scorer.score(CLEAN, ["N4", "N1"], **arguments)
    plain = scorer.score(CLEAN, ["N4", "N1"])
    got = found["results"][0]["scores"]
    assert [s["score"] for s in got] == [s.score for s in expected]
    assert [s["score"] for s in got] != [s.score for s in plain]
    assert [len(s["windows"]) for s in got] == [len(s.windows) for s in expected]


def test_folders_are_searched_to_the_bottom_and_sorted(music: Path, scorer: Scorer) -> None:
    found = parsed(music, CLEAN, "-a", "NH")
    files = [music / "a.flac", music / "b.wav", music / "sub/c.ogg", music / "sub/deep/D.WAV", CLEAN]
    assert [Path(result["file"]) for result in found["results"]] == files
    for result, path in zip(found["results"], files, strict=True):
        assert result["scores"][0]["score"] == scorer.score(path, "NH").score


def test_an_audiogram_file_names_the_listener(tmp_path: Path) -> None:
    path = tmp_path / "grandmother.csv"
    path.write_text("Hz,dB HL\n250,20\n500,30\n1000,40\n2000,50\n3000,60\n4000,70\n6000,70\n8000,70\n")
    found = parsed(CLEAN, "-a", path, "-a", LEVELS, "-a", "20,30,40,50,60,70,70,70")
    by_file, by_json, by_commas = found["results"][0]["scores"]
    assert by_file["audiogram"] == "grandmother"
    # The same listener at another place of the batch: equal to the last bits of a matrix product.
    assert by_json["score"] == pytest.approx(by_file["score"], abs=1e-6)
    assert by_commas["score"] == pytest.approx(by_file["score"], abs=1e-6)


def test_one_file_is_shown_with_its_curve(scorer: Scorer) -> None:
    text = shown(CLEAN, "-a", "N3", "-a", "S1")
    expected = scorer.score(CLEAN, ["N3", "S1"])
    lines = text.splitlines()
    assert lines[0].startswith("clean.flac, 20.0 s") or lines[0].startswith("clean.flac, 19.9 s")
    for score in expected:
        line = next(line for line in lines if line.split()[0] == score.audiogram.name)
        assert line.startswith(f"  {score.audiogram.name:>6}  {score.score:.3f}{format_interval(score.interval)}  ")
        assert set(line.split()[-1]) <= set("▁▂▃▄▅▆▇█·")
        windows = next(line for line in lines if line.split()[0] == score.audiogram.name and "windows of" in line)
        assert windows.split()[-2:] == [f"{w.score:.3f}" for w in score.windows]
    assert "with nano on CPUExecutionProvider, 1 thread" in lines[-1]


def test_many_files_are_shown_as_a_table(music: Path, scorer: Scorer) -> None:
    text = shown(music, "-a", "N2", "-a", LEVELS)
    lines = text.splitlines()
    heading = next(line for line in lines if "file" in line)
    assert "N2" in heading
    assert LEVELS in heading
    listeners = ["N2", json.loads(LEVELS)]
    totals = np.zeros(2)
    for path in (music / "a.flac", music / "b.wav", music / "sub/c.ogg", music / "sub/deep/D.WAV"):
        scores = [score.score for score in scorer.score(path, listeners)]
        totals += scores
        row = next(line for line in lines if str(path) in line)
        assert [cell.strip() for cell in row.split("│")][3:5] == [f"{score:.3f}" for score in scores]
    mean = next(line for line in lines if "mean" in line)
    assert [cell.strip() for cell in mean.split("│")][3:5] == [f"{total / 4:.3f}" for total in totals]


def test_standard_output_is_the_document_alone_and_nothing_is_said_beside_it(music: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "haaqi_edge.cli.main", "score", music, "-a", "N3", "--threads", "1", "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert len(json.loads(done.stdout)["results"]) == 4
    assert done.stdout.startswith("{\n")
    assert done.stderr == ""


def test_markup_in_a_file_name_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "[bold]song[red].wav"
    soundfile.write(path, *soundfile.read(CLEAN, frames=24_000))
    assert "[bold]song[red].wav" in shown(path, "-a", "N3")
    path.write_bytes(b"")
    assert "[bold]song[red].wav is empty" in run("score", path, "-a", "N3").err


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([0.0, 0.5, 1.0], 60, "▁▅█"),
        ([None, 0.2, None], 60, "·▂·"),
        ([0.0, 1.0, None, None], 2, "▅·"),
        ([None, 1.0], 1, "█"),
        ([], 60, ""),
    ],
)
def test_curve(values: list[float | None], width: int, expected: str) -> None:
    assert draw_curve(values, width) == expected


def test_a_channel_of_a_stereo_recording(tmp_path: Path, scorer: Scorer) -> None:
    samples, rate = soundfile.read(CLEAN, frames=5 * 44_100, dtype="float32")
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([mono, 0.1 * mono[::-1]], axis=1), rate, subtype="FLOAT")
    found = {name: parsed(path, "-a", "N3", "--channel", name) for name in ("mix", "left", "right", "1")}
    assert [found[name]["settings"]["channel"] for name in found] == ["mix", "left", "right", 1]
    scores = {name: document["results"][0]["scores"][0]["score"] for name, document in found.items()}
    assert scores["left"] == pytest.approx(scorer.score(path, "N3", channel="left").score)
    assert scores["right"] == scores["1"] != scores["left"]
    assert len(set(scores.values())) == 3
    outcome = run("score", path, "-a", "N3", "--channel", "middle")
    assert "--channel 'middle': give mix, left, right, or the number" in str(outcome.errors[0])
    streamed = get_output("stream", path, "-a", "N3", "--channel", "left", "--pace", "fast", "--json").splitlines()
    assert json.loads(streamed[-1])["totals"][0]["score"] == pytest.approx(scores["left"], abs=1e-5)


def test_a_warning_is_one_line(tmp_path: Path) -> None:
    samples, rate = soundfile.read(CLEAN, frames=5 * 44_100, dtype="float32")
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    path = tmp_path / "opposite.wav"
    soundfile.write(path, np.stack([mono, -0.9 * mono], axis=1), rate)
    outcome = run("score", path, "-a", "N3")
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert line.startswith("warning: the channels of ")
    assert "(--channel)" in line


# Two ears


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stereo") / "stereo.wav"
    clean, rate = soundfile.read(CLEAN, dtype="float32", stop=32_000)
    degraded, _ = soundfile.read(DEMO / "degraded.flac", dtype="float32", stop=32_000)
    soundfile.write(path, np.stack([clean, degraded], axis=1), rate, subtype="FLOAT")
    return path


def test_each_ear_with_its_audiogram(scorer: Scorer, stereo: Path, tmp_path: Path) -> None:
    expected = scorer.score(stereo, ears=("N2", "N4"))
    found = parsed(stereo, "-a", "N2", "-a", "N4", "--ears")
    assert found["settings"]["channel"] == "ears"
    (result,) = found["results"]
    assert [one["score"] for one in result["scores"]] == [expected.left.score, expected.right.score]
    assert result["ears"] == [expected.to_dict()]
    text = shown(stereo, "-a", "N2", "-a", "N4", "--ears")
    left, right, both = (f"{value:.3f}" for value in (expected.left.score, expected.right.score, expected.score))
    assert f"N2, N4: both ears {both}  left {left}, right {right}; better ear: {expected.better_ear}" in text
    listeners = tmp_path / "listeners.json"
    record = {"audiogram_cfs": [250, 8000], "audiogram_levels_l": [20, 60], "audiogram_levels_r": [40, 80]}
    listeners.write_text(json.dumps({"L1": record, "L2": record}))
    many = shown(*[stereo] * 4, "-a", listeners, "--ears")
    assert many.splitlines()[1].count("both ears") == 2
    output = tmp_path / "scores.csv"
    shown(stereo, "-a", f"{listeners}:L2", "--ears", "--output", output)
    assert [line.split(",")[1] for line in output.read_text().splitlines()[1:]] == [
        "listeners:L2:left",
        "listeners:L2:right",
    ]


def test_stereo_with_several_audiograms_is_not_taken_for_two_ears_in_silence(stereo: Path) -> None:
    outcome = run("score", stereo, "-a", "N2", "-a", "N4", "--threads", "1")
    assert outcome.code == 0
    for part in ("stereo.wav has 2 channels, which are averaged", "use --ears", "use --channel mix"):
        assert part in outcome.err
    for options in (["--channel", "mix"], ["--channel", "left"], ["--ears"]):
        assert run("score", stereo, "-a", "N2", "-a", "N4", *options, "--threads", "1").err == ""
    assert run("score", stereo, "-a", "N2", "--threads", "1").err == ""
    assert run("score", CLEAN, "-a", "N2", "-a", "N4", "--threads", "1").err == ""
    one = run("score", stereo, "-a", "N2", "--ears")
    assert one.code == 2
    assert "the audiogram N2 is of one ear" in one.err
    both = run("score", stereo, "-a", "N2", "-a", "N2", "--ears", "--channel", "left")
    assert "--ears scores both channels: leave out --channel left" in both.err
