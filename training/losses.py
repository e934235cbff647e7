"""Losses of distillation, and their combination into one.

The plain form is DistilHuBERT's (Chang et al. 2022, ICASSP): for every predicted layer, the mean L1 distance and the
-log sigmoid of the cosine similarity of tokens, with fixed weights.

The adaptive form of HAAQI-Net's paper is not published. This one weights every term by a variance that is learned with
the network (Kendall, Gal & Cipolla 2018, "Multi-task learning using uncertainty to weigh losses", CVPR). Each term is
treated as the negative log-likelihood of an error with an unknown scale b:

    L1 distance (Laplace), -log sigmoid(cosine):   loss / b + log b
    squared error of scores (Gaussian):            loss / (2 b) + log(b) / 2      (b the variance)

log b is learned from 0, with 10 times the learning rate of the weights, and is clamped to [-6, 6]. Terms with large
errors count less, terms with small errors count more, and no weight has to be tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Form = Literal["l1_cosine", "adaptive"]
FORMS: Final[tuple[Form, ...]] = ("l1_cosine", "adaptive")
ADAPTING: Final = 10.0
"""Ratio of the learning rates of the scales and the weights."""
_RANGE: Final = 6.0


def token_distances(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the L1 and the cosine distance of tokens [..., width], each averaged over all tokens."""
    cosine = F.cosine_similarity(predicted, target, dim=-1)
    return F.l1_loss(predicted, target), -F.logsigmoid(cosine).mean()


class FixedSum(nn.Module):
    """The plain form: a sum of distances and squared errors with fixed weights."""

    def __init__(self, cosine_weight: float) -> None:
        super().__init__()
        self.cosine_weight = cosine_weight

    def forward(
        self, l1: Sequence[Tensor], cosine: Sequence[Tensor], squared: Sequence[Tensor], counted: Sequence[bool]
    ) -> Tensor:
        """Combine the terms of each kind into one loss.

        Args:
            l1, cosine: distances, one per layer. They are averaged over layers.
            squared: squared errors. One that a batch cannot provide is 0.
            counted: whether each squared error is used.
        """
        distance = [a + self.cosine_weight * b for a, b in zip(l1, cosine, strict=True)]
        far = torch.stack(distance).mean() if distance else 0.0
        total: Tensor = torch.stack([term * used for term, used in zip(squared, counted, strict=True)]).sum() + far
        return total


class AdaptiveSum(nn.Module):
    """The adaptive form, see the module. `log_scales` are learned."""

    def __init__(self, distances: int, squared: int) -> None:
        super().__init__()
        self.distances = distances
        self.log_scales = nn.Parameter(torch.zeros(distances + squared))

    def forward(
        self, l1: Sequence[Tensor], cosine: Sequence[Tensor], squared: Sequence[Tensor], counted: Sequence[bool]
    ) -> Tensor:
        """Combine the terms of each kind into one loss. A squared error not `counted` does not change its scale."""
        terms = torch.stack([*l1, *cosine, *squared])
        log_scale = self.log_scales.clamp(-_RANGE, _RANGE)
        each = terms * torch.exp(-log_scale) + log_scale
        shares = each.new_tensor([1.0] * self.distances + [0.5 * used for used in counted])
        return (each * shares).sum()
