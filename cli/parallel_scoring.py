"""Score the files of `haaqi-edge score` in this process, in several processes, or on a dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from ..runtime.batch.requests import FileResult, ScoreRequest, score_files, score_part
from ..runtime.errors import HaaqiEdgeError, OptionError
from .console import require

_MAX_CHUNK: Final = 16
"""maximum number of files that a process scores at once, if their patches are batched"""


class ScoringRun(Protocol):
    """An iterable of results, in the order of completion. The attributes are final after the last result.

    Attributes:
        provider: execution provider.
        threads: number of threads per process.
        processes: number of processes on this machine, 0 on a cluster.
    """

    provider: str
    threads: int
    processes: int

    def __iter__(self) -> Iterator[FileResult]: ...


def start_scoring(
    request: ScoreRequest, files: Sequence[Path], jobs: int | None, backend: str | None, scheduler: str | None
) -> ScoringRun:
    """Return the run that scores the files.

    Args:
        request: options for scoring.
        files: paths.
        jobs: number of processes, None for this process.
        backend: "processes", "dask" or None.
        scheduler: address of a dask scheduler.

    Raises:
        OptionError: options contradict each other.
        DependencyError: joblib or distributed is missing.
    """
    if backend == "dask" and scheduler is None:
        raise OptionError("--backend dask: give the scheduler's address with --scheduler, such as tcp://10.0.0.1:8786")
    if scheduler is not None and (backend != "dask" or jobs is not None):
        raise OptionError("--scheduler needs --backend dask, and excludes --jobs: all workers of the cluster are used")
    if scheduler is not None:
        require("parallel", "distributed")
        if isinstance(request.model, str) and Path(request.model).is_dir():
            request = replace(request, model=str(Path(request.model).absolute()))
        return _ParallelRun(request, files, 0, scheduler)
    if jobs is None or min(jobs, len(files)) == 1:
        return _LocalRun(request, files)
    require("parallel", "joblib")
    return _ParallelRun(request, files, jobs, None)


def describe_workers(run: ScoringRun) -> str:
    """Return the number of processes and threads, in words."""
    threads = f"{run.threads} thread{'s' if run.threads > 1 else ''}"
    if run.processes == 1:
        return threads
    return f"{run.processes} processes, {threads} each" if run.processes else f"dask, {threads} per file"


class _LocalRun:
    """Score files one after another in this process."""

    def __init__(self, request: ScoreRequest, files: Sequence[Path]) -> None:
        self._request, self._files = request, list(enumerate(files))
        scorer = request.scorer()
        self.provider, self.threads, self.processes = scorer.provider, scorer.threads, 1

    def __iter__(self) -> Iterator[FileResult]:
        return score_files(self._request, self._files)


class _ParallelRun:
    """Score files in several processes."""

    def __init__(self, request: ScoreRequest, files: Sequence[Path], jobs: int, scheduler: str | None) -> None:
        size = 1 if request.batch is None else min(_MAX_CHUNK, max(1, len(files) // max(1, jobs)))
        # Workers on a cluster have other working directories.
        places = list(enumerate(files if scheduler is None else [path.absolute() for path in files]))
        self._parts = [places[i : i + size] for i in range(0, len(places), size)]
        self._request, self._files, self._jobs, self._scheduler = request, files, jobs, scheduler
        self.provider, self.threads, self.processes = "", 0, min(jobs, len(self._parts))

    def __iter__(self) -> Iterator[FileResult]:
        from ..runtime.batch.parallel import parallel_map

        providers = set()
        for part in parallel_map(
            partial(score_part, self._request), self._parts, self._jobs, scheduler=self._scheduler
        ):
            providers.add(part.provider)
            self.provider, self.threads = ", ".join(sorted(providers)), part.threads
            part.messages.repeat()
            for place, outcome in part.files:
                if isinstance(outcome, HaaqiEdgeError) and self._scheduler is not None:
                    _restore_path(outcome, self._files[place])
                yield FileResult(place, outcome)


def _restore_path(error: HaaqiEdgeError, path: Path) -> None:
    """Replace the absolute path in an error from a cluster by the path that the user gave."""
    error.args = tuple(str(part).replace(str(path.absolute()), str(path)) for part in error.args)
