"""What scoring gives, put together from windows as they are heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import frontend as fe
from .audiogram import Audiogram
from .bundle import HAAQI, Scale
from .errors import AudioError
from .head import Heard
from .windows import Cut

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A stretch of a clip in seconds, and its score; None where it is silent."""

    start: float
    end: float
    score: float | None


@dataclass(frozen=True)
class Score:
    """The quality that one listener hears.

    Attributes:
        score: 0 to 1, the mean of the windows weighted by the patches that each adds.
        frame_scores: float32 [patches], NaN in silent windows.
        times: float64 [patches], seconds from the start of the clip to the middle of each patch.
        windows: the windows that were scored.
        audiogram: the listener.
        scale: what the score stands for.
    """

    score: float
    frame_scores: Array
    times: npt.NDArray[np.floating]
    windows: tuple[Window, ...]
    audiogram: Audiogram
    scale: Scale = HAAQI

    @property
    def value(self) -> float:
        """The score on the scale of what the model predicts: itself for HAAQI, 1 to 5, say, for ratings."""
        return self.scale.of_score(self.score)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: silence is null."""
        return {
            "audiogram": self.audiogram.name,
            "levels": list(self.audiogram.levels),
            "score": self.score,
            **({} if self.scale == HAAQI else {"value": self.value}),
            "windows": [{"start": w.start, "end": w.end, "score": w.score} for w in self.windows],
            "frame_scores": [None if np.isnan(v) else round(float(v), 6) for v in self.frame_scores],
            "times": [round(float(t), 4) for t in self.times],
        }


class _Part(NamedTuple):
    """A window of a clip: where it lies, its patches, those that no earlier one covered, and what was heard."""

    start: float
    end: float
    patches: int
    added: int
    heard: Heard | None


class Assembly:
    """A clip's scores for its listeners, from its windows; what they hear of a window may come later."""

    def __init__(self, listeners: Sequence[Audiogram], name: str, scale: Scale) -> None:
        self.listeners, self._name, self._scale = listeners, name, scale
        self.audiograms = np.stack([listener.array() for listener in listeners])
        self._parts: list[_Part] = []

    def add(self, window: Cut, heard: Heard | None = None) -> int:
        """Take a clip's next window; gives its place, for `hear`. One of which nothing is heard is silent."""
        patches = len(window.patches.silent)
        span = window.start * fe.PATCH_SECONDS, fe.patch_end(window.start + patches)
        self._parts.append(_Part(*span, patches, window.added, heard))
        return len(self._parts) - 1

    def hear(self, place: int, heard: Heard) -> None:
        """Take what listeners hear of a window."""
        self._parts[place] = self._parts[place]._replace(heard=heard)

    def scores(self) -> list[Score]:
        """One for each listener.

        Raises:
            AudioError: all windows are silent.
        """
        total = sum(part.added for part in self._parts if part.heard)
        if total == 0:
            raise AudioError(f"{self._name} is silent throughout")
        return [self._score(index, total) for index in range(len(self.listeners))]

    def _score(self, index: int, total: int) -> Score:
        windows, curves, mean = [], [], 0.0
        for part in self._parts:
            value = None if part.heard is None else float(part.heard.scores[index])
            windows.append(Window(part.start, part.end, value))
            silence = np.full(part.patches, np.nan, dtype=np.float32)
            curve = silence if part.heard is None else part.heard.frame_scores[index]
            curves.append(curve[part.patches - part.added :])
            mean += 0.0 if value is None else value * part.added
        curve = np.concatenate(curves)
        times = np.arange(len(curve)) * fe.PATCH_SECONDS + fe.PATCH_LENGTH / fe.SAMPLE_RATE / 2
        return Score(mean / total, curve, times, tuple(windows), self.listeners[index], self._scale)
