"""Fitting nano to the label table.

A clip's one number is thin supervision. Beside it the network learns, by linear layers that are dropped afterwards,
HAAQI's parts of the clip, and for every patch and band what HAAQI sees there (`profile`) and the level that the clean
music would have had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...model.nano import Nano, NanoConfig
from ...runtime.errors import CorpusError
from ...runtime.texture import BANDS
from ...runtime.writing import write_file
from .. import loop
from ..data import targets
from ..data.arrays import Table
from ..loop import Plan, Progress, Task
from ..metrics import Agreement, agreement
from ..run_directory import Metrics, Run

Array = npt.NDArray[Any]
PARTS: Final = 4
"""cepstral correlation, synchrony, loudness and spectrum"""
_STATISTICS_ROWS: Final = 4000
"""at most, that the encoder's statistics are taken from"""
_PROFILE_WEIGHTS: Final = (1.0, 1.0, 4.0)
"""of synchrony, envelope and gain, all scaled to 0 to 1: the gain's range is wide, and mostly unused"""


@dataclass(frozen=True)
class FitConfig:
    """How nano is fitted.

    Attributes:
        epochs: passes over the rows; the epoch with the highest LCC on `valid` is kept.
        patience: epochs without a higher one after which to stop.
        batch: rows in a step.
        lr, weight_decay: of AdamW, with a cosine schedule after 10% of warm-up.
        frame_weight: of MSE(frames against the clip's label) beside MSE(clip), as HAAQI-Net trains.
        parts_weight: of the MSE of HAAQI's four parts.
        profile_weight: of the MSE of what HAAQI sees in each patch and band.
        clean_weight: of the MSE of the clean music's level in each patch and band, in standard deviations.
        average: decay a step of the exponential moving average of the weights that is evaluated and kept.
        scatter: dB, of the audiograms, so that none is learnt by heart.
        threads: torch's.
        seed: of initial weights, order and masks.
        device: see `loop.Plan`.
    """

    epochs: int = 10
    patience: int = 4
    batch: int = 64
    lr: float = 4e-3
    weight_decay: float = 0.05
    frame_weight: float = 0.3
    parts_weight: float = 0.3
    profile_weight: float = 1.0
    clean_weight: float = 0.1
    average: float = 0.998
    scatter: float = 1.0
    threads: int = 2
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to."""

    epoch: int
    loss: float
    valid: Agreement


class Heads(nn.Module):
    """What is learnt beside the score, from the head's view of the window [batch, patches, 2 hidden]."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        wide = 2 * config.hidden
        self.parts = nn.Linear(wide, PARTS)
        self.profile = nn.Linear(wide, len(targets.PLANES) * BANDS)
        self.clean = nn.Linear(wide, BANDS)


class NanoTask(Task["_Batch"]):
    """Nano and the heads beside it, learnt from a label table; a moving average of the weights is kept."""

    weights = "nano.safetensors"

    def __init__(self, train: Table, valid: Table, config: FitConfig, architecture: NanoConfig | None = None) -> None:
        self.train, self.valid, self.config = train, valid, config
        torch.manual_seed(config.seed)
        self.nano = nano = Nano(architecture)
        self.clean = _standardize(nano, train)
        self.heads = Heads(nano.config)
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]
        self.averaged = torch.optim.swa_utils.AveragedModel(nano, multi_avg_fn=average, use_buffers=True)
        self.learnt = nn.ModuleDict({"nano": nano, "heads": self.heads, "averaged": self.averaged})
        learnt = [*nano.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(learnt, lr=config.lr, weight_decay=config.weight_decay)
        self.steps = len(train) // config.batch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.lr, total_steps=config.epochs * self.steps, pct_start=0.1
        )

    @property
    def network(self) -> Nano:
        """The averaged network, the one that is evaluated and kept."""
        assert isinstance(self.averaged.module, Nano)
        return self.averaged.module

    def batches(self, rng: np.random.Generator) -> Iterator[_Batch]:
        return _batches(self.train, self.config, self.clean, rng)

    def loss(self, batch: _Batch) -> Tensor:
        return _loss(self.nano, self.heads, batch, self.config)

    def stepped(self) -> None:
        self.averaged.update_parameters(self.nano)

    def validate(self) -> Metrics:
        return agreement(predict(self.network, self.valid), self.valid.labels)._asdict()

    def save(self, path: Path) -> None:
        save(self.network, path)


def fit(
    train: Table,
    valid: Table,
    config: FitConfig,
    folder: Path,
    done: Callable[[Epoch], None] | None = None,
    architecture: NanoConfig | None = None,
    report: Callable[[Progress], None] | None = None,
) -> tuple[Nano, list[Epoch]]:
    """Fit a nano, or go on with a fit that was stopped.

    Args:
        train, valid: the rows that teach, and those that choose the epoch.
        config: see `FitConfig`.
        folder: takes what a run leaves (`runs`), and the best weights, `nano.safetensors`.
        done: called after every epoch.
        architecture: sizes; the shipped ones by default.
        report: called after every step.

    Returns:
        the network with the best weights, in evaluation mode, and the history.

    Raises:
        CorpusError: fewer rows than a batch.
        OptionError: the folder holds another run.
        Stopped: Ctrl-C.
    """
    if len(train) < config.batch:
        raise CorpusError(f"{len(train)} rows are no batch of {config.batch}: make more labels")
    sizes = asdict(architecture or NanoConfig())
    run = Run(folder, {**asdict(config), "sizes": sizes, "rows": [fingerprint(train), fingerprint(valid)]})
    torch.set_num_threads(config.threads)
    task = NanoTask(train, valid, config, architecture)
    plan = Plan(config.epochs, config.patience, config.seed, 1.0, config.device, threads=config.threads)
    history = loop.train(task, plan, run, report, lambda found: done(_epoch(found)) if done else None)
    kept = Nano(architecture)
    kept.load_state_dict(safetensors.torch.load_file(folder / task.weights))
    return kept.eval(), [_epoch(found) for found in history]


