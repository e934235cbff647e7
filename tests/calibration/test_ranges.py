"""Ranges: those that the activations really have, kept once, and exceeded where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from haaqi_edge.calibration.candidate_scores import Material
from haaqi_edge.calibration.ranges import RULES, Ranges, Rule, collect, exceeded, kept
from haaqi_edge.model import Nano
from haaqi_edge.runtime.errors import BundleError
from quantizable import graphs, groups, heard, models, ranges

FIRST = "encoder: layers.1"


def span(found: Ranges, role: str, tensor: str) -> tuple[float, float]:
    low, high = found[role][tensor].range_value
    return float(np.min(low)), float(np.max(high))


def read_by(group: str) -> tuple[str, str]:
    """Role and name of the activation that a group's product reads."""
    one = next(g for g in groups() if g.name == group)
    return one.role, next(n.input[0] for n in models()[one.role].graph.node if n.name == one.node)


def test_extremes_are_what_the_network_computes_in_torch() -> None:
    nano, features = Nano.from_checkpoint(), torch.from_numpy(np.concatenate([m.features for m in heard()]))
    with torch.inference_mode():
        first = (features - nano.encoder.mean) / nano.encoder.scale
        second = nano.encoder.layers[1:4](first.flatten(1))
    for group, expected in ((FIRST, first), ("encoder: layers.5", second)):
        low, high = span(ranges(), *read_by(group))
        assert low == pytest.approx(float(expected.min()), abs=1e-4)
        assert high == pytest.approx(float(expected.max()), abs=1e-4)


def test_other_rules_stay_within_the_extremes() -> None:
    found = collect(graphs(), groups(), heard(), RULES)
    assert set(found) == set(RULES)
    for rule in ("percentile", "entropy"):
        for role, tensors in found["minmax"].items():
            for tensor in tensors.keys():  # noqa: SIM118 - no mapping
                low, high = span(found["minmax"], role, tensor)
                inner, outer = span(found[rule], role, tensor)  # type: ignore[index]
                step = 2 * max(-low, high) / 1024
                assert low - step <= inner < outer <= high + step
    low, high = span(found["percentile"], *read_by(FIRST))
    nano = Nano.from_checkpoint()
    features = torch.from_numpy(np.concatenate([m.features for m in heard()]))
    values = ((features - nano.encoder.mean) / nano.encoder.scale).detach().numpy()
    assert 0.999 < ((values >= low) & (values <= high)).mean() < 1


def test_a_layer_that_meets_more_is_named_with_by_how_much() -> None:
    assert exceeded(ranges(), ranges(), models(), groups()) == []
    louder = [Material(3 * m.features, m.audiograms) for m in heard()]
    met = collect(graphs(), groups(), louder)["minmax"]
    found = exceeded(ranges(), met, models(), groups())
    by = {one.group: one.by for one in found}
    assert FIRST in by
    (low, high), (lowest, highest) = (span(r, *read_by(FIRST)) for r in (ranges(), met))
    assert by[FIRST] == pytest.approx(max(low - lowest, highest - high) / (high - low))
    assert [one.by for one in found] == sorted(by.values(), reverse=True)


def test_ranges_are_collected_once(tmp_path: Path) -> None:
    asked: list[Sequence[Rule]] = []

    def make(rules: Sequence[Rule]) -> Mapping[Rule, Ranges]:
        asked.append(rules)
        return dict.fromkeys(rules, ranges())

    first = kept(tmp_path, "key", ["minmax"], make)
    again = kept(tmp_path, "key", ["minmax"], make)
    assert asked == [["minmax"]]
    for found in (first, again):
        assert span(found["minmax"], *read_by(FIRST)) == span(ranges(), *read_by(FIRST))
    kept(tmp_path, "key", ["minmax", "percentile"], make)
    kept(tmp_path, "another", ["minmax"], make)
    assert asked[1:] == [["percentile"], ["minmax"]]


def test_damaged_ranges_are_an_error_that_says_what_to_delete(tmp_path: Path) -> None:
    kept(tmp_path, "key", ["minmax"], lambda rules: dict.fromkeys(rules, ranges()))
    next(tmp_path.glob("*encoder.json")).write_text("{")
    with pytest.raises(BundleError, match="delete that folder"):
        kept(tmp_path, "key", ["minmax"], lambda rules: dict.fromkeys(rules, ranges()))
