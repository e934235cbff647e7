"""Score files in one process, with a model that is loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..audiogram import Audiogram
from ..errors import HaaqiEdgeError, OptionError
from ..scorer import Scorer
from ..scores import Score
from ..windows import WindowLike


@dataclass(frozen=True)
class Request:
    """Options for scoring files; see `Scorer` and `Scorer.score`.

    Attributes:
        batch: patches to encode in one run; None scores one file after another.
    """

    model: str
    listeners: tuple[Audiogram, ...]
    level1: float | None = None
    spl: float | None = None
    nal_r: bool = False
    window: WindowLike = "default"
    batch: int | None = None
    provider: str | None = None
    threads: int | None = None
    cuda_graphs: bool = False

    def scorer(self) -> Scorer:
        """Return the scorer of this request. Each process loads a model once."""
        return _scorer(self.model, self.provider, self.threads, self.cuda_graphs)


class Scored(NamedTuple):
    """The index of a file in its list, and its scores or its error."""

    place: int
    outcome: list[Score] | HaaqiEdgeError


class Part(NamedTuple):
    """Results of the files that one process scored, with the provider and the number of threads that it used."""

    files: list[Scored]
    provider: str
    threads: int


def score_files(request: Request, files: Sequence[tuple[int, Path]]) -> Iterator[Scored]:
    """Score files.

    Args:
        request: options.
        files: pairs of an index and a path.

    Yields:
        The result of each file, in order.

    Raises:
        OptionError: if an option is invalid, which concerns every file.
        BundleError: see `Scorer`.
        ProviderError: see `Scorer`.
    """
    scorer, listeners = request.scorer(), list(request.listeners)
    paths = [path for _, path in files]
    level1, spl, nal_r, window = request.level1, request.spl, request.nal_r, request.window
    if request.batch is not None:
        many = scorer.score_many(
            paths, listeners, batch=request.batch, level1=level1, spl=spl, nal_r=nal_r, window=window
        )
        yield from (Scored(place, outcome) for (place, _), outcome in zip(files, many, strict=True))
        return
    for place, path in files:
        try:
            scores = scorer.score(path, listeners, level1=level1, spl=spl, nal_r=nal_r, window=window)
            yield Scored(place, scores)
        except OptionError:
            raise
        except HaaqiEdgeError as error:
            yield Scored(place, error)


def score_part(request: Request, files: Sequence[tuple[int, Path]]) -> Part:
    """Score files as `score_files` does, and return all results at once. For use in a worker process."""
    scorer = request.scorer()
    return Part(list(score_files(request, files)), scorer.provider, scorer.threads)


@cache
def _scorer(model: str, provider: str | None, threads: int | None, cuda_graphs: bool) -> Scorer:
    return Scorer(model, provider=provider, threads=threads, cuda_graphs=cuda_graphs)
