"""What training wants of label rows beside their scores: made with the labels, kept in files, never committed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...runtime.audio import ArrayAudio
from ...runtime.audiogram import Audiogram
from ...runtime.frontend import PATCH_LENGTH, PATCH_SHIFT, SAMPLE_RATE, patch_count
from ...runtime.levels import nal_r
from ...runtime.texture import textures
from ..degradations.grammar import Array
from .rows import Row

_SOUND: Final = tuple(field.name for field in fields(Row) if field.default is MISSING)
"""the fields of a row that say what it sounds like: all but the scores"""


@dataclass(frozen=True)
class Features:
    """Features of consecutive rows, whole groups.

    Attributes:
        texture: float16 [rows, patches, 16, 32], of the presented sound.
        clean: float16 [groups, patches, 32], the level plane of the clean sound with NAL-R.
        profile: uint8 [rows, 3, patches, 32], see `profile.to_bytes`.
        digest: of the rows, see `digest`.
    """

    texture: npt.NDArray[np.float16]
    clean: npt.NDArray[np.float16]
    profile: npt.NDArray[np.uint8]
    digest: str

    def save(self, path: Path) -> None:
        """Write to a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        arrays: dict[str, Any] = {**vars(self), "digest": np.array(self.digest)}
        np.savez(part, **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Features:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["texture"], file["clean"], file["profile"], str(file["digest"]))


def load_all(paths: Sequence[Path]) -> Features:
    """The features in several files, of rows of one duration, as those of one run of rows; each is read once."""
    arrays: dict[str, list[npt.NDArray[Any]]] = {"texture": [], "clean": [], "profile": []}
    digests = []
    for path in paths:
        part = Features.load(path)
        for name, values in arrays.items():
            values.append(getattr(part, name))
        digests.append(part.digest)
    whole = {name: np.concatenate(arrays.pop(name)) for name in tuple(arrays)}
    return Features(**whole, digest=hashlib.sha256("".join(digests).encode()).hexdigest()[:16])


def stored_digest(path: Path) -> str | None:
    """The digest in a file of features; None where there is no such file."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        return str(file["digest"])


def digest(rows: Sequence[Row]) -> str:
    """A fingerprint of what rows sound like; scores don't count."""
    text = "\n".join(str([getattr(row, name) for name in _SOUND]) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def patches_in(seconds: float) -> int:
    """Whole patches in so many seconds."""
    return patch_count(round(seconds * SAMPLE_RATE))


def row_texture(row: Row, presented: Array, rate: int) -> npt.NDArray[np.float16]:
    """Texture [patches, 16, 32] of a row's presented sound [samples], resampled as the runtime does it."""
    return textures(at_front_end(presented, rate, row.duration)).astype(np.float16)


def clean_level(row: Row, clean: Array, rate: int) -> npt.NDArray[np.float16]:
    """Levels [patches, 32] of a row's clean music [samples] as its listener would best hear it, with NAL-R."""
    amplified = nal_r(clean.astype(np.float32), rate, Audiogram(row.audiogram)).astype(np.float64)
    return textures(at_front_end(amplified, rate, row.duration))[:, 0].astype(np.float16)


def at_front_end(x: Array, rate: int, seconds: float) -> npt.NDArray[np.float32]:
    """A signal [samples] of `seconds` at 16 kHz, cut to its whole patches or continued with zeros to them."""
    peak = max(float(np.abs(x).max()), 1e-9)  # louder than any file may be, for a severe loss
    y = np.concatenate(list(ArrayAudio(x / peak, rate).blocks())) * np.float32(peak)
    length = (patches_in(seconds) - 1) * PATCH_SHIFT + PATCH_LENGTH
    return np.pad(y[:length], (0, max(length - len(y), 0)))
