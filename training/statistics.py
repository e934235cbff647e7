"""Statistics of predictions and labels for the whole project: agreement, bootstrap intervals, tests, ordered pairs.

One policy for undefined values: a correlation is NaN if an input is constant or has fewer than two values, and so is
everything computed from it. Intervals leave out resamples whose statistic is NaN, and are NaN if none remain. In JSON,
NaN is null (`runtime.writing.to_json`, `none_if_undefined`).

All intervals are 95% percentile intervals of `scipy.stats.bootstrap`, with the same random numbers for the same seed.
If measurements belong to groups (a piece of music, a person), whole groups are resampled in the same way.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Seed = int | Sequence[int]
Statistic = Callable[..., Any]
"""function of samples [..., n] and `axis` (-1) that reduces this axis, as `scipy.stats.bootstrap` expects it"""
RESAMPLES: Final = 1000
"""default number of bootstrap resamples"""
LEVEL: Final = 0.95
"""confidence level of all intervals"""
_BATCH: Final = 2**20
"""number of values that are resampled at once"""


class Agreement(NamedTuple):
    """Linear correlation, rank correlation and mean squared error over `rows` pairs."""

    lcc: float
    srcc: float
    mse: float
    rows: int


class Interval(NamedTuple):
    """Lower and upper bound of an interval."""

    low: float
    high: float


class AgreementIntervals(NamedTuple):
    """Intervals of the three metrics of an agreement, or of their changes."""

    lcc: Interval
    srcc: Interval
    mse: Interval


def pearson(x: npt.ArrayLike, y: npt.ArrayLike, axis: int = -1) -> Floats:
    """Compute Pearson's linear correlation (LCC) of two arrays along an axis.

    Args:
        x, y: arrays of shapes that broadcast.
        axis: the axis of the pairs.

    Returns:
        float64, without that axis. NaN where x or y is constant or has fewer than two values.
    """
    a, b = (np.moveaxis(np.asarray(values, np.float64), axis, -1) for values in (x, y))
    if a.shape[-1] < 2:
        return np.full(np.broadcast_shapes(a.shape, b.shape)[:-1], np.nan)
    undefined = (np.ptp(a, axis=-1) == 0) | (np.ptp(b, axis=-1) == 0)
    a, b = (values - values.mean(-1, keepdims=True) for values in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.where(undefined, np.nan, np.clip(found, -1.0, 1.0))


def spearman(x: npt.ArrayLike, y: npt.ArrayLike, axis: int = -1) -> Floats:
    """Compute Spearman's rank correlation (SRCC) along an axis. Equal values share their mean rank. See `pearson`."""
    return pearson(stats.rankdata(np.asarray(x), axis=axis), stats.rankdata(np.asarray(y), axis=axis), axis)


def squared_error(x: npt.ArrayLike, y: npt.ArrayLike, axis: int = -1) -> Floats:
    """Compute the mean squared error (MSE) along an axis, in float64."""
    return np.asarray(np.mean((np.asarray(x, np.float64) - np.asarray(y, np.float64)) ** 2, axis=axis))


def agreement(predicted: npt.ArrayLike, label: npt.ArrayLike) -> Agreement:
    """Compute LCC (Pearson), SRCC (Spearman) and MSE of predictions [n] and labels [n].

    Both correlations are NaN if the predictions or the labels are constant.
    """
    lcc, srcc, mse = (float(metric(predicted, label)) for metric in (pearson, spearman, squared_error))
    return Agreement(lcc, srcc, mse, len(np.asarray(label)))


def ordered_pairs(
    predicted: npt.ArrayLike,
    label: npt.ArrayLike,
    *,
    min_difference: float = 0.0,
    groups: Sequence[object] | None = None,
) -> float:
    """Compute the percentage of pairs that the predictions put in the same order as the labels.

    Args:
        predicted, label: [n].
        min_difference: only pairs whose labels differ, and by at least this much, count.
        groups: the group of each value, such as its piece of music. Only pairs within a group count. None compares all.

    Returns:
        0 to 100. A pair with equal predictions counts half. NaN if no pair counts.
    """
    scores, truth = (np.asarray(values, np.float64) for values in (predicted, label))
    pairs, right = 0, 0.0
    for rows in members(groups) if groups is not None else [np.arange(len(truth))]:
        score, true = scores[rows], truth[rows]
        for first in range(len(rows) - 1):
            change = true[first + 1 :] - true[first]
            counted = (np.abs(change) >= min_difference) & (change != 0)
            same = np.sign(score[first + 1 :] - score[first])[counted] * np.sign(change[counted])
            pairs += len(same)
            right += float((same + 1).sum()) / 2
    return 100 * right / pairs if pairs else float("nan")


def members(groups: Sequence[object]) -> list[npt.NDArray[np.intp]]:
    """Return the indices of the members of each group, in the sorted order of the groups' names."""
    names = np.array([str(group) for group in groups])
    return [np.flatnonzero(names == name) for name in sorted(set(names.tolist()))]


