"""Two ears: each channel of a stereo recording, and the scores of both."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from .audio.reading import ArrayAudio, FileAudio
from .audiogram import Audiogram, EarPair
from .bundle import HAAQI
from .errors import AudioError, ChannelWarning, OptionError
from .scores import Interval, Score

Ear: TypeAlias = Literal["left", "right"]
EARS: Final[tuple[Ear, Ear]] = ("left", "right")

_Item = TypeVar("_Item")


class _Scored(Protocol):
    """A result with a score: `Score`, or HAAQI itself."""

    @property
    def score(self) -> float: ...


_Result = TypeVar("_Result", bound=_Scored)


@dataclass(frozen=True, repr=False)
class TwoEars(Generic[_Result]):
    """The results of a listener's two ears. The score of both is their mean, as in the Cadenza challenges.

    Attributes:
        left: the result of the left channel with the left audiogram.
        right: the result of the right channel with the right audiogram.
        name: name of the listener.
    """

    left: _Result
    right: _Result
    name: str

    @property
    def score(self) -> float:
        """The mean of both ears, 0 to 1."""
        return (self.left.score + self.right.score) / 2

    @property
    def better_ear(self) -> Ear:
        """The ear with the higher score; the left one if they are equal."""
        return "left" if self.left.score >= self.right.score else "right"

    @property
    def better(self) -> _Result:
        """The result of the better ear."""
        return self.left if self.better_ear == "left" else self.right

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as a dict for JSON."""
        return {
            "listener": self.name,
            "score": self.score,
            "left": self.left.score,
            "right": self.right.score,
            "better": {"ear": self.better_ear, "score": self.better.score},
        }


@dataclass(frozen=True, repr=False)
class EarScores(TwoEars[Score]):
    """The predicted quality of a stereo clip for a listener's two ears.

    Each ear is scored with its channel and its audiogram. The score of both is their mean, as in the Cadenza
    challenges.

    Attributes:
        left: the score of the left channel with the left audiogram.
        right: the score of the right channel with the right audiogram.
        name: name of the listener.
    """

    def __repr__(self) -> str:
        """Return one line: the mean, both ears and the listener."""
        return (
            f"EarScores(score={self.score:.4f}, left={self.left.score:.4f}, right={self.right.score:.4f}, "
            f"name={self.name!r})"
        )

    @property
    def value(self) -> float:
        """The mean of both ears on the scale of the predicted quantity; see `Score.value`."""
        return (self.left.value + self.right.value) / 2

    @property
    def interval(self) -> Interval | None:
        """The prediction interval of `score`: the means of the ends of both; None if the model predicts no intervals.

        It is exact if the errors of both ears are equal. Otherwise they partly cancel, and it is wider than needed.
        """
        if self.left.interval is None or self.right.interval is None:
            return None
        low, high = ((a + b) / 2 for a, b in zip(self.left.interval, self.right.interval, strict=True))
        return low, high

    @property
    def unfamiliar(self) -> bool | None:
        """Whether the sound of an ear is unlike those that the model was trained on; None if it is unknown."""
        known = [one.unfamiliar for one in (self.left, self.right) if one.unfamiliar is not None]
        return any(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return the summary of both ears as a dict for JSON. `left.to_dict()` has the details of an ear."""
        return {
            **super().to_dict(),
            **({} if self.interval is None else {"interval": list(self.interval)}),
            **({} if self.left.scale == HAAQI else {"value": self.value}),
        }


def pair_scores(scores: Sequence[Score], pairs: Sequence[EarPair]) -> list[EarScores]:
    """Pair the scores of ears, which come in the order of `list_ears`."""
    return [
        EarScores(left, right, pair.name) for left, right, pair in zip(scores[::2], scores[1::2], pairs, strict=True)
    ]


def list_ears(pairs: Sequence[EarPair]) -> list[Audiogram]:
    """Return the audiograms of all ears: the left and the right one of each listener."""
    return interleave(of_ear(pairs, "left"), of_ear(pairs, "right"))


def of_ear(pairs: Sequence[EarPair], ear: Ear) -> list[Audiogram]:
    """Return the audiograms of one ear of all listeners."""
    return [pair.left if ear == "left" else pair.right for pair in pairs]


def interleave(left: Sequence[_Item], right: Sequence[_Item]) -> list[_Item]:
    """Return the items of two sequences in turn."""
    return [item for pair in zip(left, right, strict=True) for item in pair]


def open_ear(audio: ArrayAudio | FileAudio, ear: Ear, *, warn: bool = True) -> ArrayAudio | FileAudio:
    """Return the channel of an ear. A recording with one channel reaches both ears, with a `ChannelWarning`.

    Args:
        audio: a recording that was opened without a choice of channels.
        ear: the ear.
        warn: whether to warn of a recording with one channel.

    Raises:
        OptionError: if a channel was chosen already.
        AudioError: if the recording has more than two channels.
    """
    if audio.channel != "mix":
        raise OptionError(
            f"{audio.name} was opened with channel={audio.channel!r}: with ears, open it without a channel"
        )
    if audio.channels > 2:
        raise AudioError(
            f"{audio.name} has {audio.channels} channels: two ears need a stereo recording; mix it down to two, or "
            "score single channels with channel=0, channel=1, ..."
        )
    if audio.channels == 1 and ear == "left" and warn:  # once per recording
        warnings.warn(f"{audio.name} has one channel: both ears hear the same signal", ChannelWarning, stacklevel=2)
    one = copy.copy(audio)
    one.channel, one.name = ear, f"{audio.name} ({ear} ear)"
    return one
