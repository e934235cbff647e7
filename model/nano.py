"""Nano: our own small network, in the family's two parts.

The encoder turns one patch's texture (`runtime.texture`) by fully connected layers into one vector, beside which the
bands' levels are kept; the head compares these levels with the listener's thresholds, scales and shifts
the vectors by the audiogram (Perez et al. 2018, "FiLM"), reads the window with a bidirectional GRU and pools its frame
scores by attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.audio.levels import LEVEL1
from ..runtime.audiogram import FREQUENCIES
from ..runtime.bundle import TEXTURE_VERSION, reading_name
from ..runtime.errors import AudioError, CheckpointError
from ..runtime.features import texture as tx
from .checkpoint import load_strictly, read_checkpoint
from .head import check_audiogram
from .scores import Scores

HEARD: Final = (250, 500, 1000, 2000, 4000, 6000)
"""Hz; HAAQI reads no other levels, so 3 and 8 kHz can teach the network nothing true and are left out"""
LOSS_UNIT: Final = 50.0
"""dB HL that the head sees as 1"""
LEVEL_UNIT: Final = 30.0
"""dB that the head sees as 1"""
WEIGHTS: Final = Path(__file__).parent / "weights" / "nano.safetensors"
"""the weights behind the shipped bundle"""
PLANES: Final = len(tx.PLANES)


@dataclass(frozen=True)
class NanoConfig:
    """Sizes; the defaults are the shipped ones.

    Attributes:
        layers: units of the encoder's fully connected layers.
        vector: of a token, without the bands' levels.
        hidden: of the GRU, each direction.
        conditioning: hidden units between audiogram and scale and shift.
        encoder_dropout, dropout: while training, in the encoder and the head.
        texture_version: of the front end whose textures the network reads, see `runtime.texture`. A checkpoint holds
            it, version 1 apart.
    """

    layers: tuple[int, ...] = (256, 256)
    vector: int = 192
    hidden: int = 48
    conditioning: int = 64
    encoder_dropout: float = 0.15
    dropout: float = 0.3
    texture_version: int = 1

    @property
    def width(self) -> int:
        """Of a token."""
        return self.vector + tx.BANDS


class NanoEncoder(nn.Module):
    """Patches to tokens, each patch alone."""

    mean: Tensor
    scale: Tensor
    to_level: Tensor

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        if config.texture_version != 1:
            # Kept with the weights. As floating point it passes through averages of weights and checks of checkpoints.
            self.register_buffer(TEXTURE_VERSION, torch.tensor(float(config.texture_version)))
        # Set from the training rows, and kept with the weights.
        self.register_buffer("mean", torch.zeros(PLANES, tx.BANDS))
        self.register_buffer("scale", torch.ones(PLANES, tx.BANDS))
        self.register_buffer("to_level", torch.tensor(_level_offset(), dtype=torch.float32), persistent=False)
        layers: list[nn.Module] = [nn.Flatten()]
        before = PLANES * tx.BANDS
        for after in config.layers:
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU(), nn.Dropout(config.encoder_dropout)]
            before = after
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(before, config.vector)
        self.norm = nn.LayerNorm(config.vector)

    def forward(self, texture: Tensor) -> Tensor:
        """Tokens [patches, 1, width] for `texture` [patches, 16, 32]: a vector, and the bands' levels (dB SPL / 30)."""
        x = self.layers((texture - self.mean) / self.scale)
        level = (texture[:, 0] * (10 / np.log(10)) + self.to_level) / LEVEL_UNIT
        tokens: Tensor = torch.cat([self.norm(self.linear(x)), level], dim=1).unsqueeze(1)
        return tokens


