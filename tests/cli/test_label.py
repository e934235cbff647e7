"""Tests of `haaqi-edge label`: labels, resuming, verification, bad options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import run
from haaqi_edge.runtime.errors import CorpusError, LabelError, OptionError
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.data import labels
from haaqi_edge.training.data.features import patches_in
from haaqi_edge.training.data.labels import (
    LabelledRows,
    label_rows,
    read_corpus_digest,
    read_rows,
    targets_path,
    write_rows,
)
from haaqi_edge.training.data.rows import Row, plan_rows
from voices import write_bank

DEMO = Path(__file__).resolve().parents[2] / "demo"


def write_corpus(folder: Path) -> Path:
    """Write a corpus of the demo, with voices, and return its folder."""
    folder.mkdir()
    (folder / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nclean.flac,valid,demo,acoustic,20\n")
    (folder / "clean.flac").symlink_to(DEMO / "clean.flac")
    write_bank(folder / "speech")
    return folder


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of the demo. Labels are constants, and a shard has eight rows."""

    def at_once(rows: Sequence[Row], corpus: Corpus, targets: bool = False) -> LabelledRows:
        assert corpus.of("valid")
        dense = np.zeros((len(rows), 3, patches_in(rows[0].duration), 32), np.uint8)
        return LabelledRows([replace(row, score=0.5) for row in rows], dense if targets else None)

    monkeypatch.setattr(labels, "label_rows", at_once)
    monkeypatch.setattr(labels, "CHUNK", 4)
    monkeypatch.setattr(labels, "SHARD_ROWS", 8)
    return write_corpus(tmp_path / "music")


def labelled(*argv: object) -> str:
    """Return the standard output of labelling. Standard error must have nothing but progress."""
    outcome = run("label", *argv)
    assert outcome.code == 0, outcome.err
    assert all(line.endswith(" rows of valid") for line in outcome.err.splitlines())
    return outcome.out


# Labelling


