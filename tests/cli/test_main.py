"""Tests of the entry point: commands are loaded when they run, help, shell completion, deprecated options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from command import get_output, run
from haaqi_edge.cli.deprecations import OPTIONS, replace_deprecated
from haaqi_edge.cli.main import COMMANDS, load_command

NAMES = [name for commands in COMMANDS.values() for name in commands]


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield a command, or all commands of a group, with their names."""
    members = getattr(command, "commands", {})
    for member_name, member in members.items():
        yield from walk(member, f"{name} {member_name}")
    if not members:
        yield name, command


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("name", NAMES)
def test_summaries_are_the_first_line_of_the_commands_help(name: str) -> None:
    summary = next(commands[name] for commands in COMMANDS.values() if name in commands)
    assert load_command(name).help.splitlines()[0] == summary


def test_help_lists_all_commands_and_loads_none_of_them() -> None:
    code = "import sys\nsys.argv = ['haaqi-edge', '--help']\nfrom haaqi_edge.cli.main import app\n"
    code += "try:\n    app()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    done = python(code, COLUMNS="120")
    assert done.returncode == 0, done.stderr
    for panel, commands in COMMANDS.items():
        assert panel in done.stdout
        for name, summary in commands.items():
            assert f"{name} " in done.stdout
            assert summary in " ".join(done.stdout.replace("│", " ").split())
    loaded = set(done.stderr.split())
    assert "haaqi_edge.cli.console" in loaded
    assert not loaded & {f"haaqi_edge.cli.{name.replace('-', '_')}" for name in NAMES}
    assert not loaded & {"numpy", "onnxruntime", "pydantic", "torch"}


def test_scoring_loads_no_pydantic() -> None:
    code = "import sys\nsys.argv = ['haaqi-edge', 'score', 'demo/clean.flac', '-a', 'N3', '--threads', '1', '--json']\n"
    code += "from haaqi_edge.cli.main import app\ntry:\n    app()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["results"]) == 1
    assert not set(done.stderr.split()) & {"pydantic", "torch", "scipy", "haaqi_edge.cli.train"}


def test_each_command_has_json() -> None:
    commands = [found for name in NAMES for found in walk(load_command(name), name)]
    assert len(commands) > 20
    assert [
        name for name, command in commands if not any("--json" in parameter.opts for parameter in command.params)
    ] == []


@pytest.mark.parametrize("name", ["score", "stream", "check", "quantize", "label", "train nano", "distil"])
def test_options_are_grouped(name: str) -> None:
    text = get_output(*name.split(), "--help")
    assert "─ Output ─" in text
    assert text.count("╭─") >= 4
    ungrouped = text.split("─ Options ─")[1].split("╰")[0]
    assert ungrouped.count(" --") <= 3


def test_an_unknown_command_has_a_suggestion() -> None:
    outcome = run("scor", "song.wav")
    assert outcome.code == 2
    assert "Did you mean 'score'" in outcome.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    assert "--install-completion" in get_output("--help")
    code = f"import sys\nsys.argv = ['haaqi-edge', '--show-completion', {shell!r}]\n"
    done = python(code + "from haaqi_edge.cli import run\nrun()", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert "_HAAQI_EDGE_COMPLETE" in done.stdout
    assert f"complete_{shell}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected", "absent"),
    [
        ("haaqi-edge s", {"score", "stream"}, {"train"}),
        ("haaqi-edge train t", {"teacher"}, {"nano"}),
        ("haaqi-edge score --cu", {"--cuda-graphs"}, {"--json"}),
        ("haaqi-edge export nano --format ", {"onnx", "ort", "c"}, set()),
    ],
)
def test_completion(words: str, expected: set[str], absent: set[str]) -> None:
    code = "import sys\nsys.argv = ['haaqi-edge']\nfrom haaqi_edge.cli import run\nrun()"
    done = python(
        code,
        _HAAQI_EDGE_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - (not words.endswith(" "))),
    )
    found = set(done.stdout.split())
    assert expected <= found, done.stderr
    assert not absent & found


def test_deprecated_options_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    old = ["nano", "--target", "c", "-o", "out", "--target=ort", "--target", "tensorrt", "--target"]
    new = ["nano", "--format=c", "-o", "out", "--format=ort", "--target", "tensorrt", "--target"]
    assert replace_deprecated("export", old) == new
    warnings = " ".join(capsys.readouterr().err.split())
    assert warnings.count("warning:") == 2
    assert "--target c is deprecated and will be removed in version" in warnings
    assert "use --format ort" in warnings
    assert replace_deprecated("score", ["a.wav", "--batch=5", "--batch", "6"]) == [
        "a.wav",
        "--batch-size=5",
        "--batch-size",
        "6",
    ]
    assert replace_deprecated("inspect", ["--batch", "5"]) == ["--batch", "5"]


@pytest.mark.parametrize("name", OPTIONS)
def test_deprecated_options_are_gone_and_their_replacements_exist(name: str) -> None:
    options = {text for _, command in walk(load_command(name), name) for p in command.params for text in p.opts}
    for old, new in OPTIONS[name].items():
        assert new.split("=")[0] in options
        assert "=" in old or old not in options
