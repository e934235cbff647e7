"""The teacher's training: what is frozen stays, what is kept is what BEATs gives, checkpoints are published ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from haaqi_edge.model.beats import Beats, BeatsConfig
from haaqi_edge.model.teacher import Teacher
from haaqi_edge.runtime.errors import CheckpointError, CorpusError, OptionError
from haaqi_edge.training.data.batches import Dataset, score_loss
from haaqi_edge.training.data.examples import load_json_examples, split_by_group
from haaqi_edge.training.data.feature_cache import FBANK, make_batches
from haaqi_edge.training.loop import TrainerConfig
from haaqi_edge.training.tasks.pipelines import TrainingData, train_teacher
from haaqi_edge.training.tasks.teacher import TeacherConfig, TeacherTask, create_teacher

CONFIG = TeacherConfig(tiny.HEAD, batch_size=3, trainer=TrainerConfig(epochs=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teacher")


@pytest.fixture(scope="module")
def data(folder: Path) -> TrainingData:
    return tiny.load_training_data(folder)


@pytest.fixture(scope="module")
def beats(folder: Path) -> Beats:
    return Beats.from_checkpoint(tiny.save_beats_checkpoint(folder))


@pytest.mark.slow
@pytest.mark.parametrize("unfrozen_layers", [0, 1, 12])
def test_what_is_frozen_stays_and_the_rest_learns(
    unfrozen_layers: int, data: TrainingData, beats: Beats, tmp_path: Path
) -> None:
    config = replace(CONFIG, unfrozen_layers=unfrozen_layers)
    trained = train_teacher(config, beats, data, tmp_path)
    teacher, before = Teacher.from_checkpoint(trained.weights), create_teacher(config, beats).state_dict()
    changed = {name for name, value in teacher.state_dict().items() if not torch.equal(value, before[name])}
    assert {"linear0.weight", "blstm.weight_ih_l0", "weights", "haaqiframe_score.bias"} <= changed
    inside = {name.removeprefix("beats_model.") for name in changed if name.startswith("beats_model.")}
    if unfrozen_layers == 0:
        assert inside == set()
    elif unfrozen_layers == 1:
        assert "encoder.layers.11.fc1.weight" in inside
        assert all(name.startswith("encoder.layers.11.") for name in inside)
        assert "encoder.layers.11.self_attn.relative_attention_bias.weight" not in inside
    else:
        assert {"patch_embedding.weight", "encoder.layers.0.fc1.weight"} <= inside
    assert trained.history[-1]["loss"] != trained.history[0]["loss"]


@pytest.mark.slow
def test_the_checkpoint_has_the_published_keys(data: TrainingData, beats: Beats, tmp_path: Path) -> None:
    trained = train_teacher(replace(CONFIG, trainer=TrainerConfig(epochs=1)), beats, data, tmp_path)
    found = torch.load(trained.weights, weights_only=True)
    with torch.device("meta"):
        published = Teacher()
    assert found["model"].keys() == published.state_dict().keys()
    del found["model"]["linear0.bias"]
    torch.save(found, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"missing: linear0\.bias"):
        Teacher.from_checkpoint(tmp_path / "other.pth")
    torch.save({"model": torch.load(trained.weights, weights_only=True)["model"]}, tmp_path / "sizeless.pth")
    with pytest.raises(CheckpointError, match="of another shape"):  # without sizes it must be the published network
        Teacher.from_checkpoint(tmp_path / "sizeless.pth")


@pytest.mark.slow
@pytest.mark.parametrize("unfrozen_layers", [0, 2])
def test_kept_layers_are_what_beats_gives(
    unfrozen_layers: int, data: TrainingData, beats: Beats, tmp_path: Path
) -> None:
    config = replace(CONFIG, unfrozen_layers=unfrozen_layers, trainer=TrainerConfig(epochs=1))
    task = train_teacher(config, beats, data, tmp_path).task
    assert isinstance(task, TeacherTask)
    for kept, (_, whole) in zip(task.valid.batches(3), Dataset(data.cache, data.valid, FBANK).batches(3), strict=True):
        with torch.no_grad():
            ours = task.scores(kept[1].inputs, kept[1].audiograms)
            theirs = task.teacher.score(whole.inputs, whole.audiograms)
        torch.testing.assert_close(ours.frame_scores, theirs.frame_scores, atol=2e-3, rtol=0)
    assert len(data.cache.pack(task.valid.inputs, "files")) == tiny.PIECES  # once a sound


def test_the_last_layer_alone(data: TrainingData, beats: Beats, tmp_path: Path) -> None:
    trained = train_teacher(replace(CONFIG, weighted_sum=False, trainer=TrainerConfig(epochs=1)), beats, data, tmp_path)
    teacher = Teacher.from_checkpoint(trained.weights)
    layers = [torch.randn(2, 8, tiny.BEATS.width) for _ in range(tiny.BEATS.layers)]
    torch.testing.assert_close(teacher.blend(layers), teacher.layer_norm[-1](layers[-1]))


def test_sizes_of_a_beats_checkpoint(beats: Beats, folder: Path) -> None:
    assert beats.config == tiny.BEATS
    assert BeatsConfig.from_published({}) == BeatsConfig()
    found = torch.load(folder / "beats.pt", weights_only=True)
    torch.save({"cfg": found["cfg"], "model": {**found["model"], "odd": torch.zeros(1)}}, folder / "odd.pt")
    with pytest.raises(CheckpointError, match="unexpected: odd"):
        Beats.from_checkpoint(folder / "odd.pt")


def test_settings_that_cannot_be(beats: Beats) -> None:
    with pytest.raises(OptionError, match="give its checkpoint with --beats, or sizes"):
        create_teacher(CONFIG, None)
    with pytest.raises(OptionError, match="13 of 12 layers"):
        create_teacher(replace(CONFIG, unfrozen_layers=13), beats)
    with pytest.raises(OptionError, match="from scratch is trained with all its layers"):
        create_teacher(replace(CONFIG, beats=tiny.BEATS, unfrozen_layers=1), None)


def test_the_loss_is_haaqi_nets() -> None:
    from haaqi_edge.model.head import Scores

    frames = torch.tensor([[0.1, 0.3], [0.6, 0.8], [0.5, 0.5]])
    labels = torch.tensor([0.2, 0.5, float("nan")])
    expected = (0.0 + 0.04) / 2 + (0.01 + 0.01 + 0.01 + 0.09) / 4
    scores = Scores(frames, frames.mean(1))
    assert score_loss(scores, labels).item() == pytest.approx(expected)
    assert score_loss(scores, torch.full((3,), float("nan"))).item() == 0


def test_clips_are_batched_with_others_as_long() -> None:
    lengths = [5, 3, 5, 5, 3, 7, 5]
    for rng in (None, np.random.default_rng(1)):
        found = make_batches(lengths, 2, rng)
        assert sorted(place for batch in found for place in batch) == list(range(7))
        assert all(len({lengths[place] for place in batch}) == 1 and len(batch) <= 2 for batch in found)
        assert len(found) == 4
    assert make_batches(lengths, 2, np.random.default_rng(1)) == make_batches(lengths, 2, np.random.default_rng(1))
    whole = make_batches(lengths, 2, np.random.default_rng(1), drop_last=True)
    assert len(whole) == 3
    assert all(len(batch) == 2 and batch == sorted(batch) for batch in whole)


def test_parts_share_no_piece(data: TrainingData) -> None:
    train, held = split_by_group([*data.train, *data.train], 0.3)
    assert len(train) + len(held) == 14
    assert {e.group for e in train}.isdisjoint(e.group for e in held)
    with pytest.raises(CorpusError, match="all examples are of one piece"):
        split_by_group([data.train[0]] * 3, 0.3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "expected"),
        ('{"data": [{"file_path": "absent.wav", "audiogram": "N3", "haaqi_score": 0.5}]}', "does not exist"),
        ('{"data": [{"file_path": "bad.json", "audiogram": [1], "haaqi_score": 0.5}]}', "audiogram"),
        ('{"data": [{"file_path": "bad.json", "audiogram": "N3", "haaqi_score": 5}]}', "not within 0 to 1"),
    ],
)
def test_a_train_json_that_cannot_be_used(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(CorpusError, match=said):
        load_json_examples(tmp_path / "bad.json")
