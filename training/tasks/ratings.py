"""Human ratings of sounds: reads them from a CSV file on any scale, and compares two sets of predictions of them."""

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
from ..statistics import Interval, agreement

Array = npt.NDArray[np.floating]
COLUMNS: Final = ("file", "audiogram", "rating")
GROUP: Final = "group"
NAMED: Final = 12
"""Maximum number of columns that a message lists."""
_DRAWS: Final = 1000


def read_ratings(path: Path, scale: Scale, note: Callable[[str], None] | None = None) -> list[Example]:
    """Read a CSV of ratings as examples whose scores are the ratings mapped from their scale to 0 to 1.

    Args:
        path: a CSV with the columns file (relative to the CSV's folder), audiogram (a name, or 8 levels in brackets)
            and rating. The optional column `group` names examples that must stay together (a piece, a person).
            Without it, each file is its own group. Several ratings of a file by one listener are averaged.
        scale: with the lowest and the highest rating.
        note: called with a message about columns that are not used.

    Raises:
        CorpusError: the file has another form, a rating is outside the scale, or a file or an audiogram is invalid.
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
    """Split examples into `count` folds with about the same number of groups, and return their indices.

    No group is in two folds.

    Raises:
        CorpusError: there are fewer groups than folds.
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
    """The change between two sets of predictions of the same ratings.

    Intervals are 95% intervals, by resampling of groups.

    Attributes:
        lcc, srcc, mse: intervals of the change, after minus before.
        lcc_p: p-value for equal LCCs: Williams's t for two correlations with one variable in common (Steiger 1980,
            "Tests for comparing elements of a correlation matrix", Psychological Bulletin 87).
        error_p: p-value for equal squared errors: Wilcoxon's signed-rank test.
    """

    lcc: Interval
    srcc: Interval
    mse: Interval
    lcc_p: float
    error_p: float


def compare(before: Array, after: Array, rating: Array, groups: Sequence[str], seed: int = 0) -> Compared:
    """Compare two paired predictions [n] of ratings [n]."""
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
    """Return the two-sided p-value for equal correlations of `first` and of `second` with `shared`, [n] each."""
    a, b, c = (_correlation(x, y) for x, y in ((first, shared), (second, shared), (first, second)))
    n = len(shared)
    spread = 1 - a * a - b * b - c * c + 2 * a * b * c
    scale = 2 * spread * (n - 1) / (n - 3) + (a + b) ** 2 / 4 * (1 - c) ** 3
    if c >= 1 - 1e-12 or scale <= 0:
        return 1.0  # the two predictions are the same
    t = (a - b) * np.sqrt((n - 1) * (1 + c) / scale)
    return float(2 * stats.t.sf(abs(t), n - 3))


def _correlation(x: Array, y: Array) -> float:
    """Return the correlation of [n] and [n], or NaN if one is constant."""
    x, y = x - x.mean(), y - y.mean()
    power = float(x @ x) * float(y @ y)
    return float(x @ y) / float(np.sqrt(power)) if power else float("nan")


def figures(
    before: Array, mapped: Array, after: Array, rating: Array, groups: Sequence[str], scale: Scale
) -> dict[str, Any]:
    """Compute LCC, SRCC and MSE of predictions [n] of ratings, both 0 to 1, and their changes.

    The MSE is on the ratings' scale. `mapped` is `before` after the best linear mapping, which shows how much of the
    change a linear mapping alone would bring.
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
