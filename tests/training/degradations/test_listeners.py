"""Random listeners: audiograms as they are met, in the planned shares; fittings that stay near the listener."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from haaqi_edge.runtime.audiogram import STANDARD, Audiogram
from haaqi_edge.training.degradations.listeners import random_aid, random_listener
from numpy.typing import NDArray

Drawn = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Audiograms [n, 8] by kind."""
    rng = np.random.default_rng(5)
    found = defaultdict(list)
    for _ in range(8_000):
        kind, levels = random_listener(rng)
        assert all(type(level) is float for level in levels)
        Audiogram(levels)
        found[kind].append(levels)
    return {kind: np.array(levels) for kind, levels in found.items()}


def test_kinds_are_spread_as_planned(drawn: Drawn) -> None:
    total = sum(map(len, drawn.values()))
    assert drawn.keys() == {*STANDARD, "notched", "smooth"}
    assert len(drawn["notched"]) / total == pytest.approx(0.12, abs=0.02)
    assert len(drawn["smooth"]) / total == pytest.approx(0.23, abs=0.02)
    assert all(len(drawn[name]) / total == pytest.approx(0.65 / 11, abs=0.015) for name in STANDARD)


def test_levels_are_whole_and_in_range(drawn: Drawn) -> None:
    every = np.concatenate(list(drawn.values()))
    assert (every == np.round(every)).all()
    assert every.min() == -10
    assert every.max() == 110
    assert not np.signbit(every[every == 0]).any()  # -0 would be another listener


def test_standard_audiograms_are_scattered(drawn: Drawn) -> None:
    for name in ("N1", "N3", "S2"):
        scatter = drawn[name] - STANDARD[name]
        assert scatter.std() == pytest.approx(5, abs=0.5)
        assert abs(scatter.mean()) < 0.7
        assert abs(np.mean(scatter[:, 0] * scatter[:, 1])) < 0.2 * 25


def test_a_notch_lies_between_3_and_6_khz(drawn: Drawn) -> None:
    levels = drawn["notched"]
    assert levels[:, :3].mean() < 15
    deepest = levels[:, 4:7].max(axis=1)
    depth = deepest - levels[:, :3].mean(axis=1)
    assert np.percentile(depth, 2) > 15
    assert np.percentile(depth, 98) < 65
    recovered = deepest - levels[:, 7]
    assert np.mean(recovered > 0) > 0.95
    assert np.mean(levels[:, 7] > levels[:, :3].mean(axis=1)) > 0.95


def test_smooth_losses_come_in_every_shape(drawn: Drawn) -> None:
    levels = drawn["smooth"]
    assert levels.min() >= -5
    assert levels.max() <= 100
    assert np.abs(np.diff(levels, 2, axis=1)[:, 3]).max() < 40  # no jumps
    slope = levels[:, -1] - levels[:, 0]
    assert 0.15 < np.mean(slope < 0) < 0.5
    assert np.mean(slope > 0) > 0.5
    assert levels.mean(axis=1).std() > 15


def test_neighbours_are_alike_at_3_and_8_khz(drawn: Drawn) -> None:
    for kind in ("notched", "smooth"):
        levels = drawn[kind]
        assert (levels[:, 4] >= np.minimum(levels[:, 3], levels[:, 5]) - 12).all()
        assert (levels[:, 4] <= np.maximum(levels[:, 3], levels[:, 5]) + 25).all()
        assert np.corrcoef(levels[:, 6], levels[:, 7])[0, 1] > 0.6


@pytest.mark.parametrize("listener", ["NH", "N3", "S3", "N7"])
def test_aids_are_spread_as_planned(listener: str) -> None:
    rng = np.random.default_rng(6)
    aids = [random_aid(rng, STANDARD[listener]) for _ in range(3_000)]
    shares = Counter(aid.split("=")[0].split("(")[0] + aid[5:9] * ("(" in aid) for aid in aids)
    for kind, share in (("nal-r", 0.7), ("none", 0.1), ("nal-r(gai", 0.1), ("nal-r(for", 0.1)):
        assert shares[kind] / len(aids) == pytest.approx(share, abs=0.03)
    errors = np.array(
        [[float(part.split("=")[1]) for part in aid[6:-1].split(",")] for aid in aids if aid.startswith("nal-r(gain")]
    )
    assert (np.abs(errors) <= [10, 3]).all()
    assert (np.abs(errors).max(axis=0) > [9, 2.7]).all()
    others = {aid[10:-1] for aid in aids if aid.startswith("nal-r(for")}
    assert "NH" not in others
    assert len(others) > 1
    average = Audiogram(STANDARD[listener]).at((500, 1000, 2000, 4000)).mean()
    for name in others:
        assert abs(Audiogram.named(name).at((500, 1000, 2000, 4000)).mean() - average) <= 30


def test_an_extreme_listener_gets_the_nearest_fitting() -> None:
    rng = np.random.default_rng(6)
    aids = {random_aid(rng, (-10.0,) * 8) for _ in range(500)}
    assert {aid for aid in aids if "for" in aid} <= {"nal-r(for=N1)", "nal-r(for=S1)"}
