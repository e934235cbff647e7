"""Calibration of prediction intervals on labelled clips that chose nothing in the training.

A network predicts, beside each score, the distances to the ends of an interval. They are quantiles of the error on the
training data, and too short on new music. The calibration adds a margin for each group of listeners, so that a new clip
that is exchangeable with the calibration clips is covered with the stated probability. Source: Romano, Patterson &
Candes 2019, "Conformalized quantile regression" (NeurIPS), with groups as in Vovk 2012, "Conditional validity of
inductive conformal predictors".

Clips of one piece of music resemble each other, and a new clip comes from a new piece. Every piece therefore has the
same weight, and the finite number of pieces counts, not that of clips. Source: Dunn, Wasserman & Ramdas 2023,
"Distribution-free prediction sets for two-layer hierarchical models" (JASA), pooling CDFs.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..model.nano import COVERAGE, LOSS_FREQUENCIES, LOSS_GROUPS, NanoHead
from ..runtime.audiogram import FREQUENCIES
from ..runtime.errors import CorpusError
from .data.batches import Dataset
from .data.examples import Example
from .data.rows import Row

Array = npt.NDArray[np.float64]

MIN_GROUP: Final = 100
"""Minimum number of calibration clips in a group of listeners. A smaller group gets the margin of all clips."""


class Calibration(NamedTuple):
    """The margins that a calibration adds to the distances, and the number of clips, by group of listeners."""

    margins: tuple[float, ...]
    clips: tuple[int, ...]


def split_by_source(examples: Sequence[Example], sources: Mapping[str, str]) -> tuple[list[Example], list[Example]]:
    """Split rows into two halves of about equal size without a common source.

    The order of the sources depends on their names only, so that the halves stay the same from run to run.

    Args:
        examples: rows of label tables.
        sources: the source of each clip. A clip without a source is one by itself.

    Returns:
        The rows of the two halves, in the order of `examples`.

    Raises:
        CorpusError: there are fewer than two sources.
    """
    names = [_source(example, sources) for example in examples]
    counts = Counter(names)
    if len(counts) < 2:
        raise CorpusError(
            f"the {len(examples)} validation rows come from {len(counts)} source(s) of music: at least two are needed, "
            "since the epoch is chosen on one half of the sources, and intervals are calibrated on the other; add "
            "clips of another source, or train without intervals (in the settings: `network: {interval: false}`)"
        )
    sizes, half = [0, 0], dict[str, int]()
    for name in sorted(counts, key=lambda name: (-counts[name], hashlib.sha256(name.encode()).hexdigest())):
        half[name] = int(sizes[1] < sizes[0])
        sizes[half[name]] += counts[name]
    parts: tuple[list[Example], list[Example]] = ([], [])
    for example, name in zip(examples, names, strict=True):
        parts[half[name]].append(example)
    return parts


def _source(example: Example, sources: Mapping[str, str]) -> str:
    clip = example.source.clip if isinstance(example.source, Row) else example.group or str(example.source)
    return sources.get(clip, clip)


def _piece(example: Example) -> str:
    """Return the piece of music of an example: its clip without the number of the excerpt, as in `piece-2.flac`."""
    clip = example.source.clip if isinstance(example.source, Row) else str(example.source)
    return re.sub(r"-\d+(?=\.\w+$)", "", clip)


def listener_groups(audiograms: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Return the group of each listener, from 0 (no hearing loss) to 3.

    Args:
        audiograms: [listeners, 8], dB HL.
    """
    loss = audiograms[:, [FREQUENCIES.index(hz) for hz in LOSS_FREQUENCIES]].mean(axis=1)
    groups: npt.NDArray[np.intp] = np.searchsorted(np.asarray(LOSS_GROUPS), loss, side="right")
    return groups


def margin(scores: Array, distances: Array, labels: Array, pieces: npt.ArrayLike, coverage: float = COVERAGE) -> float:
    """Return the margin by which intervals must grow to cover new clips with a probability.

    Args:
        scores: [clips].
        distances: [clips, 2], from the scores to the lower and upper ends.
        labels: [clips].
        pieces: the piece of music of each clip, [clips] strings.
        coverage: the probability.

    Returns:
        The margin, which may be negative.
    """
    outside = np.maximum(scores - distances[:, 0] - labels, labels - scores - distances[:, 1])
    _, piece, counts = np.unique(np.asarray(pieces), return_inverse=True, return_counts=True)
    order = np.argsort(outside)
    share = np.cumsum(1 / counts[piece[order]]) / len(counts)
    level = min(coverage * (1 + 1 / len(counts)), 1.0)
    return float(outside[order[min(int(np.searchsorted(share, level - 1e-12)), len(order) - 1)]])


def calibrate(head: NanoHead, clips: Dataset, scores: Array, distances: Array) -> Calibration:
    """Set the margins of a head, so that its intervals hold on clips such as the given ones.

    Args:
        head: predicts intervals.
        clips: labelled.
        scores: [clips], the head's scores.
        distances: [clips, 2], the head's distances before calibration.

    Returns:
        The margins and the number of clips in each group.
    """
    labels = clips.labels.astype(np.float64)
    groups = listener_groups(clips.audiograms)
    pieces = np.array([_piece(example) for example in clips.examples])
    common = margin(scores, distances, labels, pieces)
    counts = [int((groups == group).sum()) for group in range(len(LOSS_GROUPS) + 1)]
    margins = [
        margin(*(values[groups == group] for values in (scores, distances, labels, pieces)))
        if count >= MIN_GROUP
        else common
        for group, count in enumerate(counts)
    ]
    with torch.no_grad():
        head.interval_margins.copy_(torch.tensor(np.diff(margins, prepend=0.0)))
    return Calibration(tuple(margins), tuple(counts))


def coverage_of(intervals: npt.NDArray[np.floating], labels: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Return the share of labels within their intervals [clips, 2], and the mean width of the intervals."""
    low, high = intervals.astype(np.float64).T
    inside = (labels >= low) & (labels <= high)
    return float(inside.mean()), float((high - low).mean())
