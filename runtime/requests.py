"""What one process does of a library: files scored as a request says, by a model that is loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .audiogram import Audiogram
from .errors import HaaqiEdgeError, OptionError
from .scorer import Scorer, WindowLike
from .scores import Score


@dataclass(frozen=True)
class Request:
    """How files are scored; see `Scorer` and its `score`.

    Attributes:
        batch: patches to encode in one run; None scores one file after another.
    """

    model: str
    listeners: tuple[Audiogram, ...]
    level1: float | None = None
    spl: float | None = None
    nal_r: bool = False
    window: WindowLike = "card"
    batch: int | None = None
    provider: str | None = None
    threads: int | None = None
    cuda_graphs: bool = False

    def scorer(self) -> Scorer:
        """The model, loaded once in a process."""
        return _scorer(self.model, self.provider, self.threads, self.cuda_graphs)


class Scored(NamedTuple):
    """A file's place in its library, and its scores or what is wrong with it."""

    place: int
    outcome: list[Score] | HaaqiEdgeError


class Part(NamedTuple):
    """Files that were scored in one go, and what ran."""

    files: list[Scored]
    provider: str
    threads: int


def score_files(request: Request, files: Sequence[tuple[int, Path]]) -> Iterator[Scored]:
    """Score files, given with their places.

    Raises:
        OptionError: what is wrong with the request, and so with every file.
        BundleError, ProviderError: see `Scorer`.
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
    """The same in one go, for a process that was sent the request."""
    scorer = request.scorer()
    return Part(list(score_files(request, files)), scorer.provider, scorer.threads)


@cache
def _scorer(model: str, provider: str | None, threads: int | None, cuda_graphs: bool) -> Scorer:
    return Scorer(model, provider=provider, threads=threads, cuda_graphs=cuda_graphs)
