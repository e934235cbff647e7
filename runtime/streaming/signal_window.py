"""One presented signal of a stream: its samples, the window of its latest tokens, and the scores of its listeners."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..audio.levels import decibels
from ..audio.presentation import Presenter
from ..audiogram import Audiogram
from ..backend import Backend, HeadOutput
from ..features import patches as fe
from ..features.fbank import PatchStream
from ..features.front_ends import FEATURE_EXTRACTORS, patch_samples, silent_patches, split_batches
from ..scores import listener_interval, mean_unfamiliarity
from ..windows import PatchTokens
from .ring_buffer import RingBuffer
from .updates import ListenerSummary, ListenerUpdate

Array = npt.NDArray[np.float32]


class EncodedBlock(NamedTuple):
    """Encoded patches, and the mean square of the samples that each patch reads, float32 [patches]."""

    patches: PatchTokens
    powers: Array


class SignalWindow:
    """The window of a presented signal. Each patch is encoded once.

    All listeners who hear the same presented signal share a window.

    Args:
        backend: the model.
        listeners: listeners of the signal.
        presenter: converts samples at 16 kHz to the presented signal.
        length: patches in a window.
        silence: peak amplitude up to which a patch is silent.
    """

    def __init__(
        self, backend: Backend, listeners: Sequence[Audiogram], presenter: Presenter, length: int, silence: float
    ) -> None:
        self._backend, self._presenter, self._silence = backend, presenter, silence
        card = backend.card
        self._level1, self._token_shape = card.level1, (card.tokens_per_patch, card.width)
        self._front_end = FEATURE_EXTRACTORS[card.front_end_name]
        self._splitter = PatchStream(card.front_end.block)
        self._length = length
        self._tokens = RingBuffer(length, self._token_shape)
        self._silent: deque[bool] = deque(maxlen=length)  # for each patch of the window
        self._silent_patches = 0  # since the last patch with sound
        self._power, self._measured, self._any_sound = 0.0, 0, False  # over the patches since the last update
        self._level: float | None = None
        self.set_listeners(listeners)

    def set_listeners(self, listeners: Sequence[Audiogram]) -> None:
        """Set the listeners of the signal, including the patches that are in the window already.

        The means over whole windows restart.
        """
        self.listeners = tuple(listeners)
        self._audiograms = np.stack([listener.array() for listener in listeners])
        self._sums = np.zeros((len(self.listeners), 3))  # of scores, and of the ends of their intervals
        self._weight = 0
        self._distances: list[tuple[float | None, int]] = []  # mean over the whole windows, and its weight
        self._output: HeadOutput | None = None

    @property
    def count(self) -> int:
        """Number of patches in the window."""
        return self._tokens.count

    def warm_up(self) -> None:
        """Run encoder and head on silence, so that the first patch takes no longer than the others."""
        self._backend.encode(self._front_end(np.zeros(fe.PATCH_LENGTH, dtype=np.float32)))
        self._backend.run_head(np.zeros((self._length, *self._token_shape), dtype=np.float32), self._audiograms)

    def encode(self, samples: Array, last: bool) -> Iterator[EncodedBlock]:
        """Encode the patches that new samples complete.

        Args:
            samples: float32 [n] at 16 kHz.
            last: whether these are the last samples.
        """
        presented = self._presenter.push(samples)
        if last:
            presented = np.concatenate([presented, self._presenter.finish()])
        complete = self._splitter.push(presented)
        rest = self._splitter.finish() if last else complete[:0]
        for part in (*split_batches(complete), *split_batches(rest)):
            read = patch_samples(part)
            powers = np.vecdot(read, read) / np.float32(fe.PATCH_LENGTH)
            tokens = self._backend.encode(self._front_end(part))
            yield EncodedBlock(PatchTokens(tokens, silent_patches(part, self._silence)), powers)

    def add(self, block: EncodedBlock, index: int) -> None:
        """Add a patch to the window.

        Args:
            block: encoded patches.
            index: index of the patch.
        """
        silent = bool(block.patches.silent[index])
        self._tokens.push(block.patches.tokens[index])
        self._silent.append(silent)
        self._silent_patches = self._silent_patches + 1 if silent else 0
        self._power += float(block.powers[index])
        self._measured += 1
        self._any_sound = self._any_sound or not silent
        self._output = None

    def close_window(self) -> None:
        """Add the score of the window to the means.

        Call this at the end of each whole window. Whole windows are consecutive and do not overlap.
        """
        if not self._is_silent():
            self._sums += _scores_and_ends(self._score()) * self._length
            self._weight += self._length
            self._distances = self._with_distance(self._length)

    def updates(self) -> list[ListenerUpdate]:
        """Return the current result of each listener. The level covers the patches since the previous call."""
        if self._measured:
            rms = float(np.sqrt(self._power / self._measured))
            self._level = self._level1 + decibels(rms) if self._any_sound else None
            self._power, self._measured, self._any_sound = 0.0, 0, False
        output = None if self._is_silent() else self._score()
        distance = None if output is None else self._unfamiliarity()
        updates = []
        for i, listener in enumerate(self.listeners):
            score = None if output is None else float(output.scores[i])
            frames = np.full(self.count, np.nan, np.float32) if output is None else output.frame_scores[i]
            mean = float(self._sums[i, 0]) / self._weight if self._weight else None
            interval = None if output is None else listener_interval(output, i)
            updates.append(ListenerUpdate(listener, score, mean, self._level, frames, interval, distance))
        return updates

    def summaries(self, rest: int) -> list[ListenerSummary]:
        """Return the mean score of each listener, including the window that ends now.

        Args:
            rest: patches that belong to no whole window yet. They are the weight of the window that ends now.
        """
        counts = rest > 0 and not self._is_silent()
        sums = self._sums + _scores_and_ends(self._score()) * rest if counts else self._sums
        weight = self._weight + (rest if counts else 0)
        if not weight:
            return [ListenerSummary(listener, None) for listener in self.listeners]
        means = (sums / weight).tolist()
        distance = mean_unfamiliarity(self._with_distance(rest) if counts else self._distances)
        return [
            ListenerSummary(listener, score, None if np.isnan(low) else (low, high), distance)
            for listener, (score, low, high) in zip(self.listeners, means, strict=True)
        ]

    def _unfamiliarity(self) -> float | None:
        """Return the unfamiliarity of the window; see `Score`."""
        familiarity = self._backend.card.familiarity
        if familiarity is None:
            return None
        return familiarity.unfamiliarity(self._tokens.view(), np.array(self._silent, dtype=np.bool_))

    def _with_distance(self, weight: int) -> list[tuple[float | None, int]]:
        """Return the mean distance of the whole windows, and that of the window with a weight, as one entry."""
        distance = self._unfamiliarity()
        if distance is None:
            return self._distances
        total = sum(known for _, known in self._distances) + weight
        return [(mean_unfamiliarity([*self._distances, (distance, weight)]), total)]

    def _is_silent(self) -> bool:
        return self._silent_patches >= self._tokens.count

    def _score(self) -> HeadOutput:
        if self._output is None:
            self._output = self._backend.run_head(self._tokens.view(), self._audiograms)
        return self._output


def _scores_and_ends(output: HeadOutput) -> npt.NDArray[np.float64]:
    """Return the score and the ends of the interval for each listener, [listeners, 3]. Ends may be NaN: none."""
    values = np.full((len(output.scores), 3), np.nan)
    values[:, 0] = output.scores
    if output.intervals is not None:
        values[:, 1:] = output.intervals
    return values
