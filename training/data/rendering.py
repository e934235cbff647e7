"""Rendering of a row's sounds: the clean music, which is HAAQI's reference, and the presented signal."""

from __future__ import annotations

import numpy as np

from ...runtime.audio.levels import LEVEL1, amplitude
from ...runtime.audiogram import Audiogram
from ...runtime.errors import CorpusError
from ..corpus.clips import Corpus
from ..corpus.synthetic import RATE, synthesize_piece
from ..degradations import degrade
from ..degradations.augmentation import apply_variation, source_seconds
from ..degradations.chains import Array, Speech
from ..degradations.hearing_aids import amplify
from ..degradations.signals import rms
from .rows import SYNTHETIC, Row


def render_reference(row: Row, corpus: Corpus) -> tuple[Array, int]:
    """Render a row's clean music, which is the same for all rows of a group.

    Returns:
        clean, rate: float64 [samples], not amplified, where an RMS of 1.0 is `LEVEL1` dB SPL; and the rate in Hz.

    Raises:
        CorpusError: the clip is missing, or silent in this excerpt.
    """
    seconds = source_seconds(row.variation, row.duration)
    # A change of speed rounds the length. A few extra samples are read and cut off.
    seconds += 0.01 if seconds != row.duration else 0.0
    if row.clip.startswith(SYNTHETIC):
        clean, rate = synthesize_piece(int(row.clip.removeprefix(SYNTHETIC)), seconds), RATE
    else:
        clean, rate = corpus.excerpt(row.clip, row.start, seconds)
    power = rms(clean) if len(clean) else 0.0
    if power == 0:
        raise CorpusError(f"{row.clip} is silent from {row.start} s on for {seconds:g} s")
    clean = apply_variation(clean, rate, row.variation)[: round(row.duration * rate)]
    return clean * (amplitude(row.level - LEVEL1) / rms(clean)), rate


def render_presented(row: Row, clean: Array, rate: int, speech: Speech | None = None) -> Array:
    """Degrade and amplify a row's clean music.

    Args:
        row: defines the degradations and the amplification.
        clean: float64 [samples], see `render_reference`.
        rate: in Hz.
        speech: the voices of the row's split, for conditions that use speech (`Corpus.voices`).

    Returns:
        float64 [samples], aligned with `clean`. The values have the precision of float32.

    Raises:
        OptionError: a condition needs speech, but `speech` is None.
    """
    degraded = degrade(clean, rate, row.chain, row.seed, speech=speech).astype(np.float32)
    return amplify(degraded, rate, Audiogram(row.audiogram), row.aid).astype(np.float64)


def render_row(row: Row, corpus: Corpus) -> tuple[Array, Array, int]:
    """Render both of a row's sounds.

    Returns:
        clean, presented, rate: see `render_reference` and `render_presented`.
    """
    clean, rate = render_reference(row, corpus)
    return clean, render_presented(row, clean, rate, corpus.voices(row.split)), rate
