"""The command line: `haaqi-edge COMMAND`. Each command is a module that imports its package only when it is called."""

from __future__ import annotations

import sys

__all__ = ["run"]


def run() -> None:
    """Run the command line. The console script calls this. If typer or rich is missing, print what to install."""
    try:
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
