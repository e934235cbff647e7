"""Deprecated: HAAQI is `haaqi_edge.haaqi`. This alias will be removed in the release after 0.2."""

from __future__ import annotations

import warnings

from ..haaqi.index import HAAQI_FREQUENCIES, Haaqi, Reference, Tiles
from ..haaqi.index import _Ear as Ear

__all__ = ["HAAQI_FREQUENCIES", "Ear", "Haaqi", "Reference", "Tiles"]

warnings.warn(
    "haaqi_edge.training.haaqi has moved: import from haaqi_edge.haaqi.index. Ear is now Listener, and its level1 (dB "
    "SPL of RMS 1.0; Ear's default is 85) must be given",
    DeprecationWarning,
    stacklevel=2,
)
