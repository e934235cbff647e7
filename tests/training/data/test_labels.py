"""The label table: made chunk by chunk, written and read back, and made again from its own rows."""

from __future__ import annotations

import csv
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from haaqi_edge.haaqi.index import Haaqi, Listener, Reference
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.levels import LEVEL1
from haaqi_edge.runtime.errors import CorpusError, OptionError, WorkerError
from haaqi_edge.training.corpus.clips import Clip, Corpus
from haaqi_edge.training.data import labels
from haaqi_edge.training.data.features import patches_in, rows_digest
from haaqi_edge.training.data.labels import (
    SECONDS,
    VERIFY_TOLERANCE,
    LabelledRows,
    Labelling,
    label_rows,
    read_corpus_digest,
    read_rows,
    shard_paths,
    table_names,
    targets_path,
    verify_table,
    write_rows,
)
from haaqi_edge.training.data.rendering import render_row
from haaqi_edge.training.data.rows import GROUP, SPLITS, SYNTHETIC, Row, plan_rows
from haaqi_edge.training.data.targets import dense_targets, dequantize_targets, quantize_targets
from haaqi_edge.training.degradations import parse_chain
from haaqi_edge.training.degradations.sampling import is_unseen
from voices import write_bank

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = ROOT / "training" / "table"
SOME = 20
"""committed rows that are made again"""
CLIPS = [Clip(f"song-{i}.flac", "train", "us", "folk", 7.0 + i) for i in range(7)]
UNLABELLED = dict.fromkeys(Haaqi._fields, float("nan"))


@pytest.fixture
def small(tmp_path: Path) -> Corpus:
    """A corpus of the two demo files, and one of silence; with a speech bank."""
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "CLIPS.csv").write_text(
        "clip,split,source,genre,duration_s\n"
        "clean.flac,train,demo,acoustic,20\ndegraded.flac,valid,demo,acoustic,20\nsilent.flac,test,none,none,12\n"
    )
    for name in ("clean.flac", "degraded.flac"):
        (folder / name).symlink_to(ROOT / "demo" / name)
    soundfile.write(folder / "silent.flac", np.zeros(12 * 24_000), 24_000)
    write_bank(folder / "speech")
    return Corpus(folder)


def scores(row: Row) -> tuple[float, ...]:
    return tuple(getattr(row, name) for name in Haaqi._fields)


def assert_same(rows: Sequence[Row], others: Sequence[Row]) -> None:
    """Equal rows; scores that are not there yet, NaN, count as equal."""
    assert [str(row) for row in rows] == [str(row) for row in others]


def unlabelled(row: Row) -> Row:
    return dataclasses.replace(row, **UNLABELLED)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# Labels


def test_a_label_is_the_haaqi_of_what_the_row_recreates(small: Corpus) -> None:
    rows = plan_rows(small.of("train"), "train", 4, 8, 0.6)
    done, dense = label_rows(rows, small, targets=True)
    assert_same([unlabelled(row) for row in done], rows)
    patches = patches_in(0.6)
    assert dense is not None
    assert dense.shape == (8, 3, patches, 32)
    assert dense.dtype == np.uint8
    assert np.isfinite(dequantize_targets(dense)).any()
    for place in (1, 6):
        clean, presented, rate = render_row(rows[place], small)
        reference = Reference(clean, rate, Listener(Audiogram(rows[place].audiogram), level1=LEVEL1))
        expected, tiles = reference.compare(presented, rate)
        assert scores(done[place]) == expected
        np.testing.assert_array_equal(dense[place], quantize_targets(dense_targets(tiles, patches)))
    again, alone = label_rows(rows[4:], small, targets=True)  # whatever else is labelled
    assert again == done[4:]
    assert alone is not None
    np.testing.assert_array_equal(alone, dense[4:])
    assert label_rows(rows[4:], small) == LabelledRows(done[4:], None)


