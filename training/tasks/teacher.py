"""Training of HAAQI-Net's teacher: the head on the sum of BEATs's layers, with BEATs frozen or its last layers trained.

Source: Wisnu et al. 2025, "HAAQI-Net": MSE(clip) + MSE(frames), Adam, early stopping. The outputs of the frozen part of
BEATs are computed once per clip and stored in the feature cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from ...model.beats import Beats, BeatsConfig
from ...model.head import HeadConfig, sizes_to
from ...model.scores import Scores
from ...model.teacher import Teacher
from ...runtime.errors import OptionError
from ...runtime.features.patches import MEL_BINS, PATCH_FRAMES
from ...runtime.writing import putting
from ..data.batches import Batch, Clips, evaluate, score_loss
from ..data.examples import Example
from ..data.feature_cache import FBANK, FeatureCache, Kind
from ..loop import Plan, Task, device_of
from ..run_directory import Metrics

TOKENS: Final = MEL_BINS // PATCH_FRAMES
"""Tokens per patch: each covers as many bands as the patch has frames."""
ONE_LAYER: Final = 40.0
"""Weight, before the softmax, of a layer that is used alone. The others then get less than 1e-17."""


@dataclass(frozen=True)
class TeacherConfig:
    """How a teacher is trained. The defaults are HAAQI-Net's, except for the batch, which was 1.

    Attributes:
        head: sizes of the head.
        beats: sizes of a BEATs that is trained from scratch, if no checkpoint is given.
        free: number of last layers of BEATs that are trained. With all layers, the embedding is trained too.
        weighted_sum: whether the head reads the weighted sum of all layers, or the last layer only.
        batch: clips per step.
        lr, beats_lr: Adam's learning rates for the head, and for trained layers of a BEATs loaded from a checkpoint.
        plan: epochs, patience, seed, device and so on.
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    beats: BeatsConfig | None = None
    free: int = 0
    weighted_sum: bool = True
    batch: int = 16
    lr: float = 1e-3
    beats_lr: float = 1e-5
    plan: Plan = field(default_factory=Plan)


def made(config: TeacherConfig, beats: Beats | None) -> Teacher:
    """Create a teacher for training.

    Raises:
        OptionError: there is neither a BEATs nor sizes of one, or `free` does not fit the number of its layers.
    """
    if beats is None and config.beats is None:
        raise OptionError("no BEATs: give its checkpoint with --beats, or sizes of one to train from scratch (`beats`)")
    torch.manual_seed(config.plan.seed)
    sizes = beats.config if beats is not None else config.beats
    teacher = Teacher(sizes, config.head)
    if beats is not None:
        teacher.beats_model.load_state_dict(beats.state_dict())
        teacher.beats_model.checkpoint_sha256 = beats.checkpoint_sha256
    if not 0 <= config.free <= teacher.config.layers:
        raise OptionError(f"free: {config.free} of {teacher.config.layers} layers: give 0 to {teacher.config.layers}")
    if beats is None and config.free < teacher.config.layers:
        raise OptionError(f"a BEATs from scratch learns in all its layers: say `free: {teacher.config.layers}`")
    if not config.weighted_sum:
        take_last(teacher.weights)
    return teacher


def take_last(weights: nn.Parameter) -> None:
    """Fix a weighted sum to its last layer."""
    with torch.no_grad():
        weights.zero_()
        weights[-1] = ONE_LAYER
    weights.requires_grad_(False)


def save(teacher: Teacher, path: Path) -> None:
    """Write a teacher in the published layout (`model`). Its `cfg` holds the sizes."""
    save_published(teacher, sizes_to(teacher.config, teacher.head_config), path)


