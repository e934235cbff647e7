"""`haaqi-edge score` of many files: --output and --resume, lists of files, what is left out, names of every kind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import Outcome, get_output, run
from haaqi_edge.runtime import Scorer
from haaqi_edge.runtime.audio.reading import open_audio
from haaqi_edge.runtime.errors import AudioFileError, AudioFileNotFoundError, OptionError
from sounds import RATE, music

COMMAND = [sys.executable, "-m", "haaqi_edge.cli.main"]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips, one that is broken, and two files that are no audio."""
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", music(1.0, start=3.0 + number), RATE)
    (folder / "3.wav").write_bytes(b"no audio")
    (folder / "cover.jpg").touch()
    (folder / "notes.txt").touch()
    return folder


def score(*argv: object) -> Outcome:
    return run("score", *argv, "-a", "N3", "-a", "S2", "--threads", "1")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_output_holds_the_scores(folder: Path, tmp_path: Path, scorer: Scorer) -> None:
    output = tmp_path / "scores.csv"
    outcome = score(folder, "-o", output)
    assert outcome.code == 1
    found = rows(output)
    assert [(Path(row["file"]).name, row["listener"]) for row in found] == [
        (f"{number}.wav", listener) for number in range(4) for listener in ("N3", "S2")
    ]
    for number in range(3):
        expected = scorer.score(folder / f"{number}.wav", ["N3", "S2"])
        assert [float(row["score"]) for row in found[2 * number : 2 * number + 2]] == [s.score for s in expected]
    assert found[-1]["score"] == ""
    assert found[-1]["error"].startswith("AudioFileError: ")
    assert f"{output}: 8 rows of 4 files" in outcome.out
    assert "2 files were left out (1 .jpg, 1 .txt): " in outcome.out
    assert "cover.jpg" in outcome.out
    assert "1 of 4 files could not be scored" in outcome.err


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_resume_scores_what_is_missing(suffix: str, jobs: int, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / f"scores{suffix}"
    first = score(folder / "1.wav", folder / "3.wav", "-o", output)
    assert first.code == 1
    soundfile.write(folder / "3.wav", music(1.0), RATE)  # repaired
    os.utime(folder / "1.wav")
    before = output.read_text(encoding="utf-8").splitlines()
    outcome = score(folder, "-o", output, "--resume", "--jobs", jobs, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert document["resumed"] == 1
    assert {Path(result["file"]).name for result in document["results"]} == {"0.wav", "2.wav", "3.wav"}
    assert [Path(path).name for path in document["left_out"]] == ["cover.jpg", "notes.txt"]
    text = output.read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()] if suffix == ".jsonl" else json.loads(text)["results"]
    assert sorted((Path(row["file"]).name, row["listener"]) for row in found) == [
        (f"{number}.wav", listener) for number in range(4) for listener in ("N3", "S2")
    ]
    assert all(row["score"] > 0 for row in found)
    if suffix == ".jsonl":
        assert text.splitlines()[:2] == before[:2]
    nothing = score(folder, "-o", output, "--resume")
    assert nothing.code == 0
    assert "8 rows of 4 files, 4 of them from a run before" in nothing.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--nal-r",), "nal_r was False and is True"),
        (("--window", "0.5"), r"window was 10\.0 and is 0\.5"),
        (("-a", "N1"), "listeners were N3, S2 and are N1, N3, S2"),
        (
            ("-m", "small"),
            r"made with the model nano \(fp32\), and this run has small \(fp32\)\. Continue .* \(--model nano\)",
        ),
        (("-m", "small", "--nal-r"), "or give another --output; also, nal_r was False and is True"),
        (("--channel", "left"), "channel was 'mix' and is 'left'"),
    ],
)
def test_resume_refuses_other_settings(options: tuple[str, ...], words: str, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.csv"
    assert score(folder / "0.wav", "-o", output).code == 0
    before = output.read_bytes()
    outcome = score(folder, "-o", output, "--resume", *options)
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [OptionError])
    with pytest.raises(OptionError, match=words):
        raise outcome.errors[0]
    assert output.read_bytes() == before


