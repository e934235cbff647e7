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
from ...model.head import HeadConfig, Scores, format_sizes
from ...model.teacher import Teacher
from ...runtime.errors import OptionError
from ...runtime.features.patches import MEL_BINS, PATCH_FRAMES
from ...runtime.writing import replace_atomically
from ..configuration import NonNegativeInt
from ..data.batches import Batch, Dataset, evaluate_network, score_loss
from ..data.examples import Example
from ..data.feature_cache import FBANK, FeatureCache, FeatureKind
from ..loop import Task, TrainerConfig, resolve_device
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
        batch_size: clips per step.
        lr, beats_lr: Adam's learning rates for the head, and for trained layers of a BEATs loaded from a checkpoint.
        trainer: epochs, patience, seed, device and so on.
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    beats: BeatsConfig | None = None
    unfrozen_layers: NonNegativeInt = 0
    weighted_sum: bool = True
    batch_size: int = 16
    lr: float = 1e-3
    beats_lr: float = 1e-5
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def create_teacher(config: TeacherConfig, beats: Beats | None) -> Teacher:
    """Create a teacher for training.

    Raises:
        OptionError: there is neither a BEATs nor sizes of one, or `unfrozen_layers` exceeds the number of its layers.
    """
    if beats is None and config.beats is None:
        raise OptionError("no BEATs: give its checkpoint with --beats, or sizes of one to train from scratch (`beats`)")
    torch.manual_seed(config.trainer.seed)
    sizes = beats.config if beats is not None else config.beats
    teacher = Teacher(sizes, config.head)
    if beats is not None:
        teacher.beats_model.load_state_dict(beats.state_dict())
        teacher.beats_model.checkpoint_sha256 = beats.checkpoint_sha256
    if not 0 <= config.unfrozen_layers <= teacher.config.layers:
        raise OptionError(
            f"unfrozen_layers: {config.unfrozen_layers} of {teacher.config.layers} layers: give 0 to "
            f"{teacher.config.layers}"
        )
    if beats is None and config.unfrozen_layers < teacher.config.layers:
        raise OptionError(
            f"a BEATs from scratch is trained with all its layers: set `unfrozen_layers: {teacher.config.layers}`"
        )
    if not config.weighted_sum:
        select_last_layer(teacher.weights)
    return teacher


def select_last_layer(weights: nn.Parameter) -> None:
    """Fix a weighted sum to its last layer."""
    with torch.no_grad():
        weights.zero_()
        weights[-1] = ONE_LAYER
    weights.requires_grad_(False)


def save_teacher(teacher: Teacher, path: Path) -> None:
    """Write a teacher in the published layout (`model`). Its `cfg` holds the sizes."""
    save_published(teacher, format_sizes(teacher.config, teacher.head_config), path)


def save_published(network: nn.Module, sizes: dict[str, Any], path: Path) -> None:
    """Write a network's tensors as `model` and its sizes as `cfg`, atomically."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    with replace_atomically(path) as part:
        torch.save({"model": state, "cfg": sizes}, part)


class TeacherTask(Task[Batch]):
    """A teacher, and the clips that it is trained on."""

    monitor = ("valid_loss", False)
    weights = "haaqi_net.pth"

    def __init__(
        self, teacher: Teacher, config: TeacherConfig, train: Dataset, valid: Dataset, pretrained: bool
    ) -> None:
        self.teacher, self.config, self.clips, self.valid = teacher, config, train, valid
        self.trainable, self.steps = teacher, train.steps(config.batch_size)
        beats = teacher.beats_model
        self.frozen_layers = teacher.config.layers - config.unfrozen_layers
        if self.frozen_layers:
            beats.requires_grad_(False)
            for layer in list(beats.encoder.layers)[self.frozen_layers :]:
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
        return (batch for _, batch in self.clips.batches(self.config.batch_size, rng))

    def loss(self, batch: Batch) -> Tensor:
        return score_loss(self.scores(batch.inputs, batch.audiograms), batch.labels)

    def scores(self, inputs: Tensor, audiograms: Tensor) -> Scores:
        """Return the scores of fbank [batch, frames, 128], or of cached layers [batch, layers, tokens, width]."""
        teacher = self.teacher
        if not self.frozen_layers:
            return teacher.head(teacher.encode(inputs), audiograms)
        layers = inputs.unbind(1)
        if self.config.unfrozen_layers:
            layers = (*layers, *teacher.beats_model.encoder.layers_from(layers[-1], self.frozen_layers))
        return teacher.head(teacher.blend(layers), audiograms)

    def validate(self) -> Metrics:
        return evaluate_network(
            self.scores, self.valid, self.config.batch_size, next(self.teacher.parameters()).device
        )[0]

    def save(self, path: Path) -> None:
        save_teacher(self.teacher, path)


def cache_frozen_layers(
    teacher: Teacher,
    config: TeacherConfig,
    cache: FeatureCache,
    examples: Sequence[Example],
    on_progress: Callable[[int, int], None] | None = None,
) -> FeatureKind:
    """Compute the outputs of BEATs's frozen layers for each sound once, and store them in the feature cache.

    Args:
        teacher: before training.
        config: gives the number of trained layers.
        cache: holds the examples' fbank.
        examples: those to compute outputs for.
        on_progress: called with the number of sounds that are done, and the total number.

    Returns:
        The kind of features that the teacher reads: the fbank if all layers are trained.
    """
    frozen = teacher.config.layers - config.unfrozen_layers
    sha256 = teacher.beats_model.checkpoint_sha256
    if not frozen:
        return FBANK
    assert sha256 is not None, "a BEATs that was read from a checkpoint"
    kind, device = frozen_layers_kind(sha256, frozen), resolve_device(config.trainer.device)
    beats = teacher.beats_model.to(device).eval()

    @torch.inference_mode()
    def compute(example: Example) -> Any:
        fbank = torch.from_numpy(cache.load(FBANK, example).astype(np.float32))
        return torch.cat(beats(fbank[None].to(device))[:frozen]).cpu().numpy()

    cache.fill_with(kind, examples, compute, on_progress)
    return kind


def frozen_layers_kind(sha256: str, layers: int) -> FeatureKind:
    """Return the kind of the outputs of a BEATs's first layers, [layers, tokens, width]."""
    return FeatureKind(f"beats-{sha256[:12]}-{layers}", axis=1)


def frozen_layers_bytes(sizes: BeatsConfig, unfrozen_layers: int, examples: int, patches: int) -> int:
    """Return the size in bytes of the cached layers of `examples` sounds with `patches` patches each."""
    return 2 * (sizes.layers - unfrozen_layers) * patches * TOKENS * sizes.width * examples
