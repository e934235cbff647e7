"""Many files: prefetching, requests, and parallel processes on one machine or a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..lazy import resolve

if TYPE_CHECKING:
    from .parallel import parallel_map
    from .prefetch import Job, score_jobs
    from .requests import FileResult, ScoreRequest, score_files, score_part
    from .results import Column, ResultsWriter

_HOMES = {
    "Column": "results",
    "FileResult": "requests",
    "Job": "prefetch",
    "ResultsWriter": "results",
    "ScoreRequest": "requests",
    "parallel_map": "parallel",
    "score_files": "requests",
    "score_jobs": "prefetch",
    "score_part": "requests",
}
"""Module of this package that each public name comes from."""

__all__ = [
    "Column",
    "FileResult",
    "Job",
    "ResultsWriter",
    "ScoreRequest",
    "parallel_map",
    "score_files",
    "score_jobs",
    "score_part",
]


def __getattr__(name: str) -> Any:
    return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
