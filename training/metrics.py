"""How well predictions follow labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.floating]


class Agreement(NamedTuple):
    """Linear and rank correlation and mean squared error over `rows` pairs."""

    lcc: float
    srcc: float
    mse: float
    rows: int


def agreement(predicted: Array, label: Array) -> Agreement:
    """LCC (Pearson), SRCC (Spearman) and MSE of predictions [n] against labels [n]."""
    error = float(np.mean((np.asarray(predicted, np.float64) - label) ** 2))
    lcc = float(stats.pearsonr(predicted, label).statistic)
    return Agreement(lcc, float(stats.spearmanr(predicted, label).statistic), error, len(label))


def lcc_interval(predicted: Array, label: Array, seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    """The 95% bootstrap interval of the LCC over resampled rows."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(label), (draws, len(label)))
    values = [float(np.corrcoef(predicted[i], label[i])[0, 1]) for i in rows]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
