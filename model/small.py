"""Small: nano's texture encoder beside the first layers of a network that knows sounds.

The encoder reads blocks of eight patches (1.28 s). The first layers of mn04 (Schmid et al. 2023), a MobileNetV3 that
was trained on AudioSet, map the log-mel spectrum of a block to features of three depths. They are reduced to one vector
per patch and added to the vector of the texture (`nano.NanoEncoder`). The head is nano's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.bundle import TEXTURE_VERSION
from ..runtime.errors import AudioError, CheckpointError
from ..runtime.features import mel
from ..runtime.features import patches as fe
from ..runtime.features import texture as tx
from .checkpoint import load_strictly, read_checkpoint
from .head import Scores, check_audiogram
from .nano import NanoConfig, NanoEncoder, NanoHead, stored_texture_version

BLOCK: Final = 8
"""Patches in a block."""
FEATURES: Final = tx.BANDS + mel.MEL_BANDS
"""Columns of a patch's features: the bands of the texture and those of the log-mel spectrum."""
_WIDTH: Final = 0.4
"""Factor of the channels of MobileNetV3 in mn04."""


class _Layer(NamedTuple):
    """A layer of MobileNetV3-Large (Howard et al. 2019, "Searching for MobileNetV3", table 1), before the factor."""

    inputs: int
    kernel: int
    expanded: int
    outputs: int
    squeezes: bool
    hard: bool
    stride: int


_LAYERS: Final = (
    _Layer(16, 3, 16, 16, False, False, 1),
    _Layer(16, 3, 64, 24, False, False, 2),
    _Layer(24, 3, 72, 24, False, False, 1),
    _Layer(24, 5, 72, 40, True, False, 2),
    _Layer(40, 5, 120, 40, True, False, 1),
    _Layer(40, 5, 120, 40, True, False, 1),
    _Layer(40, 3, 240, 80, False, True, 2),
    _Layer(80, 3, 200, 80, False, True, 1),
    _Layer(80, 3, 184, 80, False, True, 1),
    _Layer(80, 3, 184, 80, False, True, 1),
    _Layer(80, 3, 480, 112, True, True, 1),
    _Layer(112, 3, 672, 112, True, True, 1),
    _Layer(112, 5, 672, 160, True, True, 2),
    _Layer(160, 5, 960, 160, True, True, 1),
    _Layer(160, 5, 960, 160, True, True, 1),
)


@dataclass(frozen=True)
class SmallConfig:
    """Sizes of small. The defaults are those of the shipped network.

    Attributes:
        nano: sizes of the texture's encoder and of the head.
        taps: the layers whose outputs are used, counted from 0.
        reduced: size that the features of each of these layers are reduced to.
        frozen: number of the first layers that training does not change.
        dropout: rate of dropout after the reduction, while training.
    """

    nano: NanoConfig = field(default_factory=lambda: NanoConfig(hidden=64))
    taps: tuple[int, ...] = (6, 12, 15)
    reduced: int = 64
    frozen: int = 4
    dropout: float = 0.15

    @property
    def width(self) -> int:
        """Size of a token."""
        return self.nano.width

    @property
    def interval(self) -> bool:
        """Whether the head predicts an interval beside the score."""
        return self.nano.interval


class SqueezeExcitation(nn.Module):
    """Scales channels by a function of their means over a block (Hu et al. 2018, "Squeeze-and-excitation networks")."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _round_channels(channels / 4)
        self.squeeze, self.excite = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale `x` [blocks, channels, bands, frames]."""
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * scale[:, :, None, None]


