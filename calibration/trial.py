"""A model's scores on a set of excerpts, from two graphs in memory: what each candidate is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.encoder import READINGS
from ..runtime.sessions import Session
from .excerpts import Excerpt

Array = npt.NDArray[np.float32]


class Material(NamedTuple):
    """What an excerpt is for a model: what its encoder reads [patches, ...], and audiograms [listeners, 8]."""

    features: Array
    audiograms: Array


def materials(excerpts: Iterable[Excerpt], reads: str) -> Iterator[Material]:
    """Excerpts as an encoder that reads `reads` meets them."""
    for excerpt in excerpts:
        yield Material(READINGS[reads](excerpt.samples), np.stack([one.array() for one in excerpt.listeners]))


class Networks:
    """An encoder and a head on ONNX Runtime.

    Args:
        graphs: both, by role.
        threads: None for all cores.
    """

    def __init__(self, graphs: Mapping[str, bytes], threads: int | None = None) -> None:
        self.encoder, self.head = (Session(graphs[role], None, threads) for role in ("encoder", "head"))
        (self.reads,) = self.encoder.inputs

    def tokens(self, features: Array) -> Array:
        """Tokens [1, tokens, width] of patches."""
        tokens = self.encoder.run(**{self.reads: features})[0]
        return tokens.reshape(1, -1, tokens.shape[2])

    def scores(self, material: Material) -> Array:
        """A score for each listener, [listeners]."""
        return self.head.run(tokens=self.tokens(material.features), audiogram=material.audiograms)[1]


def scores_of(graphs: Mapping[str, bytes], tried: Iterable[Material]) -> npt.NDArray[np.float64]:
    """The scores of all excerpts for all their listeners, in one row."""
    networks = Networks(graphs)
    return np.concatenate([networks.scores(material) for material in tried]).astype(np.float64)
