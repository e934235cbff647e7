"""The teacher, HAAQI-Net: BEATs, which attends over time, under the published head (91.1 M parameters).

It scores offline only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from torch import Tensor

from ..runtime.errors import AudioError
from ..runtime.features.patches import PATCH_LENGTH
from .beats import Beats, BeatsConfig, check_bias_tables
from .checkpoint import load_strictly, read_checkpoint
from .fbank import Fbank
from .head import HeadConfig, HeadedNetwork, Scores, parse_sizes


class Teacher(HeadedNetwork):
    """Maps a waveform and an audiogram to scores.

    Source: Wisnu et al. 2025, "HAAQI-Net", the weighted-sum design.
    """

    reads: Final = "waveform"

    def __init__(self, config: BeatsConfig | None = None, head: HeadConfig | None = None) -> None:
        self.config = config = config or BeatsConfig()
        super().__init__(config.layers, config.width, head)
        self.fbank = Fbank()
        self.beats_model = Beats(config)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Load a teacher from a checkpoint such as `haaqi_net.pth`, in evaluation mode.

        It has the published sizes unless the file's `cfg` gives others.

        Raises:
            CheckpointNotFoundError: there is no such file.
            CheckpointError: the file does not hold exactly a teacher.
        """
        checkpoint = read_checkpoint(path)
        beats, head = parse_sizes(checkpoint.sizes)
        teacher = cls(beats, head)
        teacher.load_published(checkpoint.state, source=str(path))
        teacher.checkpoint_sha256 = checkpoint.sha256
        return teacher.eval()

    def load_published(self, state: Mapping[str, Tensor], *, source: str = "the state dict") -> None:
        """Load `state` strictly.

        Its BEATs keys begin with `beats_model.`, and every layer has its own copy of the bias table.

        Args:
            state: the state dict.
            source: the name of the state in messages.

        Raises:
            CheckpointError: keys or shapes are not exactly the teacher's, a value is not finite, or the copies differ.
                Nothing is loaded then.
        """
        load_strictly(self, state, network_name="the teacher", source=source, check=check_bias_tables)

    def layers(self, fbank: Tensor) -> tuple[Tensor, ...]:
        """Return the output [batch, tokens, width] of every BEATs layer for `fbank` [batch, frames, 128]."""
        layers: tuple[Tensor, ...] = self.beats_model(fbank)
        return layers

    def encode(self, fbank: Tensor) -> Tensor:
        """Return tokens [batch, tokens, width] for `fbank` [batch, frames, 128]. Each depends on the whole clip."""
        return self.blend(self.layers(fbank))

    def forward(self, waveform: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of `waveform` [batch, samples] (16 kHz, in [-1, 1]) for `audiogram` [batch, 8] in dB HL.

        Raises:
            AudioError: a clip shorter than 2,800 samples, or another shape of the waveform.
            AudiogramError: another shape of the audiogram.
        """
        if waveform.ndim == 2 and waveform.shape[1] < PATCH_LENGTH:
            raise AudioError(
                f"{waveform.shape[1]} samples were given; expected at least {PATCH_LENGTH} (175 ms at 16 kHz), "
                "one patch: give a longer clip"
            )
        return self.score(self.fbank(waveform), audiogram)

    def score(self, fbank: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of normalized `fbank` [batch, 16 or more frames, 128] for `audiogram` [batch, 8]."""
        return self.head(self.encode(fbank), audiogram)
