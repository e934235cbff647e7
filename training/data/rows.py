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

from ...runtime.errors import CorpusError
from ..corpus.clips import Clip, Split
from ..degradations.augmentation import FIRST_SPREAD, SPREAD, random_variation, source_seconds
from ..degradations.listeners import random_aid, random_listener
from ..degradations.sampling import random_chain, redrawn

SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
GROUP: Final = 4
"""rows of a group: 4k to 4k + 3"""
PRESENTATION: Final = 65.0
"""dB SPL of half of the groups"""
UNSEEN: Final = 1 / 6
"""share of the test split's groups whose conditions no training row holds"""
FIRST: Final = 9_800
"""the training split's groups before this one were drawn when no music was composed and it was varied less; they stay
as they are, so that a table can grow"""
COMPOSED: Final = "composed/"
"""a clip of this name and a number is no file, but a piece of `composition`"""
COMPOSED_SHARE: Final = 0.25
"""of the training split's groups that hear such a piece"""
LADDERS: Final = 0.15
"""share of the training split's groups whose rows differ in nothing but their conditions' parameters"""
MARGIN: Final = 0.05
"""seconds by which an excerpt ends before its clip does: a clip may be a few samples shorter than its table says"""


@dataclass(frozen=True)
class Row:
    """One labelled sound.

    Attributes:
        clip, start, duration: what is heard, in seconds; a variation of another speed reads more or less of the clip.
            A clip `composed/7` is the seventh piece of `composition`, which has no other start than 0.
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
    the clean music and, from group `FIRST` on, composes some of it and has groups of one kind of condition in several
    strengths; a sixth of the test split's groups hears unseen conditions (`draws`).

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
    training, first = split == "train", group < FIRST
    spread = FIRST_SPREAD if first else SPREAD
    variation = random_variation(rng, (clip.duration - 2 * MARGIN) / duration, spread) if training else ""
    latest = max(clip.duration - source_seconds(variation, duration) - MARGIN, 0.0)
    name, begin = clip.path, round(float(rng.uniform(0, latest)), 3)
    composing = training and not first
    if composing and rng.random() < COMPOSED_SHARE:
        name, begin = f"{COMPOSED}{group}", 0.0
    level = PRESENTATION if rng.random() < 0.5 else round(float(rng.uniform(45, 85)), 1)
    listener, audiogram = random_listener(rng)
    unseen = split == "test" and rng.random() < UNSEEN
    ladder = composing and rng.random() < LADDERS
    treatments: list[tuple[str, str]] = []
    while len(treatments) < GROUP:
        if ladder and treatments and treatments[0][0]:
            treatment = redrawn(rng, treatments[0][0]), treatments[0][1]
        else:
            treatment = random_chain(rng, unseen), random_aid(rng, audiogram)
        if treatment not in treatments:
            treatments.append(treatment)
    return [
        Row(
            split,
            name,
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
