"""Random weights by a rule, for networks without a checkpoint.

Each tensor depends on its name and shape alone. The golden files of the published networks were computed with the same
weights, so that the whole chain from the network to its files can be tried and tested without the authors' checkpoint.
The scores mean nothing.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

_BIAS_TABLE: Final = "relative_attention_bias"
_LAST_BIAS_TABLE: Final = f"beats_model.encoder.layers.11.self_attn.{_BIAS_TABLE}.weight"
"""key whose values are used for all twelve copies of the table in the teacher"""
_GAINS: Final = {
    "haaqiframe_score.weight": 0.4,
    "haaqiAtt_layer.in_proj_weight": 3.0,
    "blstm.weight_ih_l0": 0.25,
    "blstm.weight_ih_l0_reverse": 0.25,
    "linear1.weight": 3.0,
    "linear0.weight": 2.0,
}
"""factors with which the scores of different sounds differ"""
Shapes = Mapping[str, Sequence[int]]


def _random_tensor(key: str, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Compute the values of a tensor from its key: normal values, seeded by the CRC-32 of the key."""
    normal = np.random.default_rng([0, zlib.crc32(key.encode())]).standard_normal(shape).astype("float32")
    last = key.rsplit(".", 1)[-1]
    if _BIAS_TABLE in key:
        value = 0.5 * normal
    elif last == "grep_a":
        value = 1 + 0.1 * normal
    elif last == "weight_g":
        value = np.abs(1 + 0.1 * normal)
    elif last == "weights":
        value = 0.5 * normal
    elif last.startswith("bias") or last.endswith("bias"):
        value = 0.1 * normal
    elif len(shape) == 1:
        value = 1 + 0.1 * normal
    else:
        value = _GAINS.get(key, 1.0) * normal / math.sqrt(math.prod(shape[1:]))
    return value.astype("float32")


def golden_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a state dict for a network, with golden values."""
    return golden_state_dict({key: tuple(value.shape) for key, value in network.state_dict().items()})


def golden_state_dict(shapes: Shapes) -> dict[str, Tensor]:
    """Return a state dict of `shapes`, with golden values.

    The teacher's copies of the bias table have the values of the last one.
    """
    return {
        key: torch.from_numpy(_random_tensor(_LAST_BIAS_TABLE if _is_bias_copy(key) else key, shape))
        for key, shape in shapes.items()
    }


def _is_bias_copy(key: str) -> bool:
    return key.startswith("beats_model.") and _BIAS_TABLE in key


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the names and values of a state dict, hex."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
