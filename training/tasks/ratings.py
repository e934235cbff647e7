"""Human ratings of sounds: reads them from a CSV file on any scale, and compares two sets of predictions of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...runtime.bundle import Scale
from ...runtime.errors import CorpusError
from ..data.examples import Example, example_from_file
from ..statistics import AgreementIntervals, agreement, agreement_change, williams

Array = npt.NDArray[np.floating]
COLUMNS: Final = ("file", "audiogram", "rating")
GROUP: Final = "group"
MAX_LISTED: Final = 12
"""Maximum number of columns that a message lists."""


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
            f"{path} lacks columns: expected {', '.join(COLUMNS)}, separated by commas; its first line has "
            f"{', '.join(map(repr, columns[:MAX_LISTED])) or 'none'}"
        )
    if not lines:
        raise CorpusError(f"{path} has no ratings: add lines below the names of the columns")
    others = [name for name in columns if name not in (*COLUMNS, GROUP)]
    if others and note:
        note(
            f"{path}: ignored columns: {', '.join(others[:MAX_LISTED])}; the column `{GROUP}` names examples that must "
            "stay together"
        )
    found: dict[str, list[Example]] = {}
    for number, line in enumerate(lines, start=2):
        place = f"{path}, line {number}"
        try:
            rating = float(line["rating"])
        except (TypeError, ValueError):
            raise CorpusError(f"{place}: the rating {line['rating']!r} is not a number") from None
        if not scale.low <= rating <= scale.high:
            raise CorpusError(
                f"{place}: the rating {rating:g} is not within {scale.low:g} to {scale.high:g}: give their scale with "
                "--scale"
            )
        example = example_from_file(
            path.parent / (line["file"] or ""), line["audiogram"] or "", scale.to_score(rating), place
        )
        example = replace(example, group=line.get(GROUP) or example.group)
        found.setdefault(example.listening_key, []).append(example)
    return [replace(each[0], score=float(np.mean([e.score for e in each]))) for each in found.values()]


def split_folds(examples: Sequence[Example], count: int, seed: int = 0) -> list[list[int]]:
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


class RatingComparison(NamedTuple):
    """The change between two sets of predictions of the same ratings.

    Attributes:
        intervals: 95% intervals of the changes of LCC, SRCC and MSE, after minus before, by resampling of groups.
        lcc_p: p-value for equal LCCs (`statistics.williams`).
        error_p: p-value for equal squared errors: Wilcoxon's signed-rank test.
    """

    intervals: AgreementIntervals
    lcc_p: float
    error_p: float


def compare_predictions(
    before: Array, after: Array, rating: Array, groups: Sequence[str], seed: int = 0
) -> RatingComparison:
    """Compare two paired predictions [n] of ratings [n]."""
    intervals = agreement_change(before, after, rating, groups=groups, seed=[37, seed])
    errors = [(np.asarray(values, np.float64) - rating) ** 2 for values in (before, after)]
    equal = float(stats.wilcoxon(errors[0], errors[1]).pvalue) if (errors[0] != errors[1]).any() else 1.0
    return RatingComparison(intervals, williams(before, after, rating), equal)


def rating_metrics(
    before: Array, mapped: Array, after: Array, rating: Array, groups: Sequence[str], scale: Scale
) -> dict[str, Any]:
    """Compute LCC, SRCC and MSE of predictions [n] of ratings, both 0 to 1, and their changes.

    The MSE is on the ratings' scale. `mapped` is `before` after the best linear mapping, which shows how much of the
    change a linear mapping alone would bring.
    """
    span = (scale.high - scale.low) ** 2
    result: dict[str, Any] = {"ratings": len(rating), "groups": len(set(groups)), "scale": [scale.low, scale.high]}
    for name, values in (("before", before), ("line", mapped), ("after", after)):
        found = agreement(values, rating)
        result[name] = {"lcc": round(found.lcc, 4), "srcc": round(found.srcc, 4), "mse": round(found.mse * span, 4)}
    for name, values in (("after_against_before", before), ("after_against_line", mapped)):
        changed = compare_predictions(values, after, rating, groups)
        result[name] = {
            "lcc": [round(v, 4) for v in changed.intervals.lcc],
            "srcc": [round(v, 4) for v in changed.intervals.srcc],
            "mse": [round(v * span, 4) for v in changed.intervals.mse],
            "lcc_p": changed.lcc_p,
            "error_p": changed.error_p,
        }
    verdict = judge_tuning(result)
    result["verdict"], result["verdict_text"] = verdict.name, verdict.text
    return result


class Verdict(NamedTuple):
    """Whether tuning helped: `better`, `rescaled`, `worse` or `unclear`, and a sentence for people."""

    name: str
    text: str


def judge_tuning(metrics: Mapping[str, Any]) -> Verdict:
    """Judge by the cross-validated intervals of `rating_metrics` whether tuning helped.

    The squared error decides, and the linear correlation if the change of the error is within chance. Undefined
    intervals decide nothing.
    """
    before, line = metrics["after_against_before"], metrics["after_against_line"]
    better = before["mse"][1] < 0 or (before["lcc"][0] > 0 and not before["mse"][0] > 0)
    worse = before["mse"][0] > 0 or (before["lcc"][1] < 0 and not before["mse"][1] < 0)
    errors = f"MSE {metrics['before']['mse']:.3f} before, {metrics['after']['mse']:.3f} after"
    if worse:
        return Verdict(
            "worse", f"Tuning made the predictions of unheard ratings worse ({errors}): do not use the tuned bundle."
        )
    if not better:
        return Verdict(
            "unclear",
            f"These ratings do not show that tuning helped ({errors}, within chance): give more ratings, or use the "
            "model as it was.",
        )
    if line["mse"][1] < 0 or line["lcc"][0] > 0:
        return Verdict("better", f"Tuning helped ({errors}), and more than a straight line through the scores.")
    return Verdict(
        "rescaled",
        f"Tuning lowered the error ({errors}), but not more than a straight line through the scores of the model does: "
        "it changed their scale, not their order.",
    )
