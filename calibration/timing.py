"""Timing side by side: interleaved runs in one process, medians and spreads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Timing(NamedTuple):
    """Seconds: median, and the 5th and 95th percentile."""

    median: float
    low: float
    high: float


def compare(contenders: Mapping[str, Callable[[], object]], runs: int) -> dict[str, Timing]:
    """Run every contender once to warm up, then `runs` times in turn, so that load on the machine meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(runs + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            if run:
                taken[name].append(time.perf_counter() - start)
    return {name: Timing(*(float(np.quantile(t, q)) for q in (0.5, 0.05, 0.95))) for name, t in taken.items()}
