"""Interleaved timing: functions run in turn, after a warm-up; slow ones run fewer times."""

from __future__ import annotations

import time

from haaqi_edge.evaluation.timing import compute_speedup, summarize_times, time_interleaved


def test_functions_run_in_turn() -> None:
    calls: list[str] = []
    seconds = time_interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=3)
    assert calls == ["a", "b"] * 4
    assert {name: len(runs) for name, runs in seconds.items()} == {"a": 3, "b": 3}
    times = summarize_times(seconds["a"])
    assert 0 <= times.low <= times.median <= times.high


def test_a_slow_function_gets_fewer_runs_but_at_least_the_minimum() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.02)

    seconds = time_interleaved({"quick": lambda: calls.append("quick"), "slow": slow}, 6, budget=0.01, min_runs=2)
    assert {name: len(runs) for name, runs in seconds.items()} == {"quick": 6, "slow": 2}
    assert calls == ["quick", "slow"] * 3 + ["quick"] * 4


def test_a_short_function_runs_untimed_before_each_run() -> None:
    calls: list[str] = []
    functions = {"short": lambda: calls.append("short"), "long": lambda: (calls.append("long"), time.sleep(0.02))}
    seconds = time_interleaved(functions, 2, repeat_below=0.01)
    assert {name: len(runs) for name, runs in seconds.items()} == {"short": 2, "long": 2}
    assert calls == ["short", "long"] + ["short", "short", "long"] * 2


def test_a_speedup_compares_run_by_run() -> None:
    speedup = compute_speedup([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 2.0])
    assert speedup.median == 2.0
    assert 2.0 == speedup.low <= speedup.high <= 4.0
