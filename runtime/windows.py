"""Windows: the segments of consecutive patches that one score covers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import OptionError
from .features.patches import PATCH_SECONDS

MAX_WINDOW_SECONDS: Final = 60.0
"""Maximum length of a window in seconds. For longer windows, the student's attention would take gigabytes."""

DEFAULT_WINDOW: Final = 10.0
"""Length of a window in seconds, if the card of a model does not set another one."""

WindowLike = float | Literal["default", "whole"]
"""The length of a window: seconds, `default` for the model's length, or `whole` for one window of the whole clip."""
_RANGE: Final = f"{PATCH_SECONDS:g} to {MAX_WINDOW_SECONDS:g} s"


class PatchFeatures(NamedTuple):
    """Consecutive patches before encoding.

    Attributes:
        features: float32 [patches, ...], the encoder's input.
        silent: bool [patches], True for silence.
    """

    features: npt.NDArray[np.float32]
    silent: npt.NDArray[np.bool_]


class PatchTokens(NamedTuple):
    """Consecutive patches after encoding.

    Attributes:
        tokens: float32 [patches, tokens per patch, width].
        silent: bool [patches], True for silence.
    """

    tokens: npt.NDArray[np.float32]
    silent: npt.NDArray[np.bool_]


Patches = TypeVar("Patches", PatchFeatures, PatchTokens)


class WindowSlice(NamedTuple, Generic[Patches]):
    """A window of a clip.

    Attributes:
        start: index of the first patch.
        patches: the patches of the window, `PatchFeatures` or `PatchTokens`.
        added: number of patches, at the end of the window, that no earlier window covers.
    """

    start: int
    patches: Patches
    added: int


def window_length(window: WindowLike, default: float) -> int | None:
    """Convert the `window` argument of a scorer to whole patches.

    Args:
        window: seconds, `default` or `whole`.
        default: seconds in the model's window, which `default` stands for.

    Returns:
        The number of patches; None for the whole clip.

    Raises:
        OptionError: if the window is none of these, shorter than one patch or longer than `MAX_WINDOW_SECONDS`.
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
        OptionError: if the window is shorter than one patch or longer than `MAX_WINDOW_SECONDS`.
    """
    if not PATCH_SECONDS <= seconds <= MAX_WINDOW_SECONDS:  # also true for NaN
        raise OptionError(
            f'a window of {seconds:g} s: give {_RANGE}, or "whole" for the whole clip (up to {MAX_WINDOW_SECONDS:g} s)'
        )
    return int(seconds / PATCH_SECONDS + 1e-9)


def slice_windows(blocks: Iterable[Patches], length: int | None) -> Iterator[WindowSlice[Patches]]:
    """Split a clip into consecutive windows. The last window ends with the last patch and may overlap the one before.

    A clip that is shorter than a window becomes one window. At most two windows and one block are in memory at a time.

    Args:
        blocks: the patches of the clip, in blocks.
        length: patches in a window; None for one window of the whole clip.

    Raises:
        OptionError: if `length` is None and the clip is longer than `MAX_WINDOW_SECONDS`.
    """
    max_patches = int(MAX_WINDOW_SECONDS / PATCH_SECONDS)
    buffer: Patches | None = None
    start = fresh = 0  # first stored patch; number of stored patches, at the end, that are in no window yet
    for block in blocks:
        buffer = block if buffer is None else _concatenate(buffer, block)
        fresh += len(block.silent)
        if length is None:
            if fresh > max_patches:
                raise OptionError(
                    f"the clip is longer than {MAX_WINDOW_SECONDS:g} s, the longest window: score it in consecutive "
                    "windows (the default)"
                )
            continue
        while fresh >= length:
            first = len(buffer.silent) - fresh
            yield WindowSlice(start + first, _select(buffer, first, first + length), length)
            fresh -= length
            drop = max(0, len(buffer.silent) - fresh - length)  # keep one window: the last one may overlap it
            buffer, start = _select(buffer, drop, len(buffer.silent)), start + drop
    if buffer is not None and fresh:
        size = len(buffer.silent) if length is None else min(length, len(buffer.silent))
        first = len(buffer.silent) - size
        yield WindowSlice(start + first, _select(buffer, first, first + size), fresh)


def _concatenate(a: Patches, b: Patches) -> Patches:
    return type(a)(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]))


def _select(block: Patches, start: int, stop: int) -> Patches:
    return type(block)(block[0][start:stop], block[1][start:stop])