def test_progress_and_an_interruption_are_printed_without_a_terminal(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["--corpus", music, "--table", tmp_path / "table", "--split", "valid", "--jobs", 1, "--shards", 2]
    at_once, calls = labels.label_rows, list[int]()

    def interrupted(rows: Sequence[Row], corpus: Corpus, targets: bool = False) -> LabelledRows:
        calls.append(rows[0].seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return at_once(rows, corpus, targets)

    monkeypatch.setattr(labels, "label_rows", interrupted)
    outcome = run("label", *argv)
    assert outcome.code == 130
    assert outcome.err.splitlines()[0] == "4 of 16 rows of valid"
    assert "stopped; 8 of 16 rows are saved: run the same command again to resume" in " ".join(outcome.err.split())
    assert run("label", *argv).err.splitlines() == ["12 of 16 rows of valid", "16 of 16 rows of valid"]


def test_finished_shards_are_not_made_again(music: Path, tmp_path: Path) -> None:
    table = tmp_path / "table"
    argv = ["--corpus", music, "--table", table, "--split", "valid", "--jobs", 1]
    assert labelled(*argv) == f"1 shard of valid in {table}\n"
    before = (table / "valid-0000.parquet").stat().st_mtime_ns
    found = json.loads(labelled(*argv, "--shards", 2, "--json"))
    shards = [table / "valid-0000.parquet", table / "valid-0001.parquet"]
    digest = Corpus(music).digest
    assert found == {"split": "valid", "shards": [str(shard) for shard in shards], "rows": 16, "corpus": digest}
    assert sorted(table.iterdir()) == shards
    assert shards[0].stat().st_mtime_ns == before
    assert len(read_rows(table, "valid")) == 16
    assert [read_corpus_digest(shard) for shard in shards] == [digest, digest]
    assert list((tmp_path / "table.work").iterdir()) == []


def test_dense_targets_are_saved_for_the_first_rows(music: Path, tmp_path: Path) -> None:
    argv = ["--corpus", music, "--table", tmp_path / "table", "--split", "valid", "--jobs", 1]
    labelled(*argv, "--work", tmp_path / "elsewhere", "--dense-targets", 4)
    assert [targets_path(tmp_path / "elsewhere", "valid", n).exists() for n in range(2)] == [True, False]
    labelled(*argv, "--shards", 2, "--work", tmp_path / "none")
    assert list((tmp_path / "none").iterdir()) == []


def test_the_corpus_from_the_environment(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAAQI_EDGE_CORPUS", str(music))
    assert labelled("--table", tmp_path / "table", "--split", "valid", "--jobs", 1).startswith("1 shard of valid")


def test_the_table_of_another_corpus_is_not_changed(music: Path, tmp_path: Path) -> None:
    argv = ["--table", tmp_path / "table", "--split", "valid", "--jobs", 1]
    labelled("--corpus", music, *argv)
    other = write_corpus(tmp_path / "other")
    (other / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nclean.flac,valid,demo,acoustic,19\n")
    outcome = run("label", "--corpus", other, *argv, "--shards", 2)
    assert (outcome.code, outcome.out) == (2, "")
    assert [type(error) for error in outcome.errors] == [CorpusError]
    words = str(outcome.errors[0])
    assert Corpus(music).digest in words
    assert Corpus(other).digest in words
    assert len(read_rows(tmp_path / "table", "valid")) == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "error", "words"),
    [
        (["--table={d}/table"], None, "Missing option '--corpus'"),
        (["--corpus={d}/music"], None, "Missing option '--table'"),
        (["--corpus={d}/absent", "--table={d}/table"], CorpusError, "no music in "),
        (["--corpus={d}/music", "--table={d}/file"], OptionError, "file is a file: give a folder"),
        (["--corpus={d}/music", "--table={d}/table", "--work={d}/file"], OptionError, "file is a file: give a folder"),
        (
            ["--corpus={d}/music", "--table={d}/table", "--split=dev"],
            OptionError,
            "--split 'dev': expected one of",
        ),
        (["--corpus={d}/music", "--table={d}/table", "--split=test-2026-11"], OptionError, "expected one of train"),
        (["--corpus={d}/music", "--table={d}/table", "--split=test"], CorpusError, "no clip of split test"),
        (["--corpus={d}/music", "--table={d}/table", "--shards=0"], None, "greater than or equal to 1"),
        (["--corpus={d}/music", "--table={d}/table", "--dense-targets=-1"], None, "greater than or equal to 0"),
        (["--corpus={d}/music", "--table={d}/table", "--verify=0"], None, "greater than or equal to 1"),
        (["--corpus={d}/music", "--table={d}/table", "--jobs=0"], None, "greater than or equal to 1"),
        (["--corpus={d}/music", "--table={d}/table", "--verify=3"], CorpusError, "no table train in "),
    ],
)
def test_bad_options(
    argv: list[str], error: type[Exception] | None, words: str, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HAAQI_EDGE_CORPUS", raising=False)
    folder = music.parent
    (folder / "file").write_text("")
    outcome = run("label", *(argument.replace("{d}", str(folder)) for argument in argv))
    assert (outcome.code, outcome.out) == (2, "")
    assert [type(error) for error in outcome.errors] == ([error] if error else [])
    message = str(outcome.errors[0]) if error else " ".join(outcome.err.replace("│", " ").split())
    assert words in message
    assert not (folder / "table").exists()


# Verifying


@pytest.fixture(scope="module")
def labelled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and the table of four rows of it, really labelled."""
    folder = tmp_path_factory.mktemp("labelled")
    corpus = Corpus(write_corpus(folder / "music"))
    done = label_rows(plan_rows(corpus.of("valid"), "valid", 0, 4, 0.6), corpus).rows
    write_rows(folder / "table" / "valid-0000.parquet", done, corpus.digest)
    return folder


def verified(folder: Path, table: Path, *argv: object) -> list[object]:
    return ["label", "--corpus", folder / "music", "--table", table, "--split", "valid", "--jobs", 1, *argv]


def test_a_table_that_is_right(labelled_folder: Path) -> None:
    outcome = run(*verified(labelled_folder, labelled_folder / "table", "--verify", 2))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("2 rows of valid: maximum difference ")
    assert outcome.out.endswith(", tolerance 0.0005\n")
    found = json.loads(run(*verified(labelled_folder, labelled_folder / "table", "--verify", 9, "--json")).out)
    assert found.pop("largest_difference") < 1e-6
    assert found == {"table": "valid", "rows": 4, "same_corpus": True, "off": []}


@pytest.mark.parametrize("score", [0.001, float("nan")])
def test_a_score_that_is_off_ends_with_1(score: float, labelled_folder: Path, tmp_path: Path) -> None:
    rows = read_rows(labelled_folder / "table", "valid")
    rows[2] = replace(rows[2], score=rows[2].score + score)
    write_rows(tmp_path / "valid-0000.parquet", rows, Corpus(labelled_folder / "music").digest)
    outcome = run(*verified(labelled_folder, tmp_path, "--verify", 4))
    assert outcome.code == 1
    assert [type(error) for error in outcome.errors] == [LabelError]
    assert "1 of 4 rows of valid differ by more than 0.0005" in str(outcome.errors[0])
    assert f"{rows[2].clip} {rows[2].chain}: {rows[2].score:.4f}, recomputed " in outcome.out
    again = run(*verified(labelled_folder, tmp_path, "--verify", 4, "--json"))
    assert again.code == 1
    (off,) = json.loads(again.out)["off"]
    assert (off["clip"], off["chain"]) == (rows[2].clip, rows[2].chain)
    assert off["score"] is None if np.isnan(score) else off["again"] == pytest.approx(off["score"] - score, abs=1e-6)


def test_another_corpus_is_noted(labelled_folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "valid-0000.parquet", read_rows(labelled_folder / "table", "valid"), "0123456789abcdef")
    outcome = run(*verified(labelled_folder, tmp_path, "--verify", 1, "--json"))
    assert outcome.code == 0
    digest = Corpus(labelled_folder / "music").digest
    note = f"note: valid was made from corpus 0123456789abcdef; the given corpus is {digest}"
    assert " ".join(outcome.err.split()) == note
    assert json.loads(outcome.out)["same_corpus"] is False


def test_an_older_table_is_verified_with_the_music_inside(labelled_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "music").symlink_to(labelled_folder / "music")
    (tmp_path / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nnew.flac,valid,new,jazz,20\n")
    write_rows(tmp_path / "table" / "valid-2026-11-0000.parquet", read_rows(labelled_folder / "table", "valid"))
    argv = ["label", "--corpus", tmp_path, "--table", tmp_path / "table", "--split", "valid-2026-11", "--jobs", 1]
    outcome = run(*argv, "--verify", 1)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("1 row of valid-2026-11: ")


def test_a_table_that_is_not_there(labelled_folder: Path) -> None:
    outcome = run(*verified(labelled_folder, labelled_folder / "table", "--verify", 1, "--split", "valid-2026-11"))
    assert (outcome.code, outcome.out) == (2, "")
    assert "no table valid-2026-11 in" in str(outcome.errors[0])
    assert "there is valid" in str(outcome.errors[0])


# Building a corpus


@pytest.mark.parametrize(
    ("argv", "error", "words"),
    [
        ([], None, "Missing argument"),
        (["{d}/mine.yaml"], None, "Missing option '--output'"),
        (["absent", "-o", "{d}/out"], CorpusError, "the recipe absent cannot be read"),
        (["{d}/wrong.yaml", "-o", "{d}/out"], CorpusError, "wrong.yaml: unknown key voices"),
        (["{d}/mine.yaml", "-o", "{d}/out", "--folder", "music"], OptionError, "--folder 'music': expected NAME=PATH"),
        (["{d}/mine.yaml", "-o", "{d}/out", "--folder", "=x"], OptionError, "--folder '=x': expected NAME=PATH"),
        (["{d}/mine.yaml", "-o", "{d}/out", "--folder", "music="], OptionError, "expected NAME=PATH"),
        (["{d}/mine.yaml", "-o", "{d}/file"], OptionError, "file is a file: give a folder"),
        (["{d}/mine.yaml", "-o", "{d}/out", "--cache={d}/file"], OptionError, "file is a file: give a folder"),
        (["{d}/mine.yaml", "-o", "{d}/out", "--packages={d}/file"], OptionError, "file is a file: give a folder"),
        (["{d}/mine.yaml", "-o", "{d}/out", "--packages={d}/gone"], OptionError, "gone: the folder does not exist"),
        (["{d}/mine.yaml", "-o", "{d}/out", "--jobs=0"], None, "greater than or equal to 1"),
    ],
)
def test_bad_options_of_a_build(argv: list[str], error: type[Exception] | None, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("folders: [music]\n")
    (tmp_path / "wrong.yaml").write_text("voices: [music]\n")
    (tmp_path / "file").write_text("")
    outcome = run("corpus", "build", *(argument.replace("{d}", str(tmp_path)) for argument in argv))
    assert (outcome.code, outcome.out) == (2, "")
    assert [type(error) for error in outcome.errors] == ([error] if error else [])
    message = str(outcome.errors[0]) if error else " ".join(outcome.err.replace("│", " ").split())
    assert words in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ([], "the recipe mine needs the folders music: give them with --folder music=PATH"),
        (["--folder", "music={d}/gone"], "there is no such folder"),
        (["--folder", "music={d}/empty"], "no music in "),
    ],
)
def test_a_build_needs_the_folders_of_its_recipe(folders: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("folders: [music]\n")
    (tmp_path / "empty").mkdir()
    told = [argument.replace("{d}", str(tmp_path)) for argument in folders]
    outcome = run("corpus", "build", tmp_path / "mine.yaml", "-o", tmp_path / "out", *told)
    assert (outcome.code, outcome.out) == (2, "")
    assert [type(error) for error in outcome.errors] == [CorpusError]
    assert words in str(outcome.errors[0])
    assert not (tmp_path / "out" / "CLIPS.csv").exists()


# A few rows for a trial


def test_a_few_rows(music: Path, tmp_path: Path) -> None:
    table = tmp_path / "table"
    argv = ["--corpus", music, "--table", table, "--split", "valid", "--jobs", 1]
    assert labelled(*argv, "--rows", 6) == f"8 rows of valid in {table / 'valid-0000.parquet'}\n"
    rows = read_rows(table, "valid")
    corpus = Corpus(music)
    planned = plan_rows(corpus.of("valid"), "valid", 0, 8, labels.SECONDS["valid"])
    assert [(row.clip, row.seed, row.chain) for row in rows] == [(row.clip, row.seed, row.chain) for row in planned]
    assert read_corpus_digest(table / "valid-0000.parquet") == corpus.digest
    assert json.loads(labelled(*argv, "--rows", 8, "--json"))["rows"] == 8  # they are there already
    outcome = run("label", *argv, "--rows", 12)
    assert outcome.code == 2
    assert "has 8 rows, and --rows 12 would write 12: give another --table" in " ".join(outcome.err.split())
    outcome = run("label", *argv, "--rows", 4, "--shards", 1)
    assert "leave out --shards, --dense-targets and --verify" in " ".join(outcome.err.split())