def test_silence_has_no_label(small: Corpus) -> None:
    with pytest.raises(CorpusError, match=r"silent\.flac is silent from"):
        label_rows(plan_rows(small.of("test"), "test", 0, 4, 2.0), small)


def test_a_clip_that_is_shorter_than_its_row_has_no_label(small: Corpus) -> None:
    table = small.folder / "CLIPS.csv"
    table.write_text(table.read_text().replace("acoustic,20", "acoustic,90"))
    rows = [
        dataclasses.replace(row, start=18.5) for row in plan_rows(Corpus(small.folder).of("valid"), "valid", 0, 4, 5.0)
    ]
    with pytest.raises(CorpusError, match=r"degraded\.flac has 1\.\d+ s from 18\.5 s on, expected 5: check"):
        label_rows(rows, Corpus(small.folder))


def test_rows_with_speech_need_a_speech_bank(small: Corpus, tmp_path: Path) -> None:
    row = dataclasses.replace(plan_rows(small.of("train"), "train", 0, 1, 0.6)[0], chain="talker(snr=5,talkers=1)")
    ((labelled,), _) = label_rows([row], small)
    assert 0 < labelled.score < 1
    silent = tmp_path / "silent"
    silent.mkdir()
    for path in small.folder.iterdir():
        if path.name != "speech":
            (silent / path.name).symlink_to(path)
    with pytest.raises(OptionError, match="talker needs the voices of a speech bank"):
        label_rows([row], Corpus(silent))


# Labelling


class StandIn:
    """Labels at once, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.fails_at = -1

    def __call__(self, rows: Sequence[Row], corpus: Corpus, targets: bool = False) -> LabelledRows:
        assert corpus.of("train")
        number = rows[0].seed // 3 // labels.CHUNK
        if number == self.fails_at:
            raise CorpusError("cannot read a clip")
        self.asked.append(number)
        dense = np.full((len(rows), 3, patches_in(rows[0].duration), 32), number, np.uint8)
        return LabelledRows([dataclasses.replace(row, score=0.25) for row in rows], dense if targets else None)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Instead of `label_rows`; chunks of 8 rows, shards of 24."""
    monkeypatch.setattr(labels, "CHUNK", 8)
    monkeypatch.setattr(labels, "SHARD_ROWS", 24)
    stand_in = StandIn()
    monkeypatch.setattr(labels, "label_rows", stand_in)
    return stand_in


@pytest.fixture
def labelling(small: Corpus, tmp_path: Path) -> Labelling:
    return Labelling(small, "train", tmp_path / "table", tmp_path / "work")


def planned(labelling: Labelling, count: int) -> list[Row]:
    rows = plan_rows(labelling.corpus.of("train"), "train", 0, count, SECONDS["train"])
    return [dataclasses.replace(row, score=0.25) for row in rows]


def test_chunks_become_shards(labelling: Labelling, stand_in: StandIn) -> None:
    seen: list[int] = []
    labelling.run(0, 32, jobs=1, on_chunk=seen.append)
    assert seen == stand_in.asked == [0, 1, 2, 3]
    assert names(labelling.table) == ["train-0000.parquet"]
    assert names(labelling.work) == ["train-000003.parquet"]
    assert_same(read_rows(labelling.table, "train"), planned(labelling, 24))
    labelling.run(32, 48, jobs=1)
    assert names(labelling.table) == ["train-0000.parquet", "train-0001.parquet"]
    assert_same(read_rows(labelling.table, "train"), planned(labelling, 48))
    assert names(labelling.work) == []


def test_shards_and_chunks_name_their_corpus(labelling: Labelling, stand_in: StandIn) -> None:
    labelling.run(0, 32, jobs=1)
    assert stand_in.asked == [0, 1, 2, 3]
    assert read_corpus_digest(labelling.shard(0)) == labelling.corpus.digest
    assert read_corpus_digest(labelling.chunk(3)) == labelling.corpus.digest
    assert pyarrow.parquet.read_schema(labelling.shard(0)).metadata[b"corpus"].decode() == labelling.corpus.digest


