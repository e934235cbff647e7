"""The training section of a model's card: results by group, the data, and attribution of the music."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..model.nano import NANO_FREQUENCIES
from ..runtime.audiogram import FREQUENCIES
from ..runtime.bundle import Card
from .corpus.clips import Corpus
from .data.rows import PRESENTATION_LEVEL, SYNTHETIC, Row
from .degradations.sampling import HELD_OUT, family, is_from_studies, is_unseen
from .intervals import coverage_of
from .statistics import agreement, agreement_intervals

MIN_GROUP_ROWS: Final = 20
"""Minimum number of rows of a group that gets its own results."""
_HELD_OUT_SINCE: Final = frozenset({"crowd"})
"""Conditions that only tables later than those of 2026-11 hold out."""
_HELD_OUT_BEFORE: Final = frozenset({"ringing"})
"""Conditions that only the tables of 2026-11 hold out. Cards of networks trained on them list no held-out ones."""
_POOREST: Final = 6
"""Number of groups that the page names as limits."""
_CHECKS: Final = {
    "snr": "share of clips whose score falls with the SNR (rank correlation of 0.95 or more), at least",
    "clean": "mean score of clean music with NAL-R, more than",
    "formats": "largest difference between formats of one file, at most",
    "listeners": "share of changes of listener in which the score moves as HAAQI does, at least",
}
_WHOLE: Final = {
    "all": "all",
    "seen": "conditions that training holds",
    "unseen": "conditions that training does not hold",
    "comparable": "conditions of the HAAQI studies, NAL-R, 65 dB SPL",
}


def metrics_by_group(
    rows: Sequence[Row],
    predicted: npt.NDArray[np.float32],
    genres: Mapping[str, str] | None = None,
    intervals: npt.NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """Compute LCC, SRCC and MSE with bootstrap intervals, for all rows and for groups of rows.

    Args:
        rows: rows of a label table.
        predicted: predicted scores [rows].
        genres: genre of each clip. None leaves out the groups by genre.
        intervals: predicted intervals [rows, 2]. None leaves out their coverage and mean width.

    Returns:
        Results of all rows (`all`), of the conditions that training includes (`seen`) and does not include (`unseen`),
        and of the rows that are comparable with HAAQI-Net's paper (`comparable`). Also results by family of condition,
        hearing aid, listener, level and genre.
    """
    labels = np.array([row.score for row in rows])

    def figures(chosen: npt.NDArray[np.bool_]) -> dict[str, float | int]:
        found = agreement(predicted[chosen], labels[chosen])
        lcc, srcc, mse = agreement_intervals(predicted[chosen], labels[chosen])
        named = {
            "lcc": found.lcc,
            "lcc_low": lcc.low,
            "lcc_high": lcc.high,
            "srcc": found.srcc,
            "srcc_low": srcc.low,
            "srcc_high": srcc.high,
            "mse": found.mse,
            "mse_low": mse.low,
            "mse_high": mse.high,
        }
        if intervals is not None:
            named["coverage"], named["width"] = coverage_of(intervals[chosen], labels[chosen])
        return {**{key: round(value, 4) for key, value in named.items()}, "rows": found.rows}

    unseen = np.array([is_unseen(row.chain) for row in rows])
    comparable = np.array([is_comparable(row) for row in rows])
    result: dict[str, Any] = {"all": figures(np.ones(len(rows), dtype=bool))}
    for name, chosen in (("seen", ~unseen), ("unseen", unseen), ("comparable", comparable)):
        if chosen.sum() >= MIN_GROUP_ROWS:
            result[name] = figures(chosen)
    groups: dict[str, Callable[[Row], str]] = {
        "condition": lambda row: family(row.chain),
        "aid": lambda row: "nal-r, wrongly fitted" if "(" in row.aid else row.aid,
        "listener": lambda row: row.listener,
        "level": lambda row: (
            "65 dB SPL" if row.level == PRESENTATION_LEVEL else "softer" if row.level < 65 else "louder"
        ),
    }
    if genres:
        groups["genre"] = lambda row: genres[row.clip]
    for name, group in groups.items():
        keys = np.array([group(row) for row in rows])
        counts = {key: int((keys == key).sum()) for key in sorted(set(keys))}
        result[name] = {key: figures(keys == key) for key, count in counts.items() if count >= MIN_GROUP_ROWS}
    return result


def is_comparable(row: Row) -> bool:
    """Return whether HAAQI-Net's paper includes such rows: conditions of the HAAQI studies, NAL-R, 65 dB SPL."""
    return is_from_studies(row.chain) and row.aid == "nal-r" and row.level == PRESENTATION_LEVEL


