"""The label table: made chunk by chunk, written and read back, and made again from its own rows."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from haaqi_edge.haaqi.index import Ear, Haaqi, Reference
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.clips.clips import Clip, Corpus
from haaqi_edge.training.data import labels
from haaqi_edge.training.data.features import Features, digest, patches_in
from haaqi_edge.training.data.labels import SECONDS, Labelling, feature_file, features_of, label, read, write
from haaqi_edge.training.data.rendering import present
from haaqi_edge.training.data.rows import COMPOSED, GROUP, SPLITS, Row, plan
from haaqi_edge.training.data.targets import from_bytes
from haaqi_edge.training.degradations.sampling import is_unseen

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = ROOT / "training" / "table"
RECREATED = 5e-4
"""how far another processor or numpy may move a committed score"""
SOME = 20
"""committed rows that are made again"""
CLIPS = [Clip(f"song-{i}.flac", "train", "us", "folk", 7.0 + i) for i in range(7)]
UNLABELLED = dict.fromkeys(Haaqi._fields, float("nan"))


@pytest.fixture
def small(tmp_path: Path) -> Corpus:
    """A corpus of the two demo files, and one of silence."""
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "CLIPS.csv").write_text(
        "clip,split,source,genre,duration_s\n"
        "clean.flac,train,demo,acoustic,20\ndegraded.flac,valid,demo,acoustic,20\nsilent.flac,test,none,none,12\n"
    )
    for name in ("clean.flac", "degraded.flac"):
        (folder / name).symlink_to(ROOT / "demo" / name)
    soundfile.write(folder / "silent.flac", np.zeros(12 * 24_000), 24_000)
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
    rows = plan(small.of("train"), "train", 4, 8, 0.6)
    done, features = label(rows, small)
    assert_same([unlabelled(row) for row in done], rows)
    for row in (done[1], done[6]):
        clean, presented, rate = present(row, small)
        assert scores(row) == Reference(clean, rate, Ear(Audiogram(row.audiogram))).score(presented, rate)
    patches = patches_in(0.6)
    assert features.texture.shape == (8, patches, 16, 32)
    assert features.clean.shape == (2, patches, 32)
    assert features.profile.shape == (8, 3, patches, 32)
    assert features.digest == digest(rows)
    assert np.isfinite(features.texture).all()
    assert np.isfinite(from_bytes(features.profile)).any()
    again, alone = label(rows[4:], small)  # whatever else is labelled
    assert again == done[4:]
    np.testing.assert_array_equal(alone.texture, features.texture[4:])
    np.testing.assert_array_equal(alone.profile, features.profile[4:])


def test_silence_has_no_label(small: Corpus) -> None:
    with pytest.raises(CorpusError, match=r"silent\.flac is silent from"):
        label(plan(small.of("test"), "test", 0, 4, 2.0), small)


# Labelling


class StandIn:
    """Labels at once, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.fails_at = -1

    def __call__(self, rows: Sequence[Row], corpus: Corpus) -> tuple[list[Row], Features]:
        assert corpus.of("train")
        number = rows[0].seed // 3 // labels.CHUNK
        if number == self.fails_at:
            raise CorpusError("cannot read a clip")
        self.asked.append(number)
        patches = patches_in(rows[0].duration)
        features = Features(
            np.zeros((len(rows), patches, 16, 32), np.float16),
            np.zeros((len(rows) // GROUP, patches, 32), np.float16),
            np.zeros((len(rows), 3, patches, 32), np.uint8),
            digest(rows),
        )
        return [dataclasses.replace(row, score=0.25) for row in rows], features


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Instead of `label`; chunks of 8 rows, shards of 24."""
    monkeypatch.setattr(labels, "CHUNK", 8)
    monkeypatch.setattr(labels, "SHARD_ROWS", 24)
    stand_in = StandIn()
    monkeypatch.setattr(labels, "label", stand_in)
    return stand_in


@pytest.fixture
def labelling(small: Corpus, tmp_path: Path) -> Labelling:
    return Labelling(small, "train", tmp_path / "table", tmp_path / "work")


def planned(labelling: Labelling, count: int) -> list[Row]:
    rows = plan(labelling.corpus.of("train"), "train", 0, count, SECONDS["train"])
    return [dataclasses.replace(row, score=0.25) for row in rows]


def test_chunks_become_shards(labelling: Labelling, stand_in: StandIn) -> None:
    seen: list[int] = []
    labelling.run(0, 32, jobs=1, done=seen.append)
    assert seen == stand_in.asked == [0, 1, 2, 3]
    assert names(labelling.table) == ["train-0000.parquet"]
    assert [name for name in names(labelling.work) if name.endswith(".parquet")] == ["train-000003.parquet"]
    assert [name for name in names(labelling.work) if name.endswith(".npz")] == [f"train-{n:06d}.npz" for n in range(4)]
    assert_same(read(labelling.table, "train"), planned(labelling, 24))
    labelling.run(32, 48, jobs=1)
    assert names(labelling.table) == ["train-0000.parquet", "train-0001.parquet"]
    assert_same(read(labelling.table, "train"), planned(labelling, 48))


def test_labelling_goes_on_where_it_was_stopped(labelling: Labelling, stand_in: StandIn) -> None:
    stand_in.fails_at = 2
    with pytest.raises(CorpusError, match="cannot read a clip"):
        labelling.run(0, 48, jobs=1)
    assert stand_in.asked == [0, 1]
    assert names(labelling.table) == []
    assert not any(".part" in name for name in names(labelling.work))
    stand_in.fails_at = -1
    assert labelling.missing(0, 48) == [2, 3, 4, 5]
    labelling.run(0, 48, jobs=1)
    assert stand_in.asked == [0, 1, 2, 3, 4, 5]
    assert_same(read(labelling.table, "train"), planned(labelling, 48))
    labelling.run(0, 48, jobs=1)
    assert len(stand_in.asked) == 6


def test_a_shard_that_is_there_is_kept(labelling: Labelling, stand_in: StandIn) -> None:
    labelling.run(0, 24, jobs=1)
    shard = labelling.shard(0)
    before = shard.read_bytes()
    # As if it had been stopped between the shard's last byte and the chunks' removal.
    write(labelling.chunk(1), planned(labelling, 8))
    labelling.run(0, 32, jobs=1)
    assert stand_in.asked == [0, 1, 2, 3]
    assert shard.read_bytes() == before
    assert not labelling.chunk(1).exists()
    assert labelling.chunk(3).exists()


@pytest.mark.parametrize("rows", [8, 24])
def test_labels_of_other_music_are_not_gone_on_with(
    rows: int, labelling: Labelling, stand_in: StandIn, tmp_path: Path
) -> None:
    labelling.run(0, rows, jobs=1)  # a chunk, or a whole shard
    other = tmp_path / "other"
    other.mkdir()
    (other / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nother.flac,train,x,y,10\n")
    with pytest.raises(CorpusError, match=r"holds rows of other music than .*other"):
        dataclasses.replace(labelling, corpus=Corpus(other)).run(0, 24, jobs=1)
    assert len(stand_in.asked) == rows // 8


def test_rows_within_chunks_ask_for_whole_ones(labelling: Labelling, stand_in: StandIn) -> None:
    assert labelling.missing(9, 17) == [1, 2]
    labelling.run(9, 15, jobs=1)
    assert stand_in.asked == [1]
    assert labelling.missing(0, 24) == [0, 2]


def test_splits_keep_apart(labelling: Labelling, stand_in: StandIn) -> None:
    labelling.run(0, 24, jobs=1)
    other = dataclasses.replace(labelling, split="valid", keep_features=False)
    other.run(0, 24, jobs=1)
    assert names(labelling.table) == ["train-0000.parquet", "valid-0000.parquet"]
    assert {row.clip for row in read(labelling.table, "valid")} == {"degraded.flac"}
    assert not any(name.startswith("valid") for name in names(labelling.work))
    assert len(stand_in.asked) == 6


@pytest.mark.parametrize("at", ["features", "rows"])
def test_nothing_half_written_is_taken_for_a_chunk(
    at: str, labelling: Labelling, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **_: Any) -> None:
        path = next(value for value in given if isinstance(value, Path))
        path.write_bytes(b"a part")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((np, "savez") if at == "features" else (pyarrow.parquet, "write_table")), full)
        with pytest.raises(OSError, match="no space left"):
            labelling.run(0, 8, jobs=1)
    assert not labelling.chunk(0).exists()
    labelling.collect()
    assert labelling.missing(0, 8) == [0]
    labelling.run(0, 24, jobs=1)
    assert_same(read(labelling.table, "train"), planned(labelling, 24))
    assert stand_in.asked == [0, 0, 1, 2]


def test_processes_label_too(small: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Recorded:
        def __init__(self, **settings: Any) -> None:
            asked.append(settings)

        def __call__(self, work: Any) -> list[int]:
            return [function(*arguments, **named) for function, arguments, named in work]

    monkeypatch.setattr(joblib, "Parallel", Recorded)
    monkeypatch.setattr(labels, "label", StandIn())
    Labelling(small, "train", tmp_path / "table", tmp_path / "work").run(0, labels.CHUNK, jobs=7)
    assert asked == [{"n_jobs": 7, "return_as": "generator_unordered"}]


def test_features_are_kept_and_made_again_where_rows_are_others(labelling: Labelling, stand_in: StandIn) -> None:
    labelling.run(0, 24, jobs=1)
    rows = read(labelling.table, "train")
    seen: list[tuple[int, int]] = []

    def features() -> Features:
        seen.clear()
        return features_of(rows, "train", labelling.corpus, labelling.work, 1, lambda *at: seen.append(at))

    first = features()
    assert len(first.texture) == 24
    assert seen == [(3, 3)]
    feature_file(labelling.work, "train", 1).unlink()
    rows[17] = dataclasses.replace(rows[17], level=rows[17].level + 1)
    assert features().digest != first.digest
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert stand_in.asked == [0, 1, 2, 1, 2]
    features()
    assert seen == [(3, 3)]


# Files


def test_rows_survive_being_written(tmp_path: Path) -> None:
    rows = [dataclasses.replace(row, score=i / 8) for i, row in enumerate(plan(CLIPS, "train", 0, 8, 4.0))]
    write(tmp_path / "table" / "train-0001.parquet", rows[4:])
    write(tmp_path / "table" / "train-0000.parquet", rows[:4])
    write(tmp_path / "table" / "valid-0000.parquet", rows[:1])
    assert_same(read(tmp_path / "table", "train"), rows)
    assert names(tmp_path / "table") == ["train-0000.parquet", "train-0001.parquet", "valid-0000.parquet"]


def test_scores_are_single_precision(tmp_path: Path) -> None:
    row = dataclasses.replace(plan(CLIPS, "train", 0, 1, 4.0)[0], score=1 / 7, start=1 / 7)
    write(tmp_path / "train-0000.parquet", [row])
    (got,) = read(tmp_path, "train")
    assert got.score == np.float32(1 / 7)
    assert got.start == 1 / 7


def test_columns_that_later_versions_add_are_passed_over(tmp_path: Path) -> None:
    row = plan(CLIPS, "train", 0, 1, 4.0)[0]
    table = pyarrow.Table.from_pylist([dataclasses.asdict(row) | {"mos": 3.5}])
    pyarrow.parquet.write_table(table, tmp_path / "train-0000.parquet")
    assert_same(read(tmp_path, "train"), [row])


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no label table of split train"), (b"PAR1", "is damaged"), (b"", "is damaged")],
)
def test_other_tables_are_refused(content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "train-0000.parquet").write_bytes(content)
    with pytest.raises(CorpusError, match=words):
        read(tmp_path, "train")


@pytest.mark.parametrize("drop", ["clip", "audiogram", "seed", "variation"])
def test_a_table_without_a_column_is_refused(drop: str, tmp_path: Path) -> None:
    values = dataclasses.asdict(plan(CLIPS, "train", 0, 1, 4.0)[0])
    del values[drop]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([values]), tmp_path / "train-0000.parquet")
    with pytest.raises(CorpusError, match=f"no label table .*{drop}"):
        read(tmp_path, "train")


# The committed table

Table = dict[str, list[Row]]


@pytest.fixture(scope="module")
def table() -> Table:
    """The committed rows of every split."""
    return {split: read(COMMITTED, split) for split in SPLITS}


@pytest.fixture(scope="module")
def music(shared: Path) -> Corpus:
    return Corpus(shared / "music")


def test_the_committed_table_is_whole(table: Table) -> None:
    for split, rows in table.items():
        assert len(rows) % GROUP == 0
        assert {(row.split, row.duration) for row in rows} == {(split, SECONDS[split])}  # type: ignore[index]
        assert len({row.seed for row in rows}) == len(rows)
        values = np.array([scores(row) for row in rows])
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= 1 + 1e-6).all()
        assert values[:, 0].std() > 0.1
        nonlinear, linear = values[:, 1], values[:, 2]
        index = 0.336 * nonlinear + 0.001 * linear + 0.501 * nonlinear**2 + 0.161 * linear**2
        np.testing.assert_allclose(values[:, 0], index, atol=1e-6)


def test_committed_rows_come_in_groups(table: Table) -> None:
    for rows in table.values():
        for start in range(0, len(rows), GROUP):
            group = rows[start : start + GROUP]
            assert len({(row.clip, row.start, row.variation, row.level, row.audiogram) for row in group}) == 1
            assert len({(row.chain, row.aid) for row in group}) == GROUP


def test_only_the_committed_test_split_holds_unseen_conditions(table: Table) -> None:
    unseen = {split: np.mean([is_unseen(row.chain) for row in rows[:: GROUP + 1]]) for split, rows in table.items()}
    assert unseen["train"] == unseen["valid"] == 0
    assert 0.05 < unseen["test"] < 0.3


def test_no_split_hears_anothers_music(table: Table, music: Corpus) -> None:
    known = {clip.path: clip for clip in music.clips}
    recorded = {split: [row for row in rows if not row.clip.startswith(COMPOSED)] for split, rows in table.items()}
    for split, rows in recorded.items():
        assert {known[row.clip].split for row in rows} == {split}
        assert split == "train" or len(rows) == len(table[split])
    with (music.folder / "CLIPS.csv").open(newline="", encoding="utf-8") as file:
        tracks = {row["clip"]: (row["source"], row["track"]) for row in csv.DictReader(file)}
    heard = [{tracks[row.clip] for row in rows} for rows in recorded.values()]
    other = [{tracks[clip.path] for clip in music.of(split)} for split in SPLITS]
    for parts in (heard, other):
        assert all(parts)
        assert all(not a & b for a, b in combinations(parts, 2))


def test_the_committed_rows_are_the_planned_ones(table: Table, music: Corpus) -> None:
    for split in SPLITS:
        wanted = plan(music.of(split), split, 0, len(table[split]), SECONDS[split])
        some = slice(None, None, 1 + len(wanted) // 500)
        assert_same([unlabelled(row) for row in table[split][some]], wanted[some])


def test_committed_scores_are_made_again(table: Table, music: Corpus) -> None:
    rows = [row for split in SPLITS for row in table[split]]
    for place in np.random.default_rng(20).choice(len(rows), SOME, replace=False):
        (again,), _ = label([unlabelled(rows[place])], music)
        np.testing.assert_allclose(again.score, rows[place].score, atol=RECREATED, err_msg=str(rows[place]))
