"""The ring holds the last rows, in order and in one piece."""

from __future__ import annotations

import numpy as np
from haaqi_edge.runtime.streaming.ring_buffer import RingBuffer
from hypothesis import given
from hypothesis import strategies as st


@given(length=st.integers(1, 9), pushed=st.integers(0, 40))
def test_the_last_rows(length: int, pushed: int) -> None:
    rows = np.random.default_rng(0).standard_normal((pushed, 3, 2)).astype(np.float32)
    ring = RingBuffer(length, (3, 2))
    for count, row in enumerate(rows, 1):
        ring.push(row)
        assert ring.count == min(count, length)
        assert np.array_equal(ring.view(), rows[max(0, count - length) : count])
        assert ring.view().flags.c_contiguous
    assert ring.view().shape == (min(pushed, length), 3, 2)


def test_rows_are_not_copied_to_be_seen() -> None:
    ring = RingBuffer(4, (2,))
    for value in range(11):
        ring.push(np.full(2, value, np.float32))
        assert np.shares_memory(ring.view(), ring.view())
    before = ring.view()
    assert np.shares_memory(before, ring.view())
    assert not before.flags.owndata
