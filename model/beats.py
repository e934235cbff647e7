"""BEATs: the transformer that HAAQI-Net's teacher listens through, and whose layers the student keeps.

Source: Chen et al. 2023, "BEATs: Audio Pre-Training with Acoustic Tokenizers" (ICML), iteration 3+. Parameter names are
the published ones. Every size is in `BeatsConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.errors import CheckpointError, OptionError
from ..runtime.frontend import PATCH_FRAMES
from .checkpoint import load_strictly, read_checkpoint

GATE_OUTPUTS = 8
"""of `grep_linear`, summed in two groups of four"""
PUBLISHED_NAMES: Final = {
    "encoder_layers": "layers",
    "encoder_embed_dim": "width",
    "encoder_attention_heads": "heads",
    "encoder_ffn_embed_dim": "ffn",
    "embed_dim": "patch_width",
    "num_buckets": "buckets",
    "max_distance": "max_distance",
    "conv_pos": "position_kernel",
    "conv_pos_groups": "position_groups",
}
"""what a BEATs checkpoint's `cfg` calls the sizes"""


@dataclass(frozen=True)
class BeatsConfig:
    """Sizes of a BEATs transformer; the defaults are BEATs_iter3+ (90.3 M parameters)."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    ffn: int = 3072
    patch_width: int = 512
    norm_layers: int = 12
    """layers that deep-norm is set for; the student keeps the twelve of the transformer it was cut from"""
    buckets: int = 320
    max_distance: int = 800
    position_kernel: int = 128
    position_groups: int = 16

    def __post_init__(self) -> None:
        for name in ("heads", "position_groups"):
            parts = getattr(self, name)
            if parts < 1 or self.width % parts:
                raise OptionError(f"beats: a width of {self.width} is no multiple of its {name}, {parts}: give others")

    @classmethod
    def published(cls, cfg: Mapping[str, Any]) -> Self:
        """The sizes that a BEATs checkpoint's `cfg` tells; those that it leaves out are BEATs_iter3+'s."""
        found = {ours: int(cfg[theirs]) for theirs, ours in PUBLISHED_NAMES.items() if theirs in cfg}
        return cls(**found, norm_layers=found.get("layers", cls.norm_layers))

    def to_published(self) -> dict[str, int]:
        """The same as a checkpoint's `cfg`."""
        return {theirs: getattr(self, ours) for theirs, ours in PUBLISHED_NAMES.items()}

    @property
    def alpha(self) -> float:
        """Deep-norm's weight of the residual (Wang et al. 2022, "DeepNet"); the published student has it too."""
        return float((2 * self.norm_layers) ** 0.25)


def patch_embedding(config: BeatsConfig) -> nn.Conv2d:
    """The convolution that reads one 16 x 16 patch a token."""
    return nn.Conv2d(1, config.patch_width, PATCH_FRAMES, stride=PATCH_FRAMES, bias=False)


def embed(convolution: nn.Conv2d, fbank: Tensor) -> Tensor:
    """Tokens [batch, 8 x patches, patch width] of `fbank` [batch, frames, 128], time-major, frequency minor.

    Trailing frames that do not fill a patch are dropped.
    """
    columns: Tensor = convolution(fbank.unsqueeze(1))
    return columns.flatten(2).transpose(1, 2)


def position_buckets(tokens: int, config: BeatsConfig, device: torch.device | None = None) -> Tensor:
    """T5's bidirectional bucket [tokens (query), tokens (key)] of key minus query (Raffel et al. 2020)."""
    position = torch.arange(tokens, device=device)
    distance = position[None, :] - position[:, None]
    half = config.buckets // 2
    exact = half // 2
    # Bounds are put on floating point: TensorRT clips nothing else.
    far = torch.log(distance.abs().float().clamp_min(1) / exact) / math.log(config.max_distance / exact)
    far = exact + (far * (half - exact)).clamp_max(half - 1 - exact).long()
    near = distance.abs()
    return half * (distance > 0) + torch.where(near < exact, near, far)


class LocalAttention(nn.Module):
    """Attention of a token that sees itself alone: a softmax over one key is 1, so queries and keys drop out."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.v_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]"""
        mixed: Tensor = self.out_proj(self.v_proj(x))
        return mixed


