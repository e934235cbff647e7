"""HAAQI-Net, the teacher: BEATs, attending over time, under the published head (91.1 M parameters). Offline only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from torch import Tensor

from ..runtime.errors import AudioError
from ..runtime.frontend import PATCH_LENGTH
from .beats import Beats, BeatsConfig, check_copies
from .checkpoint import load_strictly, read_checkpoint
from .fbank import Fbank
from .head import HeadConfig, HeadedNetwork, sizes_of
from .scores import Scores


class Teacher(HeadedNetwork):
    """Waveform and audiogram to scores. Source: Wisnu et al. 2025, "HAAQI-Net", the weighted-sum design."""

    reads: Final = "waveform"

    def __init__(self, config: BeatsConfig | None = None, head: HeadConfig | None = None) -> None:
        self.config = config = config or BeatsConfig()
        super().__init__(config.layers, config.width, head)
        self.fbank = Fbank()
        self.beats_model = Beats(config)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """The teacher of a checkpoint such as `haaqi_net.pth`, in evaluation mode.

        It has the published sizes unless the file's `cfg` tells others. Raises CheckpointNotFoundError, or
        CheckpointError for a file that is not exactly the teacher's.
        """
        checkpoint = read_checkpoint(path)
        beats, head = sizes_of(checkpoint.sizes)
        teacher = cls(beats, head)
        teacher.load_published(checkpoint.state, source=str(path))
        teacher.checkpoint_sha256 = checkpoint.sha256
        return teacher.eval()

    def load_published(self, state: Mapping[str, Tensor], *, source: str = "the state dict") -> None:
        """Load `state` strictly; BEATs's keys lie under `beats_model.`, the bias table in a copy for every layer.

        Raises CheckpointError, and loads nothing, where keys or shapes are not exactly the teacher's, a value is not
        finite, or the copies differ. `source` names the state in messages.
        """
        load_strictly(self, state, network_name="the teacher", source=source, check=check_copies)

    def layers(self, fbank: Tensor) -> tuple[Tensor, ...]:
        """The output [batch, tokens, width] of every BEATs layer for `fbank` [batch, frames, 128]."""
        layers: tuple[Tensor, ...] = self.beats_model(fbank)
        return layers

    def encode(self, fbank: Tensor) -> Tensor:
        """Tokens [batch, tokens, width] for `fbank` [batch, frames, 128]; every token depends on the whole clip."""
        return self.blend(self.layers(fbank))

    def forward(self, waveform: Tensor, audiogram: Tensor) -> Scores:
        """Scores for `waveform` [batch, samples] (16 kHz, in [-1, 1]) heard with `audiogram` [batch, 8] in dB HL.

        Raises AudioError for clips under 2,800 samples, and as the front end and the head do.
        """
        if waveform.ndim == 2 and waveform.shape[1] < PATCH_LENGTH:
            raise AudioError(
                f"{waveform.shape[1]} samples were given; expected at least {PATCH_LENGTH} (175 ms at 16 kHz), "
                "one patch: give a longer clip"
            )
        return self.score(self.fbank(waveform), audiogram)

    def score(self, fbank: Tensor, audiogram: Tensor) -> Scores:
        """Scores for `fbank` [batch, frames, 128] (normalised, 16 frames or more) and `audiogram` [batch, 8]."""
        return self.head(self.encode(fbank), audiogram)
