"""The rows of the label table, and their plan. The plan draws sound and listener of a row from its index alone.

Rows come in groups that share the clean music, the level and the listener, so that HAAQI analyses the reference once
per group. The plan of a table belongs to one corpus, whose digest is stored in the table.
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
from ..degradations.augmentation import random_clean_noise, random_variation, source_seconds
from ..degradations.listeners import random_aid, random_listener
from ..degradations.sampling import random_chain, redraw_parameters

SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
GROUP: Final = 4
"""Rows per group: 4k to 4k + 3."""
PRESENTATION_LEVEL: Final = 65.0
"""Level in dB SPL of half of the groups."""
UNSEEN: Final = 1 / 6
"""Share of the test split's groups with conditions that no training row has."""
SYNTHETIC: Final = "composed/"
"""Prefix of the name of a synthetic clip. The rest of the name is the number of a piece of `corpus.synthetic`."""
SYNTHETIC_SHARE: Final = 0.05
"""Share of the training split's groups with synthetic music."""
LADDERS: Final = 0.15
"""Share of the training split's groups whose rows differ only in the strength of their conditions."""
MARGIN: Final = 0.05
"""Seconds between the end of an excerpt and of its clip, because a clip may be slightly shorter than listed."""


@dataclass(frozen=True)
class Row:
    """One labelled sound.

    Attributes:
        clip, start, duration: the excerpt, in seconds. A variation that changes the speed reads more or less of the
            clip. A clip `composed/7` is piece 7 of `corpus.synthetic`, whose start is always 0.
        variation: changes of the clean music, which is the reference (`augmentation.apply_variation`).
        chain, seed: the degradations that follow (`degradations.degrade`).
        aid: the amplification (`hearing_aids.amplify`).
        level: in dB SPL, of the music before amplification.
        listener: `notched`, `smooth`, or the standard audiogram of which `audiogram` is a noisy copy.
        audiogram: 8 levels in dB HL.
        score and its parts: see `haaqi.index.Haaqi`. NaN until labelled.
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


def plan_rows(
    clips: Sequence[Clip], split: Split, start: int, count: int, duration: float, speech: bool = True
) -> list[Row]:
    """Plan rows `start` to `start + count` of a split.

    Groups use every clip in turn, in another order each time. Everything else is drawn at random from the index of the
    group or row alone. Half of the groups are presented at 65 dB SPL, the others at 45 to 85. In all splits, some clean
    music has the noise of a tape or record. Only the training split has changes of the music's speed and tone,
    synthetic music, and groups of one kind of condition in several strengths. One sixth of the test split's groups has
    unseen conditions (`degradations.sampling`).

    Args:
        clips: those of the split.
        split: the split.
        start, count: any. A row does not depend on them.
        duration: in seconds.
        speech: whether there is a speech bank. Without one, no condition that needs it is drawn.

    Raises:
        CorpusError: there are no clips.
    """
    if not clips:
        raise CorpusError(f"no clip of split {split}: expected some in CLIPS.csv")
    first = start // GROUP
    rows = [
        row
        for group in range(first, -(-(start + count) // GROUP))
        for row in _group(clips, split, group, duration, speech)
    ]
    return rows[start - first * GROUP :][:count]


def _group(clips: Sequence[Clip], split: Split, group: int, duration: float, speech: bool) -> list[Row]:
    """Return the rows of a group. No two of them sound the same."""
    rng = np.random.default_rng([19, SPLITS.index(split), group])
    cycle, place = divmod(group, len(clips))
    clip = clips[_order(len(clips), cycle)[place]]
    training = split == "train"
    changes = random_variation(rng, (clip.duration - 2 * MARGIN) / duration) if training else ""
    variation = "|".join(filter(None, (changes, random_clean_noise(rng))))
    latest = max(clip.duration - source_seconds(variation, duration) - MARGIN, 0.0)
    name, begin = clip.path, round(float(rng.uniform(0, latest)), 3)
    if training and rng.random() < SYNTHETIC_SHARE:
        name, begin = f"{SYNTHETIC}{group}", 0.0
    level = PRESENTATION_LEVEL if rng.random() < 0.5 else round(float(rng.uniform(45, 85)), 1)
    listener, audiogram = random_listener(rng)
    unseen = split == "test" and rng.random() < UNSEEN
    ladder = training and rng.random() < LADDERS
    treatments: list[tuple[str, str]] = []
    while len(treatments) < GROUP:
        if ladder and treatments and treatments[0][0]:
            treatment = redraw_parameters(rng, treatments[0][0]), treatments[0][1]
        else:
            treatment = random_chain(rng, unseen, speech), random_aid(rng, audiogram)
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
