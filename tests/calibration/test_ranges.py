"""Activation ranges: correct extremes, cached once, and compared with those of other sounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from haaqi_edge.calibration.calibration_data import ModelInputs
from haaqi_edge.calibration.ranges import RULES, Ranges, Rule, collect_ranges, find_range_excess, load_or_collect_ranges
from haaqi_edge.model import Nano
from haaqi_edge.runtime.errors import BundleError
from quantizable import graphs, inputs, layer_groups, models, ranges

FIRST = "encoder: layers.1"


def span(ranges: Ranges, role: str, tensor: str) -> tuple[float, float]:
    low, high = ranges[role][tensor].range_value
    return float(np.min(low)), float(np.max(high))


def activation_of(group: str) -> tuple[str, str]:
    """Return the role and the name of the activation that a group's product reads."""
    one = next(g for g in layer_groups() if g.name == group)
    return one.role, next(n.input[0] for n in models()[one.role].graph.node if n.name == one.node)


@pytest.mark.slow
def test_extremes_equal_those_in_torch() -> None:
    nano, features = Nano.shipped(), torch.from_numpy(np.concatenate([m.features for m in inputs()]))
    with torch.inference_mode():
        first = (features - nano.encoder.mean) / nano.encoder.scale
        second = nano.encoder.layers[1:4](first.flatten(1))
    for group, expected in ((FIRST, first), ("encoder: layers.5", second)):
        low, high = span(ranges(), *activation_of(group))
        assert low == pytest.approx(float(expected.min()), abs=1e-4)
        assert high == pytest.approx(float(expected.max()), abs=1e-4)


@pytest.mark.slow
def test_other_rules_stay_within_the_extremes() -> None:
    collected = collect_ranges(graphs(), layer_groups(), inputs(), RULES)
    assert set(collected) == set(RULES)
    for rule in ("percentile", "entropy"):
        for role, tensors in collected["minmax"].items():
            for tensor in tensors.keys():  # noqa: SIM118 - no mapping
                low, high = span(collected["minmax"], role, tensor)
                inner, outer = span(collected[rule], role, tensor)  # type: ignore[index]
                step = 2 * max(-low, high) / 1024
                assert low - step <= inner < outer <= high + step
    low, high = span(collected["percentile"], *activation_of(FIRST))
    nano = Nano.shipped()
    features = torch.from_numpy(np.concatenate([m.features for m in inputs()]))
    values = ((features - nano.encoder.mean) / nano.encoder.scale).detach().numpy()
    assert 0.999 < ((values >= low) & (values <= high)).mean() < 1


def test_a_layer_that_exceeds_its_range_is_reported() -> None:
    assert find_range_excess(ranges(), ranges(), models(), layer_groups()) == []
    louder = [ModelInputs(3 * m.features, m.audiograms) for m in inputs()]
    observed = collect_ranges(graphs(), layer_groups(), louder)["minmax"]
    excesses = find_range_excess(ranges(), observed, models(), layer_groups())
    by = {one.group: one.by for one in excesses}
    assert FIRST in by
    (low, high), (min_value, max_value) = (span(r, *activation_of(FIRST)) for r in (ranges(), observed))
    assert by[FIRST] == pytest.approx(max(low - min_value, max_value - high) / (high - low))
    assert [one.by for one in excesses] == sorted(by.values(), reverse=True)


def test_ranges_are_collected_once(tmp_path: Path) -> None:
    requests: list[Sequence[Rule]] = []

    def collect(rules: Sequence[Rule]) -> Mapping[Rule, Ranges]:
        requests.append(rules)
        return dict.fromkeys(rules, ranges())

    first = load_or_collect_ranges(tmp_path, "key", ["minmax"], collect)
    again = load_or_collect_ranges(tmp_path, "key", ["minmax"], collect)
    assert requests == [["minmax"]]
    for found in (first, again):
        assert span(found["minmax"], *activation_of(FIRST)) == span(ranges(), *activation_of(FIRST))
    load_or_collect_ranges(tmp_path, "key", ["minmax", "percentile"], collect)
    load_or_collect_ranges(tmp_path, "another", ["minmax"], collect)
    assert requests[1:] == [["percentile"], ["minmax"]]


def test_damaged_ranges_are_an_error_that_says_what_to_delete(tmp_path: Path) -> None:
    load_or_collect_ranges(tmp_path, "key", ["minmax"], lambda rules: dict.fromkeys(rules, ranges()))
    next(tmp_path.glob("*encoder.json")).write_text("{")
    with pytest.raises(BundleError, match="delete that folder"):
        load_or_collect_ranges(tmp_path, "key", ["minmax"], lambda rules: dict.fromkeys(rules, ranges()))
