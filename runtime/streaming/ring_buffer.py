"""A ring buffer that holds the last rows of a series in contiguous memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class RingBuffer:
    """A ring buffer of the last `length` rows.

    Each row is written twice, so that the stored rows are always contiguous and none is moved.

    Args:
        length: maximum number of stored rows.
        shape: shape of a row.
    """

    def __init__(self, length: int, shape: tuple[int, ...]) -> None:
        self._rows = np.zeros((2 * length, *shape), dtype=np.float32)
        self._length, self._at = length, 0
        self.count = 0
        """Number of stored rows, at most `length`."""

    def push(self, row: Array) -> None:
        """Add a row. If the buffer is full, the oldest row is dropped."""
        self._rows[self._at] = self._rows[self._at + self._length] = row
        self._at = (self._at + 1) % self._length
        self.count = min(self.count + 1, self._length)

    def view(self) -> Array:
        """Return the stored rows, oldest first: float32 [count, *shape]. The view is valid until the next `push`."""
        end = self._at + self._length
        return self._rows[end - self.count : end]