def bootstrap(
    statistic: Statistic,
    *samples: npt.ArrayLike,
    groups: Sequence[object] | None = None,
    paired: bool = True,
    min_distinct: int = 1,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> Floats:
    """Compute a statistic of bootstrap resamples, by `scipy.stats.bootstrap`.

    Args:
        statistic: called with resampled `samples` and `axis=-1`.
        samples: arrays [..., n].
        groups: the group of each of the n values; groups are resampled with all their members instead of single values.
            The statistic then gets one resample at a time.
        paired: whether the same indices are taken from all samples. Otherwise the samples [n], [m], ... are resampled
            independently.
        min_distinct: resamples with fewer distinct values or groups than this give NaN (paired samples only).
        resamples: number of resamples.
        seed: of NumPy's default generator.

    Returns:
        [..., resamples]; NaN throughout if there are fewer than two values or groups.
    """
    arrays = [np.asarray(sample) for sample in samples]
    parts = None if groups is None else members(groups)
    units = [len(parts)] if parts is not None else [array.shape[-1] for array in arrays[: 1 if paired else None]]
    if min(units) < 2:
        return np.full((*np.shape(statistic(*arrays, axis=-1)), resamples), np.nan)

    def of_resamples(*drawn: npt.NDArray[np.intp], axis: int) -> Floats:
        if not paired:
            return np.asarray(
                statistic(*(array[..., rows] for array, rows in zip(arrays, drawn, strict=True)), axis=axis)
            )
        if parts is None:
            values = np.asarray(statistic(*(array[..., drawn[0]] for array in arrays), axis=axis))
        else:
            rows = [np.concatenate([parts[unit] for unit in one]) for one in drawn[0]]
            values = np.stack([statistic(*(array[..., one] for array in arrays), axis=-1) for one in rows], axis=-1)
        if min_distinct > 1:
            distinct = 1 + (np.diff(np.sort(drawn[0], axis=-1), axis=-1) > 0).sum(-1)
            values = np.where(distinct < min_distinct, np.nan, values)
        return values

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # its interval is not used, ours leaves out NaN
        found = stats.bootstrap(
            [np.arange(number) for number in units],
            of_resamples,
            vectorized=True,
            n_resamples=resamples,
            # One at a time if unpaired, so that the random numbers do not depend on the size of a batch.
            batch=max(1, _BATCH // units[0]) if paired else 1,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return np.asarray(found.bootstrap_distribution, np.float64)


def interval_of(distribution: Floats, level: float = LEVEL) -> Interval:
    """Compute the percentile interval of bootstrap resamples [resamples], without those that are NaN.

    Returns:
        the interval; NaN and NaN if all are NaN.
    """
    defined = distribution[~np.isnan(distribution)]
    if not len(defined):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bootstrap_interval(
    statistic: Statistic,
    *samples: npt.ArrayLike,
    groups: Sequence[object] | None = None,
    paired: bool = True,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> Interval:
    """Compute the 95% bootstrap interval of a statistic that is one number. See `bootstrap` for the arguments."""
    return interval_of(bootstrap(statistic, *samples, groups=groups, paired=paired, resamples=resamples, seed=seed))


def agreement_intervals(
    predicted: npt.ArrayLike,
    label: npt.ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    resamples: int = 500,
    seed: Seed = 0,
) -> AgreementIntervals:
    """Compute the 95% bootstrap intervals of LCC, SRCC and MSE over resampled rows or groups of rows."""
    found = bootstrap(_metrics, predicted, label, groups=groups, resamples=resamples, seed=seed)
    return AgreementIntervals(*(interval_of(metric) for metric in found))


def agreement_change(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    label: npt.ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    min_distinct: int = 1,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> AgreementIntervals:
    """Compute the 95% bootstrap intervals of the changes of LCC, SRCC and MSE from first to second predictions [n].

    Args:
        first, second: paired predictions [n].
        label: labels [n].
        groups, min_distinct, resamples, seed: see `bootstrap`.
    """

    def change(one: Floats, other: Floats, truth: Floats, axis: int) -> Floats:
        return _metrics(other, truth, axis=axis) - _metrics(one, truth, axis=axis)

    found = bootstrap(
        change, first, second, label, groups=groups, min_distinct=min_distinct, resamples=resamples, seed=seed
    )
    return AgreementIntervals(*(interval_of(metric) for metric in found))


def _metrics(predicted: Floats, label: Floats, axis: int) -> Floats:
    """Return LCC, SRCC and MSE, [3, ...]."""
    return np.stack([metric(predicted, label, axis) for metric in (pearson, spearman, squared_error)])


def williams(first: npt.ArrayLike, second: npt.ArrayLike, shared: npt.ArrayLike) -> float:
    """Test whether `first` and `second` correlate equally with `shared`, [n] each.

    Williams's t for two correlations with one variable in common (Steiger 1980, "Tests for comparing elements of a
    correlation matrix", Psychological Bulletin 87).

    Returns:
        the two-sided p-value; NaN if an input is constant or n is below 4.
    """
    a, b, c = (float(pearson(x, y)) for x, y in ((first, shared), (second, shared), (first, second)))
    n = len(np.asarray(shared))
    if n < 4:
        return float("nan")
    spread = 1 - a * a - b * b - c * c + 2 * a * b * c
    scale = 2 * spread * (n - 1) / (n - 3) + (a + b) ** 2 / 4 * (1 - c) ** 3
    if c >= 1 - 1e-12 or scale <= 0:
        return 1.0  # the two predictions are the same
    t = (a - b) * np.sqrt((n - 1) * (1 + c) / scale)
    return float(2 * stats.t.sf(abs(t), n - 3))


def none_if_undefined(value: float) -> float | None:
    """Return a number, or None (null in JSON) if it is NaN or infinite."""
    return float(value) if np.isfinite(value) else None
