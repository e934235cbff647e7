"""Features of label rows: the texture of the presented sound, and the level of the clean music with NAL-R."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from ...runtime.audio.levels import nal_r
from ...runtime.audio.reading import ArrayAudio
from ...runtime.audiogram import Audiogram
from ...runtime.features.patches import PATCH_LENGTH, PATCH_SHIFT, SAMPLE_RATE, patch_count
from ...runtime.features.texture import textures
from ..degradations.chains import Array
from .rows import Row

_SOUND: Final = tuple(field.name for field in fields(Row) if field.default is MISSING)
"""Fields of a row that define its sound: all except the scores."""
_MUSIC: Final = ("clip", "start", "duration", "variation", "level", "audiogram")
"""Fields of a row that define its amplified clean music. All rows of a group have the same values."""


def rows_digest(rows: Sequence[Row]) -> str:
    """Return a fingerprint of the sounds of rows. It does not depend on the scores."""
    return _fingerprint(rows, _SOUND)


def music_digest(row: Row) -> str:
    """Return a fingerprint of a row's amplified clean music, the input of `clean_level`."""
    return _fingerprint([row], _MUSIC)


def _fingerprint(rows: Sequence[Row], names: Sequence[str]) -> str:
    text = "\n".join(str([getattr(row, name) for name in names]) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def patches_in(seconds: float) -> int:
    """Return the number of complete patches in a duration."""
    return patch_count(round(seconds * SAMPLE_RATE))


def row_texture(row: Row, presented: Array, rate: int, version: int = 1) -> npt.NDArray[np.float16]:
    """Compute the texture of a row's presented sound, resampled as in the runtime.

    Args:
        row: provides the duration.
        presented: float64 [samples], see `rendering.render_presented`.
        rate: in Hz.
        version: of the front end.

    Returns:
        float16 [patches, 16, 32].
    """
    return textures(resample_to_front_end(presented, rate, row.duration), version).astype(np.float16)


def clean_level(row: Row, clean: Array, rate: int, version: int = 1) -> npt.NDArray[np.float16]:
    """Compute the levels of a row's clean music with NAL-R, the best signal for its listener.

    Args:
        row: provides the duration and the audiogram.
        clean: float64 [samples], see `rendering.render_reference`.
        rate: in Hz.
        version: of the front end.

    Returns:
        float16 [patches, 32], the level plane of the texture.
    """
    amplified = nal_r(clean.astype(np.float32), rate, Audiogram(row.audiogram)).astype(np.float64)
    return textures(resample_to_front_end(amplified, rate, row.duration), version)[:, 0].astype(np.float16)


def resample_to_front_end(x: Array, rate: int, seconds: float) -> npt.NDArray[np.float32]:
    """Resample a signal to 16 kHz, and cut or zero-pad it to the complete patches of a duration.

    Args:
        x: float64 [samples]. It may exceed 1.0, for example after amplification for a severe hearing loss.
        rate: in Hz.
        seconds: the duration.

    Returns:
        float32 [samples at 16 kHz].
    """
    peak = max(float(np.abs(x).max()), 1e-9)
    y = np.concatenate(list(ArrayAudio(x / peak, rate).blocks())) * np.float32(peak)
    length = (patches_in(seconds) - 1) * PATCH_SHIFT + PATCH_LENGTH
    return np.pad(y[:length], (0, max(length - len(y), 0)))
