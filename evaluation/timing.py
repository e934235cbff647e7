"""Time functions side by side: interleaved runs in one process, with medians, spreads and ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

_DRAWS: Final = 1000


class Timing(NamedTuple):
    """Times in seconds: the median, and the 5th and 95th percentiles."""

    median: float
    low: float
    high: float


class Ratio(NamedTuple):
    """How many times faster: the median, and its 95% bootstrap interval over runs."""

    median: float
    low: float
    high: float


def taken(
    contenders: Mapping[str, Callable[[], object]],
    runs: int,
    budget: float | None = None,
    least: int = 3,
    short: float = 0.0,
) -> dict[str, list[float]]:
    """Time functions in interleaved runs.

    Each function first runs once to warm up. Then all functions run in turn, `runs` times, so that other load on the
    machine affects all of them equally.

    Args:
        contenders: the functions, by name.
        runs: number of timed runs per function.
        budget: limit in seconds for all runs of a function together. A slow function gets fewer runs, the first ones.
        least: minimum number of runs, whatever the budget.
        short: a function that takes less than this many seconds also runs untimed before each timed run. Otherwise it
            would start with caches that the other functions have filled, unlike for a user who repeats one task.

    Returns:
        seconds of each run, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    quick: set[str] = set()
    allowed = dict.fromkeys(contenders, runs)
    for run in range(runs + 1):
        for name, contender in contenders.items():
            if run > allowed[name]:
                continue
            if run and name in quick:
                contender()
            start = time.perf_counter()
            contender()
            took = time.perf_counter() - start
            if run:
                seconds[name].append(took)
                continue
            if took < short:
                quick.add(name)
            if budget is not None:
                allowed[name] = min(runs, max(least, int(budget / took)))
    return seconds


def timing(seconds: list[float]) -> Timing:
    """Summarize runs, given in seconds."""
    return Timing(*(float(np.quantile(seconds, q)) for q in (0.5, 0.05, 0.95)))


def ratio(before: list[float], after: list[float], seed: int = 0) -> Ratio:
    """Return how many times faster `after` is than `before`.

    Args:
        before, after: seconds of interleaved runs, the same number of each; they are compared run by run.
        seed: of the bootstrap.
    """
    ratios = np.array(before) / np.array(after)
    draws = np.median(np.random.default_rng(seed).choice(ratios, (_DRAWS, len(ratios))), axis=1)
    return Ratio(float(np.median(ratios)), *(float(np.quantile(draws, q)) for q in (0.025, 0.975)))
