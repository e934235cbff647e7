"""Distillation: trains HAAQI-Net's student, or nano, on a teacher and on labels, or on labels alone.

Source: Wisnu et al. 2025, "HAAQI-Net". The student's patch embedding, norms and layers are initialized from BEATs, and
its head from the teacher, with BLSTM and attention frozen. Linear heads, which are dropped after training, predict
layers of the teacher.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...model.beats import BeatsConfig
from ...model.head import HeadConfig, Scores, format_sizes
from ...model.nano import Nano
from ...model.student import DEAD_PARTS, PREDICTED_LAYERS, Student, split_patches
from ...model.teacher import Teacher
from ...runtime.errors import OptionError
from ..configuration import NonNegativeInt
from ..data.batches import Batch, Dataset, evaluate_network, score_loss
from ..data.examples import Example
from ..data.feature_cache import FBANK, FeatureCache, FeatureKind
from ..loop import Task, TrainerConfig, resolve_device
from ..losses import ADAPTING, FORMS, AdaptiveSum, FixedSum, Form, token_distances
from ..run_directory import Metrics
from . import nano as nano_task
from .teacher import TOKENS, save_published, select_last_layer

Heads = Literal["independent", "sequential"]


@dataclass(frozen=True)
class DistilConfig:
    """How a student or a nano is distilled. The defaults are the published student's (Table IV, last row).

    Attributes:
        student: `student` or `nano`.
        layers: number of the student's layers, initialized from the teacher's first layers.
        predicts: the teacher's layers (counted from 0) that heads predict during training.
        heads: whether each head reads the tokens, or the output of the previous head.
        weighted_sum: whether tokens are the weighted sum of all layers, or the last layer only.
        loss: how the terms are combined, see `losses`.
        cosine_weight: weight of the cosine distance relative to L1, in the plain form.
        score_weight: weight of HAAQI-Net's loss against labels, MSE(clip) + MSE(frames).
        imitation_weight: weight of the MSE against the teacher's frame scores, which also uses clips without labels.
        token_weight: weight of all distances between tokens, in the plain form.
        tune_blstm, tune_attention: whether to train these parts of the teacher's head instead of freezing them.
        beats, head: sizes of a student without a teacher.
        batch_size, lr: clips per step; Adam's learning rate.
        trainer: epochs, patience, seed, device and so on.
    """

    student: Literal["student", "nano"] = "student"
    layers: int = 3
    predicts: tuple[NonNegativeInt, ...] = PREDICTED_LAYERS
    heads: Heads = "independent"
    weighted_sum: bool = True
    loss: Form = "adaptive"
    cosine_weight: float = 1.0
    score_weight: float = 1.0
    imitation_weight: float = 0.0
    token_weight: float = 1.0
    tune_blstm: bool = False
    tune_attention: bool = False
    beats: BeatsConfig = field(default_factory=BeatsConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    batch_size: int = 16
    lr: float = 1e-3
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(max_grad_norm=1.0))

    def check(self, teacher: Teacher | None) -> None:
        """Raise OptionError if settings contradict each other or the teacher."""
        for name, given, known in (
            ("student", self.student, ("student", "nano")),
            ("heads", self.heads, ("independent", "sequential")),
            ("loss", self.loss, FORMS),
        ):
            if given not in known:
                raise OptionError(f"{name} {given!r}: expected {' or '.join(known)}")
        count = teacher.config.layers if teacher else self.beats.layers
        if self.student == "student" and not 1 <= self.layers <= count:
            raise OptionError(f"layers: {self.layers} of a teacher of {count}: give 1 to {count}")
        if teacher and not all(self.layers <= layer < count for layer in self.predicts) and self.student == "student":
            raise OptionError(
                f"predicts: {list(self.predicts)}; a student of {self.layers} layers predicts the teacher's "
                f"{self.layers} to {count - 1}, counted from 0"
            )


def target_kinds(config: DistilConfig, sha256: str) -> tuple[FeatureKind, FeatureKind]:
    """Return the kinds of a teacher's targets: layers and tokens per sound, frame scores per sound and listener."""
    layers = config.predicts if config.student == "student" else ()
    name = "-".join(["teacher", sha256[:12], *map(str, layers)])
    return FeatureKind(f"{name}-tokens", axis=1), FeatureKind(f"teacher-{sha256[:12]}-frames", "listening_key")


