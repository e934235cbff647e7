"""How `score` goes through its files: here, in processes of this machine, or on a dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from ..runtime.batch.requests import Request, Scored, score_files, score_part
from ..runtime.errors import HaaqiEdgeError, OptionError
from ..runtime.session import available_cores
from .console import require

_TOGETHER: Final = 16
"""files that a process takes at once where they are batched"""


class Run(Protocol):
    """Files on their way: each as it is scored, in any order; and what runs, known once all are.

    Attributes:
        processes: on this machine; 0 on a cluster.
    """

    provider: str
    threads: int
    processes: int

    def __iter__(self) -> Iterator[Scored]: ...


def run(request: Request, files: list[Path], jobs: int | None, backend: str | None, scheduler: str | None) -> Run:
    """The files' run.

    Raises:
        OptionError: options that contradict each other.
        DependencyError: joblib or distributed is missing.
    """
    if backend == "dask" and scheduler is None:
        raise OptionError("--backend dask: give the cluster's address with --scheduler, as tcp://10.0.0.1:8786")
    if scheduler is not None and (backend != "dask" or jobs is not None):
        raise OptionError("--scheduler goes with --backend dask, and without --jobs: all of its workers take part")
    if scheduler is not None:
        require("dask", "distributed")
        folder = Path(request.model)
        request = replace(request, model=str(folder.absolute()) if folder.is_dir() else request.model)
        return _Spread(request, files, 0, scheduler)
    if jobs is None or min(jobs, len(files)) == 1:
        return _Here(request, files)
    require("library", "joblib")
    if request.threads is None:
        request = replace(request, threads=max(1, available_cores() // jobs))
    return _Spread(request, files, jobs, None)


def who(run: Run) -> str:
    """How many processes and threads, in words."""
    threads = f"{run.threads} thread{'s' if run.threads > 1 else ''}"
    if run.processes == 1:
        return threads
    return f"{run.processes} processes, {threads} each" if run.processes else f"dask, {threads} a file"


class _Here:
    """One after another in this process."""

    def __init__(self, request: Request, files: list[Path]) -> None:
        self._request, self._files = request, list(enumerate(files))
        scorer = request.scorer()
        self.provider, self.threads, self.processes = scorer.provider, scorer.threads, 1

    def __iter__(self) -> Iterator[Scored]:
        return score_files(self._request, self._files)


class _Spread:
    """In several processes."""

    def __init__(self, request: Request, files: list[Path], jobs: int, scheduler: str | None) -> None:
        size = 1 if request.batch is None else min(_TOGETHER, max(1, len(files) // max(1, jobs)))
        # Workers stand in folders of their own.
        places = list(enumerate(files if scheduler is None else [path.absolute() for path in files]))
        self._parts = [places[i : i + size] for i in range(0, len(places), size)]
        self._request, self._files, self._jobs, self._scheduler = request, files, jobs, scheduler
        self.provider, self.threads, self.processes = "", 0, min(jobs, len(self._parts))

    def __iter__(self) -> Iterator[Scored]:
        from ..runtime.batch.parallel import spread

        providers = set()
        for part in spread(partial(score_part, self._request), self._parts, self._jobs, scheduler=self._scheduler):
            providers.add(part.provider)
            self.provider, self.threads = ", ".join(sorted(providers)), part.threads
            for place, outcome in part.files:
                if isinstance(outcome, HaaqiEdgeError) and self._scheduler is not None:
                    _name_as_given(outcome, self._files[place])
                yield Scored(place, outcome)


def _name_as_given(error: HaaqiEdgeError, path: Path) -> None:
    """Let an error from a cluster name its file as it does without one."""
    error.args = tuple(str(part).replace(str(path.absolute()), str(path)) for part in error.args)
