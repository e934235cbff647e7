"""What a trained model's card says of its training: figures by group, data and their attribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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


def training_notes(corpus: Corpus, rows: Mapping[str, Sequence[Row]], config: Mapping[str, Any]) -> dict[str, Any]:
    """Data, labels, limits and the way to make the model again."""
    used = {row.clip for row in rows["train"]}
    sources = sorted({clip.source for clip in corpus.clips if clip.path in used})
    return {
        "data": {
            "rows": {split: len(part) for split, part in rows.items()},
            "clips": len(used),
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
