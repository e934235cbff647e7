"""Sensitivity search: find the layer groups that must stay in fp32 to keep scores within a budget.

The search measures how much quantizing each group changes scores, and leaves out as few groups as possible.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation.comparison import summary
from .candidate_scores import Material, scores_of
from .layer_groups import Group

Build = Callable[[Sequence[Group]], Mapping[str, bytes]]
"""returns the graphs, by role, in which exactly the given groups are quantized"""


@dataclass(frozen=True)
class Harm:
    """Sensitivity of a layer group: the change of scores if only this group is quantized.

    Attributes:
        group: name of the group.
        p99: 99th percentile of the absolute changes.
        largest: largest absolute change.
    """

    group: str
    p99: float
    largest: float


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes:
        quantized, left: groups in int8, and groups left in fp32, in graph order.
        change: change of scores with the quantized groups, see `accuracy.summary`.
        harms: sensitivity of each group, the worst first; empty if all groups could be quantized and `rank` was not
            set.
        tried: number of sets of groups that were measured.
    """

    quantized: tuple[Group, ...]
    left: tuple[Group, ...]
    change: dict[str, float]
    harms: tuple[Harm, ...] = ()
    tried: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return names and metrics as plain values, for a card."""
        return {
            "quantized": [group.name for group in self.quantized],
            "left_in_fp32": [group.name for group in self.left],
            "change": self.change,
            "alone": [asdict(harm) for harm in self.harms],
            "sets_tried": self.tried,
        }


@dataclass
class Search:
    """A search for the layer groups to quantize.

    Each measurement is stored in a journal, so that an interrupted search resumes.

    Args:
        build: builds the graphs.
        tried: the excerpts, in memory.
        before: float64 [scores], scores of the fp32 model on the excerpts, see `scores_of`.
        journal: path of a JSON Lines file.
        key: everything that the measurements depend on.
        done: called with the number of groups measured alone so far, and the number of groups.
    """

    build: Build
    tried: Sequence[Material]
    before: npt.NDArray[np.float64]
    journal: Path
    key: object
    done: Callable[[int, int], None] = lambda *_: None
    _known: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.journal.is_file():
            for line in self.journal.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self._known[entry["set"]] = entry["change"]

    def run(self, groups: Sequence[Group], budget: float, *, rank: bool = False) -> Found:
        """Find as many groups as possible that keep the 99th percentile of the changes within the budget.

        The search first tries all groups. If they exceed the budget, it measures each group alone. It then leaves out
        the most sensitive groups, one by one, until the budget holds. Finally it tries each of them again, the least
        sensitive first, and quantizes those with which the budget still holds.

        Args:
            groups: all groups that can be quantized.
            budget: limit for the change of a score, at the 99th percentile.
            rank: measure each group alone even if all groups together stay within the budget.
        """
        quantized, left = list(groups), list[Group]()
        change = self.change(quantized)
        if change["p99"] <= budget and not rank:
            return Found(tuple(quantized), (), change, (), len(self._known))
        alone = []
        for place, group in enumerate(groups):
            one = self.change([group])
            self.done(place + 1, len(groups))
            alone.append((one["p99"], place, Harm(group.name, one["p99"], one["largest"])))
        ranked = sorted(alone, key=lambda entry: -entry[0])
        for _, place, _ in ranked:
            if change["p99"] <= budget:
                break
            left.append(groups[place])
            quantized = [group for group in groups if group not in left]
            change = self.change(quantized)
        for group in reversed(left[:-1]):
            again = [one for one in groups if one in quantized or one == group]
            with_it = self.change(again)
            if with_it["p99"] <= budget:
                quantized, change = again, with_it
        return Found(
            tuple(quantized),
            tuple(group for group in groups if group not in quantized),
            change,
            tuple(harm for *_, harm in ranked),
            len(self._known),
        )

    def change(self, quantized: Sequence[Group]) -> dict[str, float]:
        """Return the change of scores if these groups are quantized, see `accuracy.summary`."""
        told = repr((self.key, sorted((group.role, group.node) for group in quantized)))
        name = hashlib.sha256(told.encode()).hexdigest()[:20]
        if name not in self._known:
            change = summary(scores_of(self.build(quantized), self.tried) - self.before)
            self._known[name] = change
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"set": name, "groups": [g.name for g in quantized], "change": change}) + "\n")
        return self._known[name]
