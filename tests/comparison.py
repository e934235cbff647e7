"""Assertions that two ways to compute a score agree."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from haaqi_edge.runtime import Score, Tokens
from haaqi_edge.runtime.windows import PatchTokens

TOLERANCE = 1e-6
"""maximum difference between two ways to compute a score"""


def assert_scores_equal(a: Score, b: Score, tolerance: float = TOLERANCE) -> None:
    """Assert that two scores are equal in all attributes, numbers up to a tolerance."""
    assert a.score == pytest.approx(b.score, abs=tolerance)
    np.testing.assert_allclose(a.frame_scores, b.frame_scores, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(a.times, b.times)
    assert a.audiogram.levels == b.audiogram.levels
    assert len(a.windows) == len(b.windows)
    for one, other in zip(a.windows, b.windows, strict=True):
        assert (one.start, one.end) == (other.start, other.end)
        assert (one.score is None) == (other.score is None)
        assert one.score == other.score or one.score == pytest.approx(other.score, abs=tolerance)


def assert_tokens_equal(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> None:
    """Assert that tokens are equal up to rounding in single precision."""
    np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * max(1.0, float(np.abs(b).max())))


def slice_tokens(tokens: Tokens, start: int, stop: int) -> Tokens:
    """Return the tokens of some patches of a clip."""
    encoded = PatchTokens(tokens.encoded.tokens[start:stop], tokens.encoded.silent[start:stop])
    return dataclasses.replace(tokens, encoded=encoded)