def test_resume_without_output(folder: Path) -> None:
    outcome = score(folder, "--resume")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [OptionError])


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_keeps_what_is_done(jobs: str, folder: Path, tmp_path: Path) -> None:
    for number in range(5):
        shutil.copy(folder / "0.wav", folder / f"more{number}.wav")
    (folder / "3.wav").unlink()
    output = tmp_path / "scores.csv"
    command = [*COMMAND, "score", folder, "-a", "N3", "-o", output, "--threads", "1", "--jobs", jobs]
    fifo = folder / "wait.wav"
    os.mkfifo(fifo)  # scoring waits here
    process = subprocess.Popen(
        [*command, fifo], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 240
    while time.monotonic() < until and (not output.exists() or len(rows(output)) < 8):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, printed = process.communicate(timeout=240)
    assert process.returncode == 130
    assert printed == f"interrupted: 8 rows for {output} are saved; continue with --resume\n"
    fifo.unlink()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert "8 rows of 8 files, 8 of them from a run before" in done.stdout
    assert len(rows(output)) == 8


@pytest.mark.usefixtures("folder")
def test_lists_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("music/2.wav\nmusic/0.wav\n")
    (tmp_path / "music" / "songs.m3u8").write_text("#EXTM3U\n1.wav\n0.wav\n")
    monkeypatch.chdir(tmp_path)
    document = json.loads(get_output("score", "@list.txt", "music/songs.m3u8", "-a", "N3", "--threads", "1", "--json"))
    assert [result["file"] for result in document["results"]] == [
        "music/2.wav", "music/0.wav", "music/1.wav", "music/0.wav"
    ]  # fmt: skip
    outcome = score("@missing.txt")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [AudioFileNotFoundError])


def test_left_out_files_are_named(folder: Path) -> None:
    document = json.loads(score(folder, "--json").out)
    assert [Path(path).name for path in document["left_out"]] == ["cover.jpg", "notes.txt"]
    assert json.loads(score(folder / "0.wav", "--json").out)["left_out"] == []


# Notes and warnings


@pytest.mark.parametrize("jobs", [1, 2])
def test_verbose_names_wrong_sizes(jobs: int, folder: Path) -> None:
    data = bytearray((folder / "0.wav").read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    (folder / "0.wav").write_bytes(data)
    plain = score(folder / "0.wav", folder / "1.wav", "--jobs", jobs)
    assert (plain.code, plain.err) == (0, "")
    printed = score(folder / "0.wav", folder / "1.wav", "--jobs", jobs, "--verbose")
    assert printed.err.startswith("note: ")
    assert "0.wav: " in printed.err
    assert len(printed.err.splitlines()) == 1
    assert open_audio(folder / "0.wav").notes[0] in printed.err


def test_a_warning_is_printed_once(folder: Path, tmp_path: Path) -> None:
    sound = music(2.0, start=3.0)
    for name, second in (("nearly", -0.98 * sound), ("exactly", -sound)):
        soundfile.write(folder / f"{name}.wav", np.stack([sound, second], axis=1), RATE, subtype="FLOAT")
    outcome = run("score", folder / "nearly.wav", "-a", "N3", "--plot", tmp_path / "plot.png")
    assert (outcome.code, outcome.err.count("cancel each other, as with opposite phase")) == (0, 1)
    outcome = run("score", folder / "exactly.wav", "-a", "N3")
    assert outcome.code == 2
    assert outcome.err.count("as with opposite phase") == 1
    assert str(outcome.errors[0]).endswith("is silent throughout: its channels cancel each other; score one of them")


def test_warnings_of_other_processes_are_shown(folder: Path) -> None:
    sound = music(2.0, start=3.0)
    for name in ("0.wav", "1.wav"):
        soundfile.write(folder / name, np.stack([sound, -0.9 * sound], axis=1), RATE)
    outcome = score(folder / "0.wav", folder / "1.wav", "--jobs", 2)
    lines = [line for line in outcome.err.splitlines() if " cancel each other" in line]
    assert len(lines) == 2
    assert all(line.startswith("warning: the channels of ") for line in lines)


# Names


NAMES = {
    os.fsdecode(b"latin\xe9.wav"): "latin\\xe9.wav",
    "new\nline.wav": "new\\nline.wav",
    "\x1b[31mred.wav": "\\x1b[31mred.wav",
    "-a.wav": "-a.wav",
    "@at.wav": "@at.wav",
    "[bold]x.wav": "[bold]x.wav",
    "100%.wav": "100%.wav",
    "tab\there.wav": "tab\\there.wav",
    "quote'\".wav": "quote'\".wav",
    "za\u017c\xf3\u0142\u0107 \u97f3\u697d \U0001f3b5.wav": "za\u017c\xf3\u0142\u0107 \u97f3\u697d \U0001f3b5.wav",
}


@pytest.fixture
def named(folder: Path, tmp_path: Path) -> Path:
    """A folder with a clip of each name."""
    named = tmp_path / "named"
    named.mkdir()
    for name in NAMES:
        shutil.copy(folder / "0.wav", named / name)
    return named


def test_names_of_every_kind_are_scored_and_escaped(named: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.jsonl"
    outcome = score(named, "-o", output, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    shown = {str(named / name) for name in NAMES.values()}
    document: dict[str, Any] = json.loads(outcome.out)
    assert {result["file"] for result in document["results"]} == shown
    assert {json.loads(line)["file"] for line in output.read_text(encoding="utf-8").splitlines()} == shown
    table = score(named).out
    for name in NAMES.values():
        assert name in table
    assert "\x1b[31m" not in table
    assert "12 rows" not in table
    assert "10 of them from a run before" in score(named, "-o", output, "--resume").out


@pytest.mark.parametrize("name", NAMES)
def test_each_name_alone(name: str, named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(named)
    mark = "./" if name.startswith("@") else ""
    for argv in (["--audio", f"{mark}{name}", "-a", "N3"], ["-a", "N3", "--", f"{mark}{name}"]):
        outcome = run("score", *argv)
        assert (outcome.code, outcome.err) == (0, ""), outcome.err
        assert outcome.out.splitlines()[0] == f"{NAMES[name]}, 1.0 s scored" or "0.9 s scored" in outcome.out
    outcome = run("score", "-a", "N3", "--", f"{mark}{name}x")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [AudioFileNotFoundError])
    assert f"{NAMES[name]}x does not exist" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("address", ["https://example.com/a.mp3", "http://[::1]/a.wav", "smb://server/a.wav"])
def test_an_address_is_no_file(address: str) -> None:
    outcome = score(address)
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [AudioFileNotFoundError])
    assert "is an address, not a file: download it" in outcome.err


def test_standard_input_is_read_once(folder: Path) -> None:
    for paths in (["-", "-"], ["-", folder / "0.wav", "@-"]):
        outcome = score(*paths)
        assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [OptionError])
        assert "standard input is given twice, and can be read once" in outcome.err


def test_what_pipes_are_called(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "0.wav").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert score("-").out.splitlines()[0] == "standard input, 1.0 s scored"
    fifo = folder / "pipe"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["cp", folder / "0.wav", fifo])
    assert score(fifo).out.splitlines()[0] == f"{fifo}, 1.0 s scored"
    assert writer.wait() == 0


