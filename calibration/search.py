"""What quantization hurts: each group alone, and the fewest groups to leave out so that scores keep within a budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .accuracy import summary
from .groups import Group
from .trial import Material, scores_of

Build = Callable[[Sequence[Group]], Mapping[str, bytes]]
"""the graphs in which exactly these groups are quantized, by role"""


@dataclass(frozen=True)
class Harm:
    """What quantizing a group alone does to scores: their change at the 99th percentile, and at most."""

    group: str
    p99: float
    largest: float


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        quantized, left: groups in int8, and those left as they were, in the graphs' order.
        change: of scores with the first, see `accuracy.summary`.
        harms: of each group alone, the worst first; empty where everything could be quantized and nobody asked.
        tried: how many sets of groups were measured.
    """

    quantized: tuple[Group, ...]
    left: tuple[Group, ...]
    change: dict[str, float]
    harms: tuple[Harm, ...] = ()
    tried: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For a card: names and figures."""
        return {
            "quantized": [group.name for group in self.quantized],
            "left_in_fp32": [group.name for group in self.left],
            "change": self.change,
            "alone": [asdict(harm) for harm in self.harms],
            "sets_tried": self.tried,
        }


@dataclass
class Search:
    """Measures sets of groups; what was measured once is kept in a journal, so that a search that was stopped goes on.

    Args:
        build: makes the graphs.
        tried: the excerpts, in memory.
        before: fp32's scores on them, see `scores_of`.
        journal: a file of JSON lines.
        key: all that the measurements depend on.
        done: told how many groups were tried alone, and of how many.
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
        """The most groups that keep the 99th percentile of the changes within the budget.

        All are tried first. If that is too much, each is tried alone; then the worst are left out one by one until the
        budget holds, and each of those left out is tried again with the rest, the least harmful first.

        Args:
            groups: all that can be quantized.
            budget: largest change of a score at its 99th percentile.
            rank: measure each alone even where all hold.
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
        """The change of scores where these groups are quantized, see `accuracy.summary`."""
        told = repr((self.key, sorted((group.role, group.node) for group in quantized)))
        name = hashlib.sha256(told.encode()).hexdigest()[:20]
        if name not in self._known:
            change = summary(scores_of(self.build(quantized), self.tried) - self.before)
            self._known[name] = change
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"set": name, "groups": [g.name for g in quantized], "change": change}) + "\n")
        return self._known[name]
