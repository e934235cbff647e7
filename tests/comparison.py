"""When two roads to one score agree."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from haaqi_edge.runtime import Score, Tokens
from haaqi_edge.runtime.windows import Encoded

SAME = 1e-6
"""the largest difference between two roads to one score"""


def same(a: Score, b: Score, tolerance: float = SAME) -> None:
    """Equal in all they say, numbers up to a tolerance."""
    assert a.score == pytest.approx(b.score, abs=tolerance)
    np.testing.assert_allclose(a.frame_scores, b.frame_scores, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(a.times, b.times)
    assert a.audiogram.levels == b.audiogram.levels
    assert len(a.windows) == len(b.windows)
    for mine, other in zip(a.windows, b.windows, strict=True):
        assert (mine.start, mine.end) == (other.start, other.end)
        assert (mine.score is None) == (other.score is None)
        assert mine.score == other.score or mine.score == pytest.approx(other.score, abs=tolerance)


def same_tokens(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> None:
    """Equal up to rounding in single precision, whatever the size of the weights."""
    np.testing.assert_allclose(a, b, rtol=0, atol=SAME * max(1.0, float(np.abs(b).max())))


def part(tokens: Tokens, start: int, stop: int) -> Tokens:
    """Some patches of a clip's tokens."""
    encoded = Encoded(tokens.encoded.tokens[start:stop], tokens.encoded.silent[start:stop])
    return dataclasses.replace(tokens, encoded=encoded)
