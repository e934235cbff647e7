"""Statistics: correlations, bootstrap intervals, tests and ordered pairs against slow computations and SciPy."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from haaqi_edge.training.statistics import (
    Interval,
    agreement,
    agreement_change,
    agreement_intervals,
    bootstrap,
    bootstrap_interval,
    interval_of,
    none_if_undefined,
    ordered_pairs,
    pearson,
    spearman,
    squared_error,
    williams,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


def slow_ranks(values: Array) -> Array:
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def slow_correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))


def slow_intervals(
    change: Callable[[NDArray[np.intp]], list[float]], members: list[list[int]], draws: int, seed: Any
) -> list[Interval]:
    """The percentile bootstrap, one resample at a time."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        units = rng.integers(0, len(members), len(members))
        found.append(change(np.array([row for unit in units for row in members[unit]])))
    low, high = np.nanquantile(np.array(found), [0.025, 0.975], axis=0)
    return [Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def rated(number: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Labels with ties, and two predictions of them."""
    rng = np.random.default_rng(seed)
    label = rng.random(number).round(2)
    first, second = ((label**3 + spread * rng.standard_normal(number)).round(2) for spread in (0.3, 0.1))
    return label, first, second


def test_agreement_with_slow_computations_and_scipy() -> None:
    label, predicted, _ = rated(50)
    found = agreement(predicted.astype(np.float32), label)
    assert found.lcc == pytest.approx(slow_correlation(predicted, label), abs=1e-6)
    assert found.srcc == pytest.approx(slow_correlation(slow_ranks(predicted), slow_ranks(label)), abs=1e-6)
    assert found.mse == pytest.approx(sum((p - x) ** 2 for p, x in zip(predicted, label, strict=True)) / 50, abs=1e-6)
    assert found.rows == 50
    exact = agreement(predicted, label)
    assert exact.lcc == pytest.approx(stats.pearsonr(predicted, label).statistic, abs=1e-12)
    assert exact.srcc == pytest.approx(stats.spearmanr(predicted, label).statistic, abs=1e-12)


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1), st.sampled_from([0, -1]))
def test_correlations_along_an_axis(number: int, seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 4, (2, 3, number)).astype(float)
    for function, slow in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        found = function(*(np.moveaxis(values, -1, axis) for values in (x, y)), axis=axis)
        for value, a, b in zip(found, x, y, strict=True):
            if min(np.ptp(a), np.ptp(b)) == 0:
                assert np.isnan(value)
            else:
                assert value == pytest.approx(slow(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("predicted", [[0.5] * 4, [0.1, 0.2, 0.3, 0.4]])
def test_constant_input_is_undefined(predicted: list[float]) -> None:
    """Without a warning, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = agreement(predicted, [0.7] * 4)
        assert np.isnan(found.lcc)
        assert np.isnan(found.srcc)
        assert found.mse == pytest.approx(float(np.mean((np.array(predicted) - 0.7) ** 2)))
        intervals = agreement_intervals(predicted, [0.7] * 4)
    assert np.isnan(intervals.lcc).all()
    assert np.isnan(intervals.srcc).all()
    assert not np.isnan(intervals.mse).any()
    assert np.isnan(agreement([0.1], [0.2]).lcc)
    assert np.isnan(agreement_intervals([0.1], [0.2]).mse).all()
    assert [none_if_undefined(value) for value in (0.5, float("nan"), float("inf"))] == [0.5, None, None]


def test_intervals_are_those_of_a_slow_bootstrap_and_of_scipy() -> None:
    label, predicted, _ = rated(40)

    def slow(rows: NDArray[np.intp]) -> list[float]:
        p, x = predicted[rows], label[rows]
        return [slow_correlation(p, x), slow_correlation(slow_ranks(p), slow_ranks(x)), float(np.mean((p - x) ** 2))]

    found = agreement_intervals(predicted, label, resamples=200, seed=3)
    expected = slow_intervals(slow, [[row] for row in range(40)], 200, 3)
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-12)
    for value, interval, wide in zip(
        agreement(predicted, label)[:3],
        agreement_intervals(predicted, label),
        agreement_intervals(predicted[:12], label[:12]),
        strict=True,
    ):
        assert -1 <= interval.low < value < interval.high <= 1
        assert wide.high - wide.low > interval.high - interval.low
    ours = bootstrap_interval(pearson, predicted, label, resamples=300, seed=5)
    theirs = stats.bootstrap(
        (predicted, label),
        pearson,
        paired=True,
        vectorized=True,
        n_resamples=300,
        method="percentile",
        rng=np.random.default_rng(5),
    )
    np.testing.assert_allclose(ours, theirs.confidence_interval, atol=1e-12)


def test_changes_are_resampled_by_group() -> None:
    label, first, second = rated(60)
    groups = [f"piece {row % 11}" for row in range(60)]
    members = [[row for row in range(60) if groups[row] == name] for name in sorted(set(groups))]

    def slow(rows: NDArray[np.intp]) -> list[float]:
        one, other = (agreement(values[rows], label[rows]) for values in (first, second))
        return [b - a for a, b in zip(one[:3], other[:3], strict=True)]

    found = agreement_change(first, second, label, groups=groups, resamples=200, seed=[37, 0])
    np.testing.assert_allclose(np.array(found), np.array(slow_intervals(slow, members, 200, [37, 0])), atol=1e-12)
    assert found.lcc.low > 0
    single = agreement_change(first, second, label, resamples=200)
    assert np.ptp(single.lcc) != np.ptp(found.lcc)


def test_unpaired_samples_and_statistics_of_one_sample() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(30), rng.random(20) + 0.5

    def change(a: Array, b: Array, axis: int) -> Array:
        return np.asarray(np.median(b, axis=axis) - np.median(a, axis=axis))

    found = bootstrap(change, one, other, paired=False, resamples=100, seed=2)
    again = np.random.default_rng(2)
    slow = []
    for _ in range(100):
        a, b = one[again.integers(0, 30, 30)], other[again.integers(0, 20, 20)]
        slow.append(np.median(b) - np.median(a))
    np.testing.assert_allclose(found, slow, atol=1e-12)
    draws = np.random.default_rng(4).choice(one, (100, 30)).mean(1)
    np.testing.assert_allclose(bootstrap(np.mean, one, resamples=100, seed=4), draws, atol=1e-12)


def test_resamples_that_are_undefined_are_left_out() -> None:
    assert interval_of(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert np.isnan(interval_of(np.array([np.nan]))).all()
    label, predicted, _ = rated(5)
    all_of_them = bootstrap(squared_error, predicted, label, resamples=400)
    distinct = bootstrap(squared_error, predicted, label, resamples=400, min_distinct=4)
    rng = np.random.default_rng(0)
    few = np.array([len(set(rng.integers(0, 5, 5).tolist())) < 4 for _ in range(400)])
    assert 0 < few.sum() < 400
    np.testing.assert_array_equal(np.isnan(distinct), few)
    np.testing.assert_array_equal(distinct[~few], all_of_them[~few])


def test_intervals_hold_what_they_promise() -> None:
    """About 95 of 100 intervals of a mean hold the true one."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        low, high = bootstrap_interval(np.mean, rng.standard_normal(60), resamples=300, seed=trial)
        held += low <= 0 <= high
    assert 0.9 < held / 300 < 0.98


def test_tests_of_equal_correlations_have_their_size_and_power() -> None:
    rng = np.random.default_rng(0)
    same, other = [], []
    for _ in range(200):
        truth = rng.standard_normal(40)
        a, b, c = (truth + rng.standard_normal(40) * spread for spread in (1.0, 1.0, 0.4))
        same.append(williams(a, b, truth))
        other.append(williams(a, c, truth))
        assert williams(a, b, truth) == pytest.approx(williams(b, a, truth))
    assert 0.01 < np.mean(np.array(same) < 0.05) < 0.1
    assert np.mean(np.array(other) < 0.05) > 0.7
    assert williams(a, a, truth) == 1.0
    assert np.isnan(williams(a[:3], b[:3], truth[:3]))
    assert np.isnan(williams(a, np.ones(40), truth))


@settings(deadline=None)
@given(st.integers(2, 25), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.25, 0.5]), st.booleans())
def test_ordered_pairs(number: int, seed: int, min_difference: float, grouped: bool) -> None:
    rng = np.random.default_rng(seed)
    label, predicted = rng.integers(0, 5, (2, number)) / 4
    groups = rng.integers(0, 3, number).tolist()
    worth = []
    for i, j in itertools.combinations(range(number), 2):
        change = label[j] - label[i]
        if change == 0 or abs(change) < min_difference or (grouped and groups[i] != groups[j]):
            continue
        moved = predicted[j] - predicted[i]
        worth.append(0.5 if moved == 0 else float((moved > 0) == (change > 0)))
    found = ordered_pairs(predicted, label, min_difference=min_difference, groups=groups if grouped else None)
    if worth:
        assert found == pytest.approx(100 * sum(worth) / len(worth))
    else:
        assert np.isnan(found)
