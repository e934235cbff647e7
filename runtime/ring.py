"""The last rows of a series, in one piece."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Ring:
    """The last `length` rows of a shape, each written twice, so that they always lie in one piece and none is moved.

    Args:
        length: rows that are kept.
        shape: of a row.
    """

    def __init__(self, length: int, shape: tuple[int, ...]) -> None:
        self._rows = np.zeros((2 * length, *shape), dtype=np.float32)
        self._length, self._at = length, 0
        self.count = 0
        """rows that are held, at most `length`"""

    def push(self, row: Array) -> None:
        """Add a row; the oldest one leaves when there are too many."""
        self._rows[self._at] = self._rows[self._at + self._length] = row
        self._at = (self._at + 1) % self._length
        self.count = min(self.count + 1, self._length)

    def view(self) -> Array:
        """The rows held, oldest first: float32 [count, *shape], valid until the next `push`."""
        end = self._at + self._length
        return self._rows[end - self.count : end]
