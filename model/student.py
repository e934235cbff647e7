"""HAAQI-Net's distilled student: three layers, each local to one token, under the published head.

The published layers read the batch axis as time, so that with one clip every token attends only to itself. The released
weights rely on this. This module therefore computes no attention, and the clips of a batch do not affect each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor, nn

from ..runtime.errors import AudioError
from ..runtime.features.patches import MEL_BINS, PATCH_FRAMES
from .beats import (
    BeatsConfig,
    LocalAttention,
    RelativeAttention,
    TransformerLayer,
    create_patch_embedding,
    embed_patches,
)
from .checkpoint import load_strictly, read_checkpoint
from .head import HeadConfig, HeadedNetwork, Scores, parse_sizes

STUDENT_CONFIG = BeatsConfig(layers=3)
PREDICTED_LAYERS = (5, 8, 11)
"""Layers of the teacher (counted from 0) that the training-only heads `encoder5`, `encoder8`, `encoder11` predict."""
DEAD_PARTS = ("q_proj.", "k_proj.", "relative_attention_bias.", "grep_linear.", "grep_a")


class Student(HeadedNetwork):
    """Maps fbank features and an audiogram to scores.

    Source: Wisnu et al. 2025, "HAAQI-Net", the weighted-sum student.
    """

    reads: Final = "fbank"

    def __init__(
        self,
        config: BeatsConfig = STUDENT_CONFIG,
        head: HeadConfig | None = None,
        *,
        dead_branches: bool = True,
        predicts: Sequence[int] | None = None,
    ) -> None:
        """Create a student.

        Args:
            config: sizes of the encoder.
            head: sizes of the head. None uses the published ones.
            dead_branches: include the published tensors that do not affect the scores, and the training-only heads.
            predicts: training-only heads, one `encoderN` for every layer N of a teacher, counted from 0. None uses the
                published heads if `dead_branches`, and no heads otherwise.
        """
        super().__init__(config.layers, config.width, head)
        self.config = config
        self.dead_branches = dead_branches
        self.predicts = tuple(predicts if predicts is not None else PREDICTED_LAYERS if dead_branches else ())
        self.patch_embedding = create_patch_embedding(config)
        self.beats_layer_norm = nn.LayerNorm(config.patch_width)
        self.linear2 = nn.Linear(config.patch_width, config.width)
        attention = RelativeAttention if dead_branches else LocalAttention
        for index in range(config.layers):
            self.add_module(f"encoder{index}", TransformerLayer(config, attention(config)))
        for index in self.predicts:
            self.add_module(f"encoder{index}", nn.Linear(config.width, config.width))

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, dead_branches: bool | None = None) -> Self:
        """Load a student from a checkpoint such as `haaqi_net_distillBEATs.pth`, in evaluation mode.

        Args:
            path: of the checkpoint.
            dead_branches: whether to keep the tensors that do not affect the scores. None keeps them if the file has
                them.

        Raises:
            CheckpointNotFoundError: there is no such file.
            CheckpointError: the file does not hold exactly a student.
        """
        checkpoint = read_checkpoint(path)
        if dead_branches is None:
            dead_branches = any(_is_dead(key) for key in checkpoint.state)
        beats, head = parse_sizes(checkpoint.sizes, STUDENT_CONFIG)
        predicts = checkpoint.sizes.get("predicts", PREDICTED_LAYERS)
        student = cls(beats, head, dead_branches=dead_branches, predicts=predicts if dead_branches else ())
        student.load_published(checkpoint.state, source=str(path), spare_heads=predicts)
        student.checkpoint_sha256 = checkpoint.sha256
        return student.eval()

    def load_published(
        self,
        state: Mapping[str, Tensor],
        *,
        source: str = "the state dict",
        spare_heads: Sequence[int] = PREDICTED_LAYERS,
    ) -> None:
        """Load `state` strictly.

        `state` must hold exactly the published keys and shapes, or exactly those of this network if it has fewer.

        Args:
            state: the state dict.
            source: the name of the state in messages.
            spare_heads: heads in `state` that a network without dead branches leaves out.

        Raises:
            CheckpointError: any other key or shape, or a value that is not finite. Nothing is loaded then.
        """
        spare: dict[str, torch.Size] = {}
        if not self.dead_branches and any(_is_dead(key) for key in state):
            with torch.device("meta"):
                whole = Student(self.config, self.head_config, predicts=spare_heads)
            own = self.state_dict().keys()
            spare = {key: tensor.shape for key, tensor in whole.state_dict().items() if key not in own}
        load_strictly(self, state, network_name="the student", source=source, spare=spare)

    def layers(self, fbank: Tensor) -> tuple[Tensor, ...]:
        """Return the output [patches, 8, width] of every layer for `fbank` [patches, 16, 128]."""
        x = self.linear2(self.beats_layer_norm(embed_patches(self.patch_embedding, fbank)))
        outputs: list[Tensor] = []
        for index in range(self.config.layers):
            x = self.get_submodule(f"encoder{index}")(x)
            outputs.append(x)
        return tuple(outputs)

    def encode(self, fbank: Tensor) -> Tensor:
        """Return the tokens [patches, 8, width] for `fbank` [patches, 16, 128]. Patches do not affect each other."""
        return self.blend(self.layers(fbank))

    def teacher_predictions(self, tokens: Tensor, *, sequential: bool = False) -> tuple[Tensor, ...]:
        """Predict the teacher's layers [..., width] from tokens [..., width] with the training-only heads.

        The published heads are independent. With `sequential`, each head reads the output of the head before it.
        """
        predictions: list[Tensor] = []
        for index in self.predicts:
            read = predictions[-1] if sequential and predictions else tokens
            predictions.append(self.get_submodule(f"encoder{index}")(read))
        return tuple(predictions)

    def forward(self, fbank: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of `fbank` [batch, frames, 128] (normalized) for `audiogram` [batch, 8] in dB HL.

        Trailing frames that do not fill a patch of 16 are dropped.

        Raises:
            AudioError: another shape, or fewer than 16 frames.
            AudiogramError: another shape of the audiogram.
        """
        return self.head(self.encode(split_patches(fbank)).reshape(fbank.shape[0], -1, self.config.width), audiogram)


def split_patches(fbank: Tensor) -> Tensor:
    """Return the complete patches [batch x patches, 16, 128] of `fbank` [batch, frames, 128].

    Raises:
        AudioError: another shape, or fewer frames than one patch.
    """
    if fbank.ndim != 3 or fbank.shape[2] != MEL_BINS or fbank.shape[1] < PATCH_FRAMES:
        raise AudioError(
            f"an fbank of shape {list(fbank.shape)} was given; expected [batch, frames, {MEL_BINS}] with at least "
            f"{PATCH_FRAMES} frames: add the batch axis, or give a longer clip"
        )
    whole = fbank.shape[1] // PATCH_FRAMES * PATCH_FRAMES
    return fbank[:, :whole].reshape(-1, PATCH_FRAMES, MEL_BINS)


def _is_dead(key: str) -> bool:
    return any(f".self_attn.{part}" in key for part in DEAD_PARTS)
