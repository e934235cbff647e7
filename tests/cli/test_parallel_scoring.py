"""Tests of `haaqi-edge score` for many files: --batch-size, --jobs and a dask cluster do not change the output."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from command import run
from distributed import Client, LocalCluster
from haaqi_edge.cli.parallel_scoring import start_scoring
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.batch.requests import ScoreRequest
from haaqi_edge.runtime.errors import AudioFileError, OptionError
from sounds import RATE, music

N3 = Audiogram.named("N3")
LISTENERS = ("-a", "N3", "-a", "S2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of many lengths, among them what cannot be scored."""
    path = tmp_path_factory.mktemp("library")
    for number, (seconds, clip) in enumerate([(3.0, "clean"), (0.2, "degraded"), (12.0, "clean"), (20.0, "degraded")]):
        soundfile.write(path / f"{number}.wav", music(seconds, clip=clip), RATE)
    soundfile.write(path / "4 short.wav", music(0.1), RATE)
    soundfile.write(path / "5 silent.wav", 0 * music(1.0), RATE)
    (path / "6 broken.wav").write_bytes(b"no audio")
    soundfile.write(path / "7.wav", music(5.0, start=3.0), RATE)
    return path


def scored(folder: Path, *options: object) -> dict[str, Any]:
    """The document that `score` prints, less its time; some files fail."""
    outcome = run("score", folder, *LISTENERS, "--nal-r", "--frames", "--threads", "1", "--json", *options)
    assert outcome.code == 1
    found: dict[str, Any] = json.loads(outcome.out)
    del found["elapsed_seconds"]
    return found


@pytest.fixture(scope="module")
def plain(folder: Path) -> dict[str, Any]:
    """What is printed without anything special."""
    found = scored(folder)
    assert [len(found[part]) for part in ("results", "errors")] == [5, 3]
    return found


@pytest.mark.parametrize(
    "options", [("--batch-size", 1), ("--batch-size", 100), ("--jobs", 2), ("--jobs", 3, "--batch-size", 62)]
)
def test_the_same_to_the_last_bit(options: tuple[object, ...], folder: Path, plain: dict[str, Any]) -> None:
    assert scored(folder, *options) == plain


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers, each in a process."""
    workers: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with LocalCluster(**workers, dashboard_address=None) as found:
        yield found


def test_a_cluster_prints_the_same(folder: Path, plain: dict[str, Any], cluster: LocalCluster) -> None:
    found = scored(folder, "--backend", "dask", "--scheduler", cluster.scheduler_address)
    assert found == plain


def test_a_cluster_names_files_as_given(folder: Path, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    files = [Path(folder.name) / name for name in ("4 short.wav", "6 broken.wav")]
    there = start_scoring(ScoreRequest("nano", (N3,), threads=1), files, None, "dask", cluster.scheduler_address)
    told = {scored.place: str(scored.outcome) for scored in there}
    assert [told[place].startswith(f"{path} ") for place, path in enumerate(files)] == [True, True]


@pytest.mark.slow
def test_how_many_work_is_told(folder: Path) -> None:
    files = [folder / "1.wav", folder / "2.wav"]
    assert "2 processes, 1 thread each" in run("score", *files, *LISTENERS, "--threads", 1, "--jobs", 2).out
    assert "on CPUExecutionProvider, 2 threads" in run("score", *files, *LISTENERS, "--threads", 2).out


@pytest.mark.slow
def test_a_worker_killed_on_the_way_loses_nothing(folder: Path, cluster: LocalCluster) -> None:
    files = [folder / "3.wav", folder / "2.wav", folder / "7.wav"] * 7
    request = ScoreRequest("nano", (N3,), threads=1)
    expected = [scored.outcome for scored in start_scoring(request, files, None, None, None)]
    with Client(cluster, set_as_default=False) as client:
        workers: dict[str, int] = client.run(os.getpid)
    victim = next(iter(workers.values()))
    places: dict[int, Any] = {}
    for scored in start_scoring(request, files, None, "dask", cluster.scheduler_address):
        if not places:
            os.kill(victim, 9)
        places[scored.place] = scored.outcome
    assert victim not in _processes(cluster)
    assert sorted(places) == list(range(len(files)))
    for place, outcome in enumerate(expected):
        (one,), (other,) = places[place], outcome
        assert (one.score, one.windows) == (other.score, other.windows)


def _processes(cluster: LocalCluster) -> set[int]:
    """Of the workers that there are, once one is there."""
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(1)
        found: dict[str, int] = client.run(os.getpid)
    return set(found.values())


@pytest.mark.slow
def test_what_goes_with_what(folder: Path) -> None:
    for options, words in (
        (("--backend", "dask"), "give the scheduler's address with --scheduler"),
        (("--scheduler", "tcp://127.0.0.1:1"), "--scheduler needs --backend dask"),
        (("--backend", "dask", "--scheduler", "tcp://127.0.0.1:1", "--jobs", 2), "excludes --jobs"),
    ):
        outcome = run("score", folder, "-a", "N3", *options)
        assert outcome.code == 2
        assert isinstance(outcome.errors[0], OptionError)
        assert words in str(outcome.errors[0])


@pytest.mark.slow
def test_no_scheduler_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from haaqi_edge.runtime.batch import cluster

    monkeypatch.setattr(cluster, "_TIMEOUT", 0.2)
    outcome = run("score", folder, "-a", "N3", "--backend", "dask", "--scheduler", "tcp://127.0.0.1:1")
    assert outcome.code == 2
    assert "no dask scheduler answers at tcp://127.0.0.1:1" in str(outcome.errors[0])


@pytest.mark.slow
def test_what_is_wrong_with_all_files_is_said_once(folder: Path) -> None:
    for options in ((), ("--batch-size", 64), ("--jobs", 2)):
        outcome = run("score", folder / "2.wav", folder / "3.wav", "-a", "N3", "--window", "61", *options)
        assert outcome.code == 2
        assert [type(error) for error in outcome.errors] == [OptionError]
        assert outcome.out == ""
    one = run("score", folder / "6 broken.wav", "-a", "N3", "--batch-size", 64)
    assert one.code == 2
    assert isinstance(one.errors[0], AudioFileError)
