"""Parallel work in processes of this machine, by joblib, or on a dask cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    *,
    scheduler: str | None = None,
    advice: str = "use fewer jobs",
) -> Iterator[Result]:
    """Apply a function to each item in parallel, and yield the results in the order of completion.

    Args:
        work: the function. It must be a function of a module, or a `functools.partial` of one.
        items: small objects such as paths or numbers. If a cluster loses a worker, another one repeats its items.
        jobs: number of processes on this machine. With 1, the work is done in this process.
        scheduler: address of a dask scheduler, such as `tcp://10.0.0.1:8786`. All its workers are then used.
        advice: for the error message if memory runs out.

    Raises:
        WorkerError: if a process died, or for a cluster, see `cluster.map_on_cluster`.
        OptionError: see `cluster.map_on_cluster`.
    """
    if scheduler is not None:
        from .cluster import map_on_cluster

        yield from map_on_cluster(work, items, scheduler)
        return
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(work, items)
        return
    import joblib

    try:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            done: Any = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
            with _ignored_by_workers():
                results = done(joblib.delayed(work)(item) for item in items)
            yield from results
    except BrokenProcessPool as error:
        raise WorkerError(
            f"one of {jobs} processes was ended from outside, most likely for lack of memory: {advice}"
        ) from error


@contextmanager
def _ignored_by_workers() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C, which a terminal sends to them as well.

    This process ends them. In this process, Ctrl-C waits meanwhile.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