def cache_teacher_targets(
    teacher: Teacher,
    config: DistilConfig,
    cache: FeatureCache,
    examples: Sequence[Example],
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[FeatureKind, FeatureKind]:
    """Compute a teacher's targets for each sound once, and store them in the feature cache.

    Tokens are [1 + layers, tokens, width]: the predicted layers, and the blended tokens that the teacher's head reads.

    Args:
        teacher: loaded from a checkpoint.
        config: names the predicted layers.
        cache: holds the examples' fbank.
        examples: those to compute targets for.
        on_progress: called with the number of sounds that are done, and the total number.
    """
    assert teacher.checkpoint_sha256 is not None, "a teacher that was read from a checkpoint"
    tokens, frames = target_kinds(config, teacher.checkpoint_sha256)
    device = resolve_device(config.trainer.device)
    teacher = teacher.to(device).eval()
    chosen = config.predicts if config.student == "student" else ()

    @torch.inference_mode()
    def layers(example: Example) -> Any:
        fbank = torch.from_numpy(cache.load(FBANK, example).astype(np.float32))
        layers = teacher.layers(fbank[None].to(device))
        return torch.cat([*(layers[index] for index in chosen), teacher.blend(layers)]).cpu().numpy()

    @torch.inference_mode()
    def frame_scores(example: Example) -> Any:
        blend = torch.from_numpy(cache.load(tokens, example)[-1:].astype(np.float32))
        levels = torch.tensor([example.audiogram], device=device)
        return teacher.head(blend.to(device), levels).frame_scores[0].cpu().numpy()

    cache.fill_with(tokens, examples, layers, on_progress)
    cache.fill_with(frames, examples, frame_scores, on_progress)
    return tokens, frames


class DistilTask(Task[Batch]):
    """The common part of distilling the student and distilling nano."""

    monitor = ("valid_loss", False)
    network: Student | Nano
    combine: FixedSum | AdaptiveSum

    def __init__(self, config: DistilConfig, train: Dataset, valid: Dataset) -> None:
        self.config, self.clips, self.valid = config, train, valid
        self.steps = train.steps(config.batch_size)

    def _prepare(self, network: Student | Nano, layers: int, others: dict[str, nn.Module] | None = None) -> None:
        """Create the optimizer. `layers` is the number of predicted layers, 0 without a teacher."""
        config, self.network = self.config, network
        adaptive = config.loss == "adaptive" and layers > 0
        squared = 2 if config.imitation_weight and layers else 1
        self.combine = AdaptiveSum(2 * layers, squared) if adaptive else FixedSum(config.cosine_weight)
        self.trainable = nn.ModuleDict({"network": network, "combine": self.combine, **(others or {})})
        weights = [p for p in nn.ModuleList([network, *(others or {}).values()]).parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": weights, "lr": config.lr}]
        if adaptive:
            groups.append({"params": list(self.combine.parameters()), "lr": ADAPTING * config.lr})
        self.optimizer = torch.optim.Adam(groups)

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        return (batch for _, batch in self.clips.batches(self.config.batch_size, rng))

    def validate(self) -> Metrics:
        return evaluate_network(
            self.network, self.valid, self.config.batch_size, next(self.network.parameters()).device
        )[0]

    def loss(self, batch: Batch) -> Tensor:
        config = self.config
        scores, pairs = self.predict(batch)
        squared = [config.score_weight * score_loss(scores, batch.labels)]
        if config.imitation_weight and batch.targets:
            frames = batch.targets[1]
            if frames.shape != scores.frame_scores.shape:
                frames = average_by_patch(frames)
            squared.append(config.imitation_weight * F.mse_loss(scores.frame_scores, frames))
        distances = [token_distances(predicted, target) for predicted, target in pairs]
        weight = config.token_weight if isinstance(self.combine, FixedSum) else 1.0
        counted = [bool((~batch.labels.isnan()).any()), True][: len(squared)]
        total: Tensor = self.combine(
            [weight * a for a, _ in distances], [weight * b for _, b in distances], squared, counted
        )
        return total

    @abstractmethod
    def predict(self, batch: Batch) -> tuple[Scores, list[tuple[Tensor, Tensor]]]:
        """Return the scores, and pairs of predicted tokens and the teacher's tokens."""


class StudentTask(DistilTask):
    """The student, trained on a teacher and on labels, or on labels alone."""

    weights = "haaqi_net_distillBEATs.pth"

    def __init__(self, config: DistilConfig, train: Dataset, valid: Dataset, teacher: Teacher | None) -> None:
        super().__init__(config, train, valid)
        student = create_student(config, teacher)
        self._prepare(student, len(config.predicts) if teacher else 0)

    def predict(self, batch: Batch) -> tuple[Scores, list[tuple[Tensor, Tensor]]]:
        student = self.network
        assert isinstance(student, Student)
        tokens = student.encode(split_patches(batch.inputs)).reshape(len(batch.inputs), -1, student.config.width)
        scores = student.head(tokens, batch.audiograms)
        if not batch.targets:
            return scores, []
        predicted = student.teacher_predictions(tokens, sequential=self.config.heads == "sequential")
        return scores, list(zip(predicted, batch.targets[0].unbind(1)[:-1], strict=True))

    def save(self, path: Path) -> None:
        assert isinstance(self.network, Student)
        save_student(self.network, path)


class NanoDistilTask(DistilTask):
    """Nano, trained on the teacher's frame scores and tokens, and on labels."""

    weights = "nano.safetensors"

    def __init__(self, config: DistilConfig, train: Dataset, valid: Dataset, teacher: Teacher | None) -> None:
        super().__init__(config, train, valid)
        torch.manual_seed(config.trainer.seed)
        nano = Nano()
        nano_task.set_statistics(nano, train)
        self.tokens = nn.Linear(2 * nano.config.hidden, teacher.config.width) if teacher else nn.Identity()
        self._prepare(nano, 1 if teacher else 0, {"tokens": self.tokens})

    def predict(self, batch: Batch) -> tuple[Scores, list[tuple[Tensor, Tensor]]]:
        nano = self.network
        assert isinstance(nano, Nano)
        tokens = nano.encode(batch.inputs.flatten(0, 1)).reshape(*batch.inputs.shape[:2], -1)
        x = nano.head.read_window(tokens, batch.audiograms)
        scores = nano.head.pool_scores(x)
        if not batch.targets:
            return scores, []
        return scores, [(self.tokens(x), average_by_patch(batch.targets[0][:, -1]))]

    def save(self, path: Path) -> None:
        assert isinstance(self.network, Nano)
        nano_task.save_nano(self.network, path)


def average_by_patch(outputs: Tensor) -> Tensor:
    """Average a teacher's outputs for tokens [batch, tokens, ...] over each patch: [batch, patches, ...]."""
    return outputs.reshape(outputs.shape[0], -1, TOKENS, *outputs.shape[2:]).mean(2)


def create_student(config: DistilConfig, teacher: Teacher | None) -> Student:
    """Create a student for training, with the teacher's first layers and head if there is a teacher."""
    config.check(teacher)
    torch.manual_seed(config.trainer.seed)
    whole = teacher.config if teacher else config.beats
    sizes = replace(whole, layers=config.layers)
    student = Student(sizes, teacher.head_config if teacher else config.head, predicts=config.predicts)
    if teacher:
        beats = teacher.beats_model
        pairs: list[tuple[nn.Module, nn.Module]] = [
            (student.patch_embedding, beats.patch_embedding),
            (student.beats_layer_norm, beats.layer_norm),
            (student.linear2, beats.post_extract_proj),
        ]
        pairs += [(student.get_submodule(f"encoder{i}"), beats.encoder.layers[i]) for i in range(config.layers)]
        names = ("linear0", "blstm", "linear1", "haaqiAtt_layer", "haaqiframe_score")
        pairs += [(student.get_submodule(name), teacher.get_submodule(name)) for name in names]
        for ours, theirs in pairs:
            ours.load_state_dict(theirs.state_dict())
        student.blstm.requires_grad_(config.tune_blstm)
        student.haaqiAtt_layer.requires_grad_(config.tune_attention)
    else:
        for index in config.predicts:
            student.get_submodule(f"encoder{index}").requires_grad_(False)
    for name, parameter in student.named_parameters():
        if any(f".self_attn.{part}" in name for part in DEAD_PARTS):
            parameter.requires_grad_(False)
    if not config.weighted_sum:
        select_last_layer(student.weights)
    return student


def save_student(student: Student, path: Path) -> None:
    """Write a student in the published layout (`model`). Its `cfg` holds the sizes and the predicted layers."""
    sizes = {**format_sizes(student.config, student.head_config), "predicts": list(student.predicts)}
    save_published(student, sizes, path)
