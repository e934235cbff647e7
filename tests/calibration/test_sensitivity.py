"""The search: the most that a budget allows, each group's harm, and nothing measured twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from haaqi_edge.calibration.candidate_scores import scores_of
from haaqi_edge.calibration.layer_groups import Group, names_in
from haaqi_edge.calibration.quantizers import dynamic_graph, store_int8
from haaqi_edge.calibration.sensitivity import Search
from haaqi_edge.calibration.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st
from quantizable import graphs, groups, heard, models


class Told(Search):
    """A search among groups that each move scores by so much, and together by the sum."""

    harms: Mapping[str, float]
    asked: int = 0

    def change(self, quantized: Sequence[Group]) -> dict[str, float]:
        self.asked += 1
        moved = sum(self.harms[group.node] for group in quantized)
        return {"largest": moved, "p99": moved, "mean": moved, "bias": 0.0}


def told(harms: Sequence[float]) -> tuple[Told, list[Group]]:
    named = [Group("encoder", f"{place}", "w", "product", 2000) for place in range(len(harms))]
    search = Told(lambda _: {}, [], scores_of(graphs(), heard()[:1]), Path("none"), "key")
    search.harms = {group.node: harm for group, harm in zip(named, harms, strict=True)}
    return search, named


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0, 3))
def test_nothing_more_fits_the_budget(harms: list[float], budget: float) -> None:
    search, named = told(harms)
    found = search.run(named, budget)
    assert sorted([*found.quantized, *found.left], key=named.index) == named
    assert found.change["p99"] <= budget or not found.quantized
    for group in found.left:
        again = [one for one in named if one in found.quantized or one == group]
        assert search.change(again)["p99"] > budget
    if sum(harms) <= budget:
        assert not found.left
        assert not found.harms


def test_harms_are_told_on_demand() -> None:
    search, named = told([0.1, 0.3, 0.2])
    found = search.run(named, 1.0, rank=True)
    assert [(harm.group, harm.p99) for harm in found.harms] == [
        ("encoder: w", pytest.approx(0.3)),
        ("encoder: w", pytest.approx(0.2)),
        ("encoder: w", pytest.approx(0.1)),
    ]
    assert not found.left


def build(quantized: Sequence[Group]) -> dict[str, bytes]:
    made = {}
    for role, model in models().items():
        dynamic = dynamic_graph(model, names_in(quantized, role, "product"), TARGETS["x86"])
        made[role] = store_int8(dynamic, names_in(quantized, role, "recurrent")).SerializeToString()
    return made


def refuse(_: Sequence[Group]) -> dict[str, bytes]:
    raise AssertionError("it was measured before")


def test_a_search_on_nano_keeps_its_budget_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    tried, journal = heard()[:4], tmp_path / "work" / "search.jsonl"
    before = scores_of(graphs(), tried)

    def search(key: str, make: object = build) -> Search:
        return Search(make, tried, before, journal, key)  # type: ignore[arg-type]

    everything = search("a").change(groups())["p99"]
    assert everything > 0
    found = search("a").run(groups(), 0.6 * everything)
    assert 0 < found.change["p99"] <= 0.6 * everything
    assert found.left
    assert len(found.harms) == len(groups())
    assert search("a", refuse).run(groups(), 0.6 * everything) == found
    with pytest.raises(AssertionError, match="measured before"):
        search("another model", refuse).run(groups(), 0.6 * everything)


def test_what_is_quantized_is_what_was_measured(tmp_path: Path) -> None:
    tried = heard()[:4]
    before = scores_of(graphs(), tried)
    found = Search(build, tried, before, tmp_path / "j", "key").run(groups(), 1.0)
    change = abs(scores_of(build(found.quantized), tried) - before)
    assert found.change["largest"] == pytest.approx(change.max())
