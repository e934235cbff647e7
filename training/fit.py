"""Fitting nano to the label table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.nano import Nano
from ..model.student import patches
from ..runtime.errors import CorpusError
from .labels import Row
from .metrics import Agreement, agreement

Array = npt.NDArray[Any]
PARTS: Final = ("cepstral", "synchrony", "loudness", "spectrum")


@dataclass(frozen=True)
class FitConfig:
    """How nano is fitted.

    Attributes:
        epochs: passes over the rows at most; the epoch with the highest LCC on `valid` is kept.
        patience: epochs without a higher one after which to stop.
        batch: rows in a step.
        lr, weight_decay: of AdamW, with a cosine schedule after 5% of warm-up.
        frame_weight: of MSE(frames against the clip's label) beside MSE(clip), as HAAQI-Net trains.
        parts_weight: of the MSE of HAAQI's four parts, which a linear layer that is dropped afterwards predicts.
        average: decay a step of the exponential moving average of the weights that is evaluated and kept.
        crop: patches of a row that a step sees, at random.
        threads: torch's.
        seed: of initial weights, order, crops and masks.
    """

    epochs: int = 20
    patience: int = 6
    batch: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.05
    frame_weight: float = 0.3
    parts_weight: float = 0.3
    average: float = 0.98
    crop: int = 16
    threads: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Table:
    """Rows as arrays.

    Attributes:
        patches: float16 [rows, patches, 16, 128].
        audiograms: float32 [rows, 8], dB HL.
        labels: float32 [rows], HAAQI.
        parts: float32 [rows, 4], what HAAQI is made of (`PARTS`).
    """

    patches: Array
    audiograms: Array
    labels: Array
    parts: Array

    @classmethod
    def of(cls, rows: Sequence[Row], patches: Array) -> Table:
        """The table of labelled rows and their features."""
        return cls(
            patches,
            np.array([row.audiogram for row in rows], dtype=np.float32),
            np.array([row.score for row in rows], dtype=np.float32),
            np.array([[getattr(row, part) for part in PARTS] for row in rows], dtype=np.float32),
        )


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to."""

    epoch: int
    loss: float
    valid: Agreement


def fit(
    train: Table, valid: Table, config: FitConfig, folder: Path, done: Callable[[Epoch], None] | None = None
) -> tuple[Nano, list[Epoch]]:
    """Fit a nano.

    Args:
        train, valid: the rows that teach, and those that choose the epoch.
        config: see `FitConfig`.
        folder: takes `config.json`, `metrics.jsonl` and the best weights, `nano.safetensors`.
        done: called after every epoch.

    Returns:
        the network with the best weights, in evaluation mode, and the history.

    Raises:
        CorpusError: fewer rows than a batch.
    """
    if len(train.labels) < config.batch:
        raise CorpusError(f"{len(train.labels)} rows are no batch of {config.batch}: make more labels")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    nano = Nano()
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]
    averaged = torch.optim.swa_utils.AveragedModel(nano, multi_avg_fn=average, use_buffers=True)
    parts = nn.Linear(2 * nano.config.hidden, len(PARTS))
    optimizer = torch.optim.AdamW(
        [*nano.parameters(), *parts.parameters()], lr=config.lr, weight_decay=config.weight_decay
    )
    steps = config.epochs * (len(train.labels) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=0.05)
    history: list[Epoch] = []
    best, best_epoch = -1.0, 0
    metrics = folder / "metrics.jsonl"
    metrics.write_text("", encoding="utf-8")
    for epoch in range(config.epochs):
        nano.train()
        losses = []
        order = rng.permutation(len(train.labels))[: len(train.labels) // config.batch * config.batch]
        for rows in order.reshape(-1, config.batch):
            loss = _loss(nano, parts, _batch(train, rows, config, rng), config)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(nano.parameters(), 1.0)
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
    return Nano.from_checkpoint(folder / "nano.safetensors"), history


def predict(nano: Nano, table: Table, batch: int = 64) -> npt.NDArray[np.float32]:
    """Scores float32 [rows] of whole rows."""
    nano.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(table.labels), batch):
            patches = torch.from_numpy(table.patches[start : start + batch]).float()
            audiograms = torch.from_numpy(table.audiograms[start : start + batch])
            parts.append(nano(patches.flatten(1, 2), audiograms).score.numpy())
    return np.concatenate(parts)


def save(nano: Nano, path: Path) -> None:
    """Write a network's weights as safetensors, whole or not at all."""
    part = path.with_suffix(".part")
    safetensors.torch.save_file({k: v.contiguous() for k, v in nano.state_dict().items()}, part)
    part.replace(path)


class _Batch(NamedTuple):
    fbank: Tensor
    audiograms: Tensor
    labels: Tensor
    parts: Tensor


def _loss(nano: Nano, parts: nn.Linear, batch: _Batch, config: FitConfig) -> Tensor:
    tokens = nano.encode(patches(batch.fbank)).reshape(len(batch.labels), -1, nano.config.width)
    x = nano.head.read(tokens, batch.audiograms)
    shares, frame_scores = nano.head.shares(x), nano.head.frame_scores(x)
    clip = F.mse_loss((shares * frame_scores).sum(-1), batch.labels)
    frames = F.mse_loss(frame_scores, batch.labels[:, None].expand_as(frame_scores))
    named = F.mse_loss(torch.sigmoid(parts((shares.unsqueeze(-1) * x).sum(1))), batch.parts)
    return clip + config.frame_weight * frames + config.parts_weight * named


def _batch(table: Table, rows: Array, config: FitConfig, rng: np.random.Generator) -> _Batch:
    """A batch of random crops, the audiograms scattered by 1 dB so that none is learnt by heart."""
    length = min(config.crop, table.patches.shape[1])
    starts = rng.integers(0, table.patches.shape[1] - length + 1, len(rows))
    fbank = np.stack([table.patches[r, s : s + length] for r, s in zip(rows, starts, strict=True)]).astype(np.float32)
    audiograms = table.audiograms[rows] + rng.normal(0, 1.0, (len(rows), table.audiograms.shape[1]))
    return _Batch(
        torch.from_numpy(fbank).flatten(1, 2),
        torch.from_numpy(audiograms.astype(np.float32)),
        torch.from_numpy(table.labels[rows]),
        torch.from_numpy(table.parts[rows]),
    )
