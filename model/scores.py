"""What every network of the family answers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Scores(NamedTuple):
    """HAAQI predicted for a batch of clips, each in [0, 1]."""

    frame_scores: Tensor
    """[batch, tokens]"""
    score: Tensor
    """[batch], the clip's score"""