class NanoHead(nn.Module):
    """Tokens of a window and an audiogram to scores."""

    heard: Tensor
    thresholds: Tensor

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.vector = config.vector
        self.register_buffer("heard", torch.tensor([FREQUENCIES.index(f) for f in HEARD]), persistent=False)
        self.register_buffer("thresholds", torch.tensor(_threshold_weights(), dtype=torch.float32), persistent=False)
        self.conditioning = nn.Sequential(
            nn.Linear(len(HEARD), config.conditioning), nn.ReLU(), nn.Linear(config.conditioning, 2 * config.vector)
        )
        self.audibility = nn.Linear(2 * tx.BANDS, config.vector)
        self.gru = nn.GRU(config.vector, config.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.frame = nn.Linear(2 * config.hidden, 1)
        self.attention = nn.Linear(2 * config.hidden, 1)

    def forward(self, tokens: Tensor, audiogram: Tensor) -> Scores:
        """Scores of `tokens` [batch or 1, tokens, width] heard with `audiogram` [batch, 8] in dB HL."""
        x = self.read(tokens, audiogram)
        return self.scores(x)

    def scores(self, x: Tensor) -> Scores:
        """Scores of what `read` gives."""
        frame_scores = self.frame_scores(x)
        return Scores(frame_scores, (self.shares(x) * frame_scores).sum(-1))

    def read(self, tokens: Tensor, audiogram: Tensor) -> Tensor:
        """What the GRU makes of the window: [batch, tokens, 2 hidden]."""
        loss = audiogram.index_select(1, self.heard)
        scale, shift = self.conditioning(loss / LOSS_UNIT).unsqueeze(1).chunk(2, dim=-1)
        vectors, levels = tokens[..., : self.vector], tokens[..., self.vector :]
        above = levels - ((loss @ self.thresholds).clamp_min(0) / LEVEL_UNIT).unsqueeze(1)
        audible = self.audibility(torch.cat([torch.tanh(above), F.relu(above)], dim=-1))
        x = self.dropout(F.relu(vectors * (1 + scale) + shift + audible))
        out: Tensor = self.dropout(self.gru(x)[0])
        return out

    def frame_scores(self, x: Tensor) -> Tensor:
        """The score of each token: [batch, tokens]."""
        return torch.sigmoid(self.frame(x)).squeeze(-1)

    def shares(self, x: Tensor) -> Tensor:
        """How much each token counts in the clip's score: [batch, tokens], their sum 1."""
        return torch.softmax(self.attention(x).squeeze(-1), -1)


class Nano(nn.Module):
    """Texture and audiogram to scores, in at most 1 M parameters; `encoder` and `head` are what is exported."""

    checkpoint_sha256: str | None = None
    """of the file that `from_checkpoint` read"""

    def __init__(self, config: NanoConfig | None = None) -> None:
        super().__init__()
        self.config = config or NanoConfig()
        self.encoder = NanoEncoder(self.config)
        self.head = NanoHead(self.config)

    @property
    def reads(self) -> str:
        """The front end, by its name in `runtime.encoder.READINGS`."""
        return reading_name("texture", self.config.texture_version)

    @classmethod
    def from_checkpoint(cls, path: str | Path = WEIGHTS) -> Self:
        """The network of a checkpoint (safetensors), in evaluation mode; the shipped one by default.

        Its front end is of the version that the checkpoint names. Raises CheckpointNotFoundError, or CheckpointError
        for a file that is not exactly nano's.
        """
        checkpoint = read_checkpoint(path)
        version = _texture_version(checkpoint.state.get(f"encoder.{TEXTURE_VERSION}"), str(path))
        nano = cls(NanoConfig(texture_version=version))
        load_strictly(nano, checkpoint.state, network_name="nano", source=str(path))
        nano.checkpoint_sha256 = checkpoint.sha256
        return nano.eval()

    def encode(self, texture: Tensor) -> Tensor:
        """Tokens [patches, 1, width] for `texture` [patches, 16, 32], each patch alone."""
        tokens: Tensor = self.encoder(texture)
        return tokens

    def forward(self, texture: Tensor, audiogram: Tensor) -> Scores:
        """Scores for `texture` [batch, patches, 16, 32] heard with `audiogram` [batch, 8] in dB HL.

        Raises AudioError for another shape or no patches, AudiogramError for another shape of audiogram.
        """
        if texture.ndim != 4 or texture.shape[2:] != (PLANES, tx.BANDS) or texture.shape[1] == 0:
            raise AudioError(
                f"a texture of shape {list(texture.shape)} was given; expected [batch, patches, {PLANES}, {tx.BANDS}], "
                "as runtime.texture.textures or model.Texture give it"
            )
        tokens = self.encode(texture.flatten(0, 1)).reshape(texture.shape[0], -1, self.config.width)
        check_audiogram(tokens, audiogram)
        scores: Scores = self.head(tokens, audiogram)
        return scores


def _texture_version(stored: Tensor | None, source: str) -> int:
    """Return the version of the front end that a checkpoint stores; 1 if it stores none."""
    if stored is None:
        return 1
    version = next((version for version in tx.VERSIONS if stored.numel() == 1 and stored.item() == version), None)
    if version is None:
        raise CheckpointError(
            f"{source} names version {stored.tolist()} of the texture front end; this version computes "
            f"{', '.join(map(str, tx.VERSIONS))}: update haaqi-edge, or give another checkpoint"
        )
    return version


def _level_offset() -> np.ndarray:
    """What turns 10 log10 of a band's mean bin power into its level in dB SPL, [32]."""
    window = np.sum(np.hanning(tx.SPECTRUM) ** 2)
    return LEVEL1 + 10 * np.log10(tx.bands().long_counts * 2 / (tx.SPECTRUM * window))


def _threshold_weights() -> np.ndarray:
    """The levels at the bands' centres from those at `HEARD`, linear over log frequency: [6, 32]."""
    centres = np.sqrt(tx.edges()[1:] * tx.edges()[:-1])
    return np.stack([np.interp(np.log(centres), np.log(HEARD), unit) for unit in np.eye(len(HEARD))])