def save_published(network: nn.Module, sizes: dict[str, Any], path: Path) -> None:
    """Write a network's tensors as `model` and its sizes as `cfg`, atomically."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    with putting(path) as part:
        torch.save({"model": state, "cfg": sizes}, part)


class TeacherTask(Task[Batch]):
    """A teacher, and the clips that it is trained on."""

    watched = ("valid_loss", False)
    weights = "haaqi_net.pth"

    def __init__(self, teacher: Teacher, config: TeacherConfig, train: Clips, valid: Clips, pretrained: bool) -> None:
        self.teacher, self.config, self.clips, self.valid = teacher, config, train, valid
        self.learnt, self.steps = teacher, train.steps(config.batch)
        beats = teacher.beats_model
        self.kept = teacher.config.layers - config.free
        if self.kept:
            beats.requires_grad_(False)
            for layer in list(beats.encoder.layers)[self.kept :]:
                layer.requires_grad_(True)
            table = beats.get_submodule("encoder.layers.0.self_attn.relative_attention_bias")
            table.requires_grad_(False)  # the frozen layers read it too
        inner = [p for p in beats.parameters() if p.requires_grad]
        ours = {id(p) for p in inner}
        outer = [p for p in teacher.parameters() if p.requires_grad and id(p) not in ours]
        groups: list[dict[str, Any]] = [{"params": outer, "lr": config.lr}]
        if inner:
            groups.append({"params": inner, "lr": config.beats_lr if pretrained else config.lr})
        self.optimizer = torch.optim.Adam(groups)

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        return (batch for _, batch in self.clips.batches(self.config.batch, rng))

    def loss(self, batch: Batch) -> Tensor:
        return score_loss(self.scores(batch.inputs, batch.audiograms), batch.labels)

    def scores(self, inputs: Tensor, audiograms: Tensor) -> Scores:
        """Return the scores of fbank [batch, frames, 128], or of cached layers [batch, layers, tokens, width]."""
        teacher = self.teacher
        if not self.kept:
            return teacher.head(teacher.encode(inputs), audiograms)
        layers = inputs.unbind(1)
        if self.config.free:
            layers = (*layers, *teacher.beats_model.encoder.layers_from(layers[-1], self.kept))
        return teacher.head(teacher.blend(layers), audiograms)

    def validate(self) -> Metrics:
        return evaluate(self.scores, self.valid, self.config.batch, next(self.teacher.parameters()).device)[0]

    def save(self, path: Path) -> None:
        save(self.teacher, path)


def kept_layers(
    teacher: Teacher,
    config: TeacherConfig,
    cache: FeatureCache,
    examples: Sequence[Example],
    done: Callable[[int, int], None] | None = None,
) -> Kind:
    """Compute the outputs of BEATs's frozen layers for each sound once, and store them in the feature cache.

    Args:
        teacher: before training.
        config: gives the number of trained layers.
        cache: holds the examples' fbank.
        examples: those to compute outputs for.
        done: called with the number of sounds that are done, and the total number.

    Returns:
        The kind of features that the teacher reads: the fbank if all layers are trained.
    """
    kept = teacher.config.layers - config.free
    sha256 = teacher.beats_model.checkpoint_sha256
    if not kept:
        return FBANK
    assert sha256 is not None, "a BEATs that was read from a checkpoint"
    kind, device = kept_kind(sha256, kept), device_of(config.plan.device)
    beats = teacher.beats_model.to(device).eval()

    @torch.inference_mode()
    def compute(example: Example) -> Any:
        fbank = torch.from_numpy(cache.load(FBANK, example).astype(np.float32))
        return torch.cat(beats(fbank[None].to(device))[:kept]).cpu().numpy()

    cache.fill_with(kind, examples, compute, done)
    return kind


def kept_kind(sha256: str, layers: int) -> Kind:
    """Return the kind of the outputs of a BEATs's first layers, [layers, tokens, width]."""
    return Kind(f"beats-{sha256[:12]}-{layers}", axis=1)


def kept_bytes(sizes: BeatsConfig, free: int, examples: int, patches: int) -> int:
    """Return the size in bytes of the cached layers of `examples` sounds with `patches` patches each."""
    return 2 * (sizes.layers - free) * patches * TOKENS * sizes.width * examples
