"""Deprecated: HAAQI is `haaqi_edge.haaqi.index`. This alias will be removed in the release after 0.2."""

from __future__ import annotations

import warnings

from ..haaqi.index import HAAQI_FREQUENCIES, Ear, Haaqi, Reference, Tiles

__all__ = ["HAAQI_FREQUENCIES", "Ear", "Haaqi", "Reference", "Tiles"]

warnings.warn(
    "haaqi_edge.training.haaqi has moved: import from haaqi_edge.haaqi.index", DeprecationWarning, stacklevel=2
)
