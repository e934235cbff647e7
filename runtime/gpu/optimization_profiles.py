"""Optimization profiles: the ranges of shapes for which TensorRT builds an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ..audiogram import FREQUENCIES
from ..bundle import Card
from ..errors import OptionError
from ..features import patches as fe
from ..features.front_ends import FEATURE_EXTRACTORS
from ..head import max_listeners_per_run
from ..windows import MAX_WINDOW_SECONDS, window_patches

MAX_PATCHES: Final = int(MAX_WINDOW_SECONDS / fe.PATCH_SECONDS)
"""Patches in the longest window."""
_MAX_LISTENERS: Final = 8
"""Maximum number of listeners that the head scores at once, if memory allows."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class OptimizationProfile:
    """Numbers of patches for which an engine is built.

    Attributes:
        min: smallest number.
        opt: number for which the engine is optimized.
        max: largest number.

    Raises:
        OptionError: unless 1 <= min <= opt <= max <= `MAX_PATCHES`.
    """

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max <= MAX_PATCHES:
            raise OptionError(f"the profile {self}: expected 1 <= MIN <= OPT <= MAX <= {MAX_PATCHES} patches (60 s)")

    def __str__(self) -> str:
        numbers = (self.min, self.opt, self.max)
        return str(self.opt) if self.min == self.max else ":".join(map(str, numbers))

    @classmethod
    def parse(cls, text: str) -> OptimizationProfile:
        """Parse one number of patches, for example `62`, or MIN:OPT:MAX, for example `1:62:375`.

        Raises:
            OptionError: if the text has another form, or if the numbers are invalid.
        """
        parts = text.split(":")
        if len(parts) not in (1, 3) or not all(part.isdecimal() for part in parts):
            raise OptionError(f"the profile {text!r}: give a number of patches, or MIN:OPT:MAX, as 1:62:375")
        numbers = [int(part) for part in parts]
        return cls(*(numbers * 3 if len(numbers) == 1 else numbers))

    def listeners(self, card: Card) -> int:
        """Return the maximum number of listeners that the head scores in one run."""
        return min(_MAX_LISTENERS, max_listeners_per_run(self.max * card.tokens_per_patch))

    def shapes(self, card: Card, *, several_clips: bool = True) -> dict[str, dict[str, tuple[Shape, Shape, Shape]]]:
        """Return the shapes of all inputs.

        Args:
            card: card of the model.
            several_clips: whether the head accepts several clips in one run.

        Returns:
            For each role and input, the min, opt and max shapes.
        """
        sizes = (self.min, self.opt, self.max)
        listeners = (1, 1, self.listeners(card))
        patch = FEATURE_EXTRACTORS[card.front_end_name](np.zeros(fe.PATCH_LENGTH, dtype=np.float32)).shape[1:]

        def three(*shapes: Shape) -> tuple[Shape, Shape, Shape]:
            smallest, optimal, largest = shapes
            return smallest, optimal, largest

        clips = listeners if several_clips else (1, 1, 1)
        tokens = [(one, n * card.tokens_per_patch, card.width) for one, n in zip(clips, sizes, strict=True)]
        return {
            "encoder": {card.encoder_input: three(*((n, *patch) for n in sizes))},
            "head": {
                "tokens": three(*tokens),
                "audiogram": three(*((n, len(FREQUENCIES)) for n in listeners)),
            },
        }


def default_profiles(window: float) -> tuple[OptimizationProfile, ...]:
    """Return the default profiles.

    Args:
        window: seconds in a window.

    Returns:
        Profiles for one patch (streaming), for one window, and for any length up to the longest window.
    """
    patches = window_patches(window)
    return (
        OptimizationProfile(1, 1, 1),
        OptimizationProfile(patches, patches, patches),
        OptimizationProfile(1, patches, MAX_PATCHES),
    )
