"""A stream as people see it: a live line a listener on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.live import Live
from rich.markup import escape
from rich.text import Text

from .console import curve, out

if TYPE_CHECKING:
    from ..runtime.streaming.updates import Reading, Summary, Update

QUIETEST, LOUDEST = 20.0, 110.0
"""dB SPL at the ends of the meter"""
_CELLS: Final = 12
_REFRESH: Final = 0.1
"""seconds between two pictures, where updates come faster"""


class Meter:
    """Shows updates: on a terminal the last one, elsewhere one for each window that has passed.

    Args:
        window: seconds.
    """

    def __init__(self, window: float) -> None:
        self._live = Live(console=out, auto_refresh=False, transient=True) if out.is_terminal else None
        self._window, self._next, self._shown = window, window, 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, update: Update) -> None:
        """One more update."""
        if self._live:
            if time.monotonic() >= self._shown + _REFRESH:
                self._shown = time.monotonic()
                self._live.update(Text.from_markup("\n".join(lines(update, out.width))), refresh=True)
        elif update.time >= self._next:
            self._next += self._window
            for line in lines(update, out.width):
                out.print(line, soft_wrap=True)


def print_total(summary: Summary, name: str) -> None:
    """The end of a stream."""
    out.print(f"[bold]{escape(name)}[/], {summary.time:.1f} s scored", soft_wrap=True)
    for total in summary.totals:
        out.print(f"  {escape(total.audiogram.name):>6}  [bold]{_number(total.score)}[/]", soft_wrap=True)


def lines(update: Update, width: int) -> list[str]:
    """An update as markup, a line a listener: time, level, score, mean of the windows, and the window's curve."""
    return [_line(update, reading, width) for reading in update.readings]


def _line(update: Update, reading: Reading, width: int) -> str:
    level = "  silence" if reading.level is None else f"{reading.level:5.1f} dB"
    start = (
        f"{update.time:7.1f} s  {bar(reading.level)} {level:>9}  {escape(reading.audiogram.name):>6} "
        f"[bold]{_number(reading.score)}[/]  mean {_number(reading.mean)}  "
    )
    values = [None if value != value else float(value) for value in reading.frame_scores]
    room = width - Text.from_markup(start).cell_len
    return start + (curve(values, min(room, 60)) if room > 0 else "")


def bar(level: float | None) -> str:
    """A level in dB SPL as a bar of 12 cells, from 20 to 110 dB."""
    share = 0.0 if level is None else (level - QUIETEST) / (LOUDEST - QUIETEST)
    cells = round(_CELLS * min(1.0, max(0.0, share)))
    return "█" * cells + "░" * (_CELLS - cells)


def _number(score: float | None) -> str:
    return "  -  " if score is None else f"{score:.3f}"