class InvertedResidual(nn.Module):
    """A layer of MobileNetV3: expansion, convolution of each channel, squeeze-excitation, projection."""

    def __init__(self, layer: _Layer) -> None:
        super().__init__()
        inputs, expanded, outputs = (
            _round_channels(size * _WIDTH) for size in (layer.inputs, layer.expanded, layer.outputs)
        )
        parts: list[nn.Module] = []
        if expanded != inputs:
            parts.append(_convolution(inputs, expanded, 1, 1, 1, _activation(layer.hard)))
        parts.append(_convolution(expanded, expanded, layer.kernel, layer.stride, expanded, _activation(layer.hard)))
        if layer.squeezes:
            parts.append(SqueezeExcitation(expanded))
        parts.append(_convolution(expanded, outputs, 1, 1, 1, None))
        self.parts = nn.Sequential(*parts)
        self._adds = layer.stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [blocks, channels, bands, frames]."""
        y: Tensor = self.parts(x)
        return x + y if self._adds else y


class SmallEncoder(nn.Module):
    """The encoder: maps the patches of whole blocks to tokens. Blocks do not affect each other.

    The last block may be incomplete. It is completed by silence.
    """

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.texture = NanoEncoder(config.nano)
        self._vector, self._frozen, self._taps = config.nano.vector, config.frozen, config.taps
        layers = [InvertedResidual(layer) for layer in _LAYERS[: max(config.taps)]]
        self.layers = nn.ModuleList([_convolution(1, _round_channels(16 * _WIDTH), 3, 2, 1, nn.Hardswish()), *layers])
        with torch.no_grad():
            shapes = [x.shape[1:] for x in self._tapped(torch.zeros(1, 1, mel.MEL_BANDS, BLOCK * fe.PATCH_FRAMES))]
        self.reduce = nn.ModuleList(
            nn.Sequential(
                nn.Linear(channels * bands * max(1, frames // BLOCK), config.reduced),
                nn.LayerNorm(config.reduced),
                nn.ReLU(),
                nn.Dropout(config.dropout),
            )
            for channels, bands, frames in shapes
        )
        self.mix = nn.Linear(config.reduced * len(config.taps) + config.nano.vector, config.nano.vector)
        self.norm = nn.LayerNorm(config.nano.vector)

    def forward(self, features: Tensor) -> Tensor:
        """Map `features` [patches, 16, 136] (`runtime.features.mel.texture_mel`) to tokens [patches, 1, width]."""
        count = features.shape[0]
        silence = features.new_full((BLOCK - 1, *features.shape[1:]), mel.SILENT_VALUE)
        whole = torch.cat([features, silence])[: (count + BLOCK - 1) // BLOCK * BLOCK]
        spectrum = whole[..., tx.BANDS :].reshape(-1, BLOCK * fe.PATCH_FRAMES, mel.MEL_BANDS).transpose(1, 2)
        reduced = [
            self._per_patch(x, reduce)
            for x, reduce in zip(self._tapped(spectrum.unsqueeze(1)), self.reduce, strict=True)
        ]
        texture = self.texture(whole[..., : tx.BANDS]).squeeze(1)
        vectors, levels = texture[:, : self._vector], texture[:, self._vector :]
        vectors = self.norm(vectors + self.mix(torch.cat([*reduced, vectors], dim=1)))
        return torch.cat([vectors, levels], dim=1)[:count].unsqueeze(1)

    def _tapped(self, x: Tensor) -> list[Tensor]:
        """Return the outputs [blocks, channels, bands, frames] of the layers that are used."""
        outputs = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self._taps:
                outputs.append(x)
        return outputs

    def _per_patch(self, x: Tensor, reduce: nn.Module) -> Tensor:
        """Reduce features [blocks, channels, bands, frames] to one vector per patch, [patches, reduced].

        A patch has several frames, or shares one with its neighbours.
        """
        channels, bands, frames = x.shape[1:]
        steps = min(frames, BLOCK)
        x = x.reshape(-1, channels, bands, steps, frames // steps).permute(0, 3, 1, 2, 4).flatten(2)
        y: Tensor = reduce(x)
        return y.repeat_interleave(BLOCK // steps, dim=1).flatten(0, 1)

    def train(self, mode: bool = True) -> Self:
        """Set the mode. Frozen layers stay in evaluation mode."""
        super().train(mode)
        for layer in self.layers[: self._frozen]:
            layer.eval()
        return self


class Small(nn.Module):
    """Maps texture, log-mel spectrum and an audiogram to scores. `encoder` and `head` are the modules to export."""

    checkpoint_sha256: str | None = None
    """SHA-256 of the checkpoint that the weights come from"""

    reads: Final = "texture_mel"
    """The front end, by its name in `runtime.features.front_ends.FEATURE_EXTRACTORS`."""

    def __init__(self, config: SmallConfig | None = None) -> None:
        super().__init__()
        self.config = config or SmallConfig()
        self.encoder = SmallEncoder(self.config)
        self.head = NanoHead(self.config.nano)
        for layer in self.encoder.layers[: self.config.frozen]:
            layer.requires_grad_(False)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Load the network from a checkpoint (safetensors), in evaluation mode.

        Raises:
            CheckpointNotFoundError: there is no such file.
            CheckpointError: the file does not hold exactly small's weights.
        """
        checkpoint = read_checkpoint(path)
        nano = replace(SmallConfig().nano, interval="head.interval.weight" in checkpoint.state)
        small = cls(SmallConfig(nano=nano))
        version = stored_texture_version(checkpoint.state.get(f"encoder.texture.{TEXTURE_VERSION}"), str(path))
        if version != nano.texture_version:
            raise CheckpointError(
                f"{path} needs version {version} of the texture front end, and small reads version "
                f"{nano.texture_version}: give another checkpoint"
            )
        load_strictly(small, checkpoint.state, network_name="small", source=str(path))
        small.checkpoint_sha256 = checkpoint.sha256
        return small.eval()

    def load_pretrained(self, path: str | Path) -> None:
        """Load the layers of mn04 from the authors' checkpoint (`mn04_as_mAP_432.pt`), to begin a training.

        Raises:
            CheckpointNotFoundError: there is no such file.
            CheckpointError: the file does not hold mn04.
        """
        state = read_checkpoint(path).state
        load_strictly(
            self.encoder.layers,
            _rename_pretrained(state, len(self.encoder.layers)),
            network_name="mn04",
            source=str(path),
        )

    def encode(self, features: Tensor) -> Tensor:
        """Map `features` [patches, 16, 136] of consecutive patches to tokens [patches, 1, width]."""
        tokens: Tensor = self.encoder(features)
        return tokens

    def encode_clips(self, features: Tensor) -> Tensor:
        """Map features [batch, patches, 16, 136] of clips to tokens [batch, patches, width]."""
        batch, count = features.shape[:2]
        padded = F.pad(features, (0, 0, 0, 0, 0, -count % BLOCK), value=mel.SILENT_VALUE)
        tokens = self.encode(padded.flatten(0, 1)).reshape(batch, -1, self.config.width)
        return tokens[:, :count]

    def drop_interval(self) -> None:
        """Remove the prediction of intervals, which are calibrated for HAAQI only."""
        self.head.drop_interval()
        self.config = replace(self.config, nano=replace(self.config.nano, interval=False))

    def forward(self, features: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of features [batch, patches, 16, 136] for `audiogram` [batch, 8] in dB HL.

        Raises:
            AudioError: another shape, or no patches.
            AudiogramError: another shape of the audiogram.
        """
        if features.ndim != 4 or features.shape[2:] != (fe.PATCH_FRAMES, FEATURES) or features.shape[1] == 0:
            raise AudioError(
                f"features of shape {list(features.shape)} were given; expected [batch, patches, {fe.PATCH_FRAMES}, "
                f"{FEATURES}], as computed by runtime.features.mel.texture_mel"
            )
        tokens = self.encode_clips(features)
        check_audiogram(tokens, audiogram)
        scores: Scores = self.head(tokens, audiogram)
        return scores


def _rename_pretrained(state: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return the first layers of mn04 under the names of `SmallEncoder.layers`."""
    renamed = {}
    for key, value in state.items():
        group, index, name = (*key.split(".", 2), "", "")[:3]
        if group != "features" or int(index) >= count:
            continue
        name = name.replace("block.", "parts.", 1).replace("conc_se_layers.0.fc1.", "squeeze.")
        renamed[f"{index}.{name.replace('conc_se_layers.0.fc2.', 'excite.')}"] = value
    return renamed


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int, activation: nn.Module | None
) -> nn.Sequential:
    norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, norm, *([] if activation is None else [activation]))


def _activation(hard: bool) -> nn.Module:
    return nn.Hardswish() if hard else nn.ReLU()


def _round_channels(channels: float, divisor: int = 8) -> int:
    """Round a number of channels to a multiple of 8, not down by more than 10% (as MobileNetV3's authors do)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
