"""The scores of a clip, and their computation from windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .audiogram import Audiogram
from .backend import HeadOutput
from .bundle import HAAQI, Scale
from .errors import AudioError
from .features import patches as fe
from .features.familiarity import is_unfamiliar
from .windows import Patches, WindowSlice

Array = npt.NDArray[np.float32]

Interval: TypeAlias = tuple[float, float]
"""Lower and upper end of a prediction interval, from 0 to 1"""

_MAX_NAME: Final = 40
"""Maximum number of characters of a listener's name in `repr`."""


def short_name(listener: Audiogram) -> str:
    """Return the name of a listener, shortened for `repr` if it is long."""
    name = listener.name
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 3]}..."


@dataclass(frozen=True)
class Window:
    """A window of a clip, and its score.

    Attributes:
        start: seconds from the start of the clip.
        end: seconds from the start of the clip.
        score: 0 to 1; None if the window is silent.
        interval: lower and upper end of the prediction interval; None if the window is silent, or if the model
            predicts no intervals.
        unfamiliarity: see `Score`; None if the window has too little sound.
    """

    start: float
    end: float
    score: float | None
    interval: Interval | None = None
    unfamiliarity: float | None = None


@dataclass(frozen=True, repr=False)
class Score:
    """The predicted quality of a clip for one listener.

    Attributes:
        score: quality from 0 to 1; higher is better. It is the mean of the windows' scores. The weight of a window is
            the number of its patches that no earlier window covers. Silent windows are left out.
        frame_scores: float32 [patches], the score of each patch; NaN in silent windows.
        times: float64 [patches], seconds from the start of the clip to the middle of each patch.
        windows: all windows of the clip with their scores, in order.
        audiogram: the listener.
        scale: scale of the quantity that the model predicts.
        interval: lower and upper end of the prediction interval of `score`; None if the model predicts no intervals.
            It contains the label of a clip such as those that the model was tested on with the probability
            `Card.interval`, 90% for the shipped models. For several windows, its ends are the means of the windows'
            ends, with the weights of `score`. This is exact if the windows' errors are equal. Otherwise errors partly
            cancel, and the interval is wider than needed.
        unfamiliarity: distance of the sound from the model's training data, relative to the distance that few test
            clips exceed (`Card.familiarity`). For several windows, the mean with the weights of `score`. None if the
            model has no measure of it, or if less than some 5 s have sound.
    """

    score: float
    frame_scores: Array
    times: npt.NDArray[np.floating]
    windows: tuple[Window, ...]
    audiogram: Audiogram
    scale: Scale = HAAQI
    interval: Interval | None = None
    unfamiliarity: float | None = None

    def __repr__(self) -> str:
        """Return one line: the score, its interval, the listener, the number of windows and the seconds scored."""
        value = "" if self.scale == HAAQI else f"value={self.value:.4g} ({self.scale}), "
        if self.interval is not None:
            value += f"interval=({self.interval[0]:.4f}, {self.interval[1]:.4f}), "
        if self.unfamiliar:
            value += "unfamiliar=True, "
        seconds = self.windows[-1].end if self.windows else 0.0
        return (
            f"Score(score={self.score:.4f}, {value}audiogram={short_name(self.audiogram)!r}, "
            f"windows={len(self.windows)}, seconds={seconds:.1f})"
        )

    @property
    def value(self) -> float:
        """The score on the scale of the predicted quantity.

        For HAAQI this is the score itself; for ratings it may be a value from 1 to 5.
        """
        return self.scale.of_score(self.score)

    @property
    def unfamiliar(self) -> bool | None:
        """Whether the sound is unlike those that the model was trained on; None if it is unknown.

        The model's card says how many test clips are, and how large the errors of their scores are.
        """
        return is_unfamiliar(self.unfamiliarity)

    def to_dict(self) -> dict[str, Any]:
        """Return the score as a dict for JSON. Scores of silent parts are None."""
        return {
            "audiogram": self.audiogram.name,
            "levels": list(self.audiogram.levels),
            "score": self.score,
            **({} if self.interval is None else {"interval": list(self.interval)}),
            **({} if self.scale == HAAQI else {"value": self.value}),
            **describe_familiarity(self.unfamiliarity),
            "windows": [
                {
                    "start": w.start,
                    "end": w.end,
                    "score": w.score,
                    **({} if self.interval is None else {"interval": None if w.interval is None else list(w.interval)}),
                }
                for w in self.windows
            ],
            "frame_scores": [None if np.isnan(v) else round(float(v), 6) for v in self.frame_scores],
            "times": [round(float(t), 4) for t in self.times],
        }


