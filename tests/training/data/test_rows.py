"""The plan of the label table: what a row is depends on its place alone; shares are as announced."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from haaqi_edge.runtime.audiogram import STANDARD
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.clips import Clip, Split
from haaqi_edge.training.data.rows import GROUP, LADDERS, SPLITS, SYNTHETIC, SYNTHETIC_SHARE, Row, plan_rows
from haaqi_edge.training.degradations import parse_chain
from haaqi_edge.training.degradations.augmentation import RANGE, VARIATIONS, source_seconds
from haaqi_edge.training.degradations.chains import parse_steps
from haaqi_edge.training.degradations.sampling import family, is_from_studies, is_unseen
from hypothesis import given, settings
from hypothesis import strategies as st

CLIPS = [Clip(f"song-{i}.flac", "train", "us", "folk", 10.0 + i / 10) for i in range(7)]
SHARED = ("split", "clip", "start", "duration", "variation", "level", "listener", "audiogram")


@pytest.fixture(scope="module")
def tables() -> dict[str, list[Row]]:
    """Rows of each split."""
    return {split: plan_rows(CLIPS, split, 0, 5_600, 5.2 if split == "train" else 10.0) for split in SPLITS}


def same(rows: list[Row], others: list[Row]) -> bool:
    """Whether rows are equal; scores that are not there yet, NaN, count as equal."""
    return [str(row) for row in rows] == [str(row) for row in others]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(split=st.sampled_from(SPLITS), start=st.integers(0, 4_000), count=st.integers(0, 60))
def test_a_row_depends_on_its_place_alone(split: Split, start: int, count: int, tables: dict[str, list[Row]]) -> None:
    duration = tables[split][0].duration
    rows = plan_rows(CLIPS, split, start, count, duration)
    assert same(rows, tables[split][start : start + count])


def test_splits_differ_and_seeds_are_unique(tables: dict[str, list[Row]]) -> None:
    seeds = [row.seed for rows in tables.values() for row in rows]
    assert len(set(seeds)) == len(seeds)
    assert all(row.split == split for split, rows in tables.items() for row in rows)
    pairs = list(zip(tables["valid"], tables["test"], strict=True))
    assert np.mean([one.audiogram == other.audiogram for one, other in pairs]) < 0.05


@pytest.mark.slow
def test_groups_share_the_reference_and_nothing_else(tables: dict[str, list[Row]]) -> None:
    for rows in tables.values():
        for start in range(0, len(rows), GROUP):
            group = rows[start : start + GROUP]
            assert all(len({getattr(row, field) for row in group}) == 1 for field in SHARED)
            assert len({(row.chain, row.aid) for row in group}) == GROUP
        references = {tuple(getattr(row, field) for field in SHARED) for row in rows}
        assert len(references) == len(rows) / GROUP


def test_every_cycle_hears_every_clip_in_another_order(tables: dict[str, list[Row]]) -> None:
    for split in ("valid", "test"):
        heard = [row.clip for row in tables[split][::GROUP]]
        cycles = [tuple(heard[start : start + len(CLIPS)]) for start in range(0, len(heard), len(CLIPS))]
        assert all(set(cycle) == {clip.path for clip in CLIPS} for cycle in cycles)
        assert len(set(cycles)) > 0.9 * len(cycles)
    heard = [row.clip for row in tables["train"][::GROUP]]
    for start in range(0, len(heard), len(CLIPS)):  # a synthetic piece takes a clip's turn
        recorded = [clip for clip in heard[start : start + len(CLIPS)] if not clip.startswith(SYNTHETIC)]
        assert len(set(recorded)) == len(recorded)


def test_some_music_of_training_is_synthetic_each_piece_once(tables: dict[str, list[Row]]) -> None:
    train = tables["train"]
    synthetic = [row for row in train[::GROUP] if row.clip.startswith(SYNTHETIC)]
    assert len(synthetic) / (len(train) / GROUP) == pytest.approx(SYNTHETIC_SHARE, abs=0.02)
    assert len({row.clip for row in synthetic}) == len(synthetic)
    assert all(row.start == 0 for row in synthetic)
    assert not any(row.clip.startswith(SYNTHETIC) for split in ("valid", "test") for row in tables[split])


def test_some_groups_of_training_hear_one_condition_in_several_strengths(tables: dict[str, list[Row]]) -> None:
    def names(row: Row) -> tuple[str, ...]:
        return tuple(entry.name for entry, _ in parse_chain(row.chain))

    def share(rows: list[Row]) -> float:
        groups = [rows[start : start + GROUP] for start in range(0, len(rows), GROUP)]
        return float(np.mean([len({(names(row), row.aid) for row in group}) == 1 for group in groups]))

    assert share(tables["train"]) == pytest.approx(LADDERS * 0.93, abs=0.03)  # clean music has no strength
    assert share(tables["valid"]) < 0.01
    assert share(tables["test"]) < 0.01


def test_excerpts_lie_within_their_clips(tables: dict[str, list[Row]]) -> None:
    lengths = {clip.path: clip.duration for clip in CLIPS}
    for row in tables["train"]:
        if row.clip.startswith(SYNTHETIC):
            continue
        assert row.start >= 0
        assert row.start + source_seconds(row.variation, row.duration) <= lengths[row.clip] - 0.03
    starts = np.array([row.start for row in tables["train"]])
    assert starts.std() > 1
    for split in ("valid", "test"):
        assert all(row.start <= max(lengths[row.clip] - 10.049, 0) for row in tables[split])


def test_clips_shorter_than_the_excerpt_are_read_from_their_beginning() -> None:
    for row in plan_rows([Clip("short.flac", "train", "us", "folk", 3.0)], "train", 0, 80, 5.2):
        assert row.start == 0
        assert source_seconds(row.variation, 1.0) in (RANGE.slowest, 1.0)


def changes(row: Row) -> set[str]:
    """What is done to a row's clean music."""
    return {entry.name for entry, _ in parse_steps(row.variation, VARIATIONS)}