def test_dense_targets_are_kept_of_as_many_rows_as_asked_for(labelling: Labelling, stand_in: StandIn) -> None:
    dataclasses.replace(labelling, targets=16).run(0, 24, jobs=1)
    assert stand_in.asked == [0, 1, 2]
    kept = [targets_path(labelling.work, "train", number) for number in range(3)]
    assert [path.exists() for path in kept] == [True, True, False]
    assert names(labelling.work) == ["targets"]
    assert names(labelling.work / "targets") == ["train-000000.npz", "train-000001.npz"]
    rows = planned(labelling, 16)
    for number in range(2):
        with np.load(kept[number]) as file:
            assert file["targets"].shape == (8, 3, patches_in(5.2), 32)
            assert (file["targets"] == number).all()
            assert str(file["digest"]) == rows_digest(rows[8 * number :][:8])


def test_labelling_goes_on_where_it_was_stopped(labelling: Labelling, stand_in: StandIn) -> None:
    stand_in.fails_at = 2
    with pytest.raises(CorpusError, match="cannot read a clip"):
        labelling.run(0, 48, jobs=1)
    assert stand_in.asked == [0, 1]
    assert names(labelling.table) == []
    assert names(labelling.work) == ["train-000000.parquet", "train-000001.parquet"]
    stand_in.fails_at = -1
    assert labelling.missing_chunks(0, 48) == [2, 3, 4, 5]
    labelling.run(0, 48, jobs=1)
    assert stand_in.asked == [0, 1, 2, 3, 4, 5]
    assert_same(read_rows(labelling.table, "train"), planned(labelling, 48))
    labelling.run(0, 48, jobs=1)
    assert len(stand_in.asked) == 6


def test_a_shard_that_is_there_is_kept(labelling: Labelling, stand_in: StandIn) -> None:
    labelling.run(0, 24, jobs=1)
    shard = labelling.shard(0)
    before = shard.read_bytes()
    # As if it had been stopped between the shard's last byte and the chunks' removal.
    write_rows(labelling.chunk(1), planned(labelling, 8))
    labelling.run(0, 32, jobs=1)
    assert stand_in.asked == [0, 1, 2, 3]
    assert shard.read_bytes() == before
    assert not labelling.chunk(1).exists()
    assert labelling.chunk(3).exists()


@pytest.mark.parametrize("rows", [8, 24])
def test_labels_of_another_corpus_are_not_gone_on_with(
    rows: int, labelling: Labelling, stand_in: StandIn, tmp_path: Path
) -> None:
    labelling.run(0, rows, jobs=1)  # a chunk, or a whole shard
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nother.flac,train,x,y,10\n")
    other = Corpus(folder)
    words = rf"corpus {labelling.corpus.digest}, expected {other.digest} as in .*other\): give this corpus a table"
    with pytest.raises(CorpusError, match=words):
        dataclasses.replace(labelling, corpus=other).run(0, 24, jobs=1)
    assert len(stand_in.asked) == rows // 8


def test_a_corpus_with_other_voices_is_another_one(labelling: Labelling, stand_in: StandIn) -> None:
    labelling.run(0, 8, jobs=1)
    voices = labelling.corpus.folder / "speech" / "VOICES.csv"
    voices.write_text(voices.read_text().replace(",0\n", ",1\n", 1))  # the checksum of a voice
    other = Corpus(labelling.corpus.folder)
    assert [clip.path for clip in other.clips] == [clip.path for clip in labelling.corpus.clips]
    with pytest.raises(CorpusError, match=f"corpus {labelling.corpus.digest}, expected {other.digest}"):
        dataclasses.replace(labelling, corpus=other).run(0, 16, jobs=1)
    assert stand_in.asked == [0]


