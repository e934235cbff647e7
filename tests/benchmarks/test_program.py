"""Modules that run with `python -m`: errors are one line and an exit code, and neither typer nor rich is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from haaqi_edge.benchmarks import gpu

WITHOUT_TYPER = """
import runpy, sys
sys.modules["typer"] = sys.modules["rich"] = None
sys.argv = ["gpu", *sys.argv[1:]]
runpy.run_module("haaqi_edge.benchmarks.gpu", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--provider", "cpu", "--cuda-graphs"], "--cuda-graphs needs --provider cuda or tensorrt"),
        (["--provider", "cpu", "--runs", "0"], "--runs 0: give 1 or more"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", *options])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.slow
@pytest.mark.parametrize(("options", "code"), [(["--help"], 0), (["--provider", "cpu", "--runs", "0"], 2)])
def test_the_gpu_study_needs_neither_typer_nor_rich(options: list[str], code: int) -> None:
    argv = [sys.executable, "-c", WITHOUT_TYPER, *options]
    completed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert completed.returncode == code, completed.stderr
    assert "--cuda-graphs" in completed.stdout if code == 0 else completed.stderr.startswith("error: --runs 0")
