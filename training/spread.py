"""Work spread over processes of this machine, or over a dask cluster, by joblib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, TypeVar

from ..runtime.errors import OptionError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")
_PATIENCE: Final = 10
"""seconds in which a scheduler must answer"""


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
        WorkerError: a process was ended from outside; of a cluster, several in turn that had one item.
        OptionError: no scheduler answers.
    """
    if scheduler is not None:
        yield from _on_cluster(work, items, scheduler)
        return
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(work, items)
        return
    import joblib

    try:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            yield from _parallel(work, items, jobs)
    except BrokenProcessPool as error:
        raise WorkerError(
            f"one of {jobs} processes was ended from outside, most likely for lack of memory: {advice}"
        ) from error


def _on_cluster(work: Callable[[Item], Result], items: Sequence[Item], scheduler: str) -> Iterator[Result]:
    import joblib
    from distributed import Client, KilledWorker

    try:
        client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise OptionError(
            f"no dask scheduler answers at {scheduler} ({error}): start one with `dask scheduler`, workers with "
            "`dask worker`, and give its address, as tcp://10.0.0.1:8786"
        ) from error
    with client:
        try:
            with joblib.parallel_config(backend="dask", client=client):
                yield from _parallel(work, items, -1)
        except KilledWorker as error:
            raise WorkerError(f"the cluster's workers die of their work ({error}): give them more memory") from error
        except TimeoutError as error:
            raise WorkerError(f"the scheduler at {scheduler} has no workers: start some with `dask worker`") from error


def _parallel(work: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    import joblib

    done: Any = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from done(joblib.delayed(work)(item) for item in items)
