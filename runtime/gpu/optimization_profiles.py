"""Optimization profiles: the ranges of shapes for which TensorRT builds an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ..audiogram import FREQUENCIES
from ..bundle import Card
from ..encoder import READINGS
from ..errors import OptionError
from ..features import patches as fe
from ..head import listeners_at_once
from ..windows import LONGEST, window_patches

MOST: Final = int(LONGEST / fe.PATCH_SECONDS)
"""Patches in the longest window."""
LISTENERS: Final = 8
"""Maximum number of listeners that the head scores at once, if memory allows."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Numbers of patches for which an engine is built.

    Attributes:
        least: minimum.
        best: number for which the engine is optimized.
        most: maximum.

    Raises:
        OptionError: unless 1 <= least <= best <= most <= `MOST`.
    """

    least: int
    best: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most <= MOST:
            raise OptionError(f"the profile {self}: expected 1 <= MIN <= OPT <= MAX <= {MOST} patches (60 s)")

    def __str__(self) -> str:
        numbers = (self.least, self.best, self.most)
        return str(self.best) if self.least == self.most else ":".join(map(str, numbers))

    @classmethod
    def parse(cls, text: str) -> Profile:
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
        return min(LISTENERS, listeners_at_once(self.most * card.tokens_per_patch))

    def shapes(self, card: Card, *, several_clips: bool = True) -> dict[str, dict[str, tuple[Shape, Shape, Shape]]]:
        """Return the shapes of all inputs.

        Args:
            card: card of the model.
            several_clips: whether the head accepts several clips in one run.

        Returns:
            For each role and input, the min, opt and max shapes.
        """
        sizes = (self.least, self.best, self.most)
        listeners = (1, 1, self.listeners(card))
        patch = READINGS[card.encoder_input](np.zeros(fe.PATCH_LENGTH, dtype=np.float32)).shape[1:]

        def three(*shapes: Shape) -> tuple[Shape, Shape, Shape]:
            least, best, most = shapes
            return least, best, most

        clips = listeners if several_clips else (1, 1, 1)
        tokens = [(one, n * card.tokens_per_patch, card.width) for one, n in zip(clips, sizes, strict=True)]
        return {
            "encoder": {card.encoder_input: three(*((n, *patch) for n in sizes))},
            "head": {
                "tokens": three(*tokens),
                "audiogram": three(*((n, len(FREQUENCIES)) for n in listeners)),
            },
        }


def default_profiles(window: float) -> tuple[Profile, ...]:
    """Return the default profiles.

    Args:
        window: seconds in a window.

    Returns:
        Profiles for one patch (streaming), for one window, and for any length up to the longest window.
    """
    patches = window_patches(window)
    return Profile(1, 1, 1), Profile(patches, patches, patches), Profile(1, patches, MOST)
