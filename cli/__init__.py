"""The command line: `haaqi-edge COMMAND`. Each command is a module that imports its package only when it is called."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

__all__ = ["INTERRUPTED", "exit_when_interrupted", "run"]

INTERRUPTED = "interrupted"
"""what is printed after Ctrl-C, unless a command says more"""


def run() -> None:
    """Run the command line. The console script calls this. If typer or rich is missing, print what to install."""
    try:
        with exit_when_interrupted():
            from .main import main
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        print(
            f"error: the command line needs {error.name}, which the base installation does not include: "
            "run pip install 'haaqi-edge[cpu,cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    main()


@contextlib.contextmanager
def exit_when_interrupted() -> Iterator[None]:
    """End the process with one line and exit code 130 if Ctrl-C is pressed meanwhile.

    For imports: an exception that is raised at any point of them has a long traceback, and some modules lose it.
    """
    try:
        previous = signal.signal(signal.SIGINT, _exit)
    except ValueError:  # in another thread, which receives no signals
        yield
        return
    if previous is not signal.default_int_handler:  # Ctrl-C is ignored, or a test handles it
        signal.signal(signal.SIGINT, previous)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _exit(_: int, __: FrameType | None) -> None:
    with contextlib.suppress(OSError):  # standard error is closed
        os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(130)
