"""Batches of examples with their features, and the evaluation of a network on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.family import Network
from ...model.head import Scores
from ...model.nano import Nano
from ...model.small import Small
from ...runtime.errors import CorpusError
from ..run_directory import Metrics
from ..statistics import agreement
from .examples import Example
from .feature_cache import FBANK, TEXTURE_MEL, FeatureCache, FeatureKind, Pack, make_batches, texture_kind

Array = npt.NDArray[Any]


class Batch(NamedTuple):
    """Clips of equal length.

    Attributes:
        inputs: [batch, ...], the input of the network.
        audiograms: [batch, 8], in dB HL.
        labels: [batch], 0 to 1. NaN if there is no label.
        targets: [batch, ...] each, in the order of `Dataset.targets`.
    """

    inputs: Tensor
    audiograms: Tensor
    labels: Tensor
    targets: tuple[Tensor, ...]


class Dataset:
    """Examples with their features, which are read from disk when batches need them.

    Args:
        cache: holds all features named here.
        examples: at least one.
        inputs: the kind of features that the network reads.
        targets: kinds of features that it learns in addition to the labels.

    Raises:
        CorpusError: there are no examples, or features are not in the cache.
    """

    def __init__(
        self, cache: FeatureCache, examples: Sequence[Example], inputs: FeatureKind, targets: Sequence[FeatureKind] = ()
    ) -> None:
        if not examples:
            raise CorpusError("no examples: give a table with labels")
        self.examples, self.inputs, self.targets = examples, inputs, tuple(targets)
        self.labels = np.array([example.score for example in examples], np.float32)
        self.audiograms = np.array([example.audiogram for example in examples], np.float32)
        self._inputs = _Column(cache, inputs, examples)
        self._targets = [_Column(cache, kind, examples) for kind in targets]

    def __len__(self) -> int:
        return len(self.examples)

    def steps(self, size: int, drop_last: bool = False) -> int:
        """Return the number of batches per epoch. See `batches`."""
        return len(make_batches(self._inputs.lengths, size, drop_last=drop_last))

    def batches(
        self, size: int, rng: np.random.Generator | None = None, drop_last: bool = False
    ) -> Iterator[tuple[list[int], Batch]]:
        """Yield the indices of clips, and the batch of these clips.

        Args:
            size: maximum number of clips per batch.
            rng: for a random order. None keeps the order of the examples.
            drop_last: leave out batches of fewer clips.
        """
        for places in make_batches(self._inputs.lengths, size, rng, drop_last):
            yield (
                places,
                Batch(
                    _tensor(self.features(places)),
                    torch.from_numpy(self.audiograms[places]),
                    torch.from_numpy(self.labels[places]),
                    tuple(_tensor(column.take(places)) for column in self._targets),
                ),
            )

    def features(self, places: Sequence[int]) -> Array:
        """Return the inputs of clips of equal length, [places, ...]."""
        return self._inputs.take(places)

    def target(self, number: int, places: Sequence[int]) -> Array:
        """Return one of the targets of clips of equal length, [places, ...]."""
        return self._targets[number].take(places)


class _Column:
    """The positions of examples' arrays in the packs of their tables."""

    def __init__(self, cache: FeatureCache, kind: FeatureKind, examples: Sequence[Example]) -> None:
        self.kind = kind
        tables = sorted({example.table for example in examples})
        self.packs: list[Pack] = [cache.pack(kind, table) for table in tables]
        numbers = {table: number for number, table in enumerate(tables)}
        self.pack = np.array([numbers[example.table] for example in examples], np.int16)
        places = np.full((len(examples), 2), -1, np.int64)
        for row, example in enumerate(examples):
            pack, key = self.packs[self.pack[row]], kind.key_of(example)
            if key in pack:
                places[row] = pack.place(key)
            elif kind.missing is None:
                raise CorpusError(
                    f"{pack.path} lacks features of {example.source}: compute them first (`FeatureCache.fill`)"
                )
        self.starts, lengths = places.T
        self.present = self.starts >= 0
        self.lengths: list[int] = lengths.tolist()

    def take(self, places: Sequence[int]) -> Array:
        """Return arrays of equal length, [places, length, ...]. Missing arrays are filled with the kind's value.

        If all arrays are missing, the shape is [places, 0].
        """
        rows = np.asarray(places, np.intp)
        present = self.present[rows]
        if not present.any():
            return np.full((len(rows), 0), self.kind.missing)
        length = self.lengths[rows[present][0]]
        found: Array | None = None
        for number in np.unique(self.pack[rows[present]]):
            chosen = present & (self.pack[rows] == number)
            array = self.packs[number].array
            if found is None:
                shape = (len(rows), length, *array.shape[1:])
                found = (
                    np.empty(shape, array.dtype) if present.all() else np.full(shape, self.kind.missing, array.dtype)
                )
            found[chosen] = array[self.starts[rows[chosen]][:, None] + np.arange(length)]
        assert found is not None
        return np.moveaxis(found, 1, 1 + self.kind.axis)


def _tensor(array: Array) -> Tensor:
    """Convert an array to a tensor: float16 to float32, other types unchanged."""
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)


def input_kind(network: Network) -> FeatureKind:
    """Return the kind of features that a network reads."""
    if isinstance(network, Nano):
        return texture_kind(network.config.texture_version)
    return TEXTURE_MEL if isinstance(network, Small) else FBANK


def score_loss(scores: Scores, labels: Tensor) -> Tensor:
    """Compute HAAQI-Net's loss: MSE(clip) + MSE(every frame against the clip's label).

    Clips without a label are ignored.
    """
    known = ~labels.isnan()
    if not bool(known.any()):
        return scores.score.sum() * 0
    label, frames = labels[known], scores.frame_scores[known]
    return F.mse_loss(scores.score[known], label) + F.mse_loss(frames, label[:, None].expand_as(frames))


def evaluate_network(
    network: Callable[[Tensor, Tensor], Scores], clips: Dataset, size: int, device: torch.device
) -> tuple[Metrics, npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Score labelled clips with a network.

    Args:
        network: maps inputs and audiograms to scores.
        clips: with labels.
        size: clips per batch.
        device: of the network.

    Returns:
        metrics, scores, intervals: HAAQI-Net's loss, LCC, SRCC and MSE; float32 [clips]; and float32 [clips, 2], None
        if the network predicts no intervals.
    """
    predicted, total = np.empty(len(clips), np.float32), 0.0
    intervals: npt.NDArray[np.float32] | None = None
    with torch.inference_mode():
        for places, batch in clips.batches(size):
            scores = network(batch.inputs.to(device), batch.audiograms.to(device))
            predicted[places] = scores.score.float().cpu().numpy()
            if scores.interval is not None:
                intervals = np.empty((len(clips), 2), np.float32) if intervals is None else intervals
                intervals[places] = scores.interval.float().cpu().numpy()
            total += float(score_loss(scores, batch.labels.to(device)).item()) * len(places)
    metrics = {"valid_loss": total / len(clips), **agreement(predicted, clips.labels)._asdict()}
    return metrics, predicted, intervals
