"""The rows of the label table, and their plan: what is to be heard, by whom, drawn from nothing but the row's place.

Rows come in groups that share the clean music, the level and the listener, so that HAAQI's analysis of the reference
serves all of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from ..runtime.errors import CorpusError
from .corpus import Clip, Split
from .draws import random_chain
from .listeners import random_aid, random_listener
from .variations import random_variation, source_seconds

SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
GROUP: Final = 4
"""rows of a group: 4k to 4k + 3"""
PRESENTATION: Final = 65.0
"""dB SPL of half of the groups"""
UNSEEN: Final = 1 / 6
"""share of the test split's groups whose conditions no training row holds"""
MARGIN: Final = 0.05
"""seconds by which an excerpt ends before its clip does: a clip may be a few samples shorter than its table says"""


@dataclass(frozen=True)
class Row:
    """One labelled sound.

    Attributes:
        clip, start, duration: what is heard, in seconds; a variation of another speed reads more or less of the clip.
        variation: what was done to the clean music, the reference, first (`variations.vary`).
        chain, seed: what was done to it then (`degradations.degrade`).
        aid: how it was amplified (`aids.amplify`).
        level: dB SPL of the music before amplification.
        listener: `notched`, `smooth`, or the standard audiogram of which `audiogram` is a scattered copy.
        audiogram: 8 levels in dB HL.
        score and its parts: see `haaqi.Haaqi`; NaN until labelled.
    """

    split: Split
    clip: str
    start: float
    duration: float
    variation: str
    chain: str
    seed: int
    aid: str
    level: float
    listener: str
    audiogram: tuple[float, ...]
    score: float = float("nan")
    nonlinear: float = float("nan")
    linear: float = float("nan")
    cepstral: float = float("nan")
    synchrony: float = float("nan")
    loudness: float = float("nan")
    spectrum: float = float("nan")


def plan(clips: Sequence[Clip], split: Split, start: int, count: int, duration: float) -> list[Row]:
    """Rows `start` to `start + count` of a split.

    Groups take every clip in turn, in another order each time; the rest is drawn by chance from the place of the group
    or row alone. Half of the groups are presented at 65 dB SPL, the rest at 45 to 85. Only the training split varies
    the clean music; a sixth of the test split's groups hears unseen conditions (`draws`).

    Args:
        clips: those of the split.
        split: the split.
        start, count: any; the rows don't depend on how a plan is cut.
        duration: seconds.

    Raises:
        CorpusError: no clips.
    """
    if not clips:
        raise CorpusError(f"no clip of split {split}: name some in CLIPS.csv")
    first = start // GROUP
    rows = [
        row for group in range(first, -(-(start + count) // GROUP)) for row in _group(clips, split, group, duration)
    ]
    return rows[start - first * GROUP :][:count]


def _group(clips: Sequence[Clip], split: Split, group: int, duration: float) -> list[Row]:
    """The rows of a group; no two of them sound the same."""
    rng = np.random.default_rng([7, SPLITS.index(split), group])
    cycle, place = divmod(group, len(clips))
    clip = clips[_order(len(clips), cycle)[place]]
    variation = random_variation(rng, (clip.duration - 2 * MARGIN) / duration) if split == "train" else ""
    latest = max(clip.duration - source_seconds(variation, duration) - MARGIN, 0.0)
    begin = round(float(rng.uniform(0, latest)), 3)
    level = PRESENTATION if rng.random() < 0.5 else round(float(rng.uniform(45, 85)), 1)
    listener, audiogram = random_listener(rng)
    unseen = split == "test" and rng.random() < UNSEEN
    treatments: list[tuple[str, str]] = []
    while len(treatments) < GROUP:
        chain = random_chain(rng, unseen)
        treatment = chain, random_aid(rng, audiogram)
        if treatment not in treatments:
            treatments.append(treatment)
    return [
        Row(
            split,
            clip.path,
            begin,
            duration,
            variation,
            chain,
            (group * GROUP + number) * len(SPLITS) + SPLITS.index(split),
            aid,
            level,
            listener,
            audiogram,
        )
        for number, (chain, aid) in enumerate(treatments)
    ]


@lru_cache(maxsize=8)
def _order(clips: int, cycle: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([11, cycle]).permutation(clips)