@pytest.mark.parametrize("change", ["rows", "count", "damage"])
def test_other_rows_of_the_same_corpus_are_not_gone_on_with(
    change: str, labelling: Labelling, stand_in: StandIn
) -> None:
    rows = planned(labelling, 8)
    rows[1] = dataclasses.replace(rows[1], seed=5) if change == "rows" else rows[1]
    write_rows(labelling.chunk(0), rows[:4] if change == "count" else rows, labelling.corpus.digest)
    if change == "damage":
        labelling.chunk(0).write_bytes(labelling.chunk(0).read_bytes()[:-9])
    with pytest.raises(CorpusError, match="is damaged" if change == "damage" else "rows of another corpus or plan"):
        labelling.run(0, 16, jobs=1)
    assert stand_in.asked == []


def test_rows_within_chunks_ask_for_whole_ones(labelling: Labelling, stand_in: StandIn) -> None:
    assert labelling.missing_chunks(9, 17) == [1, 2]
    labelling.run(9, 15, jobs=1)
    assert stand_in.asked == [1]
    assert labelling.missing_chunks(0, 24) == [0, 2]


def test_splits_keep_apart(labelling: Labelling, stand_in: StandIn) -> None:
    labelling.run(0, 24, jobs=1)
    other = dataclasses.replace(labelling, split="valid")
    other.run(0, 24, jobs=1)
    assert names(labelling.table) == ["train-0000.parquet", "valid-0000.parquet"]
    assert {row.clip for row in read_rows(labelling.table, "valid")} == {"degraded.flac"}
    assert names(labelling.work) == []
    assert len(stand_in.asked) == 6


@pytest.mark.parametrize("at", ["targets", "rows"])
def test_a_full_disk_leaves_nothing_half_written(
    at: str, labelling: Labelling, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **_: Any) -> None:
        for value in given:
            if isinstance(value, Path):
                value.write_bytes(b"a part")
            elif hasattr(value, "write"):
                value.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    dense = dataclasses.replace(labelling, targets=24)
    with monkeypatch.context() as patch:
        patch.setattr(*((np, "savez_compressed") if at == "targets" else (pyarrow.parquet, "write_table")), full)
        with pytest.raises(OptionError, match=r"cannot write .*000000.*No space left on device.*free some space"):
            dense.run(0, 8, jobs=1)
    assert not labelling.chunk(0).exists()
    assert [path for path in labelling.work.rglob("*") if ".part" in path.name] == []
    assert targets_path(labelling.work, "train", 0).exists() == (at == "rows")
    labelling.collect()
    assert labelling.missing_chunks(0, 8) == [0]
    dense.run(0, 24, jobs=1)
    assert_same(read_rows(labelling.table, "train"), planned(labelling, 24))
    assert stand_in.asked == [0, 0, 1, 2]