class RelativeAttention(LocalAttention):
    """Self-attention with a gated relative position bias; without the bias it is local, as the released student is."""

    def __init__(self, config: BeatsConfig, table: nn.Embedding | None = None) -> None:
        """`table` [buckets, heads] is the bias shared with the layers before; None makes one."""
        super().__init__(config)
        self.heads = config.heads
        self.q_proj = nn.Linear(config.width, config.width)
        self.k_proj = nn.Linear(config.width, config.width)
        self.relative_attention_bias = nn.Embedding(config.buckets, config.heads) if table is None else table
        self.grep_linear = nn.Linear(config.width // config.heads, GATE_OUTPUTS)
        self.grep_a = nn.Parameter(torch.ones(1, config.heads, 1, 1))

    def forward(self, x: Tensor, position_bias: Tensor | None = None) -> Tensor:
        """[batch, tokens, width] -> the same, given `position_bias` [heads, tokens, tokens]; None: see the class."""
        if position_bias is None:
            return super().forward(x)
        query, key, value = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        a, b = torch.sigmoid(self.grep_linear(query).unflatten(-1, (2, -1)).sum(-1)).chunk(2, dim=-1)
        bias = (a * (b * self.grep_a - 1) + 2) * position_bias
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return mixed


class TransformerLayer(nn.Module):
    """A post-norm layer with deep-norm residuals: x = norm(alpha x + f(x)), for the attention and for the FFN."""

    def __init__(self, config: BeatsConfig, attention: nn.Module) -> None:
        super().__init__()
        self.alpha = config.alpha
        self.self_attn = attention
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.ffn)
        self.fc2 = nn.Linear(config.ffn, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)
        self._initialise(config)

    def _initialise(self, config: BeatsConfig) -> None:
        beta = (8 * config.norm_layers) ** -0.25
        for name, parameter in self.named_parameters():
            if name.endswith("relative_attention_bias.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("proj.weight") or (name.startswith("fc") and parameter.ndim == 2):
                nn.init.xavier_normal_(parameter, gain=1.0 if "q_proj" in name or "k_proj" in name else beta)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, position_bias: Tensor | None = None) -> Tensor:
        """[..., tokens, width] -> the same; `position_bias` goes to the attention, None keeps tokens apart."""
        attended = self.self_attn(x) if position_bias is None else self.self_attn(x, position_bias)
        x = self.self_attn_layer_norm(self.alpha * x + attended)
        out: Tensor = self.final_layer_norm(self.alpha * x + self.fc2(F.gelu(self.fc1(x))))
        return out


class PositionalConv(nn.Module):
    """A grouped convolution over time whose weight has one gain per kernel tap: normed over axes 0 and 1."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.groups, kernel = config.position_groups, config.position_kernel
        direction = torch.randn(config.width, config.width // self.groups, kernel)
        direction *= math.sqrt(4 / (kernel * config.width))
        self.bias = nn.Parameter(torch.zeros(config.width))
        self.weight_g = nn.Parameter(direction.norm(dim=(0, 1), keepdim=True))
        self.weight_v = nn.Parameter(direction)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same"""
        weight = self.weight_g * self.weight_v / self.weight_v.norm(dim=(0, 1), keepdim=True)
        around = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=weight.shape[-1] // 2, groups=self.groups)
        # An even kernel gives one sample too many: the last is cut.
        return F.gelu(around[..., : x.shape[1]]).transpose(1, 2)


class BeatsEncoder(nn.Module):
    """The positional convolution and the layers, which share the bias table that the first one owns."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.pos_conv = nn.Sequential(PositionalConv(config))
        self.layer_norm = nn.LayerNorm(config.width)
        first = RelativeAttention(config)
        others = (RelativeAttention(config, first.relative_attention_bias) for _ in range(config.layers - 1))
        self.layers = nn.ModuleList(TransformerLayer(config, attention) for attention in (first, *others))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The output of every layer, each [batch, tokens, width], for `x` [batch, tokens, width]."""
        return self.layers_from(self.layer_norm(x + self.pos_conv(x)), 0)

    def layers_from(self, x: Tensor, first: int) -> tuple[Tensor, ...]:
        """The outputs of layer `first` (from 0) and those after it, for `x`, what the layer before it gives."""
        buckets = position_buckets(x.shape[1], self.config, x.device)
        bias = self.get_submodule("layers.0.self_attn.relative_attention_bias")(buckets).permute(2, 0, 1)
        outputs: list[Tensor] = []
        for layer in list(self.layers)[first:]:
            x = layer(x, bias)
            outputs.append(x)
        return tuple(outputs)


def check_copies(state: Mapping[str, Tensor], source: str) -> None:
    """Raise CheckpointError where the layers' copies of the one bias table differ."""
    copies = [key for key in state if key.endswith("relative_attention_bias.weight")]
    unequal = [key for key in copies if not torch.equal(state[key], state[copies[0]])]
    if unequal:
        raise CheckpointError(
            f"{source}: {unequal[0]} differs from {copies[0]}; expected equal copies of the one table that BEATs's "
            "layers share. The file was altered or saved wrongly: obtain it again, or save it with one table for all"
        )


class Beats(nn.Module):
    """Normalised fbank to the hidden layers of BEATs."""

    checkpoint_sha256: str | None = None
    """of the file that `from_checkpoint` read"""

    def __init__(self, config: BeatsConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BeatsConfig()
        self.patch_embedding = patch_embedding(config)
        self.layer_norm = nn.LayerNorm(config.patch_width)
        self.post_extract_proj = nn.Linear(config.patch_width, config.width)
        self.encoder = BeatsEncoder(config)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """The network of a checkpoint such as `BEATs_iter3_plus_AS2M.pt`, in evaluation mode.

        Its `cfg` tells the sizes; without one they are BEATs_iter3+'s. Raises CheckpointNotFoundError, or
        CheckpointError for a file that is not exactly such a network's.
        """
        checkpoint = read_checkpoint(path)
        beats = cls(BeatsConfig.published(checkpoint.sizes))
        load_strictly(beats, checkpoint.state, network_name="BEATs", source=str(path), check=check_copies)
        beats.checkpoint_sha256 = checkpoint.sha256
        return beats.eval()

    def forward(self, fbank: Tensor) -> tuple[Tensor, ...]:
        """Every layer's output [batch, tokens, width] for `fbank` [batch, frames, 128]; tokens = 8 (frames // 16)."""
        tokens = self.post_extract_proj(self.layer_norm(embed(self.patch_embedding, fbank)))
        layers: tuple[Tensor, ...] = self.encoder(tokens)
        return layers
