"""The BEATs transformer: the teacher's encoder, from which the student was distilled.

Source: Chen et al. 2023, "BEATs: Audio Pre-Training with Acoustic Tokenizers" (ICML), iteration 3+. Parameter names are
the published ones. All sizes are in `BeatsConfig`.
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
from ..runtime.features.patches import PATCH_FRAMES
from .checkpoint import load_strictly, read_checkpoint

GATE_OUTPUTS = 8
"""Outputs of `grep_linear`, summed in two groups of four."""
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
"""Names of the sizes in the `cfg` of a BEATs checkpoint, each with its name in `BeatsConfig`."""


@dataclass(frozen=True)
class BeatsConfig:
    """Sizes of a BEATs transformer. The defaults are those of BEATs_iter3+ (90.3 M parameters)."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    ffn: int = 3072
    patch_width: int = 512
    norm_layers: int = 12
    """Number of layers that sets the deep-norm constants. The student uses the 12 of its original transformer."""
    buckets: int = 320
    max_distance: int = 800
    position_kernel: int = 128
    position_groups: int = 16

    def __post_init__(self) -> None:
        for name in ("heads", "position_groups"):
            parts = getattr(self, name)
            if parts < 1 or self.width % parts:
                raise OptionError(f"beats: a width of {self.width} is not a multiple of {name}={parts}: change one")

    @classmethod
    def from_published(cls, cfg: Mapping[str, Any]) -> Self:
        """Return the sizes in a BEATs checkpoint's `cfg`. Missing sizes default to those of BEATs_iter3+."""
        sizes = {ours: int(cfg[theirs]) for theirs, ours in PUBLISHED_NAMES.items() if theirs in cfg}
        return cls(**sizes, norm_layers=sizes.get("layers", cls.norm_layers))

    def to_published(self) -> dict[str, int]:
        """Return the sizes in the form of a checkpoint's `cfg`."""
        return {theirs: getattr(self, ours) for theirs, ours in PUBLISHED_NAMES.items()}

    @property
    def alpha(self) -> float:
        """Deep-norm's weight of the residual (Wang et al. 2022, "DeepNet"). The published student uses it too."""
        return float((2 * self.norm_layers) ** 0.25)


def create_patch_embedding(config: BeatsConfig) -> nn.Conv2d:
    """Create the convolution that maps one 16 x 16 patch of the fbank to one token."""
    return nn.Conv2d(1, config.patch_width, PATCH_FRAMES, stride=PATCH_FRAMES, bias=False)


def embed_patches(convolution: nn.Conv2d, fbank: Tensor) -> Tensor:
    """Return the tokens [batch, 8 x patches, patch width] of `fbank` [batch, frames, 128].

    Tokens are ordered by time, then by frequency. Trailing frames that do not fill a patch are dropped.
    """
    columns: Tensor = convolution(fbank.unsqueeze(1))
    return columns.flatten(2).transpose(1, 2)


def position_buckets(tokens: int, config: BeatsConfig, device: torch.device | None = None) -> Tensor:
    """Return T5's bidirectional bucket [tokens (query), tokens (key)] of key minus query (Raffel et al. 2020)."""
    position = torch.arange(tokens, device=device)
    distance = position[None, :] - position[:, None]
    half = config.buckets // 2
    exact = half // 2
    # The bounds are applied to floats, because TensorRT clips no other type.
    far = torch.log(distance.abs().float().clamp_min(1) / exact) / math.log(config.max_distance / exact)
    far = exact + (far * (half - exact)).clamp_max(half - 1 - exact).long()
    near = distance.abs()
    return half * (distance > 0) + torch.where(near < exact, near, far)


class LocalAttention(nn.Module):
    """Attention of a token to itself only. A softmax over one key is 1, so queries and keys are not needed."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.v_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [..., width] to the same shape."""
        mixed: Tensor = self.out_proj(self.v_proj(x))
        return mixed


