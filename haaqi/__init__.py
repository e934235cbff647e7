"""The Hearing-Aid Audio Quality Index (HAAQI), version 1, without torch.

    from haaqi_edge.haaqi import Listener, Reference
    Reference(clean, rate, Listener("N3", level1=65.0)).score(processed, rate).score

Names are resolved at their first use (PEP 562), because the index compiles its kernels with numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clips import CADENZA, Convention, EarHaaqi, score_clip
    from .compressor import EarCompressor, load_compressors
    from .index import HAAQI_FREQUENCIES, MAX_SECONDS, MIN_SECONDS, Haaqi, Listener, Reference, Tiles, level1_of

_HOMES = {
    "CADENZA": "clips",
    "Convention": "clips",
    "EarCompressor": "compressor",
    "EarHaaqi": "clips",
    "HAAQI_FREQUENCIES": "index",
    "Haaqi": "index",
    "Listener": "index",
    "MAX_SECONDS": "index",
    "MIN_SECONDS": "index",
    "Reference": "index",
    "Tiles": "index",
    "level1_of": "index",
    "load_compressors": "compressor",
    "score_clip": "clips",
}
"""Module of this package that each public name comes from."""

__all__ = [
    "CADENZA",
    "HAAQI_FREQUENCIES",
    "MAX_SECONDS",
    "MIN_SECONDS",
    "Convention",
    "EarCompressor",
    "EarHaaqi",
    "Haaqi",
    "Listener",
    "Reference",
    "Tiles",
    "level1_of",
    "load_compressors",
    "score_clip",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ..runtime.lazy import resolve

        if name == "Ear":
            from .index import _deprecated_ear

            return _deprecated_ear()
        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
