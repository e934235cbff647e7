"""How `score` goes through its files: here, in processes of this machine, or on a dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from ..runtime.errors import OptionError
from ..runtime.requests import Request, Scored, score_files, score_part
from ..runtime.sessions import available_cores
from .console import require

_TOGETHER: Final = 16
"""files that a process takes at once where they are batched"""


class Run(Protocol):
    """Files on their way: each as it is scored, in any order; and what runs, known once all are."""

    provider: str
    threads: int

    def __iter__(self) -> Iterator[Scored]: ...


def run(request: Request, files: list[Path], jobs: int | None, backend: str | None, scheduler: str | None) -> Run:
    """The files' run.

    Raises:
        OptionError: options that contradict each other.
        DependencyError: joblib or dask is missing.
    """
    if backend == "dask" and scheduler is None:
        raise OptionError("--backend dask: give the cluster's address with --scheduler, as tcp://10.0.0.1:8786")
    if scheduler is not None and (backend != "dask" or jobs is not None):
        raise OptionError("--scheduler goes with --backend dask, and without --jobs: all of its workers take part")
    if scheduler is not None:
        require("dask", "joblib", "distributed")
        # Workers stand in folders of their own.
        folder = Path(request.model)
        request = replace(request, model=str(folder.absolute()) if folder.is_dir() else request.model)
        return _Spread(request, [path.absolute() for path in files], 0, scheduler)
    if jobs is None or min(jobs, len(files)) == 1:
        return _Here(request, files)
    require("library", "joblib")
    if request.threads is None:
        request = replace(request, threads=max(1, available_cores() // jobs))
    return _Spread(request, files, jobs, None)


class _Here:
    """One after another in this process."""

    def __init__(self, request: Request, files: list[Path]) -> None:
        self._request, self._files = request, list(enumerate(files))
        scorer = request.scorer()
        self.provider, self.threads = scorer.provider, scorer.threads

    def __iter__(self) -> Iterator[Scored]:
        return score_files(self._request, self._files)


class _Spread:
    """In several processes."""

    def __init__(self, request: Request, files: list[Path], jobs: int, scheduler: str | None) -> None:
        size = 1 if request.batch is None else min(_TOGETHER, max(1, len(files) // max(1, jobs)))
        places = list(enumerate(files))
        self._parts = [places[i : i + size] for i in range(0, len(places), size)]
        self._request, self._jobs, self._scheduler = request, jobs, scheduler
        self.provider, self.threads = "", 0

    def __iter__(self) -> Iterator[Scored]:
        from ..training.spread import spread

        providers = set()
        for part in spread(partial(score_part, self._request), self._parts, self._jobs, scheduler=self._scheduler):
            providers.add(part.provider)
            self.provider, self.threads = ", ".join(sorted(providers)), part.threads
            yield from part.files
