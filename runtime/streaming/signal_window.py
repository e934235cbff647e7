"""One presented signal of a stream: its samples, the window of its latest tokens, and the scores of its listeners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..audio.levels import decibels
from ..audio.presentation import Presenter
from ..audiogram import Audiogram
from ..encoder import Encoder, batches, patch_samples
from ..features import patches as fe
from ..features.fbank import PatchStream
from ..head import Head, Heard
from ..windows import Encoded
from .ring_buffer import Ring
from .updates import Reading, Total

Array = npt.NDArray[np.float32]


class Network(NamedTuple):
    """The parts of a model that a stream uses.

    Attributes:
        encoder: the encoder.
        head: the head.
        row: tokens per patch, and their width.
        level1: dB SPL of RMS 1.0.
    """

    encoder: Encoder
    head: Head
    row: tuple[int, int]
    level1: float


class Measured(NamedTuple):
    """Encoded patches, and the mean square of the samples that each patch reads, float32 [patches]."""

    encoded: Encoded
    powers: Array


class Lane:
    """The window of a presented signal. Each patch is encoded once.

    All listeners who hear the same presented signal share a lane.

    Args:
        network: the model.
        listeners: listeners of the signal.
        presenter: converts samples at 16 kHz to the presented signal.
        length: patches in a window.
        silence: peak amplitude up to which a patch is silent.
    """

    def __init__(
        self, network: Network, listeners: Sequence[Audiogram], presenter: Presenter, length: int, silence: float
    ) -> None:
        self._network, self._presenter, self._silence = network, presenter, silence
        self._cutter = PatchStream()
        self._length = length
        self._ring = Ring(length, network.row)
        self._quiet = 0  # silent patches since the last one with sound
        self._power, self._measured, self._sounded = 0.0, 0, False  # over the patches since the last update
        self._level: float | None = None
        self.hear(listeners)

    def hear(self, listeners: Sequence[Audiogram]) -> None:
        """Set the listeners of the signal, including the patches that are in the window already.

        The means over whole windows restart.
        """
        self.listeners = tuple(listeners)
        self._audiograms = np.stack([listener.array() for listener in listeners])
        self._sums = np.zeros(len(self.listeners))
        self._weight = 0
        self._heard: Heard | None = None

    @property
    def count(self) -> int:
        """Number of patches in the window."""
        return self._ring.count

    def warm_up(self) -> None:
        """Run encoder and head on silence, so that the first patch takes no longer than the others."""
        self._network.encoder.run(np.zeros(fe.PATCH_LENGTH, dtype=np.float32))
        self._network.head.run(np.zeros((self._length, *self._network.row), dtype=np.float32), self._audiograms)

    def encode(self, samples: Array, last: bool) -> Iterator[Measured]:
        """Encode the patches that new samples complete.

        Args:
            samples: float32 [n] at 16 kHz.
            last: whether these are the last samples.
        """
        presented = self._presenter.push(samples)
        if last:
            presented = np.concatenate([presented, self._presenter.finish()])
        for part in batches(self._cutter.push(presented)):
            read = patch_samples(part)
            powers = np.vecdot(read, read) / np.float32(fe.PATCH_LENGTH)
            yield Measured(self._network.encoder.encode_batch(part, self._silence), powers)

    def add(self, measured: Measured, index: int) -> None:
        """Add a patch to the window.

        Args:
            measured: encoded patches.
            index: index of the patch.
        """
        silent = bool(measured.encoded.silent[index])
        self._ring.push(measured.encoded.tokens[index])
        self._quiet = self._quiet + 1 if silent else 0
        self._power += float(measured.powers[index])
        self._measured += 1
        self._sounded = self._sounded or not silent
        self._heard = None

    def close_window(self) -> None:
        """Add the score of the window to the means.

        Call this at the end of each whole window. Whole windows are consecutive and do not overlap.
        """
        if not self._silent():
            self._sums += self._hear().scores.astype(np.float64) * self._length
            self._weight += self._length

    def readings(self) -> list[Reading]:
        """Return the current result of each listener. The level covers the patches since the previous call."""
        if self._measured:
            self._level = (
                self._network.level1 + decibels(float(np.sqrt(self._power / self._measured))) if self._sounded else None
            )
            self._power, self._measured, self._sounded = 0.0, 0, False
        silent, readings = self._silent(), []
        for i, listener in enumerate(self.listeners):
            score, frames = (None, np.full(self.count, np.nan, np.float32)) if silent else self._one(i)
            mean = float(self._sums[i]) / self._weight if self._weight else None
            readings.append(Reading(listener, score, mean, self._level, frames))
        return readings

    def totals(self, rest: int) -> list[Total]:
        """Return the mean score of each listener, including the window that ends now.

        Args:
            rest: patches that belong to no whole window yet. They are the weight of the window that ends now.
        """
        counts = rest > 0 and not self._silent()
        sums = self._sums + self._hear().scores.astype(np.float64) * rest if counts else self._sums
        weight = self._weight + (rest if counts else 0)
        scores = (sums / weight).tolist() if weight else [None] * len(self.listeners)
        return [Total(listener, score) for listener, score in zip(self.listeners, scores, strict=True)]

    def _silent(self) -> bool:
        return self._quiet >= self._ring.count

    def _hear(self) -> Heard:
        if self._heard is None:
            self._heard = self._network.head.run(self._ring.view(), self._audiograms)
        return self._heard

    def _one(self, index: int) -> tuple[float, Array]:
        heard = self._hear()
        return float(heard.scores[index]), heard.frame_scores[index]
