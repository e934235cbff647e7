"""The output type of all networks of the family."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Scores(NamedTuple):
    """Predicted HAAQI for a batch of clips, each value in [0, 1]."""

    frame_scores: Tensor
    """[batch, tokens]"""
    score: Tensor
    """[batch], the score of the clip"""
