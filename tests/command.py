"""The command line in process, from `main` on."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys

import pytest
from haaqi_edge.cli import main as cli
from haaqi_edge.runtime.errors import HaaqiEdgeError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended, and the errors that it reported as they were raised."""

    code: int | str | None
    out: str
    err: str
    errors: list[HaaqiEdgeError]


def run(*argv: object) -> Outcome:
    """`haaqi-edge ARGV`."""
    errors: list[HaaqiEdgeError] = []
    reported = cli.print_error

    def kept(error: HaaqiEdgeError) -> None:
        errors.append(error)
        reported(error)

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "print_error", kept)
        patch.setattr(sys, "argv", ["haaqi-edge", *map(str, argv)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main()
    return Outcome(ended.value.code, out.getvalue(), err.getvalue(), errors)


def printed(*argv: object) -> str:
    """What a command prints on standard output; it must end well and print nothing else."""
    outcome = run(*argv)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out
