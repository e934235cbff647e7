"""Results of a stream: an update per hop, and a summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from ..audiogram import Audiogram
from ..errors import OptionError
from ..features.familiarity import is_unfamiliar
from ..scores import Interval, describe_familiarity, short_name

_Result = TypeVar("_Result")

_MAX_LISTED: Final = 3
"""Maximum number of listeners whose scores `repr` lists."""


@dataclass(frozen=True, slots=True, repr=False)
class ListenerUpdate:
    """The result for one listener at one moment of a stream.

    Attributes:
        audiogram: the listener.
        score: 0 to 1, for the window that ends now; None if the window is silent.
        mean: mean score of the consecutive whole windows so far, without silent ones. `Scorer.score` gives the same
            number for this audio. None if there is no such window yet.
        level: RMS level of the presented signal in dB SPL, over the patches since the last update (175 ms each); None
            if they are silent.
        frame_scores: float32 [patches], the current score of each patch in the window; NaN if the window is silent.
        interval: lower and upper end of the prediction interval of `score`; None if the window is silent, or if the
            model predicts no intervals. An interval is calibrated for a full window.
        unfamiliarity: distance of the window from the training data, as in `Score`; None if the window is silent or
            short, or if the model has no measure of it.
    """

    audiogram: Audiogram
    score: float | None
    mean: float | None
    level: float | None
    frame_scores: npt.NDArray[np.float32]
    interval: Interval | None = None
    unfamiliarity: float | None = None

    @property
    def unfamiliar(self) -> bool | None:
        """Whether the sound is unlike those that the model was trained on; None if it is unknown."""
        return is_unfamiliar(self.unfamiliarity)

    def __repr__(self) -> str:
        """Return one line: the values, and the number of patches in place of the frame scores."""
        return (
            f"ListenerUpdate(audiogram={short_name(self.audiogram)!r}, score={_number(self.score)}, "
            f"mean={_number(self.mean)}, level={_number(self.level, 1)}, patches={len(self.frame_scores)})"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Update:
    """The results of a stream at one moment.

    Attributes:
        time: seconds from the start of the stream to the end of the last patch.
        full: whether the window has reached its full length.
        readings: one result per listener, in the order of the listeners.
    """

    time: float
    full: bool
    readings: tuple[ListenerUpdate, ...]

    def __repr__(self) -> str:
        """Return one line: the time, and the score of each listener or the number of listeners."""
        return f"Update(time={self.time:.3f}, full={self.full}, {_list_scores(self.readings)})"

    @property
    def score(self) -> float | None:
        """The score of the only listener.

        Raises:
            OptionError: if there are several listeners.
        """
        return _only(self.readings).score

    @property
    def interval(self) -> Interval | None:
        """The prediction interval of the only listener; see `score`."""
        return _only(self.readings).interval

    @property
    def mean(self) -> float | None:
        """The mean of the only listener; see `score`."""
        return _only(self.readings).mean

    @property
    def level(self) -> float | None:
        """The level of the only listener; see `score`."""
        return _only(self.readings).level

    @property
    def frame_scores(self) -> npt.NDArray[np.float32]:
        """The frame scores of the only listener; see `score`."""
        return _only(self.readings).frame_scores

    def to_dict(self, frames: bool = False) -> dict[str, Any]:
        """Return the update as a dict for JSON. Values of silent audio are None.

        Args:
            frames: whether to include the score of each patch in the window.
        """
        readings = []
        for reading in self.readings:
            one: dict[str, Any] = {
                "audiogram": reading.audiogram.name,
                "score": reading.score,
                "mean": reading.mean,
                "level": None if reading.level is None else round(reading.level, 2),
            }
            if reading.interval is not None:
                one["interval"] = list(reading.interval)
            one |= describe_familiarity(reading.unfamiliarity)
            if frames:
                one["frame_scores"] = [None if np.isnan(v) else round(float(v), 6) for v in reading.frame_scores]
            readings.append(one)
        return {"time": round(self.time, 4), "full": self.full, "readings": readings}


@dataclass(frozen=True, slots=True, repr=False)
class ListenerSummary:
    """The quality of all audio of a stream for one listener.

    Attributes:
        audiogram: the listener.
        score: 0 to 1; None if all audio was silent.
        interval: lower and upper end of the prediction interval of `score`, as in `Score`; None if all audio was
            silent, or if the model predicts no intervals.
        unfamiliarity: distance of the sound from the training data, as in `Score`.
    """

    audiogram: Audiogram
    score: float | None
    interval: Interval | None = None
    unfamiliarity: float | None = None

    @property
    def unfamiliar(self) -> bool | None:
        """Whether the sound is unlike those that the model was trained on; None if it is unknown."""
        return is_unfamiliar(self.unfamiliarity)

    def __repr__(self) -> str:
        """Return one line: the listener and the score."""
        return f"ListenerSummary(audiogram={short_name(self.audiogram)!r}, score={_number(self.score)})"


@dataclass(frozen=True, slots=True, repr=False)
class Summary:
    """The results for all audio of a stream so far.

    Attributes:
        time: seconds from the start of the stream to the end of the last patch; 0 before the first patch.
        totals: one result per listener, equal to that of `Scorer.score` for the same patches. The last window ends with
            the last patch.
    """

    time: float
    totals: tuple[ListenerSummary, ...]

    def __repr__(self) -> str:
        """Return one line: the time, and the score of each listener or the number of listeners."""
        return f"Summary(time={self.time:.3f}, {_list_scores(self.totals)})"

    @property
    def score(self) -> float | None:
        """The score of the only listener.

        Raises:
            OptionError: if there are several listeners.
        """
        return _only(self.totals).score

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a dict for JSON. Scores of silent audio are None."""
        totals = [
            {
                "audiogram": one.audiogram.name,
                "levels": list(one.audiogram.levels),
                "score": one.score,
                **({} if one.interval is None else {"interval": list(one.interval)}),
                **describe_familiarity(one.unfamiliarity),
            }
            for one in self.totals
        ]
        return {"time": round(self.time, 4), "totals": totals}


def _only(results: tuple[_Result, ...]) -> _Result:
    if len(results) != 1:
        raise OptionError(
            f"there are {len(results)} listeners: read the value of each one (`readings` or `totals`, in their order)"
        )
    return results[0]


def _number(value: float | None, digits: int = 4) -> str:
    return "None" if value is None else f"{value:.{digits}f}"


def _list_scores(results: Sequence[ListenerUpdate | ListenerSummary]) -> str:
    if len(results) > _MAX_LISTED:
        return f"listeners={len(results)}"
    return "scores={" + ", ".join(f"{short_name(one.audiogram)!r}: {_number(one.score)}" for one in results) + "}"
