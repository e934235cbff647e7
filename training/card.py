"""What a trained model's card says of its training: figures by group, data and their attribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runtime.bundle import Card
from .corpus import Corpus
from .labels import PRESENTATION, Row
from .metrics import agreement, lcc_interval

LEAST = 20
"""rows that a group needs to get figures of its own"""


def split_figures(rows: Sequence[Row], predicted: npt.NDArray[np.float32]) -> dict[str, Any]:
    """LCC, SRCC, MSE of predictions [rows] with a bootstrap interval of the LCC: all rows, and by condition, listener
    and level."""
    labels = np.array([row.score for row in rows])

    def figures(chosen: npt.NDArray[np.bool_]) -> dict[str, float | int]:
        found = agreement(predicted[chosen], labels[chosen])
        low, high = lcc_interval(predicted[chosen], labels[chosen])
        named = {"lcc": found.lcc, "lcc_low": low, "lcc_high": high, "srcc": found.srcc, "mse": found.mse}
        return {**{key: round(value, 4) for key, value in named.items()}, "rows": found.rows}

    groups: dict[str, Callable[[Row], str]] = {
        "condition": condition_family,
        "listener": lambda row: row.listener,
        "level": lambda row: "65 dB SPL" if row.level == PRESENTATION else "other",
    }
    result: dict[str, Any] = {"all": figures(np.ones(len(rows), dtype=bool))}
    for name, group in groups.items():
        keys = np.array([group(row) for row in rows])
        counts = {key: int((keys == key).sum()) for key in sorted(set(keys))}
        result[name] = {key: figures(keys == key) for key, count in counts.items() if count >= LEAST}
    return result


def condition_family(row: Row) -> str:
    """The condition of a row: its name, `clean`, or `combination` of two."""
    links = row.chain.split("|") if row.chain else []
    return links[0].split("(")[0] if len(links) == 1 else "combination" if links else "clean"


def describe(card: Card) -> str:
    """The model card as Markdown, from what `card.json` says."""
    figures, notes = card.figures["test"], card.notes
    groups = [("all", figures["all"])]
    kinds = [kind for kind in figures if kind != "all"]
    groups += [(f"{kind}: {key}", f) for kind in kinds for key, f in figures[kind].items()]
    accuracy = "\n".join(
        f"| {name} | {f['lcc']:.3f} ({f['lcc_low']:.3f} to {f['lcc_high']:.3f}) | {f['srcc']:.3f} | {f['mse']:.4f} | "
        f"{f['rows']} |"
        for name, f in groups
    )
    rows = ", ".join(f"{number:,} {split}" for split, number in notes["data"]["rows"].items())
    music = "\n".join(f"| {name} | {s['origin']} | {s['licences']} |" for name, s in notes["data"]["sources"].items())
    return f"""# {card.name} {card.version}

Predicts HAAQI (0 to 1) from the presented music and an audiogram; {card.parameters:,} parameters. This page is made
from `card.json` when the model is trained.

## Accuracy on the test split, music of sources not trained on

| rows | LCC (95%) | SRCC | MSE | number |
|---|---|---|---|---|
{accuracy}

## Data

Rows: {rows}; {notes["data"]["clips"]:,} clips of train. Labels: {notes["labels"]}.

## Limits

{notes["limits"]}.

## Again

    {notes["again"]}

## Music

None of it is in this package. Whose it is, and by what licence, is told in each origin's own credits:

| source | origin | licences |
|---|---|---|
{music}
"""


def training_notes(corpus: Corpus, rows: Mapping[str, Sequence[Row]], config: Mapping[str, Any]) -> dict[str, Any]:
    """Data, labels, limits and the way to make the model again."""
    used = {row.clip for part in rows.values() for row in part}
    sources: dict[str, dict[str, str]] = {}
    for clip in sorted((clip for clip in corpus.clips if clip.path in used), key=lambda clip: clip.source):
        source = sources.setdefault(clip.source, {"origin": clip.origin, "licences": ""})
        source["licences"] = "; ".join(sorted({*filter(None, source["licences"].split("; ")), clip.licence} - {""}))
    return {
        "data": {
            "rows": {split: len(part) for split, part in rows.items()},
            "clips": len({row.clip for row in rows["train"]}),
            "sources": sources,
        },
        "labels": (
            "HAAQI v1 (Kates & Arehart 2016) by pyclarity's auditory model, against the clean music with NAL-R; "
            "sounds amplified by NAL-R for the listener, half presented at 65 dB SPL, the rest at 50 to 80"
        ),
        "limits": (
            "the labels are an index and not people's ratings; the training music is mostly instrumental, game and "
            "electronic music with little singing; sounds were amplified by NAL-R"
        ),
        "fit": dict(config),
        "again": "haaqi-edge train nano --music MUSIC --table training/table -o runs/nano",
    }
