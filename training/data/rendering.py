"""From a row to its sounds: the clean music that HAAQI compares with, and the presented signal."""

from __future__ import annotations

import numpy as np

from ...runtime.audiogram import Audiogram
from ...runtime.errors import CorpusError
from ...runtime.levels import LEVEL1, amplitude
from ..corpus.clips import Corpus
from ..corpus.synthetic import RATE, piece
from ..degradations import degrade
from ..degradations.augmentation import source_seconds, vary
from ..degradations.grammar import Array, Speech
from ..degradations.hearing_aids import amplify
from ..degradations.signals import rms
from .rows import SYNTHETIC, Row


def reference_of(row: Row, corpus: Corpus) -> tuple[Array, int]:
    """A row's clean music, the same for all rows of a group.

    Returns:
        clean, rate: float64 [samples], where RMS 1.0 is `LEVEL1` dB SPL, not amplified; and Hz.

    Raises:
        CorpusError: a clip that is missing, or silent there.
    """
    seconds = source_seconds(row.variation, row.duration)
    # Another speed rounds its length; a few samples more are read and cut off.
    seconds += 0.01 if seconds != row.duration else 0.0
    if row.clip.startswith(SYNTHETIC):
        clean, rate = piece(int(row.clip.removeprefix(SYNTHETIC)), seconds), RATE
    else:
        clean, rate = corpus.excerpt(row.clip, row.start, seconds)
    power = rms(clean) if len(clean) else 0.0
    if power == 0:
        raise CorpusError(f"{row.clip} is silent from {row.start} s on for {seconds:g} s")
    clean = vary(clean, rate, row.variation)[: round(row.duration * rate)]
    return clean * (amplitude(row.level - LEVEL1) / rms(clean)), rate


def presented(row: Row, clean: Array, rate: int, speech: Speech | None = None) -> Array:
    """Degrade and amplify a row's clean music.

    Args:
        row: what to do.
        clean: float64 [samples], see `reference_of`.
        rate: Hz.
        speech: the voices of the row's split, for conditions that need some (`Corpus.voices`).

    Returns:
        float64 [samples], aligned with `clean`; the values are those of float32.

    Raises:
        OptionError: a condition that needs speech, and none is given.
    """
    degraded = degrade(clean, rate, row.chain, row.seed, speech=speech).astype(np.float32)
    return amplify(degraded, rate, Audiogram(row.audiogram), row.aid).astype(np.float64)


def present(row: Row, corpus: Corpus) -> tuple[Array, Array, int]:
    """Both of a row's sounds, and their rate.

    Returns:
        clean, presented, rate: as `reference_of` and `presented`.
    """
    clean, rate = reference_of(row, corpus)
    return clean, presented(row, clean, rate, corpus.voices(row.split)), rate
