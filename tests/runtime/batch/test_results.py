"""Results files: each format holds the same rows, an interrupted run keeps what is done, and can be resumed."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.batch import results
from haaqi_edge.runtime.batch.results import (
    SUFFIXES,
    Column,
    ResultsWriter,
    describe_run,
    score_columns,
    score_rows,
)
from haaqi_edge.runtime.bundle import HAAQI, Scale
from haaqi_edge.runtime.errors import AudioFileError, DependencyError, OptionError
from haaqi_edge.runtime.scores import Score, Window

LISTENERS = (Audiogram.named("N3"), Audiogram((0, 5, 10, 20, 30, 40, 50, 60.5), name='a "quoted", name'))
RUN = describe_run("score", None, {"level1": 85.0, "spl": None}, LISTENERS)


def scores(value: float, scale: Scale = HAAQI, interval: tuple[float, float] | None = None) -> list[Score]:
    windows = (Window(0.0, 10.0, value), Window(9.92, 19.855, value))
    return [
        Score(value + place / 100, np.zeros(3, np.float32), np.zeros(3), windows, one, scale, interval)
        for place, one in enumerate(LISTENERS)
    ]


def rows(name: str, value: float = 0.1234567890123) -> list[dict[str, Any]]:
    return score_rows(name, LISTENERS, scores(value))


def failed(name: str) -> list[dict[str, Any]]:
    return score_rows(name, LISTENERS, AudioFileError(f"{name} is\nbroken, entirely"))


_TEXT = ("file", "listener", "error", "reference", "processed")


def writer(path: Path, *, resume: bool = False, run: dict[str, Any] = RUN) -> ResultsWriter:
    return ResultsWriter(path, score_columns(), run, rows_per_item=2, resume=resume)


def read(path: Path) -> list[dict[str, Any]]:
    """Read a results file with another reader than the writer's."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {
                    name: None if cell == "" else cell if name in _TEXT else json.loads(cell)
                    for name, cell in row.items()
                }
                for row in csv.DictReader(file)
            ]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".json":
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
        return found
    table: list[dict[str, Any]] = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return table


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    return tmp_path / f"scores{request.param}"


