"""Training of nano and small, on label tables or on audio files with scores.

A single score per clip is little supervision. The network therefore learns more targets, by linear layers that are
dropped after training: HAAQI's parts of the clip, and, for each patch and band, the dense targets (`data.targets`) and
the level of the clean music. Audio files have a score alone.
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

from ...model.nano import COVERAGE, Nano, NanoConfig
from ...model.small import Small, SmallConfig
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
    """How nano is trained. The defaults of small are in `SmallTrainingConfig`.

    Attributes:
        batch_size: rows per step.
        lr, weight_decay: of AdamW, with a cosine schedule after 10% of warm-up.
        frame_weight: weight of MSE(frames against the clip's label) relative to MSE(clip), a term from HAAQI-Net.
        parts_weight: weight of the MSE of HAAQI's four parts.
        dense_weight: weight of the MSE of the dense targets.
        clean_weight: weight of the MSE of the clean music's level per patch and band, in standard deviations.
        interval_weight: weight of the pinball loss of the interval's ends, if the network predicts intervals.
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
    interval_weight: float = 0.2
    ema_decay: float = 0.998
    audiogram_jitter_db: float = 1.0
    network: NanoConfig = field(default_factory=NanoConfig)
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(epochs=10, patience=4, max_grad_norm=1.0))


@dataclass(frozen=True)
class SmallTrainingConfig(NanoTrainingConfig):
    """How small is trained; see `NanoTrainingConfig`.

    Attributes:
        pretrained_lr: learning rate of the layers that begin as those of mn04.
        network: sizes of the texture's encoder and of the head.
    """

    batch_size: int = 48
    lr: float = 3e-3
    pretrained_lr: float = 6e-4
    network: NanoConfig = field(default_factory=lambda: SmallConfig().nano)
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(epochs=4, patience=4, max_grad_norm=1.0))


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
    """A nano or a small, and its additional heads. A moving average of the weights is evaluated and saved.

    Args:
        config: see `NanoTrainingConfig`. A `SmallTrainingConfig` trains a small.
        train: rows of label tables, with the dense targets and the clean levels as targets; or audio files, without
            targets.
        valid: rows that select the epoch.
        pretrained: checkpoint of mn04, whose layers a small begins with.
    """

    def __init__(
        self, config: NanoTrainingConfig, train: Dataset, valid: Dataset, pretrained: Path | None = None
    ) -> None:
        self.train, self.valid, self.config = train, valid, config
        torch.manual_seed(config.trainer.seed)
        small = isinstance(config, SmallTrainingConfig)
        self.weights = f"{'small' if small else 'nano'}.safetensors"
        self.nano: Nano | Small = Small(SmallConfig(nano=config.network)) if small else Nano(config.network)
        if pretrained is not None and isinstance(self.nano, Small):
            self.nano.load_pretrained(pretrained)
        self.nano.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs
        set_statistics(self.nano, train)
        self.parts = part_labels(train.examples)
        self.has_targets = bool(train.targets)
        self.clean = _LevelStatistics(torch.zeros(BANDS), torch.ones(BANDS))
        if self.has_targets:
            mean, scale = compute_moments(train.target(1, [place]) for place in statistics_indices(len(train)))
            self.clean = _LevelStatistics(torch.from_numpy(mean), torch.from_numpy(scale + np.float32(0.1)))
        self.heads = AuxiliaryHeads(config.network)
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
        self.ema_model = torch.optim.swa_utils.AveragedModel(self.nano, multi_avg_fn=average, use_buffers=True)
        self.trainable = nn.ModuleDict({"nano": self.nano, "heads": self.heads, "averaged": self.ema_model})
        groups = _parameter_groups(self.nano, self.heads, config)
        self.optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        self.steps = train.steps(config.batch_size, drop_last=self.has_targets)
        steps = max(config.trainer.epochs * self.steps, 11)  # the schedule divides by zero if its warm-up is one step
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, [group["lr"] for group in groups], total_steps=steps, pct_start=0.1
        )

    @property
    def network(self) -> Nano | Small:
        """The averaged network, which is evaluated and saved."""
        assert isinstance(self.ema_model.module, Nano | Small)
        return self.ema_model.module

    def batches(self, rng: np.random.Generator) -> Iterator[_Batch]:
        # Rows of a table have one length. Files of many lengths would all be in incomplete batches.
        for places, batch in self.train.batches(self.config.batch_size, rng, drop_last=self.has_targets):
            jitter = rng.normal(0, self.config.audiogram_jitter_db, batch.audiograms.shape)
            dense, clean = batch.targets if self.has_targets else (torch.empty(0), torch.empty(0, BANDS))
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
    """Return HAAQI's parts of rows, [rows, 4]; NaN for audio files."""
    sources = (example.source for example in examples)
    return np.array(
        [[getattr(source, part) if isinstance(source, Row) else np.nan for part in PARTS] for source in sources],
        np.float32,
    )


