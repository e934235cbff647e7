"""HAAQI-Net's distilled student: three layers, local to one patch column, under the published head.

As published the layers read the batch axis as time, so with one clip every token attends to itself alone. That is what
the released weights do, and what is written here: no attention is computed, and each clip of a batch is kept to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor, nn

from ..runtime.errors import AudioError
from ..runtime.frontend import MEL_BINS, PATCH_FRAMES
from .beats import BeatsConfig, LocalAttention, RelativeAttention, TransformerLayer, embed, patch_embedding
from .checkpoint import load_strictly, read_checkpoint
from .head import HeadConfig, HeadedNetwork, sizes_of
from .scores import Scores

STUDENT = BeatsConfig(layers=3)
PREDICTED_LAYERS = (5, 8, 11)
"""layers of the teacher, from 0, that the training-only heads `encoder5`, `encoder8`, `encoder11` predict"""
DEAD_PARTS = ("q_proj.", "k_proj.", "relative_attention_bias.", "grep_linear.", "grep_a")


class Student(HeadedNetwork):
    """Fbank and audiogram to scores. Source: Wisnu et al. 2025, "HAAQI-Net", the weighted-sum student."""

    reads: Final = "fbank"

    def __init__(
        self,
        config: BeatsConfig = STUDENT,
        head: HeadConfig | None = None,
        *,
        dead_branches: bool = True,
        predicts: Sequence[int] | None = None,
    ) -> None:
        """`dead_branches=False` leaves out the tensors that change nothing, and with them the training-only heads.

        `predicts` names other training-only heads than those: one `encoderN` for every layer N of a teacher, from 0.
        """
        super().__init__(config.layers, config.width, head)
        self.config = config
        self.dead_branches = dead_branches
        self.predicts = tuple(predicts if predicts is not None else PREDICTED_LAYERS if dead_branches else ())
        self.patch_embedding = patch_embedding(config)
        self.beats_layer_norm = nn.LayerNorm(config.patch_width)
        self.linear2 = nn.Linear(config.patch_width, config.width)
        attention = RelativeAttention if dead_branches else LocalAttention
        for index in range(config.layers):
            self.add_module(f"encoder{index}", TransformerLayer(config, attention(config)))
        for index in self.predicts:
            self.add_module(f"encoder{index}", nn.Linear(config.width, config.width))

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, dead_branches: bool | None = None) -> Self:
        """The student of a checkpoint such as `haaqi_net_distillBEATs.pth`, in evaluation mode.

        `dead_branches=False` drops what changes nothing; None keeps what the file has. Raises CheckpointNotFoundError,
        or CheckpointError for a file that is not exactly the student's.
        """
        checkpoint = read_checkpoint(path)
        if dead_branches is None:
            dead_branches = any(_is_dead(key) for key in checkpoint.state)
        beats, head = sizes_of(checkpoint.sizes, STUDENT)
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
        """Load `state` strictly: the published keys and shapes, or this network's own where it has fewer.

        Raises CheckpointError, and loads nothing, for any other key or shape, or a value that is not finite. `source`
        names the state in messages, `spare_heads` are the heads in it that a network without dead branches leaves out.
        """
        spare: dict[str, torch.Size] = {}
        if not self.dead_branches and any(_is_dead(key) for key in state):
            with torch.device("meta"):
                whole = Student(self.config, self.head_config, predicts=spare_heads)
            own = self.state_dict().keys()
            spare = {key: tensor.shape for key, tensor in whole.state_dict().items() if key not in own}
        load_strictly(self, state, network_name="the student", source=source, spare=spare)

    def layers(self, fbank: Tensor) -> tuple[Tensor, ...]:
        """The output [patches, 8, width] of every layer for `fbank` [patches, 16, 128]."""
        x = self.linear2(self.beats_layer_norm(embed(self.patch_embedding, fbank)))
        outputs: list[Tensor] = []
        for index in range(self.config.layers):
            x = self.get_submodule(f"encoder{index}")(x)
            outputs.append(x)
        return tuple(outputs)

    def encode(self, fbank: Tensor) -> Tensor:
        """Tokens [patches, 8, width] for `fbank` [patches, 16, 128], each patch alone."""
        return self.blend(self.layers(fbank))

    def teacher_predictions(self, tokens: Tensor, *, sequential: bool = False) -> tuple[Tensor, ...]:
        """The teacher's layers [..., width] as the training-only heads predict them from tokens [..., width].

        Published heads are independent; `sequential` ones read what the head before them gives.
        """
        predictions: list[Tensor] = []
        for index in self.predicts:
            read = predictions[-1] if sequential and predictions else tokens
            predictions.append(self.get_submodule(f"encoder{index}")(read))
        return tuple(predictions)

    def forward(self, fbank: Tensor, audiogram: Tensor) -> Scores:
        """Scores for `fbank` [batch, frames, 128] (normalised) heard with `audiogram` [batch, 8] in dB HL.

        Trailing frames that do not fill a patch of 16 are dropped. Raises AudioError for another shape or under 16
        frames, and as the head does.
        """
        return self.head(self.encode(patches(fbank)).reshape(fbank.shape[0], -1, self.config.width), audiogram)


def patches(fbank: Tensor) -> Tensor:
    """The whole patches [batch x patches, 16, 128] of `fbank` [batch, frames, 128].

    Raises AudioError for another shape, or for fewer frames than one patch.
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