class RelativeAttention(LocalAttention):
    """Self-attention with a gated relative position bias.

    Without a bias, each token attends only to itself, as in the released student.
    """

    def __init__(self, config: BeatsConfig, table: nn.Embedding | None = None) -> None:
        """`table` [buckets, heads] is the bias table shared with earlier layers. None creates a new one."""
        super().__init__(config)
        self.heads = config.heads
        self.q_proj = nn.Linear(config.width, config.width)
        self.k_proj = nn.Linear(config.width, config.width)
        self.relative_attention_bias = nn.Embedding(config.buckets, config.heads) if table is None else table
        self.grep_linear = nn.Linear(config.width // config.heads, GATE_OUTPUTS)
        self.grep_a = nn.Parameter(torch.ones(1, config.heads, 1, 1))

    def forward(self, x: Tensor, position_bias: Tensor | None = None) -> Tensor:
        """Map `x` [batch, tokens, width] to the same shape.

        `position_bias` is [heads, tokens, tokens]. With None, each token attends only to itself.
        """
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
        """Map `x` [..., tokens, width] to the same shape.

        `position_bias` is passed to the attention. With None, each token attends only to itself.
        """
        attended = self.self_attn(x) if position_bias is None else self.self_attn(x, position_bias)
        x = self.self_attn_layer_norm(self.alpha * x + attended)
        out: Tensor = self.final_layer_norm(self.alpha * x + self.fc2(F.gelu(self.fc1(x))))
        return out


class PositionalConv(nn.Module):
    """A grouped convolution over time. The weight is normalized over axes 0 and 1, with one gain per kernel tap."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.groups, kernel = config.position_groups, config.position_kernel
        direction = torch.randn(config.width, config.width // self.groups, kernel)
        direction *= math.sqrt(4 / (kernel * config.width))
        self.bias = nn.Parameter(torch.zeros(config.width))
        self.weight_g = nn.Parameter(direction.norm(dim=(0, 1), keepdim=True))
        self.weight_v = nn.Parameter(direction)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [batch, tokens, width] to the same shape."""
        weight = self.weight_g * self.weight_v / self.weight_v.norm(dim=(0, 1), keepdim=True)
        around = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=weight.shape[-1] // 2, groups=self.groups)
        # An even kernel gives one sample too many. The last one is cut.
        return F.gelu(around[..., : x.shape[1]]).transpose(1, 2)


class BeatsEncoder(nn.Module):
    """The positional convolution and the layers. All layers share the bias table of the first one."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.pos_conv = nn.Sequential(PositionalConv(config))
        self.layer_norm = nn.LayerNorm(config.width)
        first = RelativeAttention(config)
        others = (RelativeAttention(config, first.relative_attention_bias) for _ in range(config.layers - 1))
        self.layers = nn.ModuleList(TransformerLayer(config, attention) for attention in (first, *others))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the output of every layer, each [batch, tokens, width], for `x` [batch, tokens, width]."""
        return self.layers_from(self.layer_norm(x + self.pos_conv(x)), 0)

    def layers_from(self, x: Tensor, first: int) -> tuple[Tensor, ...]:
        """Return the outputs of layer `first` (counted from 0) and all later layers.

        `x` is the output of the layer before `first`.
        """
        buckets = position_buckets(x.shape[1], self.config, x.device)
        bias = self.get_submodule("layers.0.self_attn.relative_attention_bias")(buckets).permute(2, 0, 1)
        outputs: list[Tensor] = []
        for layer in list(self.layers)[first:]:
            x = layer(x, bias)
            outputs.append(x)
        return tuple(outputs)


def check_bias_tables(state: Mapping[str, Tensor], source: str) -> None:
    """Raise CheckpointError if the layers' copies of the shared bias table differ."""
    copies = [key for key in state if key.endswith("relative_attention_bias.weight")]
    unequal = [key for key in copies if not torch.equal(state[key], state[copies[0]])]
    if unequal:
        raise CheckpointError(
            f"{source}: {unequal[0]} differs from {copies[0]}; expected equal copies of the one table that BEATs's "
            "layers share. The file is damaged or was saved incorrectly: obtain it again, or save one shared table"
        )


class Beats(nn.Module):
    """The BEATs network: maps normalized fbank features to the hidden layers."""

    checkpoint_sha256: str | None = None
    """SHA-256 of the file that `from_checkpoint` read."""

    def __init__(self, config: BeatsConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BeatsConfig()
        self.patch_embedding = create_patch_embedding(config)
        self.layer_norm = nn.LayerNorm(config.patch_width)
        self.post_extract_proj = nn.Linear(config.patch_width, config.width)
        self.encoder = BeatsEncoder(config)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Load the network from a checkpoint such as `BEATs_iter3_plus_AS2M.pt`, in evaluation mode.

        The sizes come from the checkpoint's `cfg`. Without a `cfg`, they are those of BEATs_iter3+.

        Raises:
            CheckpointNotFoundError: there is no such file.
            CheckpointError: the file does not hold exactly such a network.
        """
        checkpoint = read_checkpoint(path)
        beats = cls(BeatsConfig.from_published(checkpoint.sizes))
        load_strictly(beats, checkpoint.state, network_name="BEATs", source=str(path), check=check_bias_tables)
        beats.checkpoint_sha256 = checkpoint.sha256
        return beats.eval()

    def forward(self, fbank: Tensor) -> tuple[Tensor, ...]:
        """Return every layer's output [batch, tokens, width] for `fbank` [batch, frames, 128].

        tokens = 8 (frames // 16).
        """
        tokens = self.post_extract_proj(self.layer_norm(embed_patches(self.patch_embedding, fbank)))
        layers: tuple[Tensor, ...] = self.encoder(tokens)
        return layers