def _parameter_groups(network: Nano | Small, heads: AuxiliaryHeads, config: NanoTrainingConfig) -> list[dict[str, Any]]:
    """Return the parameters to train with their learning rates."""
    pretrained = list(network.encoder.layers.parameters()) if isinstance(network, Small) else []
    known = {id(parameter) for parameter in pretrained}
    others = [p for p in (*network.parameters(), *heads.parameters()) if id(p) not in known]
    groups: list[dict[str, Any]] = [{"params": others, "lr": config.lr}]
    if isinstance(config, SmallTrainingConfig):
        trained = [parameter for parameter in pretrained if parameter.requires_grad]
        groups.append({"params": trained, "lr": config.pretrained_lr})
    return groups


def save_nano(nano: Nano | Small, path: Path) -> None:
    """Write a network's weights as safetensors, atomically."""
    write_file(safetensors.torch.save({k: v.contiguous() for k, v in nano.state_dict().items()}), path)


def statistics_indices(count: int) -> list[int]:
    """Return evenly spaced indices of `count` clips, from which statistics are computed."""
    places = np.unique(np.linspace(0, count - 1, min(count, _STATISTICS_CLIPS)).astype(np.intp))
    return [int(place) for place in places]


def set_statistics(network: Nano | Small, clips: Dataset) -> None:
    """Set the mean and scale of the texture's encoder to the statistics of the clips' textures."""
    encoder = network.encoder.texture if isinstance(network, Small) else network.encoder
    mean, scale = compute_moments(clips.features([place])[..., :BANDS] for place in statistics_indices(len(clips)))
    encoder.mean.copy_(torch.from_numpy(mean))
    encoder.scale.copy_(torch.from_numpy(scale + np.float32(0.1)))


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


def round_weights(network: nn.Module, size: int = 256) -> None:
    """Round parameters of at least `size` values to 16 bits. They stay float32; a wheel compresses them to half."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() >= size:
                parameter.copy_(parameter.half().float())


def pinball_loss(values: Tensor, quantiles: Tensor, probability: float) -> Tensor:
    """Return the mean pinball loss of predicted quantiles (Koenker & Bassett 1978, "Regression quantiles")."""
    above = values - quantiles
    return torch.maximum(probability * above, (probability - 1) * above).mean()


def predict_distances(
    nano: Nano | Small, clips: Dataset, size: int, device: torch.device
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return scores [clips] and the distances to the ends of their intervals before calibration, [clips, 2]."""
    scores, distances = np.empty(len(clips)), np.empty((len(clips), 2))
    with torch.inference_mode():
        for places, batch in clips.batches(size):
            tokens = nano.encode_clips(batch.inputs.to(device))
            x = nano.head.read_window(tokens, batch.audiograms.to(device))
            shares = nano.head.attention_weights(x)
            scores[places] = (shares * nano.head.frame_scores(x)).sum(-1).cpu().numpy()
            distances[places] = nano.head.interval_distances(x, shares).cpu().numpy()
    return scores, distances


def _loss(nano: Nano | Small, heads: AuxiliaryHeads, batch: _Batch, config: NanoTrainingConfig) -> Tensor:
    rows, patches = batch.texture.shape[:2]
    x = nano.head.read_window(nano.encode_clips(batch.texture), batch.audiograms)
    shares, frame_scores = nano.head.attention_weights(x), nano.head.frame_scores(x)
    loss = F.mse_loss((shares * frame_scores).sum(-1), batch.labels)
    loss = loss + config.frame_weight * F.mse_loss(frame_scores, batch.labels[:, None].expand_as(frame_scores))
    if not batch.parts.isnan().any():
        parts = torch.sigmoid(heads.parts((shares.unsqueeze(-1) * x).sum(1)))
        loss = loss + config.parts_weight * F.mse_loss(parts, batch.parts)
    if config.dense_weight and batch.dense.numel():
        known = batch.dense != MISSING
        predicted = torch.sigmoid(heads.dense(x)).reshape(rows, patches, len(PLANES), BANDS).transpose(1, 2)
        error = (predicted - batch.dense.float() / (MISSING - 1)).square()
        weights = error.new_tensor(_PLANE_WEIGHTS)[:, None, None]
        known_error = (error * weights)[known]  # empty if no row of the batch has dense targets
        loss = loss + config.dense_weight * known_error.sum() / max(1, known_error.numel())
    if nano.head.predicts_interval and config.interval_weight:
        error = batch.labels - (shares * frame_scores).sum(-1).detach()
        low, high = nano.head.interval_distances(x, shares).unbind(1)
        tail = (1 - COVERAGE) / 2
        pinball = pinball_loss(error, -low, tail) + pinball_loss(error, high, 1 - tail)
        loss = loss + config.interval_weight * pinball
    if config.clean_weight and batch.clean.numel():
        loss = loss + config.clean_weight * F.mse_loss(heads.clean(x), batch.clean)
    return loss
