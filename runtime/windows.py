"""Windows: the stretches of patches that one score covers each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import OptionError
from .frontend import PATCH_SECONDS

LONGEST: Final = 60.0
"""seconds; the student's attention over more would take gigabytes"""


class Encoded(NamedTuple):
    """Consecutive patches: tokens float32 [patches, tokens per patch, width], or in their place what the encoder is to
    read, float32 [patches, ...]; and bool [patches], True for silence."""

    tokens: npt.NDArray[np.float32]
    silent: npt.NDArray[np.bool_]


class Cut(NamedTuple):
    """A window: its first patch, its patches, and how many of them, at its end, no earlier window covered."""

    start: int
    patches: Encoded
    added: int


def window_patches(window: float | None) -> int | None:
    """Whole patches in a window of so many seconds; None, the whole clip, stays None.

    Raises:
        OptionError: less than one patch, or more than `LONGEST`.
    """
    if window is None:
        return None
    if not PATCH_SECONDS <= window <= LONGEST:
        raise OptionError(
            f"a window of {window:g} s: give {PATCH_SECONDS:g} to {LONGEST:g} s, or the whole clip "
            f"(up to {LONGEST:g} s)"
        )
    return int(window / PATCH_SECONDS + 1e-9)


def cut(blocks: Iterable[Encoded], length: int | None) -> Iterator[Cut]:
    """Consecutive windows of `length` patches, the last one ending with the last patch.

    A clip shorter than a window is one window; `length` None makes one of the whole clip. No more than two windows
    and a block are held at a time.

    Raises:
        OptionError: `length` is None and the clip is longer than `LONGEST`.
    """
    longest = int(LONGEST / PATCH_SECONDS)
    held: Encoded | None = None
    start = fresh = 0  # first patch held, and how many at the end of those held are in no window yet
    for block in blocks:
        held = block if held is None else _joined(held, block)
        fresh += len(block.silent)
        if length is None:
            if fresh > longest:
                raise OptionError(
                    f"the clip is longer than {LONGEST:g} s, the longest window: score it in consecutive windows "
                    "(the default)"
                )
            continue
        while fresh >= length:
            first = len(held.silent) - fresh
            yield Cut(start + first, _part(held, first, first + length), length)
            fresh -= length
            drop = max(0, len(held.silent) - fresh - length)  # a whole window stays: the last one may need it
            held, start = _part(held, drop, len(held.silent)), start + drop
    if held is not None and fresh:
        size = len(held.silent) if length is None else min(length, len(held.silent))
        first = len(held.silent) - size
        yield Cut(start + first, _part(held, first, first + size), fresh)


def _joined(a: Encoded, b: Encoded) -> Encoded:
    return Encoded(np.concatenate([a.tokens, b.tokens]), np.concatenate([a.silent, b.silent]))


def _part(block: Encoded, start: int, stop: int) -> Encoded:
    return Encoded(block.tokens[start:stop], block.silent[start:stop])
