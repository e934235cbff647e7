"""Sensitivity search: find the layer groups that must stay in fp32 to keep scores within a budget.

The search measures how much the scores change if a group is quantized, and excludes as few groups as possible.
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

from ..evaluation.comparison import summarize_changes
from ..runtime.bundle import ROLES, Precision
from .calibration_data import ModelInputs
from .layer_groups import LayerGroup
from .measurement import TokenCache, score_graphs

BuildGraphs = Callable[[Sequence[LayerGroup]], Mapping[str, bytes]]
"""returns the graphs, by role, in which exactly the given groups are quantized"""


@dataclass(frozen=True)
class Sensitivity:
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
class SearchResult:
    """Result of a search.

    Attributes:
        int8_groups, fp32_groups: groups that are quantized, and groups that stay in fp32, in graph order.
        change: change of scores if `int8_groups` are quantized, see `comparison.summarize_changes`.
        sensitivities: of each group, the most sensitive first; empty if all groups could be quantized and `rank` was
            not set.
        measurements: number of sets of groups that were measured.
    """

    int8_groups: tuple[LayerGroup, ...]
    fp32_groups: tuple[LayerGroup, ...]
    change: dict[str, float]
    sensitivities: tuple[Sensitivity, ...] = ()
    measurements: int = 0

    @property
    def precisions(self) -> dict[str, Precision]:
        """Precision of each graph, by role: int8 if it holds a quantized group."""
        roles = {group.role for group in self.int8_groups}
        return {role: "int8" if role in roles else "fp32" for role in ROLES}

    def to_dict(self) -> dict[str, Any]:
        """Return names and metrics as plain values, for a card."""
        return {
            "quantized": [group.name for group in self.int8_groups],
            "left_in_fp32": [group.name for group in self.fp32_groups],
            "change": self.change,
            "alone": [asdict(one) for one in self.sensitivities],
            "sets_tried": self.measurements,
        }


@dataclass
class SensitivitySearch:
    """A search for the layer groups to quantize.

    Each measurement is stored in a journal, so that an interrupted search resumes.

    Args:
        build: builds the graphs.
        inputs: the prepared excerpts, in memory.
        fp32_scores: float64 [scores], scores of the fp32 model on the excerpts, see `score_graphs`.
        journal: path of a JSON Lines file.
        key: everything that the measurements depend on.
        tokens: cache of tokens of the excerpts.
        progress: called with the number of excerpts scored so far, and the number known to be necessary.

    Attributes:
        sets: number of sets of groups that are known to be necessary.
        measured: number of them that are measured.
    """

    build: BuildGraphs
    inputs: Sequence[ModelInputs]
    fp32_scores: npt.NDArray[np.float64]
    journal: Path
    key: object
    tokens: TokenCache = field(default_factory=TokenCache)
    progress: Callable[[int, int], None] = lambda *_: None
    sets: int = 1
    measured: int = 0
    _known: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.journal.is_file():
            for line in self.journal.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self._known[entry["set"]] = entry["change"]

    def run(self, groups: Sequence[LayerGroup], budget: float, *, rank: bool = False) -> SearchResult:
        """Find as many groups as possible that keep the 99th percentile of the changes within the budget.

        The search first tries all groups. If they exceed the budget, it measures each group alone. It then keeps
        the most sensitive groups in fp32, one by one, until the budget holds. Finally it tries each of these again, the
        least sensitive first, and quantizes those with which the budget still holds.

        Args:
            groups: all groups that can be quantized.
            budget: limit for the change of a score, at the 99th percentile.
            rank: measure each group alone even if all groups together stay within the budget.
        """
        quantized, excluded = list(groups), list[LayerGroup]()
        change = self.measure_change(quantized)
        if change["p99"] <= budget and not rank:
            return SearchResult(tuple(quantized), (), change, (), len(self._known))
        self.sets += len(groups)
        alone = []
        for index, group in enumerate(groups):
            one = self.measure_change([group])
            alone.append((one["p99"], index, Sensitivity(group.name, one["p99"], one["largest"])))
        ranked = sorted(alone, key=lambda entry: -entry[0])
        for _, index, _ in ranked:
            if change["p99"] <= budget:
                break
            excluded.append(groups[index])
            quantized = [group for group in groups if group not in excluded]
            change = self.measure_change(quantized)
        for group in reversed(excluded[:-1]):
            candidate = [one for one in groups if one in quantized or one == group]
            candidate_change = self.measure_change(candidate)
            if candidate_change["p99"] <= budget:
                quantized, change = candidate, candidate_change
        return SearchResult(
            tuple(quantized),
            tuple(group for group in groups if group not in quantized),
            change,
            tuple(sensitivity for *_, sensitivity in ranked),
            len(self._known),
        )

    def measure_change(self, quantized: Sequence[LayerGroup]) -> dict[str, float]:
        """Measure the change of scores if these groups are quantized, see `comparison.summarize_changes`."""
        key = repr((self.key, sorted((group.role, group.node) for group in quantized)))
        name = hashlib.sha256(key.encode()).hexdigest()[:20]
        if name not in self._known:
            scores = score_graphs(self.build(quantized), self.inputs, self.tokens, self._report)
            change = summarize_changes(scores - self.fp32_scores)
            self._known[name] = change
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"set": name, "groups": [g.name for g in quantized], "change": change}) + "\n")
        self.measured += 1
        return self._known[name]

    def _report(self, excerpts: int) -> None:
        self.sets = max(self.sets, self.measured + 1)
        self.progress(self.measured * len(self.inputs) + excerpts, self.sets * len(self.inputs))
