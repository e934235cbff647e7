"""Ctrl-C at any moment, pipes whose reader is gone, and standard error that cannot be written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import run
from haaqi_edge.cli import exit_when_interrupted
from sounds import DEMO

INTERRUPTED_IMPORT = """
import builtins, os, signal, sys
original = builtins.__import__
def importing(name, *rest, **more):
    if name == {name!r}:
        builtins.__import__ = original
        os.kill(os.getpid(), signal.SIGINT)
    return original(name, *rest, **more)
builtins.__import__ = importing
sys.argv = ["haaqi-edge", "score", {clip!r}, "-a", "N3"]
from haaqi_edge.cli import run
run()
"""
COMMAND = [sys.executable, "-m", "haaqi_edge.cli.main"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("name", ["main", "typer", "rich.console", "runtime.bundle", "numpy", "onnxruntime"])
def test_ctrl_c_during_imports(name: str) -> None:
    done = python(INTERRUPTED_IMPORT.format(name=name, clip=str(DEMO)))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    done = python(code + INTERRUPTED_IMPORT.format(name="typer", clip=str(DEMO)))
    assert (done.returncode, done.stderr) == (0, "")
    assert "19.9 s scored" in done.stdout


def test_the_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with exit_when_interrupted():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


# Pipes


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("command", ["score", "inspect"])
def test_a_reader_that_is_gone_is_one_line(command: str, options: list[str]) -> None:
    argv = {"score": ["score", str(DEMO), "-a", "N3"], "inspect": ["inspect", "nano"]}[command]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, *argv, *options], stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=120
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == "error: standard output was closed by its reader before everything was written\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("argv", [["score", "missing.wav", "-a", "N3"], ["score", str(DEMO), "-a", "N3"]])
def test_standard_error_that_is_full(argv: list[str]) -> None:
    expected = subprocess.run([*COMMAND, *argv], capture_output=True, text=True, check=False, timeout=120)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, *argv], stdout=subprocess.PIPE, stderr=full, check=False, timeout=120)
    assert done.returncode == expected.returncode


# Names that look like options


@pytest.mark.parametrize("command", ["score {} -a N3", "stream {} -a N3", "haaqi {} {} -a N3"])
@pytest.mark.parametrize("name", ["-dash.wav", "-a.wav", "-m.flac", "--x y.mp3"])
def test_names_with_dashes(name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for exists in (False, True):
        if exists:
            Path(name).touch()
        outcome = run(*(argument.replace("{}", name) for argument in command.split()))
        assert (outcome.code, outcome.out) == (2, "")
        text = " ".join(outcome.err.replace("│", " ").split())
        assert f"{name} begins with a dash, as options do: for a file of this name, write ./{name}" in text


def test_other_errors_have_no_hint_at_dashes() -> None:
    for argv in (["score", "a.wav", "--loudness=3"], ["score", "a.wav", "-a", "-5,0,0"], ["score", "--", "-a.wav"]):
        assert "begins with a dash" not in run(*argv).err
