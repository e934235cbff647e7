"""Contenders are timed in turn, after a warm-up; slow ones fewer times."""

from __future__ import annotations

import time

from haaqi_edge.evaluation.timing import taken, timing


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    seconds = taken({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=3)
    assert calls == ["a", "b"] * 4
    assert {name: len(runs) for name, runs in seconds.items()} == {"a": 3, "b": 3}
    told = timing(seconds["a"])
    assert 0 <= told.low <= told.median <= told.high


def test_who_is_slow_gets_fewer_runs_and_some_all_the_same() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.02)

    seconds = taken({"quick": lambda: calls.append("quick"), "slow": slow}, 6, budget=0.01, least=2)
    assert {name: len(runs) for name, runs in seconds.items()} == {"quick": 6, "slow": 2}
    assert calls == ["quick", "slow"] * 3 + ["quick"] * 4


def test_what_is_short_runs_untimed_before_each_run() -> None:
    calls: list[str] = []
    contenders = {"short": lambda: calls.append("short"), "long": lambda: (calls.append("long"), time.sleep(0.02))}
    seconds = taken(contenders, 2, short=0.01)
    assert {name: len(runs) for name, runs in seconds.items()} == {"short": 2, "long": 2}
    assert calls == ["short", "long"] + ["short", "short", "long"] * 2
