"""The sensitivity search: the largest set of groups that a budget allows, sensitivities, nothing measured twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from haaqi_edge.calibration.layer_groups import LayerGroup, node_names
from haaqi_edge.calibration.measurement import score_graphs
from haaqi_edge.calibration.quantizers import quantize_dynamic_graph, store_weights_int8
from haaqi_edge.calibration.sensitivity import BuildGraphs, SensitivitySearch
from haaqi_edge.calibration.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st
from quantizable import graphs, inputs, layer_groups, models


class AdditiveSearch(SensitivitySearch):
    """A search among groups that each change scores by a given amount, and together by the sum."""

    changes: Mapping[str, float]

    def measure_change(self, quantized: Sequence[LayerGroup]) -> dict[str, float]:
        total = sum(self.changes[group.node] for group in quantized)
        return {"largest": total, "p99": total, "mean": total, "bias": 0.0}


def additive_search(changes: Sequence[float]) -> tuple[AdditiveSearch, list[LayerGroup]]:
    groups = [LayerGroup("encoder", str(index), f"layer{index}", "product", 2000) for index in range(len(changes))]
    search = AdditiveSearch(lambda _: {}, [], score_graphs(graphs(), inputs()[:1]), Path("none"), "key")
    search.changes = {group.node: change for group, change in zip(groups, changes, strict=True)}
    return search, groups


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0, 3))
def test_no_further_group_fits_the_budget(changes: list[float], budget: float) -> None:
    search, groups = additive_search(changes)
    result = search.run(groups, budget)
    assert sorted([*result.int8_groups, *result.fp32_groups], key=groups.index) == groups
    assert result.change["p99"] <= budget or not result.int8_groups
    for group in result.fp32_groups:
        larger = [one for one in groups if one in result.int8_groups or one == group]
        assert search.measure_change(larger)["p99"] > budget
    if sum(changes) <= budget:
        assert not result.fp32_groups
        assert not result.sensitivities


def test_sensitivities_are_measured_on_request() -> None:
    search, groups = additive_search([0.1, 0.3, 0.2])
    result = search.run(groups, 1.0, rank=True)
    assert [(one.group, one.p99) for one in result.sensitivities] == [
        ("encoder: layer1", pytest.approx(0.3)),
        ("encoder: layer2", pytest.approx(0.2)),
        ("encoder: layer0", pytest.approx(0.1)),
    ]
    assert not result.fp32_groups


def build(quantized: Sequence[LayerGroup]) -> dict[str, bytes]:
    built = {}
    for role, model in models().items():
        dynamic = quantize_dynamic_graph(model, node_names(quantized, role, "product"), TARGETS["x86"])
        built[role] = store_weights_int8(dynamic, node_names(quantized, role, "recurrent")).SerializeToString()
    return built


def refuse(_: Sequence[LayerGroup]) -> dict[str, bytes]:
    raise AssertionError("it was measured before")


def test_a_search_on_nano_meets_its_budget_and_resumes_from_its_journal(tmp_path: Path) -> None:
    few, journal = inputs()[:4], tmp_path / "work" / "search.jsonl"
    fp32_scores = score_graphs(graphs(), few)

    def search(key: str, build_graphs: BuildGraphs = build) -> SensitivitySearch:
        return SensitivitySearch(build_graphs, few, fp32_scores, journal, key)

    groups = layer_groups()
    all_in_int8 = search("a").measure_change(groups)["p99"]
    assert all_in_int8 > 0
    result = search("a").run(groups, 0.6 * all_in_int8)
    assert 0 < result.change["p99"] <= 0.6 * all_in_int8
    assert result.fp32_groups
    assert len(result.sensitivities) == len(groups)
    assert search("a", refuse).run(groups, 0.6 * all_in_int8) == result
    with pytest.raises(AssertionError, match="measured before"):
        search("another model", refuse).run(groups, 0.6 * all_in_int8)


def test_the_result_describes_the_graphs_that_are_built(tmp_path: Path) -> None:
    few = inputs()[:4]
    fp32_scores = score_graphs(graphs(), few)
    result = SensitivitySearch(build, few, fp32_scores, tmp_path / "j", "key").run(layer_groups(), 1.0)
    change = abs(score_graphs(build(result.int8_groups), few) - fp32_scores)
    assert result.change["largest"] == pytest.approx(change.max())
