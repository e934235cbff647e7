"""What all verbs share: consoles, errors as people read them, progress, extras, JSON."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..runtime.errors import DependencyError, HaaqiEdgeError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_BARS = " ▁▂▃▄▅▆▇█"


def print_json(value: Any) -> None:
    """One JSON document on standard output; NaN never gets in."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2))


def print_error(error: HaaqiEdgeError) -> None:
    """An error on standard error, without a traceback: its message says what to do."""
    err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)


def progress() -> Progress:
    """A progress bar on standard error, shown on terminals only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def require(extra: str, *modules: str) -> None:
    """Raise `DependencyError` unless the modules of an extra are installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"this command needs {', '.join(missing)}, which the base installation leaves out: "
            f"pip install 'haaqi-edge[{extra}]'"
        )


def curve(values: list[float | None], width: int = 60) -> str:
    """Values from 0 to 1 as a line of block characters, averaged to at most `width`; a dot stands for silence."""
    columns = min(width, len(values))
    cells = []
    for i in range(columns):
        part = [v for v in values[i * len(values) // columns : (i + 1) * len(values) // columns] if v is not None]
        cells.append(_BARS[1 + min(7, int(8 * sum(part) / len(part)))] if part else "·")
    return "".join(cells)
