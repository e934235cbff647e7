"""Callbacks that report the progress of a measurement."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""called with the current step, how much of it is done, and the total (0 if unknown)"""


def no_progress(step: str, done: int, total: int) -> None:
    """Ignore the progress."""
