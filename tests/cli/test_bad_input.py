"""Malformed inputs are refused as the table in `malformed.py` says.

Every row runs through the command line in process; rows with a natural call in Python check the class there too.
Nothing may be left behind: the folder in which a row runs is the same after it as before.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from haaqi_edge.runtime.audio.reading import ArrayAudio
from haaqi_edge.runtime.errors import AudioError, OptionError
from malformed import TABLE, Row, scorer
from malformed_files import RATE, noise, write_all
from numpy.typing import NDArray


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every malformed file that the table names, and some good ones beside them."""
    d = tmp_path_factory.mktemp("malformed")
    write_all(d)
    return d


class Searched(str):
    """A regular expression that equals what it is found in: a failing assert shows both."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.search(str(self), other) is not None


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything in a folder, with sizes and times."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_the_table_is_long_and_has_no_row_twice() -> None:
    assert len(TABLE) >= 60
    assert len({row.id for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id[:60])
def test_it_is_refused(row: Row, folder: Path) -> None:
    before = contents(folder)
    outcome = run(*(argument.replace("{d}", str(folder)) for argument in row.argv))
    assert outcome.code == row.code, outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert [type(error) for error in outcome.errors] == ([row.error] if row.error else [])
    if row.error:
        assert re.search("^error: ", outcome.err, re.MULTILINE)
    assert Searched(row.words) == (str(outcome.errors[0]) if row.error else outcome.err)
    assert contents(folder) == before
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("row", [row for row in TABLE if row.call], ids=lambda row: row.id[:60])
def test_it_is_refused_in_python(row: Row, folder: Path) -> None:
    assert row.call
    assert row.error
    with pytest.raises(row.error) as caught:
        row.call(folder)
    builtins = (ValueError, FileNotFoundError, RuntimeError)
    assert isinstance(caught.value, builtins)
    assert len(str(caught.value)) > 20
    assert not (folder / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [row for row in TABLE if row.id in ("nan.wav", "bundle tampered", "student code.pth", "no audiogram")],
    ids=lambda row: row.id,
)
def test_it_is_refused_by_the_installed_command(row: Row, folder: Path) -> None:
    before = contents(folder)
    argv = [argument.replace("{d}", str(folder)) for argument in row.argv]
    done = subprocess.run(
        [sys.executable, "-m", "haaqi_edge.cli.main", *argv], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == row.code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert Searched(row.words) == done.stderr
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.zeros(0, np.float32), RATE, "the audio is empty"),
        (np.zeros((0, 2), np.float32), RATE, "the audio is empty"),
        (np.zeros(RATE, np.complex64), RATE, "type complex64: expected"),
        (np.zeros(RATE, np.uint8), RATE, "type uint8: expected"),
        (np.zeros((2, 2, 2), np.float32), RATE, r"shape \(2, 2, 2\)"),
        (np.zeros((2, RATE), np.float32), RATE, "look like .channels, n.: transpose"),
        (noise(1), 0, "is 0 Hz"),
        (noise(1), -RATE, "is -16000 Hz"),
        (noise(1), 16_000.5, "whole number of Hz"),
        (noise(1), math.nan, "whole number of Hz"),
        (noise(1), "16 kHz", "whole number of Hz"),
        (noise(1), 7_999, "give audio from 8000"),
        (noise(1), 10**9, "to 768000 Hz"),
    ],
)
def test_samples_are_refused(samples: NDArray[Any], rate: Any, words: str) -> None:
    with pytest.raises(AudioError, match=words):
        ArrayAudio(samples, rate)


def test_a_pair_in_another_form_is_refused() -> None:
    bad: Any = [noise(1), RATE]
    with pytest.raises(AudioError, match=r"cannot read audio from list: give a path, or \(samples, rate\)"):
        scorer().score(bad, "N3")


@pytest.fixture
def mixed(folder: Path, tmp_path: Path) -> Path:
    """A folder of two good files and two bad ones."""
    for name in ("good.wav", "nan.wav", "silent.wav"):
        shutil.copy(folder / name, tmp_path / name)
    (tmp_path / "deeper").mkdir()
    shutil.copy(folder / "good.wav", tmp_path / "deeper" / "again.wav")
    return tmp_path


def test_bad_files_among_many_are_reported_and_the_rest_are_scored(mixed: Path) -> None:
    outcome = run("score", str(mixed), "-a", "N3", "-a", "NH", "--threads", "1", "--json")
    assert outcome.code == 1
    found = json.loads(outcome.out)
    assert [Path(result["file"]).name for result in found["results"]] == ["again.wav", "good.wav"]
    assert all(len(result["scores"]) == 2 for result in found["results"])
    assert [(Path(error["file"]).name, error["type"]) for error in found["errors"]] == [
        ("nan.wav", "AudioError"),
        ("silent.wav", "AudioError"),
    ]
    assert "not a finite number" in found["errors"][0]["message"]
    alone = scorer().score(mixed / "good.wav", ["N3", "NH"])[0].score
    assert found["results"][1]["scores"][0]["score"] == alone


def test_bad_files_among_many_in_the_table(mixed: Path) -> None:
    outcome = run("score", str(mixed), "-a", "N3", "--threads", "1")
    assert outcome.code == 1
    assert "again.wav" in outcome.out
    assert "good.wav" in outcome.out
    assert "nan.wav" not in outcome.out
    assert "nan.wav holds a sample that is not a finite number" in outcome.err
    assert "silent.wav is silent throughout" in outcome.err
    assert "2 of 4 files could not be scored" in outcome.err


def test_one_bad_file_of_two_that_were_named(mixed: Path) -> None:
    files = [str(mixed / name) for name in ("nan.wav", "good.wav", "absent.wav")]
    outcome = run("score", *files, "-a", "N3", "--threads", "1", "--json")
    assert outcome.code == 1
    found = json.loads(outcome.out)
    assert [result["file"] for result in found["results"]] == files[1:2]
    assert [(error["file"], error["type"]) for error in found["errors"]] == [
        (files[0], "AudioError"),
        (files[2], "AudioFileNotFoundError"),
    ]


def test_a_bad_option_is_not_the_fault_of_each_file(mixed: Path) -> None:
    outcome = run("score", str(mixed), "-a", "N3", "--threads", "1", "--window", "99", "--json")
    assert (outcome.code, outcome.out) == (2, "")
    assert [type(error) for error in outcome.errors] == [OptionError]
