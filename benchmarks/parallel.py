"""Parallel processes that end with their section.

The time of processes that have ended counts as this program's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def spread(work: Callable[..., T], calls: Iterable[tuple[Any, ...]], jobs: int, done: Callable[[int], None]) -> list[T]:
    """Call a function in parallel processes, with one thread each; return the results in the order of the calls.

    Args:
        work: a function of a module.
        calls: arguments of each call.
        jobs: number of processes.
        done: called with the number of finished calls.
    """
    import joblib

    found: dict[int, T] = {}
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        for number, value in parallel(joblib.delayed(_numbered)(work, n, call) for n, call in enumerate(calls)):
            found[number] = value
            done(len(found))
    return [found[number] for number in sorted(found)]


def end_processes() -> None:
    """End the processes that `spread` keeps for its next call."""
    if "joblib" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


def _numbered(work: Callable[..., T], number: int, call: tuple[Any, ...]) -> tuple[int, T]:
    return number, work(*call)