def test_a_disk_that_is_full_for_a_shard_keeps_its_chunks(
    labelling: Labelling, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = pyarrow.parquet.write_table

    def full(table: Any, path: Path, **how: Any) -> None:
        if table.num_rows == 24:
            path.write_bytes(b"a part")
            raise OSError(errno.ENOSPC, "No space left on device")
        written(table, path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.parquet, "write_table", full)
        with pytest.raises(OptionError, match=r"cannot write .*train-0000\.parquet"):
            labelling.run(0, 24, jobs=1)
    assert names(labelling.table) == []
    assert len(names(labelling.work)) == 3
    labelling.run(0, 24, jobs=1)
    assert_same(read_rows(labelling.table, "train"), planned(labelling, 24))
    assert stand_in.asked == [0, 1, 2]


def test_a_folder_that_takes_no_files(labelling: Labelling, stand_in: StandIn) -> None:
    labelling.work.write_text("a file")
    with pytest.raises(OptionError, match=r"cannot write .*train\.lock"):
        labelling.run(0, 8, jobs=1)
    assert stand_in.asked == []


def test_as_many_processes_as_asked_for_label(
    labelling: Labelling, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Recorded:
        def __init__(self, **settings: Any) -> None:
            asked.append(settings)

        def __call__(self, work: Any) -> list[int]:
            return [function(*arguments, **named) for function, arguments, named in work]

    monkeypatch.setattr(joblib, "Parallel", Recorded)
    labelling.run(0, 64, jobs=7)
    assert asked == [{"n_jobs": 7, "return_as": "generator_unordered"}]
    assert stand_in.asked == list(range(8))


HOLDER = """
import sys, time
from pathlib import Path
from haaqi_edge.training.locks import hold_lock
with hold_lock(Path(sys.argv[1]), RuntimeError):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("folder", ["table", "work"])
def test_one_process_labels_a_split_at_a_time(folder: str, labelling: Labelling, stand_in: StandIn) -> None:
    """The other process is named, other splits are free, and a killed process leaves nothing locked."""
    pytest.importorskip("fcntl")
    lock = getattr(labelling, folder) / "train.lock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(
            OptionError, match=rf"process {other.pid} on .* labels train in .*table.*: wait until it ends"
        ):
            labelling.run(0, 8, jobs=1)
        assert stand_in.asked == []
        dataclasses.replace(labelling, split="valid").run(0, 8, jobs=1)
        assert stand_in.asked == [0]
        other.kill()
    assert lock.exists()
    missing: list[int] = []
    labelling.run(0, 24, jobs=1, on_start=missing.append)
    assert missing == [3]
    assert names(labelling.table) == ["train-0000.parquet"]
    assert names(labelling.work) == ["valid-000000.parquet"]


@pytest.mark.slow
def test_a_killed_worker_is_reported_and_finished_chunks_stay(
    labelling: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Defined here, the class is sent to the processes by value: they could not import it.
    class Killed(Labelling):
        """Labels at once; the process that is given chunk 2 is killed as soon as the others are done."""

        def label_chunk(self, number: int) -> int:
            if number == 2:
                while not (self.chunk(0).exists() and self.chunk(1).exists()):
                    time.sleep(0.02)
                os.kill(os.getpid(), signal.SIGKILL)
            rows = plan_rows(self.corpus.of("train"), "train", number * 200, 200, 5.2)
            write_rows(self.chunk(number), [dataclasses.replace(row, score=0.25) for row in rows], self.corpus.digest)
            return number

    assert labels.CHUNK == 200
    killed = Killed(labelling.corpus, "train", labelling.table, labelling.work)
    with pytest.raises(WorkerError, match=r"one of 2 processes was ended from outside.*fewer --jobs, then resume"):
        killed.run(0, 600, jobs=2)
    assert labelling.missing_chunks(0, 600) == [2]
    assert names(labelling.work) == ["train-000000.parquet", "train-000001.parquet"]
    monkeypatch.setattr(labels, "label_rows", StandIn())
    labelling.run(0, 600, jobs=2)
    assert labelling.missing_chunks(0, 600) == []
    rows = [row for number in range(3) for row in labels._read_shard(labelling.chunk(number))]
    assert_same(rows, planned(labelling, 600))


# Verification


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """The folder of a table of 8 rows, and their corpus."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nclean.flac,valid,demo,acoustic,20\n")
    (folder / "clean.flac").symlink_to(ROOT / "demo" / "clean.flac")
    write_bank(folder / "speech")
    corpus = Corpus(folder)
    done = label_rows(plan_rows(corpus.of("valid"), "valid", 0, 8, 0.6), corpus).rows
    write_rows(folder / "table" / "valid-0000.parquet", done, corpus.digest)
    return folder / "table", corpus


@pytest.mark.slow
def test_verifying_makes_the_same_scores_again(tiny: tuple[Path, Corpus]) -> None:
    table, corpus = tiny
    found = list(verify_table(table, "valid", corpus, 5))
    assert len({result.row.seed for result in found}) == 5
    assert all(result.row in read_rows(table, "valid") for result in found)
    assert max(result.difference for result in found) < 1e-6
    assert [result.row for result in verify_table(table, "valid", corpus, 5)] == [result.row for result in found]
    others = verify_table(table, "valid", corpus, 5, seed=3)
    assert [result.row for result in others] != [result.row for result in found]
    assert len(list(verify_table(table, "valid", corpus, 100))) == 8


def test_verifying_finds_a_score_that_is_off(tiny: tuple[Path, Corpus], tmp_path: Path) -> None:
    table, corpus = tiny
    rows = read_rows(table, "valid")
    rows[3] = dataclasses.replace(rows[3], score=rows[3].score + 0.01)
    write_rows(tmp_path / "valid-0000.parquet", rows, corpus.digest)
    off = [result for result in verify_table(tmp_path, "valid", corpus, 8) if result.difference > VERIFY_TOLERANCE]
    assert [result.row.seed for result in off] == [rows[3].seed]
    assert off[0].difference == pytest.approx(0.01, abs=1e-5)


def test_older_tables_are_verified_with_the_music_inside(tiny: tuple[Path, Corpus], tmp_path: Path) -> None:
    table, inside = tiny
    (tmp_path / "music").symlink_to(inside.folder)
    (tmp_path / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nnew.flac,valid,new,jazz,20\n")
    (tmp_path / "valid-2026-11-0000.parquet").write_bytes((table / "valid-0000.parquet").read_bytes())
    (result,) = verify_table(tmp_path, "valid-2026-11", Corpus(tmp_path), 1)
    assert result.difference < 1e-6


def test_verifying_needs_the_table_and_its_clips(tiny: tuple[Path, Corpus], tmp_path: Path) -> None:
    table, corpus = tiny
    with pytest.raises(
        CorpusError,
        match=r"there is valid\. Make it with `haaqi-edge label .* --table .* --split test`",
    ):
        next(verify_table(table, "test", corpus, 1))
    (tmp_path / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nnew.flac,valid,new,jazz,20\n")
    with pytest.raises(CorpusError, match=r"clean\.flac does not exist"):
        next(verify_table(table, "valid", Corpus(tmp_path), 1))


# Files


def test_rows_survive_being_written(tmp_path: Path) -> None:
    rows = [dataclasses.replace(row, score=i / 8) for i, row in enumerate(plan_rows(CLIPS, "train", 0, 8, 4.0))]
    write_rows(tmp_path / "table" / "train-0001.parquet", rows[4:])
    write_rows(tmp_path / "table" / "train-0000.parquet", rows[:4])
    write_rows(tmp_path / "table" / "valid-0000.parquet", rows[:1])
    assert_same(read_rows(tmp_path / "table", "train"), rows)
    assert names(tmp_path / "table") == ["train-0000.parquet", "train-0001.parquet", "valid-0000.parquet"]


def test_tables_are_told_apart_by_name(tmp_path: Path) -> None:
    rows = plan_rows(CLIPS, "train", 0, 8, 4.0)
    assert table_names(tmp_path) == []
    for name, part, corpus in (
        ("train-0000", rows[:2], "abc"),
        ("train-2026-11-0000", rows[2:5], None),
        ("train-2026-11-0001", rows[5:], None),
        ("train-000000", rows, "abc"),  # a chunk, not a shard
    ):
        write_rows(tmp_path / f"{name}.parquet", part, corpus)
    assert table_names(tmp_path) == ["train", "train-2026-11"]
    assert_same(read_rows(tmp_path, "train"), rows[:2])
    assert_same(read_rows(tmp_path, "train-2026-11"), rows[2:])
    assert [path.name for path in shard_paths(tmp_path, "train-2026-11")] == [
        "train-2026-11-0000.parquet",
        "train-2026-11-0001.parquet",
    ]
    assert read_corpus_digest(shard_paths(tmp_path, "train")[0]) == "abc"
    assert read_corpus_digest(shard_paths(tmp_path, "train-2026-11")[0]) is None
    with pytest.raises(CorpusError, match=r"no table test-2026-11 in .*; there is train, train-2026-11$"):
        read_rows(tmp_path, "test-2026-11")


def test_scores_are_single_precision(tmp_path: Path) -> None:
    row = dataclasses.replace(plan_rows(CLIPS, "train", 0, 1, 4.0)[0], score=1 / 7, start=1 / 7)
    write_rows(tmp_path / "train-0000.parquet", [row])
    (got,) = read_rows(tmp_path, "train")
    assert got.score == np.float32(1 / 7)
    assert got.start == 1 / 7


def test_columns_that_later_versions_add_are_passed_over(tmp_path: Path) -> None:
    row = plan_rows(CLIPS, "train", 0, 1, 4.0)[0]
    table = pyarrow.Table.from_pylist([dataclasses.asdict(row) | {"mos": 3.5}])
    pyarrow.parquet.write_table(table, tmp_path / "train-0000.parquet")
    assert_same(read_rows(tmp_path, "train"), [row])


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no table train in .*; there is none"), (b"PAR1", "is damaged"), (b"", "is damaged")],
)
def test_other_tables_are_refused(content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "train-0000.parquet").write_bytes(content)
        with pytest.raises(CorpusError, match=words):
            read_corpus_digest(tmp_path / "train-0000.parquet")
    with pytest.raises(CorpusError, match=words):
        read_rows(tmp_path, "train")


@pytest.mark.parametrize("drop", ["clip", "audiogram", "seed", "variation"])
def test_a_table_without_a_column_is_refused(drop: str, tmp_path: Path) -> None:
    values = dataclasses.asdict(plan_rows(CLIPS, "train", 0, 1, 4.0)[0])
    del values[drop]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([values]), tmp_path / "train-0000.parquet")
    with pytest.raises(CorpusError, match=f"part of a label table .*{drop}"):
        read_rows(tmp_path, "train")


# The committed tables

OLD = ("test-2026-11", "train-2026-11", "valid-2026-11")
"""of music in the reference material alone"""
NAMES = table_names(COMMITTED)
NEW = [name for name in NAMES if name not in OLD]
"""of a built corpus, which holds that music too"""
_kept: dict[str, list[Row]] = {}


def committed(name: str) -> list[Row]:
    """The rows of a committed table."""
    if name not in _kept:
        _kept[name] = read_rows(COMMITTED, name)
    return _kept[name]


@pytest.fixture(scope="module", autouse=True)
def forget() -> Iterator[None]:
    yield
    _kept.clear()


@pytest.fixture(scope="module")
def music(shared: Path) -> Corpus:
    return Corpus(shared / "music")


def split_of(name: str) -> str:
    return name.removesuffix("-2026-11")


def test_the_tables_are_known_ones() -> None:
    assert set(OLD) <= set(NAMES)
    assert set(NEW) <= set(SPLITS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_committed_table_is_whole(name: str) -> None:
    rows = committed(name)
    places = [int(path.stem.rsplit("-", 1)[1]) for path in shard_paths(COMMITTED, name)]
    assert places == list(range(len(places)))
    assert len(rows) == labels.SHARD_ROWS * len(places)
    assert {(row.split, row.duration) for row in rows} == {(split_of(name), SECONDS[rows[0].split])}
    assert len({row.seed for row in rows}) == len(rows)
    values = np.array([scores(row) for row in rows])
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= 1 + 1e-6).all()
    assert values[:, 0].std() > 0.1
    nonlinear, linear = values[:, 1], values[:, 2]
    index = 0.336 * nonlinear + 0.001 * linear + 0.501 * nonlinear**2 + 0.161 * linear**2
    np.testing.assert_allclose(values[:, 0], index, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_committed_rows_come_in_groups(name: str) -> None:
    rows = committed(name)
    for start in range(0, len(rows), GROUP):
        group = rows[start : start + GROUP]
        assert len({(row.clip, row.start, row.variation, row.level, row.audiogram) for row in group}) == 1
        assert len({(row.chain, row.aid) for row in group}) == GROUP


@pytest.mark.parametrize("name", NAMES)
def test_only_test_splits_hold_unseen_conditions(name: str) -> None:
    unseen = np.mean([is_unseen(row.chain) for row in committed(name)[:: GROUP + 1]])
    assert 0.05 < unseen < 0.3 if split_of(name) == "test" else unseen == 0


def test_the_new_tables_are_made_from_one_corpus() -> None:
    for name in OLD:
        assert {read_corpus_digest(path) for path in shard_paths(COMMITTED, name)} == {None}
    digests = {read_corpus_digest(path) for name in NEW for path in shard_paths(COMMITTED, name)}
    assert None not in digests
    assert len(digests) == bool(NEW)


def test_no_split_hears_anothers_music(music: Corpus) -> None:
    known = {clip.path: clip for clip in music.clips}
    recorded = {name: {row.clip for row in committed(name)} for name in OLD}
    for name, clips in recorded.items():
        assert split_of(name) == "train" or not any(clip.startswith(SYNTHETIC) for clip in clips)
        assert {known[clip].split for clip in clips if not clip.startswith(SYNTHETIC)} == {split_of(name)}
    with (music.folder / "CLIPS.csv").open(newline="", encoding="utf-8") as file:
        tracks = {row["clip"]: (row["source"], row["track"]) for row in csv.DictReader(file)}
    heard = [{tracks[clip] for clip in clips if not clip.startswith(SYNTHETIC)} for clips in recorded.values()]
    other = [{tracks[clip.path] for clip in music.of(split)} for split in SPLITS]
    for parts in (heard, other):
        assert all(parts)
        assert all(not a & b for a, b in combinations(parts, 2))


def test_no_split_of_a_built_corpus_hears_anothers_music(music: Corpus) -> None:
    known = {clip.path: clip for clip in music.clips}
    tracks, sources = [], []
    for name in NEW:
        clips = {row.clip for row in committed(name)}
        assert split_of(name) == "train" or not any(clip.startswith(SYNTHETIC) for clip in clips)
        inside = {clip.removeprefix("music/") for clip in clips if clip.startswith("music/")}
        assert {known[clip].split for clip in inside} <= {name}
        tracks.append({clip.rsplit("-", 1)[0] for clip in clips if not clip.startswith((SYNTHETIC, "music/"))})
        sources.append({track.split("/")[0] for track in tracks[-1]} - {"rendered"})
    for parts in (tracks, sources):
        assert all(parts)
        assert all(not a & b for a, b in combinations(parts, 2))


@pytest.mark.slow
def test_committed_scores_are_made_again(music: Corpus) -> None:
    rows = [row for name in OLD for row in committed(name)]
    for place in np.random.default_rng(20).choice(len(rows), SOME, replace=False):
        ((again,), _) = label_rows([unlabelled(rows[place])], music)
        np.testing.assert_allclose(again.score, rows[place].score, atol=VERIFY_TOLERANCE, err_msg=str(rows[place]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NEW)
def test_scores_of_a_built_corpus_are_made_again_where_its_music_is_at_hand(
    name: str, music: Corpus, tmp_path: Path
) -> None:
    rows = [
        row
        for row in committed(name)
        if row.clip.startswith("music/") and not any(entry.needs_speech for entry, _ in parse_chain(row.chain))
    ]
    chosen = [rows[place] for place in np.random.default_rng(20).choice(len(rows), SOME // 4, replace=False)]
    (tmp_path / "music").symlink_to(music.folder)
    clips = sorted({row.clip for row in chosen})
    lines = ["clip,split,source,genre,duration_s", *(f"{clip},{name},x,x,12" for clip in clips)]
    (tmp_path / "CLIPS.csv").write_text("\n".join(lines) + "\n")
    for row in chosen:
        ((again,), _) = label_rows([unlabelled(row)], Corpus(tmp_path))
        np.testing.assert_allclose(again.score, row.score, atol=VERIFY_TOLERANCE, err_msg=str(row))
