"""Examples and their stored features as batches, and how a network's scores on them are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.scores import Scores
from ...runtime.errors import CorpusError
from ..metrics import agreement
from ..run_directory import Metrics
from .examples import Example
from .feature_cache import Store, batched

KEYS = Literal["sound", "heard"]


class Kind(NamedTuple):
    """A kind of stored array, and whether its key is the sound's alone or the listener's too."""

    name: str
    by: KEYS = "sound"


class Batch(NamedTuple):
    """Clips of one length.

    Attributes:
        inputs: [batch, ...], what the network reads.
        audiograms: [batch, 8], dB HL.
        labels: [batch], 0 to 1; NaN where there is none.
        targets: [batch, ...] each, of a teacher.
    """

    inputs: Tensor
    audiograms: Tensor
    labels: Tensor
    targets: tuple[Tensor, ...]


class Clips:
    """Examples with their stored arrays.

    Args:
        store: holds all that is named here.
        examples: at least one.
        inputs: what the network reads.
        targets: what it is to imitate.

    Raises:
        CorpusError: no examples.
    """

    def __init__(self, store: Store, examples: Sequence[Example], inputs: Kind, targets: Sequence[Kind] = ()) -> None:
        if not examples:
            raise CorpusError("no examples: give a table with labels")
        self.store, self.examples, self.inputs, self.targets = store, examples, inputs, tuple(targets)
        self.labels = np.array([example.score for example in examples], np.float32)
        self._audiograms = np.array([example.audiogram for example in examples], np.float32)
        sizes = {example.sound: self._size(example) for example in {e.sound: e for e in examples}.values()}
        self._lengths = [sizes[example.sound] for example in examples]

    def __len__(self) -> int:
        return len(self.examples)

    def steps(self, size: int) -> int:
        """Batches in an epoch."""
        return len(batched(self._lengths, size))

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[list[int], Batch]]:
        """Batches and the places of their clips; in the examples' order, or a random one."""
        for places in batched(self._lengths, size, rng):
            chosen = [self.examples[place] for place in places]
            yield (
                places,
                Batch(
                    self._stacked(self.inputs, chosen),
                    torch.from_numpy(self._audiograms[places]),
                    torch.from_numpy(self.labels[places]),
                    tuple(self._stacked(kind, chosen) for kind in self.targets),
                ),
            )

    def _stacked(self, kind: Kind, examples: Sequence[Example]) -> Tensor:
        arrays = [self.store.load(kind.name, getattr(example, kind.by)) for example in examples]
        return torch.from_numpy(np.stack(arrays).astype(np.float32))

    def _size(self, example: Example) -> int:
        """How many numbers a clip's input has: clips of as many are equally long."""
        path = self.store.path(self.inputs.name, getattr(example, self.inputs.by))
        return int(np.prod(np.load(path, mmap_mode="r", allow_pickle=False).shape))


def score_loss(scores: Scores, labels: Tensor) -> Tensor:
    """HAAQI-Net's loss: MSE(clip) + MSE(every frame against the clip's label); clips without a label don't count."""
    known = ~labels.isnan()
    if not bool(known.any()):
        return scores.score.sum() * 0
    label, frames = labels[known], scores.frame_scores[known]
    return F.mse_loss(scores.score[known], label) + F.mse_loss(frames, label[:, None].expand_as(frames))


def evaluate(
    network: Callable[[Tensor, Tensor], Scores], clips: Clips, size: int, device: torch.device
) -> tuple[Metrics, npt.NDArray[np.float32]]:
    """LCC, SRCC, MSE and HAAQI-Net's loss of a network on labelled clips, and the scores [clips] that it gives them."""
    predicted, total = np.empty(len(clips), np.float32), 0.0
    with torch.inference_mode():
        for places, batch in clips.batches(size):
            scores = network(batch.inputs.to(device), batch.audiograms.to(device))
            predicted[places] = scores.score.float().cpu().numpy()
            total += float(score_loss(scores, batch.labels.to(device)).item()) * len(places)
    return {"valid_loss": total / len(clips), **agreement(predicted, clips.labels)._asdict()}, predicted