def describe_familiarity(unfamiliarity: float | None) -> dict[str, Any]:
    """Return the entries of a result for JSON that say whether the sound is unfamiliar; empty if it is unknown."""
    if unfamiliarity is None:
        return {}
    return {"unfamiliar": is_unfamiliar(unfamiliarity), "unfamiliarity": round(unfamiliarity, 4)}


def listener_interval(output: HeadOutput, index: int) -> Interval | None:
    """Return the prediction interval of a window for the listener with an index; None without intervals."""
    if output.intervals is None:
        return None
    low, high = output.intervals[index].tolist()
    return low, high


class _WindowScores(NamedTuple):
    """A window of a clip.

    Attributes:
        start: seconds.
        end: seconds.
        patches: number of patches.
        added: number of patches that no earlier window covers.
        output: the scores of the window; None if it is silent or not yet scored.
        unfamiliarity: see `Score`.
    """

    start: float
    end: float
    patches: int
    added: int
    output: HeadOutput | None
    unfamiliarity: float | None


class ScoreAggregator:
    """Collector of window scores, from which it computes the scores of a clip.

    Args:
        listeners: the listeners.
        name: name of the clip in error messages.
        scale: scale of the predicted quantity.

    Attributes:
        listeners: the listeners.
        audiograms: their levels, float32 [listeners, 8] in dB HL.
    """

    def __init__(self, listeners: Sequence[Audiogram], name: str, scale: Scale) -> None:
        self.listeners, self._name, self._scale = listeners, name, scale
        self.audiograms = np.stack([listener.array() for listener in listeners])
        self._windows: list[_WindowScores] = []

    def add(
        self, window: WindowSlice[Patches], output: HeadOutput | None = None, unfamiliarity: float | None = None
    ) -> int:
        """Add the next window of the clip.

        Args:
            window: the window.
            output: its scores. None if the window is silent, or if `set_output` adds the scores later.
            unfamiliarity: see `Score`.

        Returns:
            The index of the window, for `set_output`.
        """
        patches = len(window.patches.silent)
        span = window.start * fe.PATCH_SECONDS, fe.patch_end(window.start + patches)
        self._windows.append(_WindowScores(*span, patches, window.added, output, unfamiliarity))
        return len(self._windows) - 1

    def set_output(self, index: int, output: HeadOutput, unfamiliarity: float | None = None) -> None:
        """Set the scores of a window, by the index that `add` returned."""
        self._windows[index] = self._windows[index]._replace(output=output, unfamiliarity=unfamiliarity)

    def scores(self) -> list[Score]:
        """Return one `Score` per listener.

        Raises:
            AudioError: if all windows are silent.
        """
        total = sum(window.added for window in self._windows if window.output)
        if total == 0:
            raise AudioError(f"{self._name} is silent throughout")
        return [self._score(index, total) for index in range(len(self.listeners))]

    def _score(self, index: int, total: int) -> Score:
        windows, curves, mean = [], [], 0.0
        ends: npt.NDArray[np.float64] | None = None
        for window in self._windows:
            value = None if window.output is None else float(window.output.scores[index])
            interval = None if window.output is None else listener_interval(window.output, index)
            windows.append(Window(window.start, window.end, value, interval, window.unfamiliarity))
            silence = np.full(window.patches, np.nan, dtype=np.float32)
            curve = silence if window.output is None else window.output.frame_scores[index]
            curves.append(curve[window.patches - window.added :])
            mean += 0.0 if value is None else value * window.added
            if interval is not None:
                ends = (0.0 if ends is None else ends) + np.multiply(interval, window.added)
        curve = np.concatenate(curves)
        times = np.arange(len(curve)) * fe.PATCH_SECONDS + fe.PATCH_LENGTH / fe.SAMPLE_RATE / 2
        interval = None if ends is None else (float(ends[0] / total), float(ends[1] / total))
        return Score(
            mean / total,
            curve,
            times,
            tuple(windows),
            self.listeners[index],
            self._scale,
            interval,
            mean_unfamiliarity((window.unfamiliarity, window.added) for window in self._windows),
        )


def mean_unfamiliarity(windows: Iterable[tuple[float | None, int]]) -> float | None:
    """Return the mean unfamiliarity of windows, with their numbers of patches as weights; None if all are unknown."""
    known = [(value, weight) for value, weight in windows if value is not None and weight > 0]
    if not known:
        return None
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
