"""Tests of the conversion of simple option values: the result is typer's own, and typer reports what is invalid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
import typer.main
from haaqi_edge.cli.conversion import use_simple_conversion
from haaqi_edge.cli.main import COMMANDS, load_command

VALUES: dict[str, Any] = {}


def record(
    text: Annotated[str, typer.Argument()],
    paths: Annotated[list[Path] | None, typer.Argument()] = None,
    path: Annotated[Path | None, typer.Option()] = None,
    number: Annotated[int | None, typer.Option(min=1, max=9)] = None,
    amount: Annotated[float, typer.Option(min=0)] = 0.5,
    choice: Annotated[Literal["a", "b"], typer.Option()] = "a",
    names: Annotated[list[str] | None, typer.Option("--name")] = None,
    pair: Annotated[tuple[float, float], typer.Option()] = (1.0, 5.0),
    flag: Annotated[bool, typer.Option("--flag")] = False,
    switch: Annotated[bool | None, typer.Option("--on/--off")] = None,
) -> None:
    """Record the values of a call."""
    VALUES.update(locals())


def call(argv: list[str], *, simple: bool) -> tuple[int | str | None, dict[str, Any]]:
    """Return the exit code of a command, and the values that it received."""
    app = typer.Typer(add_completion=False)
    app.command()(record)
    command = typer.main.get_command(app)
    if simple:
        use_simple_conversion(command)
    VALUES.clear()
    with pytest.raises(SystemExit) as ended:
        command.main(argv, prog_name="record")
    return ended.value.code, dict(VALUES)


@pytest.mark.parametrize(
    "argv",
    [
        "x",
        "x a.wav b.wav --path c --number 5 --amount 2 --choice b --name p --name q --pair 1 2 --flag --on",
        "x --number 1 --amount 0.25 --off --name p",
        "x --number 10",
        "x --number 0",
        "x --number -1",
        "x --number 1.5",
        "x --number 1_0",
        "x --number ٣",
        f"x --number {'9' * 5000}",
        f"x --amount {'9' * 400}",
        "x --amount -0.5",
        "x --amount 1e-3",
        "x --amount nan",
        "x --amount loud",
        "x --choice c",
        "x --pair 1",
        "x --pair 1 two",
        "--flag",
        "x --unknown",
    ],
)
def test_values_and_errors_are_typers(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = call(argv.split(), simple=False)
    message = capsys.readouterr().err
    found = call(argv.split(), simple=True)
    assert found == expected
    assert {name: type(value) for name, value in found[1].items()} == {
        name: type(value) for name, value in expected[1].items()
    }
    assert capsys.readouterr().err == message


def test_commands_get_the_same_defaults() -> None:
    """Each option that is not given has its default, as text or converted."""
    for name in [name for commands in COMMANDS.values() for name in commands]:
        command = load_command(name)
        for member in (command, *getattr(command, "commands", {}).values()):
            if getattr(member, "commands", None):
                continue
            context = typer.Context(member)
            for parameter in member.get_params(context):
                if parameter.required or parameter.callback is not None:
                    continue
                default = parameter.get_default(context)
                fast = parameter.process_value(context, default)
                slow = type(parameter).process_value(parameter, context, default)
                assert (fast, type(fast)) == (slow, type(slow)), (name, parameter.name)
