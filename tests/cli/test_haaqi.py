"""`haaqi-edge haaqi`: what it prints, for people and as JSON, is what `Reference` says."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import get_output, run
from haaqi_edge.cli import console
from haaqi_edge.haaqi.clips import CADENZA, Convention, score_clip
from haaqi_edge.haaqi.compressor import load_compressors
from haaqi_edge.haaqi.index import Haaqi
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.bundle import file_sha256
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.training.pairs import Pair, score_pair
from sounds import music

LEVELS = "[20, 30, 40, 50, 60, 70, 70, 70]"
RATE = 24_000
SETTINGS = {
    "level1": 85.0,
    "spl": None,
    "equalisation": 1,
    "amplify_reference": False,
    "nal_r": False,
    "enhancer": None,
    "resampling": "haaqi",
    "scale_files": False,
    "level_before_compressor": False,
    "compressors": None,
    "channel": "mix",
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is too narrow for the table, which must be whole all the same."""
    monkeypatch.setattr(console.out, "width", 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Excerpts of the demo in two folders: two pairs, one that fails, and files without a partner."""
    folder = tmp_path_factory.mktemp("pairs")
    for clip, names in (
        ("clean", ("clean/a.wav", "clean/sub/b.flac", "clean/c.wav", "clean/alone.wav")),
        ("degraded", ("aided/a.mp3", "aided/sub/b.wav", "aided/other.wav")),
    ):
        for place, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name, music(0.5, RATE, 3.0 + 4 * place, clip), RATE)
    (folder / "aided" / "c.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def good(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two pairs alone."""
    good = tmp_path_factory.mktemp("good")
    for name in ("clean/a.wav", "clean/sub/b.flac", "aided/a.mp3", "aided/sub/b.wav"):
        (good / name).parent.mkdir(parents=True, exist_ok=True)
        (good / name).write_bytes((folder / name).read_bytes())
    return good


def pairs(folder: Path) -> list[Pair]:
    return [
        Pair(folder / "clean/a.wav", folder / "aided/a.mp3"),
        Pair(folder / "clean/sub/b.flac", folder / "aided/sub/b.wav"),
    ]


def expected(folder: Path, level1: float = 85.0) -> list[list[Haaqi]]:
    listeners = [Audiogram.named("N3"), Audiogram.parse(LEVELS)]
    return [score_pair(pair, listeners, Convention(level1)) for pair in pairs(folder)]


def parsed(*argv: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get_output("haaqi", *argv, "--jobs", "1", "--json"))
    return found


def test_json_of_two_folders(good: Path) -> None:
    found = parsed(good / "clean", good / "aided", "-a", "N3", "--hl", LEVELS)
    assert found.keys() == {"version", "settings", "elapsed_seconds", "results", "errors"}
    assert found["version"] == importlib.metadata.version("haaqi-edge")
    assert found["settings"] == SETTINGS
    assert found["errors"] == []
    for result, pair, scores in zip(found["results"], pairs(good), expected(good), strict=True):
        assert (result["reference"], result["processed"]) == tuple(map(str, pair))
        assert [score.pop("audiogram") for score in result["scores"]] == ["N3", LEVELS]
        assert [score.pop("levels") for score in result["scores"]][1] == json.loads(LEVELS)
        assert result["scores"] == [score._asdict() for score in scores]


def test_two_files_and_another_level(good: Path) -> None:
    found = parsed(*pairs(good)[1], "-a", "N3", "-a", LEVELS, "--level1", "70")
    assert found["settings"] == {**SETTINGS, "level1": 70.0}
    scores = [score["score"] for score in found["results"][0]["scores"]]
    assert scores == [score.score for score in expected(good, 70.0)[1]]
    assert scores != [score.score for score in expected(good)[1]]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_the_table_has_the_score_and_its_parts(good: Path) -> None:
    lines = get_output("haaqi", good / "clean", good / "aided", "-a", "N3", "-a", LEVELS, "--jobs", "1").splitlines()
    rows = [cells(line) for line in lines if "│" in line]
    wanted = []
    scores = expected(good)
    for pair, both in [*zip(pairs(good), scores, strict=True), (None, np.mean(scores, axis=0))]:
        for number, score in enumerate(both):
            name = "" if number else str(pair.processed) if pair else "mean"
            parts = Haaqi(*score)
            values = (parts.score, parts.cepstral, parts.synchrony, parts.loudness, parts.spectrum)
            wanted.append([name, ("N3", LEVELS)[number], *(f"{value:.3f}" for value in values)])
    assert rows == wanted
    heading = next(line for line in lines if "HAAQI" in line)
    assert [word for word in heading.replace("┃", " ").split() if word.isalpha()] == [
        "file",
        "listener",
        "HAAQI",
        "cepstral",
        "synchrony",
        "loudness",
        "spectrum",
    ]


def test_one_pair_has_no_mean(good: Path) -> None:
    text = get_output("haaqi", *pairs(good)[0], "-a", "N3")
    assert "a.mp3" in text
    assert "mean" not in text


def test_processes_say_the_same(good: Path) -> None:
    argv = ("haaqi", good / "clean", good / "aided", "-a", "N3", "--json", "--jobs")
    one, two = (json.loads(get_output(*argv, jobs)) for jobs in (1, 2))
    assert one["results"] == two["results"]


def test_what_fails_and_what_is_alone_is_reported_after_the_rest(folder: Path) -> None:
    argv = ("haaqi", folder / "clean", folder / "aided", "-a", "N3", "--jobs", "1")
    outcome = run(*argv, "--json")
    assert outcome.code == 1
    found = json.loads(outcome.out)
    assert [Path(result["processed"]).name for result in found["results"]] == ["a.mp3", "b.wav"]
    errors = [(Path(error["file"]).name, error["type"]) for error in found["errors"]]
    assert errors == [
        ("c.wav", "AudioFileError"),
        ("other.wav", "AudioFileNotFoundError"),
        ("alone.wav", "AudioFileNotFoundError"),
    ]
    outcome = run(*argv)
    assert outcome.code == 1
    assert "b.wav" in outcome.out
    assert "c.wav is empty (0 bytes)" in outcome.err
    assert "other.wav has no reference: expected" in outcome.err
    assert "alone.wav has no processed version: expected" in outcome.err
    assert "pairs scored: 2, failed: 1; files without a partner: 2" in outcome.err


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """Two folders of stereo files: the left channels are a pair, and the right ones cancel them in part."""
    clean, degraded = (music(0.5, RATE, 3.0, clip) for clip in ("clean", "degraded"))
    for name in ("a.wav", "b.wav"):
        for folder, left, right in (("clean", clean, clean), ("aided", degraded, -0.95 * degraded)):
            (tmp_path / folder).mkdir(exist_ok=True)
            soundfile.write(tmp_path / folder / name, np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "clean.wav", clean, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "degraded.wav", degraded, RATE, subtype="FLOAT")
    return tmp_path


def test_a_channel_of_both_files(stereo: Path) -> None:
    alone = parsed(stereo / "clean.wav", stereo / "degraded.wav", "-a", "N3")
    left = parsed(stereo / "clean", stereo / "aided", "-a", "N3", "--channel", "left")
    assert left["settings"]["channel"] == "left"
    assert [result["scores"] for result in left["results"]] == [alone["results"][0]["scores"]] * 2
    outcome = run("haaqi", stereo / "clean", stereo / "aided", "-a", "N3", "--channel", "2", "--jobs", "1")
    assert outcome.code == 1
    assert "has no channel 2: it has 2, numbered from 0 to 1" in outcome.err


@pytest.mark.parametrize("jobs", [1, 2])
def test_channels_that_cancel_each_other_are_reported(jobs: int, stereo: Path) -> None:
    outcome = run("haaqi", stereo / "clean", stereo / "aided", "-a", "N3", "--jobs", jobs)
    assert outcome.code == 0
    lines = [line for line in outcome.err.splitlines() if " cancel each other" in line]
    assert len(lines) == 2
    assert all(line.startswith("warning: the channels of ") and "(--channel)" in line for line in lines)


def test_a_silent_processed_file_is_reported(stereo: Path) -> None:
    soundfile.write(stereo / "silent.wav", np.zeros(RATE // 2), RATE)
    outcome = run("haaqi", stereo / "clean.wav", stereo / "silent.wav", "-a", "N3")
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert line.startswith("warning: ")
    assert "silent.wav is silent: its HAAQI is that of silence" in line


@pytest.mark.parametrize("jobs", [1, 2])
def test_verbose_names_wrong_sizes(jobs: int, stereo: Path) -> None:
    path = stereo / "clean" / "a.wav"
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    argv = ("haaqi", stereo / "clean", stereo / "aided", "-a", "N3", "--channel", "left", "--jobs", jobs)
    assert run(*argv).err == ""
    (line,) = run(*argv, "--verbose").err.splitlines()
    assert line.startswith("note: ")
    assert "the header does not know the length; the audio is read to the end of the file" in line


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes")
def test_pipes(good: Path) -> None:
    reference, processed = pairs(good)[0]
    command = f"{sys.executable} -m haaqi_edge.cli.main haaqi"
    done = subprocess.run(
        ["bash", "-c", f"{command} - <(cat {processed}) -a N3 --json < {reference}"],
        capture_output=True,
        text=True,
        check=True,
    )
    scores = json.loads(done.stdout)["results"][0]["scores"]
    assert scores[0]["score"] == pytest.approx(expected(good)[0][0].score, abs=1e-6)
    outcome = run("haaqi", "-", "-", "-a", "N3")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [OptionError])


def test_the_help_says_what_is_what() -> None:
    text = " ".join(get_output("haaqi", "--help").replace("│", " ").split())
    for part in ("clean, unamplified music", "output of the hearing aid", "same level", "NAL-R", "--audiogram"):
        assert part in text


# Two ears, conventions, plots


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stereo pair: the left channels are equal, and the right one is degraded."""
    folder = tmp_path_factory.mktemp("two")
    clean, degraded = (music(0.5, RATE, 3.0, clip) for clip in ("clean", "degraded"))
    for name, right in (("clean.wav", clean), ("aided.wav", degraded)):
        soundfile.write(folder / name, np.stack([clean, right], axis=1), RATE, subtype="FLOAT")
    return folder / "clean.wav", folder / "aided.wav"


def test_each_ear_and_the_better_one(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.out, "width", 200)
    argv = ("haaqi", *two, "-a", "N2", "-a", "N4", "--ears", "--nal-r", "--jobs", "1")
    found = json.loads(get_output(*argv, "--json"))
    expected = score_clip(*two, ears=("N2", "N4"), convention=Convention(amplify_processed=True))
    (result,) = found["results"]
    assert [one["score"] for one in result["scores"]] == [expected.left.score, expected.right.score]
    assert result["ears"] == [expected.to_dict()]
    assert (found["settings"]["channel"], found["settings"]["enhancer"]) == ("ears", "haaqi-edge")
    text = get_output(*argv)
    assert f"N2, N4: both ears {expected.score:.3f}  left {expected.left.score:.3f}" in text
    assert "better ear: left" in text
    assert "85 dB SPL of RMS 1.0; the reference is amplified by HAAQI (equalisation 1)" in text
    mixed = run(*argv[:7], "--jobs", "1")
    assert mixed.code == 0
    assert "has 2 channels, which are averaged" in mixed.err


def test_the_conventions_of_the_challenges(two: tuple[Path, Path]) -> None:
    for preset in ("cad1", "icassp24", "cad2"):
        found = parsed(*two, "-a", "N2", "-a", "N4", "--ears", "--cadenza", preset)
        expected = score_clip(*two, ears=("N2", "N4"), convention=CADENZA[preset])
        assert found["results"][0]["ears"] == [expected.to_dict()]
        assert (found["settings"]["spl"], found["settings"]["level1"]) == (65.0, None)
    text = get_output("haaqi", *two, "-a", "N2", "-a", "N4", "--ears", "--cadenza", "cad1", "--jobs", "1")
    assert "65 dB SPL of each reference; the reference is amplified by HAAQI (equalisation 1)" in text
    changed = parsed(
        *two, "-a", "N2", "--channel", "left", "--cadenza", "cad2", "--level1", "70", "--equalisation", "1"
    )
    assert [changed["settings"][name] for name in ("level1", "spl", "equalisation")] == [70.0, None, 1]
    by_hand = parsed(
        *two, "-a", "N2", "--channel", "left", "--spl", "65", "--amplify-reference", "--enhancer", "pyclarity"
    )
    assert [by_hand["settings"][name] for name in ("equalisation", "enhancer")] == [2, "pyclarity"]


def test_the_compressors_of_cad2(two: tuple[Path, Path], tmp_path: Path) -> None:
    path, listeners = tmp_path / "compressor_params.json", tmp_path / "listeners.json"
    record = {"cr_l": [1.5] * 6, "gain_l": [3] * 6, "cr_r": [2.5] * 6, "gain_r": [9] * 6}
    path.write_text(json.dumps({"L1": record}))
    levels = {"audiogram_cfs": [250, 8000], "audiogram_levels_l": [20, 40], "audiogram_levels_r": [40, 60]}
    listeners.write_text(json.dumps({"L1": levels}))
    convention = replace(CADENZA["cad2-task2"], compressors=load_compressors(path))
    expected = score_clip(*two, ears=f"{listeners}:L1", convention=convention)
    options = ("--cadenza", "cad2-task2", "--compressors", path)
    found = parsed(*two, "-a", listeners, "--ears", *options)
    assert found["results"][0]["ears"] == [expected.to_dict()]
    settings = found["settings"]
    assert (settings["level_before_compressor"], settings["compressors"]) == (True, file_sha256(path))
    text = get_output("haaqi", *two, "-a", listeners, "--ears", *options, "--jobs", "1")
    assert "65 dB SPL of each reference before the compressor; the reference is amplified by the compressor" in text
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"reference,processed,listener,ear\n{two[0]},{two[1]},L1,both\n{two[0]},{two[1]},L1,right\n")
    rows = parsed("--manifest", manifest, "-a", listeners, *options)["results"]
    assert [row["haaqi"] for row in rows] == [expected.score, expected.right.score]
    refused = run("haaqi", *two, "-a", "N2", *options)
    assert refused.code == 2
    assert "--compressors are those of two ears: give --ears" in " ".join(refused.err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level1", "85", "--spl", "65"], "--level1 and --spl both set the level"),
        (["--compressors", "absent.json"], "absent.json does not exist"),
        (["--compressors", "absent.json", "--amplify-reference"], "leave out --equalisation 1 and --amplify-reference"),
        (["--equalisation", "0"], "equalisation=0: 0 is for intelligibility"),
        (["--equalisation", "1", "--amplify-reference"], "leave out --amplify-reference"),
        (["--ears"], "the audiogram N2 is of one ear"),
        (["--resume"], "--output and --resume write the results of a --manifest"),
        (["--plot", "plot.pdf"], "give the path of a PNG file"),
        (["--manifest", "x.csv"], "--manifest names the files"),
    ],
)
def test_options_that_contradict_each_other(two: tuple[Path, Path], options: list[str], message: str) -> None:
    outcome = run("haaqi", *two, "-a", "N2", *options)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())


def test_files_and_audiograms_are_needed(two: tuple[Path, Path]) -> None:
    assert "no files: give the clean music" in run("haaqi", "-a", "N2").err
    assert "no audiogram: give -a" in " ".join(run("haaqi", *two).err.split())


def test_the_plot(two: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "inside.png"
    outcome = run("haaqi", *two, "-a", "N2", "-a", "N4", "--ears", "--jobs", "1", "--plot", path)
    assert outcome.code == 0, outcome.err
    assert path.read_bytes().startswith(b"\x89PNG")
    refused = run("haaqi", two[0].parent, two[0].parent, "-a", "N2", "--plot", path)
    assert "give two files, not folders" in " ".join(refused.err.split())
