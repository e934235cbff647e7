"""`haaqi-edge train labels`: what it is asked for, it makes, and only once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import run
from haaqi_edge.training.corpus.clips.clips import Corpus
from haaqi_edge.training.data import labels
from haaqi_edge.training.data.features import Features, digest, patches_in
from haaqi_edge.training.data.labels import read
from haaqi_edge.training.data.rows import GROUP, Row

DEMO = Path(__file__).resolve().parents[2] / "demo"


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of the demo; labels cost nothing, and come eight to a shard."""
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nclean.flac,valid,demo,acoustic,20\n")
    (folder / "clean.flac").symlink_to(DEMO / "clean.flac")

    def label(rows: Sequence[Row], corpus: Corpus) -> tuple[list[Row], Features]:
        assert corpus.of("valid")
        patches = patches_in(rows[0].duration)
        planes = np.zeros((len(rows), 3, patches, 32), np.uint8)
        texture = np.zeros((len(rows), patches, 16, 32), np.float16)
        clean = np.zeros((len(rows) // GROUP, patches, 32), np.float16)
        return [replace(row, score=0.5) for row in rows], Features(texture, clean, planes, digest(rows))

    monkeypatch.setattr(labels, "label", label)
    monkeypatch.setattr(labels, "CHUNK", 4)
    monkeypatch.setattr(labels, "SHARD_ROWS", 8)
    return folder


def labelled(*argv: object) -> str:
    """What labelling prints on standard output; on standard error there is its progress alone."""
    outcome = run(*argv)
    assert outcome.code == 0
    assert all(line.endswith(" rows of valid") for line in outcome.err.splitlines())
    return outcome.out


def test_progress_is_told_without_a_terminal_and_so_is_an_interruption(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["train", "labels", "--music", music, "--table", tmp_path / "table", "--split", "valid", "--jobs", 1]
    label, calls = labels.label, list[int]()

    def interrupted(rows: Sequence[Row], corpus: Corpus) -> tuple[list[Row], Features]:
        calls.append(rows[0].seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return label(rows, corpus)

    monkeypatch.setattr(labels, "label", interrupted)
    outcome = run(*argv, "--shards", 2)
    assert outcome.code == 130
    assert outcome.err.splitlines()[0] == "4 of 16 rows of valid"
    assert "8 of 16 rows are saved: the same command goes on from there" in " ".join(outcome.err.split())
    assert run(*argv, "--shards", 2).err.splitlines() == ["12 of 16 rows of valid", "16 of 16 rows of valid"]


def test_shards_are_made_and_kept(music: Path, tmp_path: Path) -> None:
    table = tmp_path / "table"
    argv = ["train", "labels", "--music", music, "--table", table, "--split", "valid", "--jobs", 1]
    assert labelled(*argv) == f"1 shard of valid in {table}\n"
    before = (table / "valid-0000.parquet").stat().st_mtime_ns
    found = json.loads(labelled(*argv, "--shards", 2, "--json"))
    shards = [table / "valid-0000.parquet", table / "valid-0001.parquet"]
    assert found == {"split": "valid", "shards": [str(shard) for shard in shards], "rows": 16}
    assert sorted(table.iterdir()) == shards
    assert shards[0].stat().st_mtime_ns == before
    assert len(read(table, "valid")) == 16
    assert len(list((tmp_path / "table.work").glob("valid-*.npz"))) == 4


def test_features_are_kept_where_they_are_wanted(music: Path, tmp_path: Path) -> None:
    argv = ["train", "labels", "--music", music, "--table", tmp_path / "table", "--split", "valid", "--jobs", 1]
    labelled(*argv, "--work", tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere").glob("valid-*.npz"))) == 2
    labelled(*argv, "--shards", 2, "--work", tmp_path / "none", "--no-features")
    assert list((tmp_path / "none").iterdir()) == []
