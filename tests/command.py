"""Run the command line in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys

import pytest
from haaqi_edge.cli import main as cli
from haaqi_edge.runtime.errors import HaaqiEdgeError

_PROGRESS = re.compile(r"step \d+ of \d+: ")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command, and the exceptions that it reported."""

    code: int | str | None
    out: str
    err: str
    errors: list[HaaqiEdgeError]


def run(*argv: object) -> Outcome:
    """Run `haaqi-edge ARGV`."""
    errors: list[HaaqiEdgeError] = []
    print_error = cli.print_error

    def record(error: HaaqiEdgeError) -> None:
        errors.append(error)
        print_error(error)

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "print_error", record)
        patch.setattr(sys, "argv", ["haaqi-edge", *map(str, argv)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main()
    return Outcome(ended.value.code, out.getvalue(), err.getvalue(), errors)


def get_output(*argv: object) -> str:
    """Return the standard output of a command. It must succeed, and print nothing on standard error but progress."""
    outcome = run(*argv)
    lines = [line for line in outcome.err.splitlines() if not _PROGRESS.match(line)]
    assert (outcome.code, lines) == (0, [])
    return outcome.out
