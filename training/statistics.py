"""Agreement of predictions with labels: correlations, mean squared error, bootstrap intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.floating]


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


def agreement(predicted: Array, label: Array) -> Agreement:
    """Compute LCC (Pearson), SRCC (Spearman) and MSE of predictions [n] and labels [n].

    Both correlations are NaN if the predictions or the labels are constant.
    """
    error = float(np.mean((np.asarray(predicted, np.float64) - label) ** 2))
    if min(np.ptp(predicted), np.ptp(label)) == 0:
        return Agreement(np.nan, np.nan, error, len(label))
    lcc = float(stats.pearsonr(predicted, label).statistic)
    return Agreement(lcc, float(stats.spearmanr(predicted, label).statistic), error, len(label))


class Intervals(NamedTuple):
    """Intervals of the three metrics of an agreement."""

    lcc: Interval
    srcc: Interval
    mse: Interval


def intervals(predicted: Array, label: Array, seed: int = 0, draws: int = 500) -> Intervals:
    """Compute the 95% bootstrap intervals of LCC, SRCC and MSE over resampled rows."""
    rng = np.random.default_rng(seed)
    found = np.empty((3, draws))
    for draw in range(draws):
        rows = rng.integers(0, len(label), len(label))
        found[0, draw] = np.corrcoef(predicted[rows], label[rows])[0, 1]
        ranks = np.stack([stats.rankdata(part[rows]) for part in (predicted, label)])
        found[1, draw] = stats.pearsonr(ranks[0], ranks[1]).statistic
        found[2, draw] = np.mean((np.asarray(predicted[rows], np.float64) - label[rows]) ** 2)
    low, high = np.quantile(found, [0.025, 0.975], axis=1)
    return Intervals(*(Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)))
