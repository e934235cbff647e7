"""Contenders are timed in turn, after a warm-up."""

from __future__ import annotations

from haaqi_edge.calibration.timing import compare


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    timings = compare({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=3)
    assert calls == ["a", "b"] * 4
    assert timings.keys() == {"a", "b"}
    assert all(0 <= t.low <= t.median <= t.high for t in timings.values())
