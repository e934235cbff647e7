"""Nano: our own small network, in the family's two parts.

The encoder reads one patch of 16 frames by depthwise-separable convolutions (Howard et al. 2017, "MobileNets") down to
one vector; the head scales and shifts the vectors by the audiogram (Perez et al. 2018, "FiLM"), reads the window with a
bidirectional GRU and pools its frame scores by attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.audiogram import FREQUENCIES
from ..runtime.frontend import MEL_BINS
from .checkpoint import load_strictly, read_checkpoint
from .head import check_audiogram
from .scores import Scores
from .student import patches

HEARD: Final = (250, 500, 1000, 2000, 4000, 6000)
"""Hz; HAAQI reads no other levels, so 3 and 8 kHz can teach the network nothing true and are left out"""
LOSS_UNIT: Final = 50.0
"""dB HL that the head sees as 1"""
WEIGHTS: Final = Path(__file__).parent / "weights" / "nano.safetensors"
"""the weights behind the shipped bundle"""


@dataclass(frozen=True)
class NanoConfig:
    """Sizes; the defaults are the shipped ones.

    Attributes:
        stem: channels after the first convolution, whose kernel spans 4 frames and 8 bands.
        blocks: channels and stride (frames, bands) of each separable convolution.
        width: of a token.
        hidden: of the GRU, each direction.
        conditioning: hidden units between audiogram and scale and shift.
        dropout: while training.
    """

    stem: int = 32
    blocks: tuple[tuple[int, int, int], ...] = ((64, 1, 2), (128, 2, 2), (160, 2, 1))
    width: int = 200
    hidden: int = 100
    conditioning: int = 64
    dropout: float = 0.4


class NanoEncoder(nn.Module):
    """Patches to tokens, each patch alone."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, config.stem, (4, 8), (2, 4), (1, 2), bias=False),
            nn.BatchNorm2d(config.stem),
            nn.ReLU(),
        ]
        bands, channels = MEL_BINS // 4, config.stem
        for out, down, across in config.blocks:
            layers += [
                nn.Conv2d(channels, channels, 3, (down, across), 1, groups=channels, bias=False),
                nn.Conv2d(channels, out, 1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
            bands, channels = -(-bands // across), out
        self.convolutions = nn.Sequential(*layers)
        # One frequency is not another: the bands stay apart until the last matrix.
        self.linear = nn.Linear(channels * bands, config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, fbank: Tensor) -> Tensor:
        """Tokens [patches, 1, width] for normalised `fbank` [patches, 16, 128]."""
        # Channels last: twice as fast on CPUs while training, the same graph when exported.
        x = fbank.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        x = self.convolutions(x).mean(2).flatten(1)
        tokens: Tensor = self.norm(self.linear(x)).unsqueeze(1)
        return tokens


class NanoHead(nn.Module):
    """Tokens of a window and an audiogram to scores."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.register_buffer("heard", torch.tensor([FREQUENCIES.index(f) for f in HEARD]), persistent=False)
        self.conditioning = nn.Sequential(
            nn.Linear(len(HEARD), config.conditioning), nn.ReLU(), nn.Linear(config.conditioning, 2 * config.width)
        )
        self.gru = nn.GRU(config.width, config.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.frame = nn.Linear(2 * config.hidden, 1)
        self.attention = nn.Linear(2 * config.hidden, 1)

    def forward(self, tokens: Tensor, audiogram: Tensor) -> Scores:
        """Scores of `tokens` [batch or 1, tokens, width] heard with `audiogram` [batch, 8] in dB HL."""
        x = self.read(tokens, audiogram)
        frame_scores = self.frame_scores(x)
        return Scores(frame_scores, (self.shares(x) * frame_scores).sum(-1))

    def read(self, tokens: Tensor, audiogram: Tensor) -> Tensor:
        """What the GRU makes of the window: [batch, tokens, 2 hidden]."""
        heard = audiogram.index_select(1, self.get_buffer("heard")) / LOSS_UNIT
        scale, shift = self.conditioning(heard).unsqueeze(1).chunk(2, dim=-1)
        x = self.dropout(F.relu(tokens * (1 + scale) + shift))
        out: Tensor = self.dropout(self.gru(x)[0])
        return out

    def frame_scores(self, x: Tensor) -> Tensor:
        """The score of each token: [batch, tokens]."""
        return torch.sigmoid(self.frame(x)).squeeze(-1)

    def shares(self, x: Tensor) -> Tensor:
        """How much each token counts in the clip's score: [batch, tokens], their sum 1."""
        return torch.softmax(self.attention(x).squeeze(-1), -1)


class Nano(nn.Module):
    """Fbank and audiogram to scores, in at most 1 M parameters; `encoder` and `head` are what is exported."""

    checkpoint_sha256: str | None = None
    """of the file that `from_checkpoint` read"""

    def __init__(self, config: NanoConfig | None = None) -> None:
        super().__init__()
        self.config = config or NanoConfig()
        self.encoder = NanoEncoder(self.config)
        self.head = NanoHead(self.config)

    @classmethod
    def from_checkpoint(cls, path: str | Path = WEIGHTS) -> Self:
        """The network of a checkpoint (safetensors), in evaluation mode; the shipped one by default.

        Raises CheckpointNotFoundError, or CheckpointError for a file that is not exactly nano's.
        """
        checkpoint = read_checkpoint(path)
        nano = cls()
        load_strictly(nano, checkpoint.state, network_name="nano", source=str(path))
        nano.checkpoint_sha256 = checkpoint.sha256
        return nano.eval()

    def encode(self, fbank: Tensor) -> Tensor:
        """Tokens [patches, 1, width] for `fbank` [patches, 16, 128], each patch alone."""
        tokens: Tensor = self.encoder(fbank)
        return tokens

    def forward(self, fbank: Tensor, audiogram: Tensor) -> Scores:
        """Scores for `fbank` [batch, frames, 128] (normalised) heard with `audiogram` [batch, 8] in dB HL.

        Trailing frames that do not fill a patch of 16 are dropped. Raises AudioError for another shape or under 16
        frames, AudiogramError for another shape of audiogram.
        """
        tokens = self.encode(patches(fbank)).reshape(fbank.shape[0], -1, self.config.width)
        check_audiogram(tokens, audiogram)
        scores: Scores = self.head(tokens, audiogram)
        return scores
