"""Front ends in numpy: the fbank, the sound texture, and their constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..lazy import resolve

if TYPE_CHECKING:
    from .fbank import PatchStream
    from .front_ends import FEATURE_EXTRACTORS, patch_samples, read_patches, silent_patches
    from .patches import patch_count, patch_end
    from .texture import textures

_HOMES = {
    "FEATURE_EXTRACTORS": "front_ends",
    "PatchStream": "fbank",
    "patch_count": "patches",
    "patch_end": "patches",
    "patch_samples": "front_ends",
    "read_patches": "front_ends",
    "silent_patches": "front_ends",
    "textures": "texture",
}
"""Module of this package that each public name comes from."""

__all__ = [
    "FEATURE_EXTRACTORS",
    "PatchStream",
    "patch_count",
    "patch_end",
    "patch_samples",
    "read_patches",
    "silent_patches",
    "textures",
]


def __getattr__(name: str) -> Any:
    return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
