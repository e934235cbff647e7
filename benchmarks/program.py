"""Error handling of the modules that run with `python -m`: `benchmarks.gpu` and `benchmarks.report.readme`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..runtime.errors import HaaqiEdgeError


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn a `HaaqiEdgeError` into one line on standard error and its exit code, without a traceback."""
    try:
        yield
    except HaaqiEdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
