"""What a stream tells: an update every hop, and a summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .audiogram import Audiogram
from .errors import OptionError

_One = TypeVar("_One")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one listener hears at a moment of a stream.

    Attributes:
        audiogram: the listener.
        score: 0 to 1, over the window that ends now; None where it is silent.
        mean: of the scores of the consecutive whole windows so far, silent ones left out: what `Scorer.score` gives for
            so much audio. None before the first.
        level: dB SPL of the presented signal, RMS over the patches since the last update (175 ms each); None where they
            are silent.
        frame_scores: float32 [patches], the score of each patch of the window as the head sees it now, NaN in silence.
    """

    audiogram: Audiogram
    score: float | None
    mean: float | None
    level: float | None
    frame_scores: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Update:
    """A moment of a stream.

    Attributes:
        time: seconds from the start of the stream to the end of the last patch.
        full: whether the window is as long as it gets.
        readings: one a listener, in the order in which they were given.
    """

    time: float
    full: bool
    readings: tuple[Reading, ...]

    @property
    def score(self) -> float | None:
        """Of the only listener; `OptionError` where there are several."""
        return _only(self.readings).score

    @property
    def mean(self) -> float | None:
        """Of the only listener."""
        return _only(self.readings).mean

    @property
    def level(self) -> float | None:
        """Of the only listener."""
        return _only(self.readings).level

    @property
    def frame_scores(self) -> npt.NDArray[np.float32]:
        """Of the only listener."""
        return _only(self.readings).frame_scores

    def to_dict(self, frames: bool = False) -> dict[str, Any]:
        """For JSON: silence is null; with `frames` the score of every patch of the window."""
        readings = []
        for reading in self.readings:
            one: dict[str, Any] = {
                "audiogram": reading.audiogram.name,
                "score": reading.score,
                "mean": reading.mean,
                "level": None if reading.level is None else round(reading.level, 2),
            }
            if frames:
                one["frame_scores"] = [None if np.isnan(v) else round(float(v), 6) for v in reading.frame_scores]
            readings.append(one)
        return {"time": round(self.time, 4), "full": self.full, "readings": readings}


@dataclass(frozen=True, slots=True)
class Total:
    """The quality of a whole stream for one listener, 0 to 1; None where all of it was silent."""

    audiogram: Audiogram
    score: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All of a stream so far.

    Attributes:
        time: seconds from the start of the stream to the end of the last patch; 0 before the first.
        totals: one a listener: what `Scorer.score` gives for these patches, the last window ending with the last one.
    """

    time: float
    totals: tuple[Total, ...]

    @property
    def score(self) -> float | None:
        """Of the only listener; `OptionError` where there are several."""
        return _only(self.totals).score

    def to_dict(self) -> dict[str, Any]:
        """For JSON: silence is null."""
        totals = [
            {"audiogram": one.audiogram.name, "levels": list(one.audiogram.levels), "score": one.score}
            for one in self.totals
        ]
        return {"time": round(self.time, 4), "totals": totals}


def _only(several: tuple[_One, ...]) -> _One:
    if len(several) != 1:
        raise OptionError(f"{len(several)} listeners were given: read their own values, one a listener, in their order")
    return several[0]
