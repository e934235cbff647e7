"""Streaming for two ears: each channel of a stereo stream is scored with the audiogram of its ear."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Never, Self

import numpy as np

from ..audiogram import EarPair, EarsLike, as_ears
from ..ears import interleave, of_ear
from ..errors import ChannelWarning, OptionError
from .stream import Samples, Stream
from .updates import Summary, Update


@dataclass(frozen=True, slots=True)
class EarResult:
    """The scores of a listener's two ears at one moment of a stream, or for all of it.

    Attributes:
        name: name of the listener.
        left: score of the left channel with the left audiogram, 0 to 1; None if it is silent.
        right: score of the right channel with the right audiogram; None if it is silent.
    """

    name: str
    left: float | None
    right: float | None

    @property
    def score(self) -> float | None:
        """The mean of both ears; None if one is silent."""
        return None if self.left is None or self.right is None else (self.left + self.right) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dict for JSON."""
        better = None
        if self.left is not None and self.right is not None:
            better = {"ear": "left" if self.left >= self.right else "right", "score": max(self.left, self.right)}
        return {"listener": self.name, "score": self.score, "left": self.left, "right": self.right, "better": better}


@dataclass(frozen=True, slots=True, repr=False)
class EarUpdate(Update):
    """The results of a stereo stream at one moment.

    Attributes:
        readings: one result per ear: the left and the right one of each listener.
        ears: one result per listener, for the window that ends now.
    """

    ears: tuple[EarResult, ...] = ()

    @property
    def score(self) -> float | None:
        """The mean score of the only listener's ears; None if one is silent.

        Raises:
            OptionError: if there are several listeners.
        """
        return _only(self.ears).score

    def to_dict(self, frames: bool = False) -> dict[str, Any]:
        """Return the update as a dict for JSON; see `Update.to_dict`."""
        return {**Update.to_dict(self, frames), "ears": [one.to_dict() for one in self.ears]}


@dataclass(frozen=True, slots=True, repr=False)
class EarSummary(Summary):
    """The results for all audio of a stereo stream so far.

    Attributes:
        totals: one result per ear: the left and the right one of each listener.
        ears: one result per listener.
    """

    ears: tuple[EarResult, ...] = ()

    @property
    def score(self) -> float | None:
        """The mean score of the only listener's ears; see `EarUpdate.score`."""
        return _only(self.ears).score

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a dict for JSON; see `Summary.to_dict`."""
        return {**Summary.to_dict(self), "ears": [one.to_dict() for one in self.ears]}


class EarStream:
    """A stereo stream that is scored for the two ears of one or more listeners. Create it with `Scorer.stream(ears=)`.

    It is used as `Stream` is. Chunks have two channels, [n, 2]. Chunks of one channel reach both ears, with a
    `ChannelWarning`.

    Args:
        create: function that creates the `Stream` of a list of audiograms and a `channel`.
        ears: the listeners' ears, as for `Scorer.score`.

    Raises:
        AudioError: if the sample rate cannot be used.
        AudiogramError: if an audiogram is invalid.
        OptionError: if an option is invalid.
    """

    def __init__(self, create: Callable[..., Stream], ears: EarsLike | Sequence[EarsLike]) -> None:
        self._pairs = as_ears(ears)[0]
        self._left = create(of_ear(self._pairs, "left"), channel="left")
        self._right = create(of_ear(self._pairs, "right"), channel="right")
        self._checked = False

    @property
    def sample_rate(self) -> int:
        """Sample rate of the chunks, Hz."""
        return self._left.sample_rate

    @property
    def ears(self) -> tuple[EarPair, ...]:
        """The current listeners."""
        return tuple(self._pairs)

    @property
    def window(self) -> float:
        """Length of a window in seconds; see `Stream.window`."""
        return self._left.window

    @property
    def hop(self) -> float:
        """Seconds between updates."""
        return self._left.hop

    def accept_waveform(self, samples: Samples, *extra: Never, sample_rate: int | None = None) -> list[EarUpdate]:
        """Process a chunk of audio; see `Stream.accept_waveform`.

        Args:
            samples: [n, 2]: the left and the right channel.
            extra: nothing. A second positional argument is refused.
            sample_rate: Hz. Optional; must equal the rate of the stream.
        """
        left = self._left.accept_waveform(samples, *extra, sample_rate=sample_rate)
        if not self._checked and len(samples):
            self._checked = True
            if np.ndim(samples) == 1 or np.shape(samples)[1] == 1:
                message = "the stream has one channel: both ears hear the same signal"
                warnings.warn(message, ChannelWarning, stacklevel=2)
        return self._join(left, self._right.accept_waveform(samples, *extra, sample_rate=sample_rate))

    def input_finished(self) -> list[EarUpdate]:
        """End the audio, and score the samples that are held back; see `Stream.input_finished`."""
        return self._join(self._left.input_finished(), self._right.input_finished())

    def reset(self) -> None:
        """Restart the stream at time 0; see `Stream.reset`."""
        self._left.reset()
        self._right.reset()

    def set_ears(self, ears: EarsLike | Sequence[EarsLike]) -> EarUpdate | None:
        """Change the listeners; see `Stream.set_audiogram`.

        Args:
            ears: as for `Scorer.score`.
        """
        pairs = as_ears(ears)[0]
        left = self._left.set_audiogram(of_ear(pairs, "left"))
        right = self._right.set_audiogram(of_ear(pairs, "right"))
        self._pairs = pairs
        return None if left is None or right is None else self._join([left], [right])[0]

    def summary(self) -> EarSummary:
        """Return the scores of all audio so far; see `Stream.summary`."""
        left, right = self._left.summary(), self._right.summary()
        ears = self._results([one.score for one in left.totals], [one.score for one in right.totals])
        return EarSummary(left.time, tuple(interleave(left.totals, right.totals)), ears)

    def updates(self, chunks: Iterable[Samples]) -> Iterator[EarUpdate]:
        """Process audio that arrives in chunks, to its end; see `Stream.updates`."""
        for chunk in chunks:
            yield from self.accept_waveform(chunk)
        yield from self.input_finished()

    async def updates_async(self, chunks: AsyncIterable[Samples]) -> AsyncIterator[EarUpdate]:
        """Process chunks from an asynchronous source; see `Stream.updates_async`."""
        import asyncio  # here, to save memory on devices that do not use it

        async for chunk in chunks:
            for update in await asyncio.to_thread(self.accept_waveform, chunk):
                yield update
        for update in await asyncio.to_thread(self.input_finished):
            yield update

    def close(self) -> None:
        """Close the stream; see `Stream.close`."""
        self._left.close()
        self._right.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _join(self, left: Sequence[Update], right: Sequence[Update]) -> list[EarUpdate]:
        """Return the updates of both ears, which come at the same times."""
        joined = []
        for one, other in zip(left, right, strict=True):
            ears = self._results([r.score for r in one.readings], [r.score for r in other.readings])
            readings = tuple(interleave(one.readings, other.readings))
            joined.append(EarUpdate(one.time, one.full, readings, ears))
        return joined

    def _results(self, left: Sequence[float | None], right: Sequence[float | None]) -> tuple[EarResult, ...]:
        return tuple(EarResult(pair.name, *scores) for pair, *scores in zip(self._pairs, left, right, strict=True))


def _only(results: tuple[EarResult, ...]) -> EarResult:
    if len(results) != 1:
        raise OptionError(f"there are {len(results)} listeners: read the value of each one in `ears`, in their order")
    return results[0]
