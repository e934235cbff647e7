"""Work spread over processes, which end with their section: their time then counts as this program's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def spread(work: Callable[..., T], calls: Iterable[tuple[Any, ...]], jobs: int, done: Callable[[int], None]) -> list[T]:
    """What `work` gives for the arguments of each call, in the calls' order, one thread a process.

    Args:
        work: a function of a module.
        calls: its arguments, call by call.
        jobs: processes.
        done: called with the number of calls that are done.
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
