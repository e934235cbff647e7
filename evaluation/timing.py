"""Timing of functions side by side: interleaved runs in one process, with medians, spreads and ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..training.statistics import bootstrap_interval


class Timing(NamedTuple):
    """Times in seconds: the median, and the 5th and 95th percentiles."""

    median: float
    low: float
    high: float


class Speedup(NamedTuple):
    """How many times faster: the median, and its 95% bootstrap interval over runs."""

    median: float
    low: float
    high: float


def time_interleaved(
    functions: Mapping[str, Callable[[], object]],
    runs: int,
    budget: float | None = None,
    min_runs: int = 3,
    repeat_below: float = 0.0,
) -> dict[str, list[float]]:
    """Time functions in interleaved runs.

    Each function first runs once to warm up. Then all functions run in turn, `runs` times, so that other load on the
    machine affects all of them equally.

    Args:
        functions: the functions, by name.
        runs: number of timed runs per function.
        budget: limit in seconds for all runs of a function together. A slow function gets fewer runs, the first ones.
        min_runs: minimum number of runs, even if they exceed the budget.
        repeat_below: a function that takes less than this many seconds also runs untimed before each timed run.
            Otherwise it would start with caches that the other functions have filled, unlike for a user who repeats one
            task.

    Returns:
        seconds of each run, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    short: set[str] = set()
    allowed = dict.fromkeys(functions, runs)
    for run in range(runs + 1):
        for name, function in functions.items():
            if run > allowed[name]:
                continue
            if run and name in short:
                function()
            start = time.perf_counter()
            function()
            elapsed = time.perf_counter() - start
            if run:
                seconds[name].append(elapsed)
                continue
            if elapsed < repeat_below:
                short.add(name)
            if budget is not None:
                allowed[name] = min(runs, max(min_runs, int(budget / elapsed)))
    return seconds


def summarize_times(seconds: Sequence[float]) -> Timing:
    """Summarize runs, given in seconds."""
    return Timing(*(float(np.quantile(seconds, q)) for q in (0.5, 0.05, 0.95)))


def compute_speedup(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Speedup:
    """Compute how many times faster `after` is than `before`.

    Args:
        before, after: seconds of interleaved runs, the same number of each; they are compared run by run.
        seed: of the bootstrap.
    """
    ratios = np.array(before) / np.array(after)
    return Speedup(float(np.median(ratios)), *bootstrap_interval(np.median, ratios, seed=seed))
