"""Score the windows of a clip: from tokens, or from features where encoder and head run together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .audiogram import Audiogram
from .backend import Backend
from .bundle import Scale
from .scores import Score, ScoreAggregator
from .windows import PatchFeatures, PatchTokens, WindowSlice

Array = npt.NDArray[np.float32]


class WindowTask(NamedTuple):
    """A window to encode and score.

    Attributes:
        features: float32 [patches, ...], the encoder's input.
        clip: the clip that receives the scores.
        window_index: index of the window in the clip, from `ScoreAggregator.add`.
        silent: bool [patches], True for silence.
    """

    features: Array
    clip: ScoreAggregator
    window_index: int
    silent: npt.NDArray[np.bool_]


class WindowModel(Protocol):
    """A model that encodes and scores a window in one step."""

    @property
    def predicts(self) -> Scale:
        """Scale of the predicted quantity."""

    def windows_per_run(self, patches: int, batch: int) -> int:
        """Return how many windows to score in one run, at least 1.

        Args:
            patches: patches in each window.
            batch: patches to encode in one run.
        """

    def score_windows(self, tasks: Sequence[WindowTask]) -> None:
        """Encode and score windows, and add the scores to their clips.

        Args:
            tasks: windows of the same length, from clips with the same number of listeners.
        """


class WholeWindows:
    """A `WindowModel` for a backend whose tokens depend on the whole window (`Backend.encodes_windows`).

    Args:
        backend: the model.

    Attributes:
        predicts: scale of the predicted quantity.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.predicts = backend.card.predicts

    def windows_per_run(self, patches: int, batch: int) -> int:  # noqa: ARG002 - the interface has them
        """Return 1: the backend encodes one window at a time."""
        return 1

    def score_windows(self, tasks: Sequence[WindowTask]) -> None:
        """Encode and score windows; see `WindowModel.score_windows`."""
        for task in tasks:
            tokens = self._backend.encode(task.features)
            task.clip.set_output(task.window_index, self._backend.run_head(tokens, task.clip.audiograms))


def score_tokens(
    backend: Backend, windows: Iterable[WindowSlice[PatchTokens]], listeners: Sequence[Audiogram], name: str
) -> list[Score]:
    """Score a clip from windows of tokens.

    Args:
        backend: the model.
        windows: the clip's windows.
        listeners: the listeners.
        name: name of the clip in error messages.

    Returns:
        One `Score` per listener.

    Raises:
        AudioError: if all windows are silent.
    """
    clip, familiarity = ScoreAggregator(listeners, name, backend.card.predicts), backend.card.familiarity
    for window in windows:
        if window.patches.silent.all():
            clip.add(window)
            continue
        distance = None if familiarity is None else familiarity.unfamiliarity(*window.patches)
        clip.add(window, backend.run_head(window.patches.tokens, clip.audiograms), distance)
    return clip.scores()


def score_features(
    model: WindowModel, windows: Iterable[WindowSlice[PatchFeatures]], listeners: Sequence[Audiogram], name: str
) -> list[Score]:
    """Score a clip from windows of features.

    Args:
        model: encodes and scores the windows.
        windows: the clip's windows.
        listeners: the listeners.
        name: name of the clip in error messages.

    Returns:
        One `Score` per listener.

    Raises:
        AudioError: if all windows are silent.
    """
    clip = ScoreAggregator(listeners, name, model.predicts)
    for window in windows:
        index = clip.add(window)
        if not window.patches.silent.all():
            model.score_windows([WindowTask(window.patches.features, clip, index, window.patches.silent)])
    return clip.scores()
