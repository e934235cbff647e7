"""Windows: the segments of consecutive patches that one score covers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import OptionError
from .features.patches import PATCH_SECONDS

LONGEST: Final = 60.0
"""Maximum length of a window in seconds. For longer windows, the student's attention would take gigabytes."""

WindowLike = float | Literal["default", "whole"]
"""The length of a window: seconds, `default` for the model's length, or `whole` for one window of the whole clip."""
_RANGE: Final = f"{PATCH_SECONDS:g} to {LONGEST:g} s"


class Encoded(NamedTuple):
    """Consecutive patches.

    Attributes:
        tokens: float32 [patches, tokens per patch, width]. Before encoding, this field holds the encoder's input
            instead, float32 [patches, ...].
        silent: bool [patches], True for silence.
    """

    tokens: npt.NDArray[np.float32]
    silent: npt.NDArray[np.bool_]


class Cut(NamedTuple):
    """A window of a clip.

    Attributes:
        start: index of the first patch.
        patches: the patches of the window.
        added: number of patches, at the end of the window, that no earlier window covers.
    """

    start: int
    patches: Encoded
    added: int


def window_length(window: WindowLike, default: float) -> int | None:
    """Convert the `window` argument of a scorer to whole patches.

    Args:
        window: seconds, `default` or `whole`.
        default: seconds in the model's window, which `default` stands for.

    Returns:
        The number of patches; None for the whole clip.

    Raises:
        OptionError: if the window is none of these, shorter than one patch or longer than `LONGEST`.
    """
    given: object = window
    if isinstance(given, str) and given in ("default", "whole"):
        return window_patches(default) if given == "default" else None
    if isinstance(given, int | float | np.integer | np.floating) and not isinstance(given, bool):
        return window_patches(float(given))
    hint = ""  # for the values of 0.1
    if given is None:
        hint = ': write window="whole" for the whole clip'
    elif isinstance(given, str) and given == "card":
        hint = ': write window="default"'
    raise OptionError(f'window={given!r}{hint}; a window is a number of seconds, {_RANGE}, or "default" or "whole"')


def window_patches(seconds: float) -> int:
    """Convert the length of a window to whole patches.

    Args:
        seconds: length of the window.

    Raises:
        OptionError: if the window is shorter than one patch or longer than `LONGEST`.
    """
    if not PATCH_SECONDS <= seconds <= LONGEST:  # also true for NaN
        raise OptionError(
            f'a window of {seconds:g} s: give {_RANGE}, or "whole" for the whole clip (up to {LONGEST:g} s)'
        )
    return int(seconds / PATCH_SECONDS + 1e-9)


def cut(blocks: Iterable[Encoded], length: int | None) -> Iterator[Cut]:
    """Split a clip into consecutive windows. The last window ends with the last patch and may overlap the one before.

    A clip that is shorter than a window becomes one window. At most two windows and one block are in memory at a time.

    Args:
        blocks: the patches of the clip, in blocks.
        length: patches in a window; None for one window of the whole clip.

    Raises:
        OptionError: if `length` is None and the clip is longer than `LONGEST`.
    """
    longest = int(LONGEST / PATCH_SECONDS)
    held: Encoded | None = None
    start = fresh = 0  # first stored patch; number of stored patches, at the end, that are in no window yet
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
            drop = max(0, len(held.silent) - fresh - length)  # keep one window: the last one may overlap it
            held, start = _part(held, drop, len(held.silent)), start + drop
    if held is not None and fresh:
        size = len(held.silent) if length is None else min(length, len(held.silent))
        first = len(held.silent) - size
        yield Cut(start + first, _part(held, first, first + size), fresh)


def _joined(a: Encoded, b: Encoded) -> Encoded:
    return Encoded(np.concatenate([a.tokens, b.tokens]), np.concatenate([a.silent, b.silent]))


def _part(block: Encoded, start: int, stop: int) -> Encoded:
    return Encoded(block.tokens[start:stop], block.silent[start:stop])