def fingerprint(table: Table) -> str:
    """Of a table's labels and listeners: tells one table from another."""
    digest = hashlib.sha256(np.ascontiguousarray(table.labels).tobytes())
    digest.update(np.ascontiguousarray(table.audiograms).tobytes())
    return f"{len(table)} rows, {digest.hexdigest()[:16]}"


def _epoch(found: Metrics) -> Epoch:
    agreed = Agreement(found["lcc"], found["srcc"], found["mse"], int(found["rows"]))
    return Epoch(int(found["epoch"]), found["loss"], agreed)


def predict(nano: Nano, table: Table, batch: int = 64) -> npt.NDArray[np.float32]:
    """Scores float32 [rows] of whole rows."""
    nano.eval()
    parts, device = [], next(nano.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(table), batch):
            texture = torch.from_numpy(table.texture[start : start + batch].astype(np.float32))
            audiograms = torch.from_numpy(table.audiograms[start : start + batch])
            parts.append(nano(texture.to(device), audiograms.to(device)).score.float().cpu().numpy())
    return np.concatenate(parts)


def save(nano: Nano, path: Path) -> None:
    """Write a network's weights as safetensors, whole or not at all."""
    write_file(safetensors.torch.save({k: v.contiguous() for k, v in nano.state_dict().items()}), path)


def set_statistics(nano: Nano, texture: Array) -> None:
    """Set the encoder's mean and scale to those of `texture` [rows, patches, 16, 32]."""
    nano.encoder.mean.copy_(torch.from_numpy(texture.mean((0, 1))))
    nano.encoder.scale.copy_(torch.from_numpy(texture.std((0, 1)) + 0.1))


class _Clean(NamedTuple):
    """Mean and standard deviation [32] of the clean music's levels."""

    mean: Array
    scale: Array


def statistics_rows(count: int) -> npt.NDArray[np.intp]:
    """Rows spread over `count` of them, of which the encoder's statistics are taken."""
    return np.unique(np.linspace(0, count - 1, min(count, _STATISTICS_ROWS)).astype(np.intp))


def _standardize(nano: Nano, train: Table) -> _Clean:
    """Set the encoder's statistics from rows spread over the table; gives those of the clean levels."""
    rows = statistics_rows(len(train))
    set_statistics(nano, train.texture[rows].astype(np.float32))
    clean = train.clean_of(rows).astype(np.float32)
    return _Clean(clean.mean((0, 1)), clean.std((0, 1)) + 0.1)


class _Batch(NamedTuple):
    texture: Tensor
    audiograms: Tensor
    labels: Tensor
    parts: Tensor
    profile: Tensor
    clean: Tensor


def _batches(train: Table, config: FitConfig, clean: _Clean, rng: np.random.Generator) -> Iterator[_Batch]:
    """An epoch's batches, the rows in another order each time."""
    order = rng.permutation(len(train))[: len(train) // config.batch * config.batch]
    for rows in np.sort(order.reshape(-1, config.batch), axis=1):
        scatter = rng.normal(0, config.scatter, (len(rows), train.audiograms.shape[1]))
        yield _Batch(
            torch.from_numpy(train.texture[rows].astype(np.float32)),
            torch.from_numpy((train.audiograms[rows] + scatter).astype(np.float32)),
            torch.from_numpy(train.labels[rows]),
            torch.from_numpy(train.parts[rows]),
            torch.from_numpy(train.profile[rows]),
            torch.from_numpy((train.clean_of(rows).astype(np.float32) - clean.mean) / clean.scale),
        )


def _loss(nano: Nano, heads: Heads, batch: _Batch, config: FitConfig) -> Tensor:
    rows, patches = batch.texture.shape[:2]
    tokens = nano.encode(batch.texture.flatten(0, 1)).reshape(rows, patches, -1)
    x = nano.head.read(tokens, batch.audiograms)
    shares, frame_scores = nano.head.shares(x), nano.head.frame_scores(x)
    loss = F.mse_loss((shares * frame_scores).sum(-1), batch.labels)
    loss = loss + config.frame_weight * F.mse_loss(frame_scores, batch.labels[:, None].expand_as(frame_scores))
    parts = torch.sigmoid(heads.parts((shares.unsqueeze(-1) * x).sum(1)))
    loss = loss + config.parts_weight * F.mse_loss(parts, batch.parts)
    if config.profile_weight:
        known = batch.profile != targets.NONE
        seen = torch.sigmoid(heads.profile(x)).reshape(rows, patches, len(targets.PLANES), BANDS).transpose(1, 2)
        error = (seen - batch.profile.float() / (targets.NONE - 1)).square()
        weights = error.new_tensor(_PROFILE_WEIGHTS)[:, None, None]
        known_error = (error * weights)[known]  # of none where a batch has no profile
        loss = loss + config.profile_weight * known_error.sum() / max(1, known_error.numel())
    if config.clean_weight:
        loss = loss + config.clean_weight * F.mse_loss(heads.clean(x), batch.clean)
    return loss
