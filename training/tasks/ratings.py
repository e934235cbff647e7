"""People's ratings of sounds: a CSV of them on any scale, and how two sets of predictions of them compare."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...runtime.bundle import Scale
from ...runtime.errors import CorpusError
from ..data.examples import Example, file_example
from ..metrics import Interval, agreement

Array = npt.NDArray[np.floating]
COLUMNS: Final = ("file", "audiogram", "rating")
GROUP: Final = "group"
NAMED: Final = 12
"""columns that a message names"""
_DRAWS: Final = 1000


def read_ratings(path: Path, scale: Scale, note: Callable[[str], None] | None = None) -> list[Example]:
    """Examples whose scores are ratings mapped from their scale to 0 to 1.

    Args:
        path: CSV with the columns file (from the CSV's folder), audiogram (a name, or 8 levels in brackets) and rating;
            `group`, where it is there, names what must not be parted (a piece, a person), else a file is its own.
            Several ratings of one file by one listener count as their mean.
        scale: its lowest and highest rating.
        note: called with what is told of columns that are not read.

    Raises:
        CorpusError: another form, a rating outside the scale, a file or an audiogram that cannot be.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines, columns = list(reader), [str(name) for name in reader.fieldnames or ()]
    except (OSError, ValueError, csv.Error) as error:
        raise CorpusError(
            f"{path} cannot be read ({error}): give a CSV with the columns {', '.join(COLUMNS)}"
        ) from error
    if any(name not in columns for name in COLUMNS):
        raise CorpusError(
            f"{path} has not the columns {', '.join(COLUMNS)}, separated by commas: its first line gives "
            f"{', '.join(map(repr, columns[:NAMED])) or 'none'}"
        )
    if not lines:
        raise CorpusError(f"{path} has no line under its columns: give ratings")
    others = [name for name in columns if name not in (*COLUMNS, GROUP)]
    if others and note:
        note(f"{path}: not read: {', '.join(others[:NAMED])}; what must not be parted goes by the column `{GROUP}`")
    found: dict[str, list[Example]] = {}
    for number, line in enumerate(lines, start=2):
        place = f"{path}, line {number}"
        try:
            rating = float(line["rating"])
        except (TypeError, ValueError):
            raise CorpusError(f"{place}: the rating {line['rating']!r} is not a number") from None
        if not scale.low <= rating <= scale.high:
            raise CorpusError(
                f"{place}: the rating {rating:g} is not within {scale.low:g} to {scale.high:g}: say --scale"
            )
        example = file_example(
            path.parent / (line["file"] or ""), line["audiogram"] or "", scale.to_score(rating), place
        )
        example = replace(example, group=line.get(GROUP) or example.group)
        found.setdefault(example.listening, []).append(example)
    return [replace(each[0], score=float(np.mean([e.score for e in each]))) for each in found.values()]


def folds_of(examples: Sequence[Example], count: int, seed: int = 0) -> list[list[int]]:
    """The places of examples in `count` folds of about as many groups each; no group is in two.

    Raises:
        CorpusError: fewer groups than folds.
    """
    groups = sorted({example.group for example in examples})
    if len(groups) < count or count < 2:
        what = f"--folds {len(groups)} or fewer, 2 at least" if len(groups) > 2 else "ratings of 3 groups or more"
        raise CorpusError(
            f"{len(groups)} groups (files, or what the column `group` says) for {count} folds: give {what}"
        )
    order = np.random.default_rng([31, seed]).permutation(len(groups)).tolist()
    fold = {groups[place]: turn % count for turn, place in enumerate(order)}
    return [[i for i, example in enumerate(examples) if fold[example.group] == turn] for turn in range(count)]


class Compared(NamedTuple):
    """What changed between two sets of predictions of the same ratings; intervals are 95%, by resampled groups.

    Attributes:
        lcc, srcc, mse: intervals of the change, after minus before.
        lcc_p: that the LCCs are equal: Williams's t for two correlations with one variable in common (Steiger 1980,
            "Tests for comparing elements of a correlation matrix", Psychological Bulletin 87).
        error_p: that squared errors are equal: Wilcoxon's signed-rank test.
    """

    lcc: Interval
    srcc: Interval
    mse: Interval
    lcc_p: float
    error_p: float


def compare(before: Array, after: Array, rating: Array, groups: Sequence[str], seed: int = 0) -> Compared:
    """Two predictions [n] of ratings [n], paired."""
    rng = np.random.default_rng([37, seed])
    names = np.array(groups)
    members = [np.flatnonzero(names == name) for name in sorted(set(groups))]
    changes = np.empty((_DRAWS, 3))
    for draw in range(_DRAWS):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        drawn = np.stack([values[rows] for values in (before, after, rating)]).astype(np.float64)
        ranks = stats.rankdata(drawn, axis=1)
        changes[draw] = (
            _correlation(drawn[1], drawn[2]) - _correlation(drawn[0], drawn[2]),
            _correlation(ranks[1], ranks[2]) - _correlation(ranks[0], ranks[2]),
            np.mean((drawn[1] - drawn[2]) ** 2) - np.mean((drawn[0] - drawn[2]) ** 2),
        )
    low, high = np.nanquantile(changes, [0.025, 0.975], axis=0)
    errors = [(np.asarray(values, np.float64) - rating) ** 2 for values in (before, after)]
    equal = float(stats.wilcoxon(errors[0], errors[1]).pvalue) if (errors[0] != errors[1]).any() else 1.0
    lcc, srcc, mse = (Interval(float(a), float(b)) for a, b in zip(low, high, strict=True))
    return Compared(lcc, srcc, mse, williams(before, after, rating), equal)


def williams(first: Array, second: Array, shared: Array) -> float:
    """The two-sided p of equal correlations of `first` and of `second` with `shared`, [n] each."""
    a, b, c = (_correlation(x, y) for x, y in ((first, shared), (second, shared), (first, second)))
    n = len(shared)
    spread = 1 - a * a - b * b - c * c + 2 * a * b * c
    scale = 2 * spread * (n - 1) / (n - 3) + (a + b) ** 2 / 4 * (1 - c) ** 3
    if c >= 1 - 1e-12 or scale <= 0:
        return 1.0  # the same predictions
    t = (a - b) * np.sqrt((n - 1) * (1 + c) / scale)
    return float(2 * stats.t.sf(abs(t), n - 3))


def _correlation(x: Array, y: Array) -> float:
    """Of [n] and [n]; NaN where one is constant."""
    x, y = x - x.mean(), y - y.mean()
    power = float(x @ x) * float(y @ y)
    return float(x @ y) / float(np.sqrt(power)) if power else float("nan")


def figures(
    before: Array, mapped: Array, after: Array, rating: Array, groups: Sequence[str], scale: Scale
) -> dict[str, Any]:
    """LCC, SRCC and MSE of predictions [n] of ratings, both 0 to 1, and of their changes; MSE on the ratings' scale.

    `mapped` is `before` after the best straight line, so that what a mere line would bring is told apart.
    """
    span = (scale.high - scale.low) ** 2
    told: dict[str, Any] = {"ratings": len(rating), "groups": len(set(groups)), "scale": [scale.low, scale.high]}
    for name, values in (("before", before), ("line", mapped), ("after", after)):
        found = agreement(values, rating)
        told[name] = {"lcc": round(found.lcc, 4), "srcc": round(found.srcc, 4), "mse": round(found.mse * span, 4)}
    for name, values in (("after_against_before", before), ("after_against_line", mapped)):
        changed = compare(values, after, rating, groups)
        told[name] = {
            "lcc": [round(v, 4) for v in changed.lcc],
            "srcc": [round(v, 4) for v in changed.srcc],
            "mse": [round(v * span, 4) for v in changed.mse],
            "lcc_p": changed.lcc_p,
            "error_p": changed.error_p,
        }
    return told
