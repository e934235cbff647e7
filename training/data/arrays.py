"""The label table as arrays: what a network sees of each row, and what it should say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .features import Features
from .rows import GROUP, Row

Array = npt.NDArray[Any]
PARTS: Final = ("cepstral", "synchrony", "loudness", "spectrum")
"""what HAAQI is made of"""


@dataclass(frozen=True)
class Table:
    """Rows, whole groups, as arrays.

    Attributes:
        texture: float16 [rows, patches, 16, 32].
        clean: float16 [groups, patches, 32], the level plane of the amplified clean music.
        profile: uint8 [rows, 3, patches, 32], see `profile.to_bytes`.
        audiograms: float32 [rows, 8], dB HL.
        labels: float32 [rows], HAAQI.
        parts: float32 [rows, 4], `PARTS`.
    """

    texture: Array
    clean: Array
    profile: Array
    audiograms: Array
    labels: Array
    parts: Array

    def __len__(self) -> int:
        return len(self.labels)

    def clean_of(self, rows: Array) -> Array:
        """The clean levels [n, patches, 32] of rows [n]."""
        return np.asarray(self.clean[rows // GROUP])

    @classmethod
    def of(cls, rows: Sequence[Row], features: Features) -> Table:
        """The table of labelled rows and their features."""
        return cls(
            features.texture,
            features.clean,
            features.profile,
            np.array([row.audiogram for row in rows], dtype=np.float32),
            np.array([row.score for row in rows], dtype=np.float32),
            np.array([[getattr(row, part) for part in PARTS] for row in rows], dtype=np.float32),
        )
