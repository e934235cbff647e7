"""The label table: planned by seed, written and read back, and made again from its own rows."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from haaqi_edge.runtime.audiogram import STANDARD
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training import labels
from haaqi_edge.training.corpus import Clip, Corpus
from haaqi_edge.training.features import FeatureCache, row_patches
from haaqi_edge.training.labels import SPLITS, Row, label, make_shard, plan, present, read, write

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "training" / "table"
RECREATED = 5e-4
"""how far another processor, numpy or pyclarity may move a committed score"""
CLIPS = [Clip(f"song-{i}.flac", "train", "us", "folk", 6.0 + i) for i in range(7)]


@pytest.fixture(scope="module")
def table() -> dict[str, list[Row]]:
    """The committed rows of every split that has some."""
    found = {split: read(COMMITTED, split) for split in SPLITS if list(COMMITTED.glob(f"{split}-*.parquet"))}
    assert "train" in found
    assert "valid" in found
    return found


@pytest.fixture(scope="module")
def music(shared: Path) -> Corpus:
    return Corpus(shared / "music")


@pytest.fixture
def small(tmp_path: Path) -> Corpus:
    """A corpus of the two demo files, and one of silence."""
    (tmp_path / "CLIPS.csv").write_text(
        "clip,split,source,genre,duration_s\n"
        "clean.flac,train,demo,acoustic,20\ndegraded.flac,valid,demo,acoustic,20\nsilent.flac,test,none,none,3\n"
    )
    for name in ("clean.flac", "degraded.flac"):
        (tmp_path / name).symlink_to(ROOT / "demo" / name)
    soundfile.write(tmp_path / "silent.flac", np.zeros(72_000), 24_000)
    return Corpus(tmp_path)


def scores(row: Row) -> tuple[float, ...]:
    return (row.score, row.nonlinear, row.linear, row.cepstral, row.synchrony, row.loudness, row.spectrum)


def test_a_plan_is_its_seed() -> None:
    rows = plan(CLIPS, "train", 0, 200, 4.0)
    assert_same(rows, plan(CLIPS, "train", 0, 200, 4.0))
    assert_same(rows[60:90], plan(CLIPS, "train", 60, 30, 4.0))  # however it is cut into shards
    assert len({row.seed for row in rows}) == 200
    valid = plan(CLIPS, "valid", 0, 200, 4.0)
    assert not {row.seed for row in rows} & {row.seed for row in valid}


def assert_same(rows: list[Row], others: list[Row]) -> None:
    """Equal rows; scores that are not there yet, NaN, count as equal."""
    assert [str(row) for row in rows] == [str(row) for row in others]


def test_a_plan_has_what_it_says() -> None:
    rows = plan(CLIPS, "train", 0, 700, 4.0)
    assert {row.clip for row in rows[:7]} == {clip.path for clip in CLIPS}
    assert [sum(row.clip == clip.path for row in rows) for clip in CLIPS] == [100] * 7
    durations = {clip.path: clip.duration for clip in CLIPS}
    for row in rows:
        assert row.start >= 0
        assert row.start + row.duration <= durations[row.clip]
        assert 50 <= row.level <= 80
        assert row.aid == "nal-r"
        assert len(row.audiogram) == 8
        assert all(-10 <= level <= 120 for level in row.audiogram)
        assert np.abs(np.array(row.audiogram) - STANDARD[row.listener]).max() < 30
        assert np.isnan(row.score)
    assert {row.listener for row in rows} == STANDARD.keys()
    assert 0.4 < np.mean([row.level == 65 for row in rows]) < 0.6
    assert 0.02 < np.mean([row.chain == "" for row in rows]) < 0.12
    scatter = np.array([np.array(row.audiogram) - STANDARD[row.listener] for row in rows if row.listener == "N4"])
    assert 3.5 < scatter.std() < 6.5


def test_no_clips_no_plan() -> None:
    with pytest.raises(CorpusError, match="no clip of split valid"):
        plan([], "valid", 0, 1, 4.0)


def test_rows_survive_being_written(tmp_path: Path) -> None:
    rows = [dataclasses.replace(row, score=i / 7) for i, row in enumerate(plan(CLIPS, "train", 0, 6, 4.0))]
    write(tmp_path / "table" / "train-0001.parquet", rows[3:])
    write(tmp_path / "table" / "train-0000.parquet", rows[:3])
    write(tmp_path / "table" / "valid-0000.parquet", rows[:1])
    assert_same(read(tmp_path / "table", "train"), rows)
    assert sorted(path.name for path in (tmp_path / "table").iterdir()) == [
        "train-0000.parquet",
        "train-0001.parquet",
        "valid-0000.parquet",
    ]


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


@pytest.mark.parametrize("drop", ["clip", "audiogram", "seed"])
def test_a_table_without_a_column_is_refused(drop: str, tmp_path: Path) -> None:
    values = dataclasses.asdict(plan(CLIPS, "train", 0, 1, 4.0)[0])
    del values[drop]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([values]), tmp_path / "train-0000.parquet")
    with pytest.raises(CorpusError, match=f"no label table .*{drop}"):
        read(tmp_path, "train")


def test_a_row_recreates_its_sound(small: Corpus) -> None:
    row = plan(small.of("train"), "train", 3, 1, 2.0)[0]
    clean, presented, rate = present(row, small)
    assert rate == 24_000
    assert clean.shape == presented.shape == (48_000,)
    assert 85 + 20 * np.log10(np.sqrt(np.mean(clean**2))) == pytest.approx(row.level, abs=1e-6)
    again = present(row, small)
    assert (again[0] == clean).all()
    assert (again[1] == presented).all()
    other = present(dataclasses.replace(row, start=row.start + 1.0), small)
    assert not (other[0] == clean).all()


def test_silence_has_no_label(small: Corpus) -> None:
    row = plan(small.of("test"), "test", 0, 1, 2.0)[0]
    with pytest.raises(CorpusError, match=r"silent\.flac is silent from"):
        label(row, small)


def test_a_shard_is_labelled_once(small: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "SHARD_ROWS", 2)
    asked: list[int] = []

    def stand_in(row: Row, corpus: Corpus) -> Row:
        assert corpus is small
        asked.append(row.seed)
        return dataclasses.replace(row, score=0.5)

    monkeypatch.setattr(labels, "label", stand_in)
    path = make_shard(tmp_path / "table", small, "valid", 1, 1.0, jobs=1)
    assert path == tmp_path / "table" / "valid-0001.parquet"
    rows = read(tmp_path / "table", "valid")
    assert_same(rows, [dataclasses.replace(row, score=0.5) for row in plan(small.of("valid"), "valid", 2, 2, 1.0)])
    assert {row.clip for row in rows} == {"degraded.flac"}
    assert make_shard(tmp_path / "table", small, "valid", 1, 1.0, jobs=1) == path
    assert len(asked) == 2


def test_features_are_kept_and_kept_apart(small: Corpus, tmp_path: Path) -> None:
    rows = plan(small.of("train"), "train", 0, 3, 1.0)
    cache = FeatureCache(tmp_path / "features", small, jobs=1)
    features = cache.get(rows)
    assert features.shape == (3, 6, 16, 128)
    assert features.dtype == np.float16
    np.testing.assert_allclose(features[1], row_patches(rows[1], small), atol=0.003)
    files = sorted((tmp_path / "features").iterdir())
    assert len(files) == 3
    np.save(files[0], np.ones((6, 16, 128), np.float16))
    assert (cache.get(rows) == 1).all(axis=(1, 2, 3)).sum() == 1
    assert (cache.get(rows[2:])[0] == features[2]).all()


# The committed table


def test_the_committed_table_is_whole(table: dict[str, list[Row]]) -> None:
    for split, rows in table.items():
        assert len(rows) % labels.SHARD_ROWS == 0
        assert {row.split for row in rows} == {split}
        assert len({row.seed for row in rows}) == len(rows)
        values = np.array([scores(row) for row in rows])
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= 1 + 1e-9).all()
        assert values[:, 0].std() > 0.1
        parts = np.array([[row.nonlinear, row.linear] for row in rows])
        index = 0.336 * parts[:, 0] + 0.001 * parts[:, 1] + 0.501 * parts[:, 0] ** 2 + 0.161 * parts[:, 1] ** 2
        np.testing.assert_allclose(values[:, 0], index, atol=1e-12)


def test_no_split_hears_anothers_music(table: dict[str, list[Row]], music: Corpus) -> None:
    known = {clip.path: clip for clip in music.clips}
    for split, rows in table.items():
        assert {known[row.clip].split for row in rows} == {split}
    with (music.folder / "CLIPS.csv").open(newline="", encoding="utf-8") as file:
        tracks = {row["clip"]: (row["source"], row["track"]) for row in csv.DictReader(file)}
    heard = [{tracks[row.clip] for row in rows} for rows in table.values()]
    other = [{tracks[clip.path] for clip in music.of(split)} for split in SPLITS]
    for parts in (heard, other):
        assert all(parts)
        assert all(not a & b for a, b in combinations(parts, 2))


def test_the_committed_rows_are_the_planned_ones(table: dict[str, list[Row]], music: Corpus) -> None:
    for split, rows in table.items():
        planned = plan(music.of(split), split, 0, 40, rows[0].duration)
        unlabelled = dict.fromkeys(("score", *labels.Haaqi._fields[1:]), float("nan"))
        assert_same([dataclasses.replace(row, **unlabelled) for row in rows[:40]], planned)


def some_committed() -> Iterator[tuple[str, int]]:
    rng = np.random.default_rng(20)
    yield "train", int(rng.integers(250))
    yield "valid", int(rng.integers(250))


@pytest.mark.parametrize(("split", "index"), list(some_committed()))
def test_a_committed_score_is_made_again(split: str, index: int, table: dict[str, list[Row]], music: Corpus) -> None:
    row = table[split][index]
    again = label(dataclasses.replace(row, score=float("nan")), music)
    np.testing.assert_allclose(scores(again), scores(row), atol=RECREATED)
