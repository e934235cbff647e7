"""Fitting: the loss falls, the best weights are kept and reload, and a seed says all; the figures that are reported."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from haaqi_edge.model import Nano
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.card import LEAST, split_figures
from haaqi_edge.training.corpus.clips.clips import Clip
from haaqi_edge.training.data.arrays import PARTS, Table
from haaqi_edge.training.data.rows import plan
from haaqi_edge.training.loop import Progress, Stopped
from haaqi_edge.training.metrics import agreement, intervals
from haaqi_edge.training.tasks.nano import Epoch, FitConfig, fit, predict, save
from numpy.typing import NDArray

CONFIG = FitConfig(epochs=4, batch=8, average=0.8, threads=1, seed=3)


def synthetic(rows: int, seed: int) -> Table:
    """Noise whose tilt over the bands is its quality, less of it for those who hear little."""
    rng = np.random.default_rng(seed)
    quality, loss = rng.random(rows), rng.uniform(0, 80, rows)
    slope = np.linspace(-1, 1, 32) * (quality[:, None] - 0.5) * 4
    texture = 0.3 * rng.standard_normal((rows, 6, 16, 32)) + slope[:, None, None, :]
    clean = texture[::4, :, 0]
    profile = np.where(rng.random((rows, 3, 6, 32)) < 0.1, 255, 250 * quality[:, None, None, None])
    labels = 0.1 + 0.8 * quality - 0.1 * loss / 80
    audiograms = np.repeat(loss[:, None], 8, axis=1)
    parts = np.repeat(labels[:, None], len(PARTS), axis=1)
    single = (x.astype(np.float32) for x in (audiograms, labels, parts))
    return Table(texture.astype(np.float16), clean.astype(np.float16), profile.astype(np.uint8), *single)


@pytest.fixture(scope="module")
def tables() -> tuple[Table, Table]:
    return synthetic(120, 0), synthetic(40, 1)


@pytest.fixture(scope="module")
def fitted(
    tables: tuple[Table, Table], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Nano, list[Epoch], list[Epoch]]:
    folder = tmp_path_factory.mktemp("fit") / "run"
    seen: list[Epoch] = []
    network, history = fit(*tables, CONFIG, folder, seen.append)
    return folder, network, history, seen


def test_the_loss_falls(fitted: tuple[Path, Nano, list[Epoch], list[Epoch]], tables: tuple[Table, Table]) -> None:
    _, network, history, seen = fitted
    assert [epoch.epoch for epoch in history] == [0, 1, 2, 3]
    assert seen == history
    assert history[-1].loss < 0.7 * history[0].loss
    found = agreement(predict(network, tables[1]), tables[1].labels)
    assert found.lcc > 0.8
    assert found.lcc == pytest.approx(max(epoch.valid.lcc for epoch in history), abs=1e-6)


def test_what_is_kept_reloads_to_the_same_predictions(
    fitted: tuple[Path, Nano, list[Epoch], list[Epoch]], tables: tuple[Table, Table]
) -> None:
    folder, network, history, _ = fitted
    again = Nano.from_checkpoint(folder / "nano.safetensors")
    assert (predict(again, tables[1]) == predict(network, tables[1])).all()
    names = {"config.json", "metrics.jsonl", "curves.png", "checkpoint.pt", "nano.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    told = json.loads((folder / "config.json").read_text())
    assert FitConfig(**{name: told[name] for name in vars(CONFIG)}) == CONFIG
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [epoch.loss for epoch in history]
    assert [line["lcc"] for line in lines] == [epoch.valid.lcc for epoch in history]


def test_the_same_seed_gives_the_same_network(
    fitted: tuple[Path, Nano, list[Epoch], list[Epoch]], tables: tuple[Table, Table], tmp_path: Path
) -> None:
    _, network, history, _ = fitted
    torch.manual_seed(77)
    again, repeated = fit(*tables, CONFIG, tmp_path / "again")
    assert repeated == history
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), network.state_dict().values(), strict=True)
    )
    other, _ = fit(*tables, FitConfig(epochs=1, batch=8, average=0.8, threads=1, seed=4), tmp_path / "other")
    assert not (predict(other, tables[1]) == predict(network, tables[1])).all()


def test_a_fit_that_was_stopped_goes_on_to_the_same_network(
    fitted: tuple[Path, Nano, list[Epoch], list[Epoch]], tables: tuple[Table, Table], tmp_path: Path
) -> None:
    def stop(now: Progress) -> None:
        if (now.epoch, now.step) == (1, 4):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        fit(*tables, CONFIG, tmp_path / "run", report=stop)
    again, history = fit(*tables, CONFIG, tmp_path / "run")
    assert history == fitted[2]
    state = fitted[1].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())


def test_fewer_rows_than_a_batch_are_refused(tables: tuple[Table, Table], tmp_path: Path) -> None:
    few = Table(*(values[:5] for values in vars(tables[0]).values()))
    with pytest.raises(CorpusError, match=r"5 rows .* 8"):
        fit(few, tables[1], CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_predictions_do_not_depend_on_the_batch(
    fitted: tuple[Path, Nano, list[Epoch], list[Epoch]], tables: tuple[Table, Table]
) -> None:
    _, network, _, _ = fitted
    np.testing.assert_allclose(predict(network, tables[1], batch=7), predict(network, tables[1]), atol=2e-6)


def test_weights_are_written_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Nano()
    save(network, tmp_path / "nano.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["nano.safetensors"]
    state = Nano.from_checkpoint(tmp_path / "nano.safetensors").state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


# Figures


def slow_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def slow_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))


def test_agreement() -> None:
    rng = np.random.default_rng(0)
    label = rng.random(50).round(2)
    predicted = (label**3 + 0.1 * rng.standard_normal(50)).round(2)
    found = agreement(predicted.astype(np.float32), label)
    assert found.lcc == pytest.approx(slow_correlation(predicted, label), abs=1e-6)
    assert found.srcc == pytest.approx(slow_correlation(slow_ranks(predicted), slow_ranks(label)), abs=1e-6)
    assert found.mse == pytest.approx(sum((p - x) ** 2 for p, x in zip(predicted, label, strict=True)) / 50, abs=1e-6)
    assert found.rows == 50
    for value, interval, few in zip(
        found[:3], intervals(predicted, label), intervals(predicted[:12], label[:12]), strict=True
    ):
        assert -1 <= interval.low < value < interval.high <= 1
        assert few.high - few.low > interval.high - interval.low
    assert intervals(predicted, label) == intervals(predicted, label)


def test_figures_by_group() -> None:
    rows = plan([Clip("a.flac", "test", "s", "g", 10.0)], "test", 0, 400, 4.0)
    rng = np.random.default_rng(1)
    rows = [type(row)(**{**vars(row), "score": float(rng.random())}) for row in rows]
    labels = np.array([row.score for row in rows])
    predicted = (labels + 0.2 * rng.standard_normal(400)).astype(np.float32)
    found = split_figures(rows, predicted)
    assert found["all"]["rows"] == 400
    assert found["all"]["lcc"] == round(slow_correlation(predicted.astype(np.float64), labels), 4)
    chosen = np.array([row.listener == "N3" for row in rows])
    assert found["listener"]["N3"]["rows"] == chosen.sum() >= LEAST
    assert found["listener"]["N3"]["mse"] == round(float(np.mean((predicted[chosen] - labels[chosen]) ** 2)), 4)
    assert found["level"].keys() == {"65 dB SPL", "softer", "louder"}
    assert sum(group["rows"] for group in found["level"].values()) == 400
    assert found["seen"]["rows"] + found["unseen"]["rows"] == 400
    assert 20 <= found["comparable"]["rows"] < 200
    assert all(group["rows"] >= LEAST for kind in ("condition", "listener") for group in found[kind].values())


def test_what_is_learnt_beside_the_score_reaches_the_network(tables: tuple[Table, Table], tmp_path: Path) -> None:
    """The dense targets change the weights, and wrong ones lead elsewhere."""
    train, valid = tables
    other = Table(**{**vars(train), "profile": 250 - train.profile.clip(0, 250)})
    blind = Table(**{**vars(train), "profile": np.full_like(train.profile, 255)})
    config = FitConfig(epochs=1, batch=8, threads=1, seed=3)
    fits = [fit(part, valid, config, tmp_path / str(i))[0] for i, part in enumerate((train, other, blind))]
    weights = [network.head.gru.weight_ih_l0 for network in fits]
    assert not torch.equal(weights[0], weights[1])
    assert all(torch.isfinite(weight).all() for weight in weights)


def test_statistics_are_the_training_rows(
    fitted: tuple[Path, Nano, list[Epoch], list[Epoch]], tables: tuple[Table, Table]
) -> None:
    texture = tables[0].texture.astype(np.float32)
    encoder = fitted[1].encoder
    np.testing.assert_allclose(encoder.mean.numpy(), texture.mean((0, 1)), atol=1e-4)
    np.testing.assert_allclose(encoder.scale.numpy(), texture.std((0, 1)) + 0.1, atol=1e-4)
