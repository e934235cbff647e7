"""Error handling shared by the benchmark programs: one line on standard error, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..runtime.errors import HaaqiEdgeError


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """End the program with the message and exit code of an error, without a traceback."""
    try:
        yield
    except HaaqiEdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
