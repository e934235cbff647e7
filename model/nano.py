"""Nano: a small network of an encoder and a head.

The encoder maps the texture of one patch (`runtime.features.texture`) to a token: a vector, by fully connected layers,
and the levels of the bands. The head compares these levels with the listener's thresholds, scales and shifts the
vectors by the audiogram (Perez et al. 2018, "FiLM"), processes the window with a bidirectional GRU, and pools its frame
scores by attention.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.audio.levels import LEVEL1
from ..runtime.audiogram import FREQUENCIES
from ..runtime.bundle import TEXTURE_VERSION, Bundle, front_end_name
from ..runtime.errors import AudioError, BundleError, CheckpointError
from ..runtime.features import texture as tx
from .checkpoint import load_strictly, read_checkpoint
from .graph_weights import read_bundle_weights
from .head import Scores, check_audiogram

NANO_FREQUENCIES: Final = (250, 500, 1000, 2000, 4000, 6000)
"""Hz; the frequencies of the audiogram that nano uses. HAAQI uses no others, so that the levels at 3 and 8 kHz would
only add noise."""
HEARING_LOSS_UNIT: Final = 50.0
"""dB HL that the head scales to 1"""
LEVEL_UNIT: Final = 30.0
"""dB that the encoder and the head scale to 1"""
PLANES: Final = len(tx.PLANES)
COVERAGE: Final = 0.9
"""Probability that a prediction interval contains the label."""
LOSS_FREQUENCIES: Final = (500, 1000, 2000, 4000)
"""Hz; a listener's hearing loss is the mean of the levels at these frequencies (Mathers et al. 2000, WHO)."""
LOSS_GROUPS: Final = (20.0, 35.0, 50.0)
"""dB HL; hearing losses at which the next group of listeners begins: none, mild, moderate, more (Stevens et al. 2013,
"Global and regional hearing impairment prevalence"). Intervals are calibrated for each group."""


@dataclass(frozen=True)
class NanoConfig:
    """Sizes of nano. The defaults are those of the shipped network.

    Attributes:
        layers: units of the encoder's fully connected layers.
        vector: size of a token without the levels of the bands.
        hidden: hidden units of the GRU in each direction.
        conditioning: hidden units between the audiogram and its scale and shift.
        encoder_dropout, dropout: rates of dropout in the encoder and in the head, while training.
        texture_version: version of the front end, see `runtime.features.texture`. A checkpoint stores every version but
            1.
        interval: whether the head predicts an interval beside the score.
    """

    layers: tuple[int, ...] = (256, 256)
    vector: int = 192
    hidden: int = 48
    conditioning: int = 64
    encoder_dropout: float = 0.15
    dropout: float = 0.3
    texture_version: int = 2
    interval: bool = True

    @property
    def width(self) -> int:
        """Size of a token."""
        return self.vector + tx.BANDS


class NanoEncoder(nn.Module):
    """The encoder: maps patches to tokens. Patches do not affect each other."""

    mean: Tensor
    scale: Tensor
    to_level: Tensor

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        if config.texture_version != 1:
            # Stored with the weights. A floating-point value passes weight averaging and the checks of checkpoints.
            self.register_buffer(TEXTURE_VERSION, torch.tensor(float(config.texture_version)))
        # Computed from the training rows, and stored with the weights.
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
        """Map `texture` [patches, 16, 32] to tokens [patches, 1, width]: vectors, and band levels (dB SPL / 30)."""
        x = self.layers((texture - self.mean) / self.scale)
        level = (texture[:, 0] * (10 / np.log(10)) + self.to_level) / LEVEL_UNIT
        tokens: Tensor = torch.cat([self.norm(self.linear(x)), level], dim=1).unsqueeze(1)
        return tokens


