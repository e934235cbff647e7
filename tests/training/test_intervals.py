"""Calibration of prediction intervals: new clips are covered with the stated probability, also within each group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from haaqi_edge.model.nano import COVERAGE, LOSS_GROUPS, Nano, NanoConfig
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.clips import Clip
from haaqi_edge.training.data.batches import Dataset, evaluate_network
from haaqi_edge.training.data.examples import Example
from haaqi_edge.training.data.feature_cache import FeatureCache, texture_kind
from haaqi_edge.training.data.rows import plan_rows
from haaqi_edge.training.intervals import calibrate, coverage_of, listener_groups, margin, split_by_source
from haaqi_edge.training.tasks.nano import pinball_loss, predict_distances
from hypothesis import given
from hypothesis import strategies as st

CPU = torch.device("cpu")
READS = texture_kind(2)
CLIPS = 100


def clips(cache: FeatureCache, table: str, count: int, seed: int) -> Dataset:
    """Random textures whose labels have an error that grows with the hearing loss."""
    rng = np.random.default_rng(seed)
    music = [Clip(f"{number}.flac", "train", "s", "g", 10.0) for number in range(CLIPS)]
    planned = plan_rows(music, "train", 0, count, 1.0)
    examples = [
        Example(f"{table}{n}", tuple(rng.uniform(0, 80) + rng.uniform(-5, 5, 8)), float(rng.random()), row, "g", table)
        for n, row in enumerate(planned)
    ]
    cache.put(READS, table, [(e.sound_key, rng.standard_normal((6, 16, 32))) for e in examples])
    return Dataset(cache, examples, READS)


@pytest.fixture(scope="module")
def nano() -> Nano:
    torch.manual_seed(0)
    return Nano(NanoConfig(layers=(16,), vector=8, hidden=6, conditioning=4)).eval()


def test_new_clips_are_covered_in_every_group(nano: Nano, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    before, after = clips(cache, "valid", 1200, 1), clips(cache, "test", 1200, 2)
    raw = evaluate_network(nano, after, 64, CPU)[2]
    assert raw is not None
    assert coverage_of(raw, after.labels)[0] < 0.5, "an untrained network's intervals are too short"
    found = calibrate(nano.head, before, *predict_distances(nano, before, 64, CPU))
    assert sum(found.clips) == 1200
    intervals = evaluate_network(nano, after, 64, CPU)[2]
    assert intervals is not None
    groups = listener_groups(after.audiograms)
    for group in range(len(LOSS_GROUPS) + 1):
        chosen = groups == group
        share, _ = coverage_of(intervals[chosen], after.labels[chosen])
        assert share == pytest.approx(COVERAGE, abs=0.06), group


def test_an_interval_contains_its_score_and_lies_between_0_and_1(nano: Nano) -> None:
    nano.head.interval_margins.copy_(torch.tensor([-5.0, 5.1, 0.2, 3.0]))  # from no width at all to all of it
    with torch.inference_mode():
        scores = nano(torch.randn(5, 7, 16, 32), torch.linspace(0, 80, 5)[:, None].expand(5, 8))
    assert scores.interval is not None
    low, high = scores.interval.unbind(1)
    assert ((low >= 0) & (low <= scores.score + 1e-6) & (scores.score <= high + 1e-6) & (high <= 1)).all()
    assert (float(low[0]), float(high[0])) == pytest.approx([float(scores.score[0])] * 2, abs=1e-6)
    assert (low[-1], high[-1]) == (0, 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.floats(0.05, 0.95))
def test_the_margin_covers_the_share_that_it_must(errors: list[float], coverage: float) -> None:
    """At least ceil((n + 1) p) of n calibration clips lie within, as the theorem needs."""
    labels = np.asarray(errors)
    distances = np.full((len(labels), 2), 0.1)
    pieces = [str(number) for number in range(len(labels))]
    grown = distances + margin(np.zeros(len(labels)), distances, labels, pieces, coverage)
    inside = (labels <= grown[:, 1] + 1e-9) & (-labels <= grown[:, 0] + 1e-9)
    assert inside.sum() >= min(np.ceil((len(labels) + 1) * coverage), len(labels))


def test_every_piece_has_the_same_weight() -> None:
    """A piece with many clips does not outvote the others: 20 pieces, one of them with 1000 easy clips."""
    rng = np.random.default_rng(0)
    easy, hard = rng.uniform(0, 0.01, 1000), rng.uniform(0.2, 0.3, 190)
    labels = np.concatenate([easy, hard])
    pieces = ["easy"] * 1000 + [f"hard {number // 10}" for number in range(190)]
    found = margin(np.zeros(len(labels)), np.zeros((len(labels), 2)), labels, pieces, 0.9)
    assert found == pytest.approx(np.quantile(hard, (0.9 * 21 / 20 * 20 - 1) / 19), abs=0.01)
    assert margin(np.zeros(3), np.zeros((3, 2)), np.array([0.1, 0.2, 0.3]), ["a", "b", "c"], 0.9) == 0.3


def test_halves_share_no_source(tmp_path: Path) -> None:
    rows = list(clips(FeatureCache(tmp_path), "valid", 240, 3).examples)
    named = [replace(e, source=replace(e.source, clip=f"{n % 12}.flac")) for n, e in enumerate(rows)]  # type: ignore[type-var]
    sources = {f"{n}.flac": f"source {n // 2}" for n in range(12)}
    first, second = split_by_source(named, sources)
    of = [{sources[e.source.clip] for e in half} for half in (first, second)]  # type: ignore[union-attr]
    assert not of[0] & of[1]
    assert len(of[0] | of[1]) == 6
    assert abs(len(first) - len(second)) <= 40
    assert split_by_source(named, sources) == (first, second)
    with pytest.raises(CorpusError, match="one half of the sources"):
        split_by_source(named[:1] * 5, {})


def test_groups_begin_at_their_hearing_loss() -> None:
    levels = np.array([[loss] * 8 for loss in (0, 19.9, 20, 34.9, 35, 49.9, 50, 110)], np.float32)
    assert listener_groups(levels).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_pinball_loss_is_smallest_at_the_quantile() -> None:
    values = torch.from_numpy(np.random.default_rng(0).exponential(size=20_000))
    places = torch.linspace(0, 6, 601)
    losses = torch.stack([pinball_loss(values, place, 0.95) for place in places])
    assert float(places[losses.argmin()]) == pytest.approx(-np.log(0.05), abs=0.1)
