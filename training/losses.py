"""What a distilled network's losses are, and how several of them become one.

The plain form is DistilHuBERT's (Chang et al. 2022, ICASSP) for every predicted layer: the mean L1 distance and
-log sigmoid of the cosine similarity of tokens, with fixed weights.

The adaptive form of HAAQI-Net's paper is not published. Ours weights every term by a variance that is learned with the
network (Kendall, Gal & Cipolla 2018, "Multi-task learning using uncertainty to weigh losses", CVPR): each is taken for
the negative log-likelihood of an error whose scale b is unknown,

    L1 distance (Laplace), -log sigmoid(cosine):   loss / b + log b
    squared error of scores (Gaussian):            loss / (2 b) + log(b) / 2      (b the variance)

with log b learned from 0, ten times as fast as the weights, and held within [-6, 6]. Terms that are still far off count
less, those that are known exactly count more, and none of them has a weight to be tuned.
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
"""how much faster than the weights the scales are learned"""
_RANGE: Final = 6.0


def token_distances(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and cosine distance of tokens [..., width], each a mean over all of them."""
    cosine = F.cosine_similarity(predicted, target, dim=-1)
    return F.l1_loss(predicted, target), -F.logsigmoid(cosine).mean()


class FixedSum(nn.Module):
    """The plain form: distances and squared errors with weights that are told."""

    def __init__(self, cosine_weight: float) -> None:
        super().__init__()
        self.cosine_weight = cosine_weight

    def forward(
        self, l1: Sequence[Tensor], cosine: Sequence[Tensor], squared: Sequence[Tensor], counted: Sequence[bool]
    ) -> Tensor:
        """One loss from the terms of each kind, distances averaged over layers; squared errors that a batch can't tell
        are 0 and not `counted`."""
        distance = [a + self.cosine_weight * b for a, b in zip(l1, cosine, strict=True)]
        far = torch.stack(distance).mean() if distance else 0.0
        total: Tensor = torch.stack([term * told for term, told in zip(squared, counted, strict=True)]).sum() + far
        return total


class AdaptiveSum(nn.Module):
    """The adaptive form; see the module. `log_scales` are learned."""

    def __init__(self, distances: int, squared: int) -> None:
        super().__init__()
        self.distances = distances
        self.log_scales = nn.Parameter(torch.zeros(distances + squared))

    def forward(
        self, l1: Sequence[Tensor], cosine: Sequence[Tensor], squared: Sequence[Tensor], counted: Sequence[bool]
    ) -> Tensor:
        """One loss from the terms of each kind; a squared error that is not `counted` doesn't move its scale either."""
        terms = torch.stack([*l1, *cosine, *squared])
        log_scale = self.log_scales.clamp(-_RANGE, _RANGE)
        each = terms * torch.exp(-log_scale) + log_scale
        shares = each.new_tensor([1.0] * self.distances + [0.5 * told for told in counted])
        return (each * shares).sum()