class NanoHead(nn.Module):
    """The head: maps the tokens of a window and an audiogram to scores."""

    frequency_indices: Tensor
    thresholds: Tensor
    interval_margins: Tensor
    loss_weights: Tensor
    loss_groups: Tensor
    directions: Tensor

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.vector = config.vector
        indices = [FREQUENCIES.index(frequency) for frequency in NANO_FREQUENCIES]
        self.register_buffer("frequency_indices", torch.tensor(indices), persistent=False)
        self.register_buffer("thresholds", torch.tensor(_threshold_weights(), dtype=torch.float32), persistent=False)
        self.conditioning = nn.Sequential(
            nn.Linear(len(NANO_FREQUENCIES), config.conditioning),
            nn.ReLU(),
            nn.Linear(config.conditioning, 2 * config.vector),
        )
        self.audibility = nn.Linear(2 * tx.BANDS, config.vector)
        self.gru = nn.GRU(config.vector, config.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.frame = nn.Linear(2 * config.hidden, 1)
        self.attention = nn.Linear(2 * config.hidden, 1)
        self.predicts_interval = config.interval
        if config.interval:
            self.interval = nn.Linear(2 * config.hidden, 2)
            nn.init.constant_(self.interval.bias, -2.0)  # so that the ends are at about 0.13 from the score at first
            self.register_buffer("directions", torch.tensor([-1.0, 1.0]), persistent=False)
            # Of the first group, and what each further group adds.
            self.register_buffer("interval_margins", torch.zeros(len(LOSS_GROUPS) + 1))
            loss_weights = [(f in LOSS_FREQUENCIES) / len(LOSS_FREQUENCIES) for f in FREQUENCIES]
            self.register_buffer("loss_weights", torch.tensor(loss_weights).unsqueeze(1), persistent=False)
            # All listeners are at or above the first limit.
            self.register_buffer("loss_groups", torch.tensor((-1e9, *LOSS_GROUPS)), persistent=False)

    def forward(self, tokens: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of `tokens` [batch or 1, tokens, width] for `audiogram` [batch, 8] in dB HL."""
        x = self.read_window(tokens, audiogram)
        if not self.predicts_interval:
            return self.pool_scores(x)
        shares, frame_scores = self.attention_weights(x), self.frame_scores(x)
        score = (shares * frame_scores).sum(-1)
        distances = F.relu(self.interval_distances(x, shares) + self.group_margins(audiogram))
        interval = (score.unsqueeze(1) + distances * self.directions).clamp(0, 1)
        return Scores(frame_scores, score, interval)

    def pool_scores(self, x: Tensor) -> Scores:
        """Return the scores for the output of `read_window`, without intervals."""
        frame_scores = self.frame_scores(x)
        return Scores(frame_scores, (self.attention_weights(x) * frame_scores).sum(-1))

    def drop_interval(self) -> None:
        """Remove the prediction of intervals."""
        if self.predicts_interval:
            del self.interval, self.interval_margins, self.loss_weights, self.loss_groups, self.directions
            self.predicts_interval = False

    def interval_distances(self, x: Tensor, shares: Tensor) -> Tensor:
        """Return the distances from the score to the ends of the interval, [batch, 2], before calibration.

        They are quantiles of the error, learned by the pinball loss (Koenker & Bassett 1978, "Regression quantiles").

        Args:
            x: output of `read_window`.
            shares: its `attention_weights`.
        """
        return F.softplus(self.interval((shares.unsqueeze(-1) * x).sum(1)))

    def group_margins(self, audiogram: Tensor) -> Tensor:
        """Return what the calibration adds to the distances, [batch, 1], by the group of the listener.

        Source: Romano, Patterson & Candes 2019, "Conformalized quantile regression"; Vovk 2012 for groups.
        """
        loss = audiogram @ self.loss_weights
        in_group = (loss >= self.loss_groups).to(loss.dtype)
        return (in_group * self.interval_margins).sum(1, keepdim=True)

    def read_window(self, tokens: Tensor, audiogram: Tensor) -> Tensor:
        """Return the output of the GRU for a window, [batch, tokens, 2 hidden]. See `forward` for the arguments."""
        loss = audiogram.index_select(1, self.frequency_indices)
        scale, shift = self.conditioning(loss / HEARING_LOSS_UNIT).unsqueeze(1).chunk(2, dim=-1)
        vectors, levels = tokens[..., : self.vector], tokens[..., self.vector :]
        above = levels - ((loss @ self.thresholds).clamp_min(0) / LEVEL_UNIT).unsqueeze(1)
        audible = self.audibility(torch.cat([torch.tanh(above), F.relu(above)], dim=-1))
        x = self.dropout(F.relu(vectors * (1 + scale) + shift + audible))
        out: Tensor = self.dropout(self.gru(x)[0])
        return out

    def frame_scores(self, x: Tensor) -> Tensor:
        """Return the score of each token, [batch, tokens]."""
        return torch.sigmoid(self.frame(x)).squeeze(-1)

    def attention_weights(self, x: Tensor) -> Tensor:
        """Return the weight of each token in the clip's score, [batch, tokens]. The weights of a clip sum to 1."""
        return torch.softmax(self.attention(x).squeeze(-1), -1)


class Nano(nn.Module):
    """Maps texture and an audiogram to scores. `encoder` and `head` are the modules to export."""

    checkpoint_sha256: str | None = None
    """SHA-256 of the checkpoint that the weights come from"""

    def __init__(self, config: NanoConfig | None = None) -> None:
        super().__init__()
        self.config = config or NanoConfig()
        self.encoder = NanoEncoder(self.config)
        self.head = NanoHead(self.config)

    @property
    def reads(self) -> str:
        """The front end, by its name in `runtime.features.front_ends.FEATURE_EXTRACTORS`."""
        return front_end_name("texture", self.config.texture_version)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        """Load the network from the ONNX files of an fp32 bundle, exact to the bit, in evaluation mode.

        Raises:
            BundleError: the bundle is not nano's, not in fp32, or holds no ONNX files.
            CheckpointError: the graphs do not hold exactly nano's weights.
            DependencyError: onnx is not installed.
        """
        if bundle.card.family != "nano":
            raise BundleError(f"{bundle.folder} is a bundle of the family {bundle.card.family}: give one of nano")
        version = bundle.card.front_end.texture_version
        nano = cls(NanoConfig(texture_version=version, interval=bundle.card.interval is not None))
        weights = read_bundle_weights(bundle) | {f"encoder.{TEXTURE_VERSION}": torch.tensor(float(version))}
        state = {key: weights[key] for key in nano.state_dict() if key in weights}
        load_strictly(nano, state, network_name="nano", source=str(bundle.folder))
        nano.checkpoint_sha256 = bundle.card.source_sha256
        return nano.eval()

    @classmethod
    def shipped(cls) -> Self:
        """Load the network of the shipped bundle. See `from_bundle`."""
        return cls.from_bundle(Bundle("nano"))

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Load the network from a checkpoint (safetensors), in evaluation mode.

        Its front end has the version that the checkpoint stores.

        Raises:
            CheckpointNotFoundError: there is no such file.
            CheckpointError: the file does not hold exactly nano's weights.
        """
        checkpoint = read_checkpoint(path)
        version = stored_texture_version(checkpoint.state.get(f"encoder.{TEXTURE_VERSION}"), str(path))
        nano = cls(NanoConfig(texture_version=version, interval="head.interval.weight" in checkpoint.state))
        load_strictly(nano, checkpoint.state, network_name="nano", source=str(path))
        nano.checkpoint_sha256 = checkpoint.sha256
        return nano.eval()

    def encode(self, texture: Tensor) -> Tensor:
        """Map `texture` [patches, 16, 32] to tokens [patches, 1, width]. Patches do not affect each other."""
        tokens: Tensor = self.encoder(texture)
        return tokens

    def encode_clips(self, texture: Tensor) -> Tensor:
        """Map `texture` [batch, patches, 16, 32] of clips to tokens [batch, patches, width]."""
        return self.encode(texture.flatten(0, 1)).reshape(*texture.shape[:2], self.config.width)

    def drop_interval(self) -> None:
        """Remove the prediction of intervals, which are calibrated for HAAQI only."""
        self.head.drop_interval()
        self.config = replace(self.config, interval=False)

    def forward(self, texture: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of `texture` [batch, patches, 16, 32] for `audiogram` [batch, 8] in dB HL.

        Raises:
            AudioError: another shape, or no patches.
            AudiogramError: another shape of the audiogram.
        """
        if texture.ndim != 4 or texture.shape[2:] != (PLANES, tx.BANDS) or texture.shape[1] == 0:
            raise AudioError(
                f"a texture of shape {list(texture.shape)} was given; expected [batch, patches, {PLANES}, {tx.BANDS}], "
                "as computed by model.Texture"
            )
        tokens = self.encode_clips(texture)
        check_audiogram(tokens, audiogram)
        scores: Scores = self.head(tokens, audiogram)
        return scores


def stored_texture_version(stored: Tensor | None, source: str) -> int:
    """Return the version of the front end that a checkpoint stores; 1 if it stores none."""
    if stored is None:
        return 1
    version = next((version for version in tx.VERSIONS if stored.numel() == 1 and stored.item() == version), None)
    if version is None:
        raise CheckpointError(
            f"{source} needs version {stored.tolist()} of the texture front end; this release computes "
            f"{', '.join(map(str, tx.VERSIONS))}: update haaqi-edge, or give another checkpoint"
        )
    return version


def _level_offset() -> np.ndarray:
    """Return what to add to 10 log10 of a band's mean bin power to get its level in dB SPL, [32]."""
    window = np.sum(np.hanning(tx.SPECTRUM) ** 2)
    return LEVEL1 + 10 * np.log10(tx.bands().long_counts * 2 / (tx.SPECTRUM * window))


def _threshold_weights() -> np.ndarray:
    """Return weights [6, 32] that interpolate levels at `NANO_FREQUENCIES` to the centres of the bands.

    The interpolation is linear over log frequency.
    """
    centres = np.sqrt(tx.edges()[1:] * tx.edges()[:-1])
    return np.stack(
        [np.interp(np.log(centres), np.log(NANO_FREQUENCIES), unit) for unit in np.eye(len(NANO_FREQUENCIES))]
    )
