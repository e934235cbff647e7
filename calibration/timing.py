"""Timing side by side: interleaved runs in one process, medians, spreads and ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

_DRAWS: Final = 1000


class Timing(NamedTuple):
    """Seconds: median, and the 5th and 95th percentile."""

    median: float
    low: float
    high: float


class Ratio(NamedTuple):
    """How many times faster: median, and its 95% bootstrap interval over runs."""

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
    """Seconds of each run: every contender once to warm up, then `runs` times in turn, so that load meets all alike.

    One whose runs would take more than `budget` seconds together gets fewer of them, the first ones, but `least`. One
    that takes less than `short` seconds runs untimed before each of its runs: the others leave nothing of its own in
    the caches, which nobody meets who does the same thing again and again.
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
    """Runs summed up."""
    return Timing(*(float(np.quantile(seconds, q)) for q in (0.5, 0.05, 0.95)))


def ratio(before: list[float], after: list[float], seed: int = 0) -> Ratio:
    """How many times faster `after` is than `before`, from runs that were interleaved: run by run, as many of each."""
    ratios = np.array(before) / np.array(after)
    draws = np.median(np.random.default_rng(seed).choice(ratios, (_DRAWS, len(ratios))), axis=1)
    return Ratio(float(np.median(ratios)), *(float(np.quantile(draws, q)) for q in (0.025, 0.975)))
