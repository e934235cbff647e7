"""Fitting nano to the label table.

A clip's one number is thin supervision. Beside it the network learns, by linear layers that are dropped afterwards,
HAAQI's parts of the clip, and for every patch and band what HAAQI sees there (`profile`) and the level that the clean
music would have had.
"""

from __future__ import annotations

import json
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

from ..model.nano import PLANES, Nano, NanoConfig
from ..runtime.errors import CorpusError
from ..runtime.texture import BANDS
from . import profile
from .arrays import Table
from .metrics import Agreement, agreement

Array = npt.NDArray[Any]
PARTS: Final = 4
"""cepstral correlation, synchrony, loudness and spectrum"""
_STATISTICS_ROWS: Final = 4000
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
        self.profile = nn.Linear(wide, len(profile.PLANES) * BANDS)
        self.clean = nn.Linear(wide, BANDS)


def fit(
    train: Table,
    valid: Table,
    config: FitConfig,
    folder: Path,
    done: Callable[[Epoch], None] | None = None,
    architecture: NanoConfig | None = None,
) -> tuple[Nano, list[Epoch]]:
    """Fit a nano.

    Args:
        train, valid: the rows that teach, and those that choose the epoch.
        config: see `FitConfig`.
        folder: takes `config.json`, `metrics.jsonl` and the best weights, `nano.safetensors`.
        done: called after every epoch.
        architecture: sizes; the shipped ones by default.

    Returns:
        the network with the best weights, in evaluation mode, and the history.

    Raises:
        CorpusError: fewer rows than a batch.
    """
    if len(train) < config.batch:
        raise CorpusError(f"{len(train)} rows are no batch of {config.batch}: make more labels")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    nano = Nano(architecture)
    clean = _standardize(nano, train)
    heads = Heads(nano.config)
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]
    averaged = torch.optim.swa_utils.AveragedModel(nano, multi_avg_fn=average, use_buffers=True)
    learnt = [*nano.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(learnt, lr=config.lr, weight_decay=config.weight_decay)
    steps = config.epochs * (len(train) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=0.1)
    history: list[Epoch] = []
    best, best_epoch = -1.0, 0
    metrics = folder / "metrics.jsonl"
    metrics.write_text("", encoding="utf-8")
    for epoch in range(config.epochs):
        nano.train()
        losses = []
        for batch in _batches(train, config, clean, rng):
            loss = _loss(nano, heads, batch, config)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(learnt, 1.0)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(nano)
            losses.append(loss.item())
        network = averaged.module
        assert isinstance(network, Nano)
        result = Epoch(epoch, float(np.mean(losses)), agreement(predict(network, valid), valid.labels))
        history.append(result)
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, "loss": result.loss, **result.valid._asdict()}) + "\n")
        if result.valid.lcc > best:
            best, best_epoch = result.valid.lcc, epoch
            save(network, folder / "nano.safetensors")
        if done:
            done(result)
        if epoch - best_epoch >= config.patience:
            break
    kept = Nano(architecture)
    kept.load_state_dict(safetensors.torch.load_file(folder / "nano.safetensors"))
    return kept.eval(), history


def predict(nano: Nano, table: Table, batch: int = 64) -> npt.NDArray[np.float32]:
    """Scores float32 [rows] of whole rows."""
    nano.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(table), batch):
            texture = torch.from_numpy(table.texture[start : start + batch].astype(np.float32))
            audiograms = torch.from_numpy(table.audiograms[start : start + batch])
            parts.append(nano(texture, audiograms).score.numpy())
    return np.concatenate(parts)


def save(nano: Nano, path: Path) -> None:
    """Write a network's weights as safetensors, whole or not at all."""
    part = path.with_suffix(".part")
    safetensors.torch.save_file({k: v.contiguous() for k, v in nano.state_dict().items()}, part)
    part.replace(path)


class _Clean(NamedTuple):
    """Mean and standard deviation [32] of the clean music's levels."""

    mean: Array
    scale: Array


def _standardize(nano: Nano, train: Table) -> _Clean:
    """Set the encoder's statistics from rows spread over the table; gives those of the clean levels."""
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _STATISTICS_ROWS)).astype(int))
    texture = train.texture[rows].astype(np.float32)
    nano.encoder.mean.copy_(torch.from_numpy(texture.mean((0, 1))))
    nano.encoder.scale.copy_(torch.from_numpy(texture.std((0, 1)) + 0.1))
    clean = train.clean_of(rows).astype(np.float32)
    assert nano.encoder.mean.shape == (PLANES, BANDS)
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
        known = batch.profile != profile.NONE
        seen = torch.sigmoid(heads.profile(x)).reshape(rows, patches, len(profile.PLANES), BANDS).transpose(1, 2)
        error = (seen - batch.profile.float() / (profile.NONE - 1)).square()
        weights = torch.tensor(_PROFILE_WEIGHTS)[:, None, None]
        loss = loss + config.profile_weight * (error * weights)[known].mean()
    if config.clean_weight:
        loss = loss + config.clean_weight * F.mse_loss(heads.clean(x), batch.clean)
    return loss
