"""Score files in one process, with a model that is loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..audio.channels import Channel
from ..audiogram import Audiogram, EarPair
from ..backend import Backend
from ..errors import HaaqiEdgeError, OptionError
from ..scorer import Scorer
from ..scores import Score
from ..windows import WindowLike
from .messages import Messages, collect_messages


@dataclass(frozen=True)
class ScoreRequest:
    """Options for scoring files; see `Scorer` and `Scorer.score`.

    Attributes:
        model: name of a shipped model, path of a bundle's folder, or a backend. A backend must support pickling if
            other processes score the files, and excludes `provider`, `threads` and `cuda_graphs`.
        batch: patches to encode in one run; None scores one file after another.
        ears: listeners with two ears, for stereo files, in place of `listeners`.
    """

    model: str | Backend
    listeners: tuple[Audiogram, ...]
    level1: float | None = None
    spl: float | None = None
    nal_r: bool = False
    window: WindowLike = "default"
    batch: int | None = None
    provider: str | None = None
    threads: int | None = None
    cuda_graphs: bool = False
    channel: Channel = "mix"
    ears: tuple[EarPair, ...] = ()

    def scorer(self) -> Scorer:
        """Return the scorer of this request. Each process loads a model once."""
        return _scorer(cast(Any, self.model), self.provider, self.threads, self.cuda_graphs)


class FileResult(NamedTuple):
    """The result of a file.

    Attributes:
        place: index of the file in its list.
        outcome: one `Score` per listener, or the error of the file. Listeners with two ears have two, the left and the
            right one; see `ears.pair_scores`.
    """

    place: int
    outcome: list[Score] | HaaqiEdgeError


class PartResult(NamedTuple):
    """Results of the files that one process scored.

    Attributes:
        files: the results.
        provider: execution provider that was used.
        threads: number of threads that were used.
        messages: warnings and notes about the files.
    """

    files: list[FileResult]
    provider: str
    threads: int
    messages: Messages


def score_files(request: ScoreRequest, files: Sequence[tuple[int, Path]]) -> Iterator[FileResult]:
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
    scorer, listeners, ears = request.scorer(), list(request.listeners), list(request.ears)
    paths = [path for _, path in files]
    score_options: dict[str, Any] = {
        name: getattr(request, name) for name in ("level1", "spl", "nal_r", "window", "channel")
    }
    if request.batch is not None:
        of_whom: dict[str, Any] = {"ears": ears} if ears else {"audiograms": listeners}
        many = scorer.score_many(paths, batch=request.batch, **of_whom, **score_options)
        yield from (FileResult(place, outcome) for (place, _), outcome in zip(files, many, strict=True))
        return
    for place, path in files:
        try:
            if ears:
                both = scorer.score(path, ears=ears, **score_options)
                yield FileResult(place, [score for one in both for score in (one.left, one.right)])
            else:
                yield FileResult(place, scorer.score(path, listeners, **score_options))
        except OptionError:
            raise
        except HaaqiEdgeError as error:
            yield FileResult(place, error)


def score_part(request: ScoreRequest, files: Sequence[tuple[int, Path]]) -> PartResult:
    """Score files as `score_files` does, and return all results at once. For use in a worker process."""
    scorer = request.scorer()
    with collect_messages() as messages:
        results = list(score_files(request, files))
    return PartResult(results, scorer.provider, scorer.threads, messages)


@cache
def _scorer(model: str | Backend, provider: str | None, threads: int | None, cuda_graphs: bool) -> Scorer:
    return Scorer(model, provider=provider, threads=threads, cuda_graphs=cuda_graphs)