def test_every_format_holds_the_same_rows(path: Path) -> None:
    with writer(path) as out:
        for item in (rows("b.wav"), failed("a.wav"), rows("ñ, \udce9\n'\".wav")):
            out.write(item)
    found = read(path)
    assert [row["file"] for row in found] == [
        "b.wav", "b.wav", "a.wav", "a.wav", "ñ, \\xe9\\n'\".wav", "ñ, \\xe9\\n'\".wav"
    ]  # fmt: skip
    assert [row["listener"] for row in found[:2]] == ["N3", 'a "quoted", name']
    assert found[0] == {
        "file": "b.wav",
        "listener": "N3",
        "levels": list(LISTENERS[0].levels),
        "score": 0.1234567890123,
        "seconds": 19.855,
        "windows": 2,
        "error": None,
    }
    assert found[2]["score"] is None
    assert found[2]["error"] == "AudioFileError: a.wav is\\nbroken, entirely"
    assert out.rows == 6
    beside = {".csv": ["scores.csv", "scores.csv.run.json"], ".jsonl": ["scores.jsonl", "scores.jsonl.run.json"]}
    assert sorted(other.name for other in path.parent.iterdir()) == beside.get(path.suffix, [path.name])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_are_there_as_soon_as_a_file_is_finished(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"scores{suffix}"
    with writer(path) as out:
        for count in range(3):
            out.write(rows(f"{count}.wav"))
            assert len(read(path)) == 2 * (count + 1)


class Stop(Exception):
    """An interruption."""


def interrupted(path: Path, *items: list[dict[str, Any]]) -> None:
    with pytest.raises(Stop), writer(path) as out:  # noqa: PT012 - the error is the test's own
        for item in items:
            out.write(item)
        raise Stop


def test_an_interrupted_run_is_resumed(path: Path) -> None:
    interrupted(path, rows("c.wav"), failed("b.wav"), rows("a.wav", 0.5))
    with pytest.raises(OptionError, match=r"is from a run that was interrupted \(6 rows\): resume it with --resume"):
        writer(path)
    again = writer(path, resume=True)
    again.set_order([[name] for name in ("a.wav", "b.wav", "c.wav", "d.wav")])
    assert again.resumed == 2
    assert [again.is_done(name) for name in ("a.wav", "b.wav", "c.wav", "d.wav")] == [True, False, True, False]
    with again as out:
        out.write(rows("d.wav"))
        out.write(rows("b.wav"))
    found = read(path)
    order = ["a.wav", "b.wav", "c.wav", "d.wav"] if path.suffix in (".json", ".parquet") else list("cadb")
    assert [row["file"][0] for row in found[::2]] == [name[0] for name in order]
    assert [row["score"] for row in found if row["file"] == "a.wav"] == [0.5, 0.51]
    assert not any(row["error"] for row in found)
    # A run that was finished can be resumed with more files, or is replaced.
    with writer(path, resume=True) as out:
        assert out.resumed == 4
        out.write(rows("e.wav"))
    assert len(read(path)) == 10
    with writer(path) as out:
        out.write(rows("f.wav"))
    assert len(read(path)) == 2


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("cut", [1, 30, 120])
def test_a_row_that_was_cut_is_written_again(suffix: str, cut: int, tmp_path: Path) -> None:
    path = tmp_path / f"scores{suffix}"
    interrupted(path, rows("a.wav"), rows("b.wav"))
    path.write_bytes(path.read_bytes()[:-cut])
    with writer(path, resume=True) as out:
        assert out.is_done("a.wav")
        assert not out.is_done("b.wav")
        out.write(rows("b.wav"))
    assert read(path) == [json.loads(json.dumps(row)) for row in _plain([*rows("a.wav"), *rows("b.wav")])]


def _plain(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = [column.name for column in score_columns()]
    return [{name: row.get(name) for name in names} for row in found]


OTHERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "level1 was 85.0 and is 65.0": lambda run: run["settings"].update(level1=65.0),
    "listeners were .* and are N3": lambda run: run["listeners"].pop(),
    "the hearing levels of the listeners .* were others": lambda run: run["listeners"][0]["levels"].append(0.0),
    "command was 'score', is 'haaqi'": lambda run: run.update(command="haaqi"),
    "model was None, is": lambda run: run.update(model={"name": "nano", "precision": "int8"}),
}


@pytest.mark.parametrize("words", OTHERS)
def test_another_run_is_not_resumed(words: str, path: Path) -> None:
    interrupted(path, rows("a.wav"))
    before = {other: other.read_bytes() for other in path.parent.iterdir()}
    run = json.loads(json.dumps(RUN))
    OTHERS[words](run)
    with pytest.raises(OptionError, match=words):
        writer(path, resume=True, run=run)
    assert {other: other.read_bytes() for other in path.parent.iterdir()} == before


def test_other_columns_are_not_resumed(path: Path) -> None:
    interrupted(path, rows("a.wav"))
    with pytest.raises(OptionError, match="its columns are others"):
        ResultsWriter(path, [*score_columns(), Column("more", "text")], RUN, rows_per_item=2, resume=True)


def test_what_is_no_results_file_is_not_resumed(path: Path) -> None:
    path.write_text("Hz,dB\n250,20\n")
    with pytest.raises(OptionError, match=r"cannot resume .*, which is not a results file of this command"):
        writer(path, resume=True)
    assert path.read_text() == "Hz,dB\n250,20\n"


def test_other_files_are_not_replaced(path: Path) -> None:
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(OptionError, match="exists and is not a results file of this command"):
        writer(path)
    assert path.read_bytes() == b"a,b\n1,2\n"
    path.unlink()
    with writer(path) as first:
        first.write(rows("a.wav"))
    with pytest.raises(OptionError, match="not a results file of this command"):
        writer(path, run=describe_run("haaqi", None, {}, LISTENERS))
    with writer(path) as second:  # a complete run of the same command is replaced
        second.write(rows("b.wav"))
    assert {row["file"] for row in read(path)} == {"b.wav"}


def test_resuming_nothing_starts(path: Path) -> None:
    with writer(path, resume=True) as out:
        out.write(rows("a.wav"))
    assert len(read(path)) == 2


def test_a_run_without_rows_leaves_nothing(path: Path) -> None:
    interrupted(path)
    assert list(path.parent.iterdir()) == []


def test_pairs_are_items_too(path: Path) -> None:
    columns = [Column("reference", "text"), Column("processed", "text"), Column("score", "number")]
    with pytest.raises(Stop), ResultsWriter(path, columns, RUN, key=("reference", "processed")) as out:  # noqa: PT012
        out.write([{"reference": Path("a.wav"), "processed": Path("b.wav"), "score": float("nan")}])
        raise Stop
    again = ResultsWriter(path, columns, RUN, key=("reference", "processed"), resume=True)
    assert again.is_done("a.wav", "b.wav")
    assert again.is_done(Path("a.wav"), Path("b.wav"))
    assert not again.is_done("b.wav", "a.wav")
    with again:
        pass
    assert read(path) == [{"reference": "a.wav", "processed": "b.wav", "score": None}]


def test_columns_of_models() -> None:
    stars = Scale("stars", 1.0, 5.0)
    every = {column.name for column in score_columns(stars, True, True)}
    assert every - {column.name for column in score_columns()} == {
        "value", "interval_low", "interval_high", "unfamiliarity",
    }  # fmt: skip
    row = score_rows("a.wav", LISTENERS, scores(0.5, stars, (0.25, 0.75)))[0]
    assert (row["value"], row["interval_low"], row["interval_high"]) == (3.0, 0.25, 0.75)


def test_where_results_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"its suffix chooses the format; give one that ends in \.csv, \.jsonl"):
        writer(tmp_path / "scores.xlsx")
    with pytest.raises(OptionError, match="give the path of a file in a folder that exists"):
        writer(tmp_path / "absent" / "scores.csv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DependencyError, match=r"needs pyarrow: run pip install 'haaqi-edge\[parquet\]'"):
        writer(tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.csv"
    words = r"cannot write .*scores\.csv \(No space left on device\): make space"
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - the writer closes it
    with pytest.raises(OptionError, match=words), writer(path) as out:  # noqa: PT012 - the error is from within
        out.write(rows("a.wav"))
        assert out._file is not None
        out._file.close()
        monkeypatch.setattr(out, "_file", full)
        out.write(rows("b.wav"))
    assert len(read(path)) == 2
    assert writer(path, resume=True).is_done("a.wav")


def test_nothing_heavy_is_imported() -> None:
    source = Path(results.__file__).read_text(encoding="utf-8")
    heads = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert not [line for line in heads if "pyarrow" in line or "pandas" in line]
