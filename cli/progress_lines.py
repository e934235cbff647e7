"""Progress of long commands as lines of text: for a log file, and for output that is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from ..runtime.errors import OptionError

INTERVAL: Final = 30.0
"""seconds between two lines on the same step"""


class ProgressLines:
    """The lines of a command that reports its steps.

    Args:
        names: the steps in their order; empty if they are not known in advance.
        clock: returns seconds.
    """

    def __init__(self, names: Sequence[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._names = names
        self._clock = clock
        self._name = ""
        self._start = self._last = 0.0
        self._done_before = 0

    def describe(self, name: str) -> str:
        """Return the name of a step after its number, such as `step 2 of 5: calibrating`."""
        if name not in self._names:
            return name
        return f"step {self._names.index(name) + 1} of {len(self._names)}: {name}"

    def update(self, name: str, done: int, total: int) -> str | None:
        """Take the progress of a step.

        Args:
            name: name of the step.
            done, total: parts of the step; a total of 0 is unknown.

        Returns:
            A line if a step begins, or `INTERVAL` after the last one; otherwise None.
        """
        now = self._clock()
        if name != self._name:
            self._name, self._start, self._last, self._done_before = name, now, now, done
            return self.describe(name)
        if now - self._last < INTERVAL or not total:
            return None
        self._last = now
        parts = done - self._done_before
        left = f", {format_seconds((total - done) * (now - self._start) / parts)} left" if parts > 0 else ""
        return f"{self.describe(name)}, {done} of {total}{left}"


def format_seconds(seconds: float) -> str:
    """Return a duration as text, such as `1:05` or `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def open_log(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Open a log file to which lines are appended, with the time of each. None discards them.

    Raises:
        OptionError: the file cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    try:
        file: IO[str] = path.open("a", encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"--log: cannot write {path} ({error.strerror}): give a file in a folder that exists"
        ) from error
    with file:

        def write(line: str) -> None:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            file.flush()

        yield write