def test_results_do_not_replace_a_pipe(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.jsonl"
    os.mkfifo(output)
    outcome = score(folder / "0.wav", "-o", output)
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [OptionError])
    assert "which is a pipe or a device: give a file" in outcome.err
    assert output.is_fifo()


def test_an_empty_path_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # not searched
    for argv in ([""], ["0.wav", ""], ["--audio", ""]):
        outcome = score(*argv)
        assert (outcome.code, outcome.out) == (2, "")
        assert [type(error) for error in outcome.errors] == [AudioFileNotFoundError]
        assert "an empty path" in outcome.err


# Standard streams


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = " ".join(COMMAND)
    return subprocess.run(
        ["bash", "-c", command.replace("RUN", program)], capture_output=True, text=True, check=False, cwd=folder
    )


@pytest.mark.slow
@pytest.mark.parametrize("option", ["", "--json"])
@pytest.mark.parametrize(("target", "words"), [(">&-", "closed"), (">/dev/full", "No space left on device")])
def test_standard_output_that_cannot_be_written(target: str, words: str, option: str, folder: Path) -> None:
    done = shell(f"RUN score 0.wav -a N3 --threads 1 {option} {target}", folder)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


@pytest.mark.slow
def test_standard_output_is_full_while_streaming(folder: Path) -> None:
    done = shell("RUN stream 0.wav --pace fast -a N3 --json > /dev/full", folder)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: cannot write standard output (No space left on device): make space"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["score - -a N3", "stream - -a N3", "haaqi - 0.wav -a N3"])
def test_standard_input_that_is_closed(command: str, folder: Path) -> None:
    done = shell(f"RUN {command} <&-", folder)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: standard input is closed")


def test_closed_standard_input_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    outcome = score("-")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [AudioFileError])
