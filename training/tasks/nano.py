"""Training of nano on label tables.

A single score per clip is little supervision. The network therefore learns more targets, by linear layers that are
dropped after training: HAAQI's parts of the clip, and, for each patch and band, the dense targets (`data.targets`) and
the level of the clean music.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...model.nano import Nano, NanoConfig
from ...runtime.errors import OptionError
from ...runtime.features.texture import BANDS
from ...runtime.writing import write_file
from ..data.batches import Dataset, evaluate_network
from ..data.examples import Example
from ..data.rows import Row
from ..data.targets import MISSING, PLANES
from ..loop import Task, TrainerConfig
from ..run_directory import Metrics

Array = npt.NDArray[Any]
PARTS: Final = ("cepstral", "synchrony", "loudness", "spectrum")
"""The parts of HAAQI."""
_STATISTICS_CLIPS: Final = 4000
"""Maximum number of clips from which the encoder's statistics are computed."""
_PLANE_WEIGHTS: Final = (1.0, 1.0, 4.0)
"""Weights of synchrony, envelope and gain, all scaled to 0 to 1. The gain's range is wide and mostly unused."""


@dataclass(frozen=True)
class NanoTrainingConfig:
    """How nano is trained.

    Attributes:
        batch_size: rows per step.
        lr, weight_decay: of AdamW, with a cosine schedule after 10% of warm-up.
        frame_weight: weight of MSE(frames against the clip's label) relative to MSE(clip), a term from HAAQI-Net.
        parts_weight: weight of the MSE of HAAQI's four parts.
        dense_weight: weight of the MSE of the dense targets.
        clean_weight: weight of the MSE of the clean music's level per patch and band, in standard deviations.
        ema_decay: decay per step of the moving average of the weights, which is evaluated and saved.
        audiogram_jitter_db: standard deviation of noise on the audiograms, which prevents memorizing them.
        network: sizes, and the version of the front end.
        trainer: epochs, patience, seed, device and so on.
    """

    batch_size: int = 64
    lr: float = 4e-3
    weight_decay: float = 0.05
    frame_weight: float = 0.3
    parts_weight: float = 0.3
    dense_weight: float = 1.0
    clean_weight: float = 0.1
    ema_decay: float = 0.998
    audiogram_jitter_db: float = 1.0
    network: NanoConfig = field(default_factory=NanoConfig)
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(epochs=10, patience=4, max_grad_norm=1.0))


class AuxiliaryHeads(nn.Module):
    """Layers for the additional targets. They read the head's window [batch, patches, 2 hidden]."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        wide = 2 * config.hidden
        self.parts = nn.Linear(wide, len(PARTS))
        self.dense = nn.Linear(wide, len(PLANES) * BANDS)
        self.clean = nn.Linear(wide, BANDS)


class _LevelStatistics(NamedTuple):
    """Mean and standard deviation [32] of the clean music's levels."""

    mean: Tensor
    scale: Tensor


class _Batch(NamedTuple):
    """Rows: see `data.batches.Batch`. Also HAAQI's parts [batch, 4], uint8 dense targets, standardized clean levels."""

    texture: Tensor
    audiograms: Tensor
    labels: Tensor
    parts: Tensor
    dense: Tensor
    clean: Tensor


class NanoTask(Task[_Batch]):
    """Nano and its additional heads. A moving average of the weights is evaluated and saved.

    Args:
        config: see `NanoTrainingConfig`.
        train: rows of label tables. Their targets are the dense ones and the clean levels.
        valid: rows that select the epoch.
    """

    weights = "nano.safetensors"

    def __init__(self, config: NanoTrainingConfig, train: Dataset, valid: Dataset) -> None:
        self.train, self.valid, self.config = train, valid, config
        torch.manual_seed(config.trainer.seed)
        self.nano = nano = Nano(config.network)
        set_statistics(nano, train)
        mean, scale = compute_moments(train.target(1, [place]) for place in statistics_indices(len(train)))
        self.clean = _LevelStatistics(torch.from_numpy(mean), torch.from_numpy(scale + np.float32(0.1)))
        self.parts = part_labels(train.examples)
        self.heads = AuxiliaryHeads(nano.config)
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
        self.ema_model = torch.optim.swa_utils.AveragedModel(nano, multi_avg_fn=average, use_buffers=True)
        self.trainable = nn.ModuleDict({"nano": nano, "heads": self.heads, "averaged": self.ema_model})
        trainable = [*nano.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(trainable, lr=config.lr, weight_decay=config.weight_decay)
        self.steps = train.steps(config.batch_size, drop_last=True)
        steps = max(config.trainer.epochs * self.steps, 11)  # the schedule divides by zero if its warm-up is one step
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, config.lr, total_steps=steps, pct_start=0.1)

    @property
    def network(self) -> Nano:
        """The averaged network, which is evaluated and saved."""
        assert isinstance(self.ema_model.module, Nano)
        return self.ema_model.module

    def batches(self, rng: np.random.Generator) -> Iterator[_Batch]:
        for places, batch in self.train.batches(self.config.batch_size, rng, drop_last=True):
            jitter = rng.normal(0, self.config.audiogram_jitter_db, batch.audiograms.shape)
            dense, clean = batch.targets
            yield _Batch(
                batch.inputs,
                batch.audiograms + torch.from_numpy(jitter.astype(np.float32)),
                batch.labels,
                torch.from_numpy(self.parts[places]),
                dense,
                (clean - self.clean.mean) / self.clean.scale,
            )

    def loss(self, batch: _Batch) -> Tensor:
        return _loss(self.nano, self.heads, batch, self.config)

    def on_step_end(self) -> None:
        self.ema_model.update_parameters(self.nano)

    def validate(self) -> Metrics:
        device = next(self.nano.parameters()).device
        return evaluate_network(self.network, self.valid, self.config.batch_size, device)[0]

    def save(self, path: Path) -> None:
        save_nano(self.network, path)


