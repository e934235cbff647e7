"""Scores of a model on excerpts, from two graphs in memory. Candidates are compared by these scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.encoder import READINGS
from ..runtime.session import Session
from .calibration_data import Excerpt

Array = npt.NDArray[np.float32]


class Material(NamedTuple):
    """An excerpt prepared for a model.

    Attributes:
        features: float32 [patches, ...], the input of the encoder.
        audiograms: float32 [listeners, 8], dB HL.
    """

    features: Array
    audiograms: Array


def materials(excerpts: Iterable[Excerpt], reads: str) -> Iterator[Material]:
    """Prepare excerpts for an encoder.

    Args:
        excerpts: presented sounds.
        reads: kind of features that the encoder reads, a key of `READINGS`.
    """
    for excerpt in excerpts:
        yield Material(READINGS[reads](excerpt.samples), np.stack([one.array() for one in excerpt.listeners]))


class Networks:
    """An encoder and a head on ONNX Runtime.

    Args:
        graphs: both graphs, by role.
        threads: None uses all cores.
    """

    def __init__(self, graphs: Mapping[str, bytes], threads: int | None = None) -> None:
        self.encoder, self.head = (Session(graphs[role], None, threads) for role in ("encoder", "head"))
        (self.reads,) = self.encoder.inputs

    def tokens(self, features: Array) -> Array:
        """Return the tokens of patches, [1, tokens, width]."""
        tokens = self.encoder.run(**{self.reads: features})[0]
        return tokens.reshape(1, -1, tokens.shape[2])

    def scores(self, material: Material) -> Array:
        """Return one score per listener, [listeners]."""
        return self.head.run(tokens=self.tokens(material.features), audiogram=material.audiograms)[1]


def scores_of(graphs: Mapping[str, bytes], tried: Iterable[Material]) -> npt.NDArray[np.float64]:
    """Return the scores of all excerpts for all their listeners, float64 [scores]."""
    networks = Networks(graphs)
    return np.concatenate([networks.scores(material) for material in tried]).astype(np.float64)