def test_only_training_changes_speed_and_tone(tables: dict[str, list[Row]]) -> None:
    groups = {split: [changes(row) & {"speed", "equalize"} for row in rows[::GROUP]] for split, rows in tables.items()}
    assert not any(groups["valid"] + groups["test"])
    counts = Counter(map(frozenset, groups["train"]))
    assert counts[frozenset()] / len(groups["train"]) == pytest.approx(0.35, abs=0.04)
    for change in ({"speed"}, {"equalize"}, {"speed", "equalize"}):
        assert counts[frozenset(change)] / len(groups["train"]) == pytest.approx(0.65 / 3, abs=0.04)


@pytest.mark.parametrize("split", SPLITS)
def test_some_clean_music_has_the_noise_of_an_old_recording(split: Split, tables: dict[str, list[Row]]) -> None:
    noises = [changes(row) & {"tape", "vinyl"} for row in tables[split][::GROUP]]
    assert np.mean([bool(noise) for noise in noises]) == pytest.approx(0.15, abs=0.03)
    for kind in ("tape", "vinyl"):
        assert np.mean([noise == {kind} for noise in noises]) == pytest.approx(0.075, abs=0.025)
    for row in tables[split]:
        for entry, values in parse_steps(row.variation, VARIATIONS):
            for key in values.keys() & {"hiss_db", "crackle_db"}:
                assert -70 <= values[key] <= -40, f"{entry.name} in {row.variation}"


def test_a_sixth_of_the_test_is_unseen_and_nothing_else(tables: dict[str, list[Row]]) -> None:
    for split in ("train", "valid"):
        assert not any(is_unseen(row.chain) for row in tables[split])
    groups = np.array([is_unseen(row.chain) for row in tables["test"]]).reshape(-1, GROUP)
    assert (groups == groups[:, :1]).all()  # whole groups
    assert groups.mean() == pytest.approx(1 / 6, abs=0.03)


def test_shares_are_as_announced(tables: dict[str, list[Row]]) -> None:
    rows = tables["train"]
    levels = np.array([row.level for row in rows])
    assert np.mean(levels == 65) == pytest.approx(0.5, abs=0.05)
    assert levels.min() >= 45
    assert levels.max() <= 85
    assert np.std(levels[levels != 65]) == pytest.approx(40 / np.sqrt(12), abs=1)
    assert (levels == np.round(levels, 1)).all()
    aids = Counter(row.aid.split("=")[0] for row in rows)
    for aid, share in (("nal-r", 0.7), ("none", 0.1), ("nal-r(gain", 0.1), ("nal-r(for", 0.1)):
        assert aids[aid] / len(rows) == pytest.approx(share, abs=0.02)
    assert np.mean([row.chain == "" for row in rows]) == pytest.approx(0.07, abs=0.02)
    assert {row.listener for row in rows} == {*STANDARD, "notched", "smooth"}
    as_studied = [is_from_studies(row.chain) and row.aid == "nal-r" and row.level == 65 for row in rows]
    assert np.mean(as_studied) > 0.15
    assert len({family(row.chain) for row in rows}) > 20
    assert all(np.isnan(row.score) for row in rows)


def test_no_clips_no_plan() -> None:
    with pytest.raises(CorpusError, match="no clip of split valid"):
        plan_rows([], "valid", 0, 1, 4.0)


def test_columns_come_in_this_order() -> None:
    names = [field.name for field in dataclasses.fields(Row)]
    assert names[:6] == ["split", "clip", "start", "duration", "variation", "chain"]
    assert names[6:11] == ["seed", "aid", "level", "listener", "audiogram"]
    assert names[11:] == ["score", "nonlinear", "linear", "cepstral", "synchrony", "loudness", "spectrum"]


@pytest.mark.slow
def test_without_a_speech_bank_no_row_needs_one() -> None:
    for split in SPLITS:
        rows = plan_rows(CLIPS, split, 0, 2_000, 5.2, speech=False)
        assert not any(entry.needs_speech for row in rows for entry, _ in parse_chain(row.chain))
    assert any(is_unseen(row.chain) for row in rows)
