"""Display of a stream: one live line per listener on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.live import Live
from rich.markup import escape
from rich.text import Text

from .console import draw_curve, format_interval, out
from .two_ears import format_ears

if TYPE_CHECKING:
    from ..runtime.streaming.ear_stream import EarResult
    from ..runtime.streaming.updates import ListenerUpdate, Summary, Update

METER_MIN, METER_MAX = 20.0, 110.0
"""levels in dB SPL at the ends of the level meter"""
_METER_CELLS: Final = 12
_REFRESH_SECONDS: Final = 0.1
"""shortest time between two refreshes of a terminal"""


class StreamDisplay:
    """Print updates of a stream. A terminal shows the latest update; elsewhere, one update per window is printed.

    Args:
        window: length of the scoring window in seconds.
    """

    def __init__(self, window: float) -> None:
        self._live = Live(console=out, auto_refresh=False, transient=True) if out.is_terminal else None
        self._window, self._next, self._refreshed = window, window, 0.0

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
        """Show an update."""
        if self._live:
            if time.monotonic() >= self._refreshed + _REFRESH_SECONDS:
                self._refreshed = time.monotonic()
                self._live.update(Text.from_markup("\n".join(format_update(update, out.width))), refresh=True)
        elif update.time >= self._next:
            self._next += self._window
            for line in format_update(update, out.width):
                out.print(line, soft_wrap=True)


def print_summary(summary: Summary, name: str) -> None:
    """Print the summary at the end of a stream."""
    out.print(f"[bold]{escape(name)}[/], {summary.time:.1f} s scored", soft_wrap=True)
    for total in summary.totals:
        interval = format_interval(total.interval)
        out.print(
            f"  {escape(total.audiogram.name):>6}  [bold]{_format_score(total.score)}[/]{interval}", soft_wrap=True
        )
    for line in _format_ears(summary):
        out.print(line, soft_wrap=True)


def format_update(update: Update, width: int) -> list[str]:
    """Format an update as markup, one line per listener: time, level, score, mean of the windows, and the curve.

    Args:
        update: scores of the last window.
        width: of the terminal, in characters.
    """
    return [*(_format_line(update, reading, width) for reading in update.readings), *_format_ears(update)]


def _format_ears(result: Update | Summary) -> list[str]:
    """Format the mean of both ears of each listener, if the stream has ears."""
    ears: tuple[EarResult, ...] = getattr(result, "ears", ())
    return [f"  {escape(one.name)}: both ears {format_ears(one.left, one.right)}" for one in ears]


def _format_line(update: Update, reading: ListenerUpdate, width: int) -> str:
    level = "  silence" if reading.level is None else f"{reading.level:5.1f} dB"
    start = (
        f"{update.time:7.1f} s  {draw_level(reading.level)} {level:>9}  {escape(reading.audiogram.name):>6} "
        f"[bold]{_format_score(reading.score)}[/]  mean {_format_score(reading.mean)}  "
    )
    values = [None if value != value else float(value) for value in reading.frame_scores]
    remaining = width - Text.from_markup(start).cell_len
    return start + (draw_curve(values, min(remaining, 60)) if remaining > 0 else "")


def draw_level(level: float | None) -> str:
    """Draw a level in dB SPL, or None for silence, as a bar of 12 cells from 20 to 110 dB."""
    share = 0.0 if level is None else (level - METER_MIN) / (METER_MAX - METER_MIN)
    cells = round(_METER_CELLS * min(1.0, max(0.0, share)))
    return "█" * cells + "░" * (_METER_CELLS - cells)


def _format_score(score: float | None) -> str:
    return "  -  " if score is None else f"{score:.3f}"
