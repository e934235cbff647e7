"""The oracle of streams: each update, from the tokens that `encode` gives for all of the audio."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from comparison import TOLERANCE, slice_tokens
from haaqi_edge.runtime import Scorer, Tokens, Update
from haaqi_edge.runtime.features import patches as fe

Samples = npt.NDArray[Any]


def split(samples: Samples, sizes: Iterable[int]) -> Iterator[Samples]:
    """Chunks of these sizes, again and again, until all samples are given."""
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(samples):
            return
        yield samples[at : at + size]
        at += size


def check_against_tokens(
    updates: list[Update], scorer: Scorer, tokens: Tokens, listeners: list[Any], length: int, hop: int = 1
) -> None:
    """Every update is the head over the last whole patches, `length` of them, and means are of whole windows."""
    count = len(tokens.encoded.silent)
    ends = [*range(hop, count + 1, hop), *([count] if count % hop else [])]
    assert [update.time for update in updates] == [fe.patch_end(end) for end in ends]
    assert [update.full for update in updates] == [end >= length for end in ends]
    wholes: list[list[float | None]] = [[] for _ in listeners]
    for end in range(1, count + 1):
        window = slice_tokens(tokens, max(0, end - length), end)
        silent = bool(window.encoded.silent.all())
        due = end in ends
        if not due and end % length:
            continue
        expected = None if silent else scorer.score(window, listeners, window="whole")
        if end % length == 0:
            for i, own in enumerate(wholes):
                own.append(None if expected is None else expected[i].score)
        if not due:
            continue
        update = updates[ends.index(end)]
        for i, reading in enumerate(update.readings):
            sounding = [score for score in wholes[i] if score is not None]
            assert reading.mean == (pytest.approx(np.mean(sounding), abs=TOLERANCE) if sounding else None)
            if expected is None:
                assert reading.score is None
                assert np.isnan(reading.frame_scores).all()
                assert len(reading.frame_scores) == min(end, length)
            else:
                assert reading.score == pytest.approx(expected[i].score, abs=TOLERANCE)
                np.testing.assert_allclose(reading.frame_scores, expected[i].frame_scores, rtol=0, atol=TOLERANCE)


def same_updates(a: list[Update], b: list[Update], tolerance: float = TOLERANCE) -> None:
    """Equal in all they say, numbers up to a tolerance."""
    assert [(u.time, u.full) for u in a] == [(u.time, u.full) for u in b]
    for mine, other in zip(a, b, strict=True):
        for x, y in zip(mine.readings, other.readings, strict=True):
            assert x.audiogram.levels == y.audiogram.levels
            for name in ("score", "mean", "level"):
                one, two = getattr(x, name), getattr(y, name)
                assert (one is None) == (two is None)
                assert one is None or one == pytest.approx(two, abs=tolerance)
            np.testing.assert_allclose(x.frame_scores, y.frame_scores, rtol=0, atol=tolerance)