def part_labels(examples: Sequence[Example]) -> npt.NDArray[np.float32]:
    """Return HAAQI's parts of rows, [rows, 4].

    Raises:
        OptionError: some examples are not rows of a label table.
    """
    rows = [example.source for example in examples if isinstance(example.source, Row)]
    if len(rows) < len(examples):
        raise OptionError("audio files have no parts of HAAQI to train nano on: give a label table with --table")
    return np.array([[getattr(row, part) for part in PARTS] for row in rows], np.float32)


def save_nano(nano: Nano, path: Path) -> None:
    """Write a network's weights as safetensors, atomically."""
    write_file(safetensors.torch.save({k: v.contiguous() for k, v in nano.state_dict().items()}), path)


def statistics_indices(count: int) -> list[int]:
    """Return evenly spaced indices of `count` clips, from which statistics are computed."""
    places = np.unique(np.linspace(0, count - 1, min(count, _STATISTICS_CLIPS)).astype(np.intp))
    return [int(place) for place in places]


def set_statistics(nano: Nano, clips: Dataset) -> None:
    """Set the encoder's mean and scale to the statistics of the clips' textures."""
    mean, scale = compute_moments(clips.features([place]) for place in statistics_indices(len(clips)))
    nano.encoder.mean.copy_(torch.from_numpy(mean))
    nano.encoder.scale.copy_(torch.from_numpy(scale + np.float32(0.1)))


def compute_moments(arrays: Iterator[Array]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute mean and standard deviation over the first two axes of all arrays [clips, patches, ...] together."""
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for array in arrays:
        values = array.astype(np.float64)
        count += values.shape[0] * values.shape[1]
        total = total + values.sum((0, 1))
        squares = squares + np.square(values).sum((0, 1))
    mean = total / count
    return mean.astype(np.float32), np.sqrt(np.maximum(squares / count - mean**2, 0)).astype(np.float32)


def _loss(nano: Nano, heads: AuxiliaryHeads, batch: _Batch, config: NanoTrainingConfig) -> Tensor:
    rows, patches = batch.texture.shape[:2]
    tokens = nano.encode(batch.texture.flatten(0, 1)).reshape(rows, patches, -1)
    x = nano.head.read_window(tokens, batch.audiograms)
    shares, frame_scores = nano.head.attention_weights(x), nano.head.frame_scores(x)
    loss = F.mse_loss((shares * frame_scores).sum(-1), batch.labels)
    loss = loss + config.frame_weight * F.mse_loss(frame_scores, batch.labels[:, None].expand_as(frame_scores))
    parts = torch.sigmoid(heads.parts((shares.unsqueeze(-1) * x).sum(1)))
    loss = loss + config.parts_weight * F.mse_loss(parts, batch.parts)
    if config.dense_weight and batch.dense.numel():
        known = batch.dense != MISSING
        predicted = torch.sigmoid(heads.dense(x)).reshape(rows, patches, len(PLANES), BANDS).transpose(1, 2)
        error = (predicted - batch.dense.float() / (MISSING - 1)).square()
        weights = error.new_tensor(_PLANE_WEIGHTS)[:, None, None]
        known_error = (error * weights)[known]  # empty if no row of the batch has dense targets
        loss = loss + config.dense_weight * known_error.sum() / max(1, known_error.numel())
    if config.clean_weight:
        loss = loss + config.clean_weight * F.mse_loss(heads.clean(x), batch.clean)
    return loss
