"""The output of all networks, and the published head, which teacher and student share.

The head blends the encoder's layers into tokens, and maps tokens and an audiogram to scores. Source: Wisnu et al. 2025,
"HAAQI-Net" (the authors' implementation). The head is a base class and not a submodule, because the published state
dicts hold its tensors at their top level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.errors import AudiogramError, CheckpointError, OptionError
from .beats import BeatsConfig

AUDIOGRAM_VALUES = 8
"""Hearing levels in dB HL, unscaled, at 250, 500, 1000, 2000, 3000, 4000, 6000 and 8000 Hz."""


class Scores(NamedTuple):
    """Predicted HAAQI of a batch of clips, each value in [0, 1].

    Attributes:
        frame_scores: [batch, tokens].
        score: [batch], the scores of the clips.
        interval: [batch, 2], lower and upper end of the prediction interval of each score; None if the network predicts
            none.
    """

    frame_scores: Tensor
    score: Tensor
    interval: Tensor | None = None


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the head. The defaults are the published ones (264 inputs of the BLSTM)."""

    width: int = 256
    hidden: int = 100
    heads: int = 16

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise OptionError(f"head: a width of {self.width} is not a multiple of heads={self.heads}: change one")


def parse_sizes(cfg: Mapping[str, Any], beats: BeatsConfig | None = None) -> tuple[BeatsConfig, HeadConfig]:
    """Return the sizes in a checkpoint's `cfg`, as `format_sizes` writes them.

    If `cfg` has no sizes, return `beats` (or, if None, the sizes of BEATs_iter3+) and those of the published head.

    Raises:
        CheckpointError: the sizes are not those of this version.
    """
    if "beats" not in cfg or "head" not in cfg:
        return beats or BeatsConfig(), HeadConfig()
    try:
        return BeatsConfig(**cfg["beats"]), HeadConfig(**cfg["head"])
    except (TypeError, OptionError) as error:
        raise CheckpointError(f"the checkpoint's sizes do not fit this version ({error}): save it again") from error


def format_sizes(beats: BeatsConfig, head: HeadConfig) -> dict[str, dict[str, int]]:
    """Return the sizes in the form of a checkpoint's `cfg`."""
    return {"beats": asdict(beats), "head": asdict(head)}


class HeadedNetwork(nn.Module):
    """A network whose encoder has layers of `width`, blended and scored as in HAAQI-Net."""

    checkpoint_sha256: str | None = None
    """SHA-256 of the file that `from_checkpoint` read."""

    def __init__(self, layers: int, width: int, head: HeadConfig | None = None) -> None:
        super().__init__()
        self.head_config = head = head or HeadConfig()
        self.weights = nn.Parameter(torch.ones(layers))
        self.layer_norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.linear0 = nn.Linear(width, head.width)
        self.blstm = nn.LSTM(head.width + AUDIOGRAM_VALUES, head.hidden, batch_first=True, bidirectional=True)
        self.linear1 = nn.Linear(2 * head.hidden, head.width)
        self.haaqiAtt_layer = nn.MultiheadAttention(head.width, head.heads, batch_first=True)
        self.haaqiframe_score = nn.Linear(head.width, 1)

    def blend(self, layers: Sequence[Tensor]) -> Tensor:
        """Return the sum of the normalized layers [..., width], weighted by softmax(`weights`)."""
        shares = self.weights.softmax(0).unbind()
        normed = [share * norm(layer) for share, norm, layer in zip(shares, self.layer_norm, layers, strict=True)]
        return torch.stack(normed).sum(0)

    def head(self, tokens: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of `tokens` [batch or 1, tokens, width] for `audiogram` [batch, 8] in dB HL.

        The tokens of one clip can be scored for any number of audiograms.

        Raises:
            AudiogramError: another shape of the audiogram.
        """
        check_audiogram(tokens, audiogram)
        x = append_audiogram(self.linear0(tokens), audiogram)
        x = F.relu(self.linear1(self.blstm(x)[0]))
        x, _ = self.haaqiAtt_layer(x, x, x, need_weights=False)
        frame_scores = torch.sigmoid(self.haaqiframe_score(x)).squeeze(-1)
        return Scores(frame_scores, frame_scores.mean(-1))


def append_audiogram(tokens: Tensor, audiogram: Tensor) -> Tensor:
    """Append the audiogram to every token: [batch, tokens, width + 8]."""
    batch, count = audiogram.shape[0], tokens.shape[1]
    return torch.cat([tokens.expand(batch, -1, -1), audiogram.unsqueeze(1).expand(-1, count, -1)], dim=-1)


def check_audiogram(tokens: Tensor, audiogram: Tensor) -> None:
    """Raise AudiogramError unless `audiogram` is [batch, 8], with the batch size of `tokens` or any if that is 1."""
    batch = tokens.shape[0]
    if audiogram.ndim == 2 and audiogram.shape[1] == AUDIOGRAM_VALUES and batch in (1, audiogram.shape[0]):
        return
    raise AudiogramError(
        f"an audiogram of shape {list(audiogram.shape)} was given for {batch} clip(s); expected "
        f"[{'batch' if batch == 1 else batch}, {AUDIOGRAM_VALUES}]: {AUDIOGRAM_VALUES} hearing levels per clip"
    )