def describe_model(card: Card) -> str:
    """Return the model card as Markdown, from the content of `card.json`."""
    figures, notes = card.figures["test"], card.notes
    groups = [(name, figures[key]) for key, name in _WHOLE.items() if key in figures]
    kinds = [kind for kind in figures if kind not in _WHOLE]
    held_out = notes.get("held_out", HELD_OUT.keys() - _HELD_OUT_SINCE | _HELD_OUT_BEFORE)
    groups += [(f"{kind}: {key}{_absent(key, held_out)}", f) for kind in kinds for key, f in figures[kind].items()]
    poorest = sorted((f["lcc"], key) for kind in kinds for key, f in figures[kind].items())[:_POOREST]
    valid = f"On the validation split, which chose the epoch: LCC {card.figures['valid']['lcc']:.3f}"
    for name in (name for name in card.figures if name.startswith("test-")):
        older = card.figures[name]["all"]
        valid += (
            f". On {name}, an older table: LCC {older['lcc']:.3f}, SRCC {older['srcc']:.3f}, MSE {older['mse']:.4f}"
        )
    lowest = ", ".join(f"{key} ({lcc:.2f})" for lcc, key in poorest)
    accuracy = "\n".join(
        f"| {name} | {f['lcc']:.3f} ({f['lcc_low']:.3f} to {f['lcc_high']:.3f}) | "
        f"{f['srcc']:.3f} ({f['srcc_low']:.3f} to {f['srcc_high']:.3f}) | {f['mse']:.4f} | {f['rows']} |"
        for name, f in groups
    )
    rows = ", ".join(f"{number:,} {split}" for split, number in notes["data"]["rows"].items())
    heard = f"{notes['data']['clips']:,} clips of train, and {notes['data']['pieces']:,} pieces composed by chance"
    music = "\n".join(f"| {name} | {s['origin']} | {s['licences']} |" for name, s in notes["data"]["sources"].items())
    unheard = " and ".join(f"{hz:,}" for hz in FREQUENCIES if hz not in NANO_FREQUENCIES)
    return f"""# {card.name} {card.version}

Predicts HAAQI (0 to 1) from the presented music and an audiogram; {card.parameters:,} parameters. This page is made
from `card.json` when the model is trained.

## Accuracy on the test split, music of sources not trained on

| rows | LCC (95%) | SRCC (95%) | MSE | number |
|---|---|---|---|---|
{accuracy}

Groups of fewer than {MIN_GROUP_ROWS} rows are left out. {valid}.

{_sanity(card.figures)}## Data

Rows: {rows}; {heard}. Labels: {notes["labels"]}.

## Limits

{notes["limits"]}. It follows HAAQI least (LCC) for {lowest}.
Like HAAQI itself it does not look at an audiogram's levels at {unheard} Hz.

## Again

    {notes["again"]}

## Music

None of it is in this package. Whose it is, and by what licence, is told in each origin's own credits:

| source | origin | licences |
|---|---|---|
{music}
"""


def _absent(kind: str, held_out: Collection[str]) -> str:
    return " (not in training)" if kind in held_out else ""


def _sanity(figures: Mapping[str, Any]) -> str:
    """Return the section on plausibility, if it was measured (`benchmarks.studies.sanity`)."""
    if "sanity" not in figures:
        return ""
    found = [(text, figures["sanity"][name]) for name, text in _CHECKS.items()]
    lines = "\n".join(
        f"| {text} | {check['figure']:.4f} | {check['target']:g} | {'met' if check['met'] else 'missed'} |"
        for text, check in found
        if check["figure"] is not None
    )
    return f"""## Sense

| check | figure | target | |
|---|---|---|---|
{lines}

"""


def training_notes(
    corpus: Corpus,
    rows: Mapping[str, Sequence[Row]],
    config: Mapping[str, Any],
    trained_on: Sequence[str] = ("train",),
    model_family: str = "nano",
) -> dict[str, Any]:
    """Describe the data, the labels, the limits, and how to reproduce the model.

    Args:
        corpus: of the label tables.
        rows: the rows that were used, by table.
        config: settings of the training.
        trained_on: the tables that the network was trained on.
        model_family: `nano` or `small`.
    """
    again = f"haaqi-edge train {model_family} --corpus CORPUS --table training/table -o runs/{model_family}"
    if model_family == "small":
        again += " --pretrained mn04_as_mAP_432.pt"
    music = {(str(corpus.part(name).folder), row.clip) for name in trained_on for row in rows[name]}
    recorded = {key for key in music if not key[1].startswith(SYNTHETIC)}
    sources: dict[str, dict[str, str]] = {}
    for name, part in rows.items():
        used = {row.clip for row in part}
        clips = [clip for clip in corpus.part(name).clips if clip.path in used]
        for clip in sorted(clips, key=lambda clip: clip.source):
            source = sources.setdefault(clip.source, {"origin": clip.origin, "licences": ""})
            licences = {*filter(None, source["licences"].split("; ")), clip.licence} - {""}
            source["licences"] = "; ".join(sorted(licences))
    return {
        "data": {
            "rows": {split: len(part) for split, part in rows.items()},
            "clips": len(recorded),
            "pieces": len(music - recorded),
            "sources": dict(sorted(sources.items())),
        },
        "held_out": sorted(HELD_OUT),
        "labels": (
            "HAAQI v1 (Kates & Arehart 2016) by haaqi_edge.haaqi, within 1e-3 of pyclarity's, against the clean music "
            "with NAL-R; sounds amplified by NAL-R for the listener (70%), wrongly fitted (20%) or not at all (10%), "
            "half of them presented at 65 dB SPL, the rest at 45 to 85"
        ),
        "limits": (
            "the labels are an index and not people's ratings; the training music is mostly instrumental, game and "
            "electronic music with little singing; hearing aids did nothing but NAL-R and what the conditions say"
        ),
        "fit": dict(config),
        "again": again,
    }
