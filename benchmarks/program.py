"""What the programs among the benchmarks share: an error is a line on standard error, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..runtime.errors import HaaqiEdgeError


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """Ends the program with an error's message and exit code, without a traceback."""
    try:
        yield
    except HaaqiEdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
