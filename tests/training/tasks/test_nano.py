"""Training nano: the loss falls, the best weights are kept and reload, and a seed says all; the reported figures."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from haaqi_edge.model import Nano
from haaqi_edge.model.nano import NanoConfig
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.card import MIN_GROUP_ROWS, metrics_by_group
from haaqi_edge.training.corpus.clips import Clip
from haaqi_edge.training.data.batches import Dataset, evaluate_network
from haaqi_edge.training.data.examples import Example
from haaqi_edge.training.data.feature_cache import DENSE, FeatureCache, clean_kind, texture_kind
from haaqi_edge.training.data.rows import GROUP, plan_rows
from haaqi_edge.training.loop import Progress, TrainerConfig, TrainingInterrupted
from haaqi_edge.training.run_directory import Metrics
from haaqi_edge.training.settings import build_settings, read_settings
from haaqi_edge.training.statistics import agreement
from haaqi_edge.training.tasks.nano import PARTS, NanoTrainingConfig, save_nano
from haaqi_edge.training.tasks.pipelines import Callbacks, TrainingData, train_nano
from numpy.typing import NDArray

CONFIG = NanoTrainingConfig(
    batch_size=8,
    ema_decay=0.8,
    network=NanoConfig(texture_version=1, interval=False),
    trainer=TrainerConfig(epochs=4, patience=4, seed=3, max_grad_norm=1.0, threads=1),
)
CPU = torch.device("cpu")


def synthetic(cache: FeatureCache, table: str, rows: int, seed: int, dense: str = "right") -> list[Example]:
    """Noise whose tilt over the bands is its quality, less of it for those who hear little.

    `dense` targets are right, wrong, or missing.
    """
    rng = np.random.default_rng(seed)
    quality, loss = rng.random(rows), rng.uniform(0, 80, rows)
    slope = np.linspace(-1, 1, 32) * (quality[:, None] - 0.5) * 4
    texture = 0.3 * rng.standard_normal((rows, 6, 16, 32)) + slope[:, None, None, :]
    targets = np.where(rng.random((rows, 3, 6, 32)) < 0.1, 255, 250 * quality[:, None, None, None])
    targets = (targets if dense == "right" else 250 - targets.clip(0, 250)).astype(np.uint8)
    labels = 0.1 + 0.8 * quality - 0.1 * loss / 80
    planned = plan_rows([Clip("a.flac", "train", "s", "g", 10.0)], "train", 0, rows, 1.0)
    examples = []
    for number, row in enumerate(planned):
        parts: dict[str, Any] = dict.fromkeys(PARTS, float(labels[number]))
        row = replace(row, score=float(labels[number]), **parts)
        audiogram = (float(loss[number]),) * 8
        examples.append(Example(f"{table}{number}", audiogram, row.score, row, f"{number // GROUP}", table))
    cache.put(texture_kind(), table, [(e.sound_key, x) for e, x in zip(examples, texture, strict=True)])
    clean = [(e.music_key, x) for e, x in zip(examples[::GROUP], texture[::GROUP, :, 0], strict=True)]
    cache.put(clean_kind(), table, clean)
    if dense != "missing":
        cache.put(DENSE, table, [(e.sound_key, x) for e, x in zip(examples, targets, strict=True)])
    return examples


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    cache = FeatureCache(tmp_path_factory.mktemp("features"))
    return TrainingData(synthetic(cache, "train", 120, 0), synthetic(cache, "valid", 40, 1), cache)


def fit(
    config: NanoTrainingConfig, data: TrainingData, folder: Path, callbacks: Callbacks | None = None
) -> tuple[Nano, list[Metrics]]:
    trained = train_nano(config, data, folder, callbacks)
    history = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in trained.history]
    return Nano.from_checkpoint(trained.weights), history


def predict(network: Nano, data: TrainingData, batch_size: int = 64) -> NDArray[np.float32]:
    return evaluate_network(network, Dataset(data.cache, data.valid, texture_kind()), batch_size, CPU)[1]


def labels(data: TrainingData) -> NDArray[np.float32]:
    return np.array([example.score for example in data.valid], np.float32)


@pytest.fixture(scope="module")
def fitted(
    data: TrainingData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Nano, list[Metrics], list[Metrics], list[str]]:
    folder = tmp_path_factory.mktemp("fit") / "run"
    seen: list[Metrics] = []
    kinds: list[str] = []
    network, history = fit(CONFIG, data, folder, Callbacks(lambda what, *_: kinds.append(what), on_epoch=seen.append))
    return folder, network, history, seen, kinds


Fitted = tuple[Path, Nano, list[Metrics], list[Metrics], list[str]]


@pytest.mark.slow
def test_the_loss_falls(fitted: Fitted, data: TrainingData) -> None:
    _, network, history, seen, kinds = fitted
    assert [epoch["epoch"] for epoch in history] == [0, 1, 2, 3]
    assert [epoch["loss"] for epoch in seen] == [epoch["loss"] for epoch in history]
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert kinds == ["texture and clean", "texture"]
    found = agreement(predict(network, data), labels(data))
    assert found.lcc > 0.8
    assert found.lcc == pytest.approx(max(epoch["lcc"] for epoch in history), abs=1e-6)


@pytest.mark.slow
def test_what_is_kept_reloads_to_the_same_predictions(fitted: Fitted, data: TrainingData) -> None:
    folder, network, history, _, _ = fitted
    again = Nano.from_checkpoint(folder / "nano.safetensors")
    assert (predict(again, data) == predict(network, data)).all()
    names = {"config.json", "metrics.jsonl", "curves.png", "checkpoint.pt", "nano.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    asked = json.loads((folder / "config.json").read_text())
    asked.pop("data")
    asked.pop("provenance")
    assert build_settings(NanoTrainingConfig, asked) == CONFIG
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [epoch["loss"] for epoch in history]
    assert [line["lcc"] for line in lines] == [epoch["lcc"] for epoch in history]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network(fitted: Fitted, data: TrainingData, tmp_path: Path) -> None:
    network, history = fitted[1:3]
    torch.manual_seed(77)
    again, repeated = fit(CONFIG, data, tmp_path / "again")
    assert repeated == history
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), network.state_dict().values(), strict=True)
    )
    other, _ = fit(replace(CONFIG, trainer=replace(CONFIG.trainer, epochs=1, seed=4)), data, tmp_path / "other")
    assert not (predict(other, data) == predict(network, data)).all()


@pytest.mark.slow
def test_a_fit_that_was_stopped_goes_on_to_the_same_network(fitted: Fitted, data: TrainingData, tmp_path: Path) -> None:
    def stop(now: Progress) -> None:
        if (now.epoch, now.step) == (1, 4):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingInterrupted):
        fit(CONFIG, data, tmp_path / "run", Callbacks(on_step=stop))
    again, history = fit(CONFIG, data, tmp_path / "run")
    assert history == fitted[2]
    state = fitted[1].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())


def test_fewer_rows_than_a_batch_are_refused(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"5 rows .* 8"):
        fit(CONFIG, replace(data, train=data.train[:5]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_predictions_do_not_depend_on_the_batch(fitted: Fitted, data: TrainingData) -> None:
    network = fitted[1]
    np.testing.assert_allclose(predict(network, data, batch_size=7), predict(network, data), atol=2e-6)


def test_weights_are_written_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Nano()
    save_nano(network, tmp_path / "nano.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["nano.safetensors"]
    state = Nano.from_checkpoint(tmp_path / "nano.safetensors").state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_the_shipped_settings_are_the_defaults() -> None:
    assert build_settings(NanoTrainingConfig, read_settings("nano")) == NanoTrainingConfig()
    found = build_settings(NanoTrainingConfig, {"network": {"texture_version": 2}}, {"lr": 1e-3, "threads": 2})
    assert found.network == NanoConfig(texture_version=2)
    assert (found.lr, found.trainer.threads) == (1e-3, 2)


# Figures


@pytest.mark.slow
def test_figures_by_group() -> None:
    rows = plan_rows([Clip("a.flac", "test", "s", "g", 10.0)], "test", 0, 400, 4.0)
    rng = np.random.default_rng(1)
    rows = [type(row)(**{**vars(row), "score": float(rng.random())}) for row in rows]
    labels = np.array([row.score for row in rows])
    predicted = (labels + 0.2 * rng.standard_normal(400)).astype(np.float32)
    found = metrics_by_group(rows, predicted)
    assert found["all"]["rows"] == 400
    assert found["all"]["lcc"] == round(np.corrcoef(predicted, labels)[0, 1], 4)
    chosen = np.array([row.listener == "N3" for row in rows])
    assert found["listener"]["N3"]["rows"] == chosen.sum() >= MIN_GROUP_ROWS
    assert found["listener"]["N3"]["mse"] == round(float(np.mean((predicted[chosen] - labels[chosen]) ** 2)), 4)
    assert found["level"].keys() == {"65 dB SPL", "softer", "louder"}
    assert sum(group["rows"] for group in found["level"].values()) == 400
    assert found["seen"]["rows"] + found["unseen"]["rows"] == 400
    assert 20 <= found["comparable"]["rows"] < 200
    assert all(group["rows"] >= MIN_GROUP_ROWS for kind in ("condition", "listener") for group in found[kind].values())


@pytest.mark.slow
def test_what_is_learnt_beside_the_score_reaches_the_network(tmp_path: Path) -> None:
    """The dense targets change the weights, wrong ones lead elsewhere, and rows without them are trained on too."""
    config = replace(CONFIG, trainer=replace(CONFIG.trainer, epochs=1))
    networks = []
    for dense in ("right", "wrong", "missing"):
        cache = FeatureCache(tmp_path / dense)
        part = TrainingData(synthetic(cache, "train", 120, 0, dense), synthetic(cache, "valid", 40, 1), cache)
        networks.append(fit(config, part, tmp_path / f"run-{dense}")[0])
    weights = [network.head.gru.weight_ih_l0 for network in networks]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert all(torch.isfinite(weight).all() for weight in weights)


def test_several_tables_are_trained_on_together(data: TrainingData, tmp_path: Path) -> None:
    older = synthetic(data.cache, "train-2026-11", 40, 2, "missing")
    config = replace(CONFIG, trainer=replace(CONFIG.trainer, epochs=2))
    both = replace(data, train=[*data.train[:40], *older])
    network, _ = fit(config, both, tmp_path / "run")
    pooled = np.concatenate([data.cache.load(texture_kind(), example) for example in both.train])
    np.testing.assert_allclose(network.encoder.mean.numpy(), pooled.astype(np.float32).mean(0), atol=1e-4)


def test_statistics_are_the_training_rows(fitted: Fitted, data: TrainingData) -> None:
    texture = np.stack([data.cache.load(texture_kind(), e) for e in data.train]).astype(np.float32)
    encoder = fitted[1].encoder
    np.testing.assert_allclose(encoder.mean.numpy(), texture.mean((0, 1)), atol=1e-4)
    np.testing.assert_allclose(encoder.scale.numpy(), texture.std((0, 1)) + 0.1, atol=1e-4)
