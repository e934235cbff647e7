"""Work spread over processes of this machine, by joblib, or over a dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from ..runtime.errors import WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    *,
    scheduler: str | None = None,
    advice: str = "use fewer jobs",
) -> Iterator[Result]:
    """What `work` gives for each item, as it comes, from `jobs` processes; one does it in this process.

    Args:
        work: a function of a module, importable wherever it runs.
        items: small things: paths, numbers. A cluster that loses a worker does its items again elsewhere.
        jobs: processes, on this machine.
        scheduler: address of a dask scheduler, as `tcp://10.0.0.1:8786`; all its workers work then.
        advice: what to do where memory runs out.

    Raises:
        WorkerError: a process was ended from outside.
        OptionError, WorkerError: see `cluster.on_cluster`.
    """
    if scheduler is not None:
        from .cluster import on_cluster

        yield from on_cluster(work, items, scheduler)
        return
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(work, items)
        return
    import joblib

    try:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            done: Any = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
            yield from done(joblib.delayed(work)(item) for item in items)
    except BrokenProcessPool as error:
        raise WorkerError(
            f"one of {jobs} processes was ended from outside, most likely for lack of memory: {advice}"
        ) from error
