"""Distillation: every row of Table IV learns, what is frozen stays the teacher's, checkpoints load strictly."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from haaqi_edge.export.surgery import fold
from haaqi_edge.model import Nano, Student, Teacher
from haaqi_edge.model.student import PREDICTED_LAYERS
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.training.data.batches import Batch, Dataset
from haaqi_edge.training.data.feature_cache import FBANK, texture_kind
from haaqi_edge.training.loop import TrainerConfig
from haaqi_edge.training.losses import AdaptiveSum, FixedSum, token_distances
from haaqi_edge.training.settings import build_settings, from_haaqi_net, read_settings, shipped_configs
from haaqi_edge.training.tasks.distillation import (
    DistilConfig,
    NanoDistilTask,
    StudentTask,
    cache_teacher_targets,
    create_student,
)
from haaqi_edge.training.tasks.pipelines import TrainingData, distil
from haaqi_edge.training.tasks.teacher import save_teacher

TABLE_IV = [name for name in shipped_configs() if name.startswith("table4-")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distil")


@pytest.fixture(scope="module")
def data(folder: Path) -> TrainingData:
    made = tiny.load_training_data(folder).with_labels(4, seed=1)
    made.cache.fill([FBANK, texture_kind()], [*made.train, *made.valid], None)
    return made


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Teacher:
    torch.manual_seed(5)
    save_teacher(Teacher(tiny.BEATS, tiny.HEAD), folder / "teacher.pth")
    return Teacher.from_checkpoint(folder / "teacher.pth")


def task(config: DistilConfig, teacher: Teacher | None, data: TrainingData) -> StudentTask | NanoDistilTask:
    """A task whose features are kept."""
    targets = cache_teacher_targets(teacher, config, data.cache, data.train) if teacher else ()
    kind = texture_kind() if config.student == "nano" else FBANK
    made = NanoDistilTask if config.student == "nano" else StudentTask
    train, valid = Dataset(data.cache, data.train, kind, targets), Dataset(data.cache, data.valid, kind)
    return made(config, train, valid, teacher)


def step(of: StudentTask | NanoDistilTask, batch: Batch) -> float:
    """One step of the optimizer; gives the loss before it."""
    loss = of.loss(batch)
    of.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    of.optimizer.step()
    return float(loss.detach())


def batch_of(of: StudentTask | NanoDistilTask) -> Batch:
    return max((batch for _, batch in of.clips.batches(16)), key=lambda batch: len(batch.labels))


def test_table_iv_has_all_its_rows() -> None:
    rows = {
        tuple(build_settings(DistilConfig, read_settings(name)).__dict__[k] for k in ("heads", "loss", "weighted_sum"))
        for name in TABLE_IV
    }
    assert len(rows) == len(TABLE_IV) == 8


@pytest.mark.parametrize("name", TABLE_IV)
def test_every_row_of_table_iv_learns(name: str, teacher: Teacher, data: TrainingData) -> None:
    config = build_settings(DistilConfig, read_settings(name))
    made = task(config, teacher, data)
    batch, before = batch_of(made), {n: p.detach().clone() for n, p in made.network.named_parameters()}
    losses = [step(made, batch) for _ in range(4)]
    assert losses[-1] < losses[0]
    changed = {n for n, p in made.network.named_parameters() if not torch.equal(p, before[n])}
    assert {"patch_embedding.weight", "encoder2.fc1.weight", "encoder5.weight", "encoder11.bias"} <= changed
    assert not any(n.startswith(("blstm.", "haaqiAtt_layer.")) or "q_proj" in n for n in changed)
    assert ("weights" in changed) == config.weighted_sum


def test_a_student_begins_as_its_teacher(teacher: Teacher, data: TrainingData) -> None:
    student = create_student(DistilConfig(), teacher)
    assert student.predicts == PREDICTED_LAYERS
    ours, theirs = student.state_dict(), teacher.state_dict()
    for index in range(3):
        for name in ("fc1.weight", "self_attn.v_proj.weight", "self_attn.q_proj.weight", "final_layer_norm.bias"):
            assert torch.equal(ours[f"encoder{index}.{name}"], theirs[f"beats_model.encoder.layers.{index}.{name}"])
    assert torch.equal(ours["linear2.weight"], theirs["beats_model.post_extract_proj.weight"])
    for name in ("blstm.weight_hh_l0", "haaqiAtt_layer.in_proj_weight", "linear0.weight"):
        assert torch.equal(ours[name], theirs[name])
    tuned = create_student(DistilConfig(tune_blstm=True, tune_attention=True), teacher)
    assert all(p.requires_grad for part in (tuned.blstm, tuned.haaqiAtt_layer) for p in part.parameters())
    made = task(DistilConfig(tune_blstm=True), teacher, data)
    step(made, batch_of(made))
    assert isinstance(made.network, Student)
    assert not torch.equal(made.network.blstm.weight_hh_l0, theirs["blstm.weight_hh_l0"])
    assert torch.equal(made.network.haaqiAtt_layer.in_proj_weight, theirs["haaqiAtt_layer.in_proj_weight"])


def test_a_distilled_student_loads_strictly_and_exports(teacher: Teacher, data: TrainingData, tmp_path: Path) -> None:
    config = DistilConfig(batch_size=4, trainer=TrainerConfig(epochs=2), weighted_sum=False)
    trained = distil(config, teacher, data, tmp_path)
    assert trained.weights.name == "haaqi_net_distillBEATs.pth"
    student, lean = (Student.from_checkpoint(trained.weights, dead_branches=kept) for kept in (True, False))
    with torch.device("meta"):
        published = Student()
    assert student.state_dict().keys() == published.state_dict().keys()
    x, levels = torch.randn(1, 64, 128), torch.full((1, 8), 40.0)
    with torch.no_grad():
        expected = student(x, levels).frame_scores
        torch.testing.assert_close(lean(x, levels).frame_scores, expected)
        torch.testing.assert_close(fold(student)(x, levels).frame_scores, expected, atol=1e-5, rtol=0)
        last = student.layers(torch.randn(2, 16, 128))
        torch.testing.assert_close(student.blend(last), student.layer_norm[-1](last[-1]))


def test_nano_learns_from_scores_and_tokens(teacher: Teacher, data: TrainingData, tmp_path: Path) -> None:
    config = replace(
        build_settings(DistilConfig, read_settings("nano-distil")), batch_size=4, trainer=TrainerConfig(epochs=2)
    )
    made = task(config, teacher, data)
    batch = batch_of(made)
    blind = batch._replace(labels=torch.full_like(batch.labels, float("nan")))
    step(made, blind)
    gradients = {n: p.grad for n, p in made.network.named_parameters()}
    assert gradients["head.frame.weight"].abs().max() > 0  # type: ignore[union-attr]  # the teacher's scores
    assert gradients["encoder.linear.weight"].abs().max() > 0  # type: ignore[union-attr]
    trained = distil(config, teacher, data, tmp_path)
    nano = Nano.from_checkpoint(trained.weights)
    texture = torch.from_numpy(data.cache.load(texture_kind(), data.train[0]).copy()).float()
    assert nano.encoder.mean.abs().max() > 1  # statistics of the sounds
    assert 0 < nano(texture[None], torch.zeros(1, 8)).score.item() < 1


def test_without_a_teacher_labels_alone_teach(data: TrainingData, tmp_path: Path) -> None:
    config = DistilConfig(
        beats=tiny.BEATS,
        head=tiny.HEAD,
        tune_blstm=True,
        tune_attention=True,
        batch_size=4,
        trainer=TrainerConfig(epochs=1),
    )
    trained = distil(config, None, data, tmp_path)
    assert isinstance(trained.task, StudentTask)
    assert len(trained.task.clips) == 4
    student, begun = Student.from_checkpoint(trained.weights), create_student(config, None)
    changed = {n for n, p in student.named_parameters() if not torch.equal(p, begun.get_parameter(n))}
    assert {"blstm.weight_hh_l0", "encoder0.fc1.weight"} <= changed
    assert "encoder5.weight" not in changed
    scratch = build_settings(DistilConfig, read_settings("student-scratch"))
    with torch.device("meta"):
        assert sum(p.numel() for p in Student(head=scratch.head).parameters()) == 24_383_744


def test_what_a_teacher_says_is_kept_once(teacher: Teacher, data: TrainingData) -> None:
    config = DistilConfig()
    tokens, frames = cache_teacher_targets(teacher, config, data.cache, data.train)
    example = data.train[1]
    fbank = torch.from_numpy(data.cache.load(FBANK, example).copy()).float()[None]
    with torch.no_grad():
        layers, scores = teacher.layers(fbank), teacher.score(fbank, torch.tensor([example.audiogram]))
    kept = torch.from_numpy(data.cache.load(tokens, example).copy()).float()
    for index, layer in enumerate(config.predicts):
        torch.testing.assert_close(kept[index], layers[layer][0], atol=2e-3, rtol=1e-3)
    told = torch.from_numpy(data.cache.load(frames, example).copy()).float()
    torch.testing.assert_close(told, scores.frame_scores[0], atol=2e-3, rtol=0)
    written = data.cache.pack(tokens, example.table).path.stat().st_mtime_ns
    cache_teacher_targets(teacher, config, data.cache, data.train)
    assert data.cache.pack(tokens, example.table).path.stat().st_mtime_ns == written


def test_sequential_heads_read_each_other() -> None:
    student = Student(tiny.BEATS, tiny.HEAD)
    tokens = torch.randn(3, tiny.BEATS.width)
    first, second, third = student.teacher_predictions(tokens, sequential=True)
    assert torch.equal(first, student.teacher_predictions(tokens)[0])
    torch.testing.assert_close(second, student.get_submodule("encoder8")(first))
    torch.testing.assert_close(third, student.get_submodule("encoder11")(second))


def test_distances() -> None:
    a, b = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    l1, cosine = token_distances(a, b)
    assert l1.item() == pytest.approx(1.0)
    assert cosine.item() == pytest.approx((math.log(1 + math.exp(-1)) + math.log(2)) / 2)
    terms = [torch.tensor(0.5)], [torch.tensor(0.2)], [torch.tensor(0.04)]
    assert FixedSum(2.0)(*terms, [True]).item() == pytest.approx(0.5 + 2 * 0.2 + 0.04)


def test_adaptive_weights_settle_where_the_likelihood_is_largest() -> None:
    adaptive = AdaptiveSum(2, 1)
    terms = [torch.tensor(0.5)], [torch.tensor(0.2)], [torch.tensor(0.04)]
    assert adaptive(*terms, [True]).item() == pytest.approx(0.5 + 0.2 + 0.02)
    optimizer = torch.optim.Adam(adaptive.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        adaptive(*terms, [True]).backward()
        optimizer.step()
    torch.testing.assert_close(adaptive.log_scales.exp(), torch.tensor([0.5, 0.2, 0.04]), rtol=0.05, atol=0)
    adaptive.zero_grad()
    adaptive([torch.tensor(0.5)], [torch.tensor(0.2)], [torch.tensor(0.0)], [False]).backward()
    assert adaptive.log_scales.grad is not None
    assert adaptive.log_scales.grad[2] == 0  # a batch without labels does not make the score term look exact


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"predicts": (2, 8)}, "a student of 3 layers predicts the teacher's 3 to 11"),
        ({"layers": 13}, "13 of a teacher of 12"),
        ({"heads": "odd"}, "independent or sequential"),
        ({"loss": "odd"}, "l1_cosine or adaptive"),
    ],
)
def test_settings_that_contradict_the_teacher(changes: dict[str, object], said: str, teacher: Teacher) -> None:
    with pytest.raises(OptionError, match=said):
        replace(DistilConfig(), **changes).check(teacher)  # type: ignore[arg-type]


def test_settings_from_files(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("lr: 1e-4\npredicts: [4]\nbeats: {layers: 6}\n")
    found = build_settings(DistilConfig, read_settings(file), {"epochs": 3, "seed": None})
    assert (found.lr, found.predicts, found.beats.layers, found.trainer.epochs, found.trainer.seed) == (
        1e-4,
        (4,),
        6,
        3,
        0,
    )
    for text, said in (
        ("lr: fast", "lr is 'fast', expected"),
        ("odd: 1", "unknown key odd; known keys: student, layers"),
        ("- 1", "no settings"),
        ("batch_size: -3", "batch_size is -3, expected a whole number, 1 or more"),
        ("batch_size: true", "batch_size is True, expected a whole number"),
        ("lr: .inf", "lr is inf, expected a number, 0 or more"),
        ("max_grad_norm: abc", "max_grad_norm is 'abc', expected a number"),
        ("precision: fp8", "expected one of auto, fp32, bf16, fp16"),
        ("weighted_sum: 1", "expected true or false"),
        ("predicts: [a]", "predicts\\[0\\] is 'a', expected a whole number, 0 or more"),
        ("trainer: 3", "trainer is 3, expected a mapping with the keys: epochs"),
        ("head: 3", "head is 3, expected a mapping with the keys: "),
        ("1: 3\nodd: 2", "expected a mapping with the keys: student"),
        ("batch: 3\nfree: 2", r"renamed \(batch is now batch_size, free is now unfrozen_layers\)"),
        ("head: {width: 256, heads: 7}", "a width of 256 is not a multiple of heads=7"),
    ):
        file.write_text(text)
        with pytest.raises(OptionError, match=said):
            build_settings(DistilConfig, read_settings(file))
    with pytest.raises(OptionError, match=r"cannot be read .* or one of .*table4-independent"):
        read_settings(tmp_path / "absent.yaml")


def test_haaqi_nets_own_settings(tmp_path: Path) -> None:
    file = tmp_path / "train_config.yaml"
    file.write_text(
        "model: {input_size: 264, hidden_size: 100, num_layers: 1, dropout: 0, linear_output: 256}\n"
        "beats_model_path: 'b.pt'\ntrain_data: 't.json'\nval_data: 'v.json'\n"
        "batch_size: 1\nepochs: 10\nnum_workers: 4\n"
    )
    told = from_haaqi_net(read_settings(file))
    head, rest = {"width": 256, "hidden": 100}, {"beats_path": "b.pt", "table": "t.json", "valid": "v.json"}
    assert told == {"head": head, **rest, "batch_size": 1, "epochs": 10}
    assert from_haaqi_net(read_settings("teacher")) is None
    with pytest.raises(OptionError, match="num_layers is 2"):
        from_haaqi_net({"model": {"input_size": 264, "num_layers": 2}})
