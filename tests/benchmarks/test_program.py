"""Programs among the benchmarks end on bad input with a line and an exit code."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from haaqi_edge.benchmarks import gpu
from haaqi_edge.benchmarks.studies import library


@pytest.mark.parametrize(
    ("program", "options", "words"),
    [
        (gpu, ["--provider", "cpu", "--cuda-graphs"], "--cuda-graphs goes with"),
        (gpu, ["--provider", "cpu", "--runs", "0"], "--runs 0: give 1 or more"),
        (library, ["nowhere"], "no audio in nowhere"),
        (library, ["demo", "--jobs", "0"], "--jobs 0: give 1 or more"),
    ],
)
def test_bad_input(
    program: ModuleType,
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *options])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {words}")
    assert told.err.count("\n") == 1
    assert told.out == ""
