"""What all verbs share: consoles, errors as people read them, tables, progress, extras, JSON, the listeners."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..runtime.errors import DependencyError, HaaqiEdgeError
from ..runtime.writing import to_json

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Listeners = Annotated[
    list[str],
    typer.Option(
        "--audiogram",
        "--hl",
        "-a",
        help='The listener: NH, N1-N7, S1-S3, 8 levels in dB HL ("[20, 30, 40, 50, 60, 70, 70, 70]"), or a CSV or '
        "JSON file. Repeat it for several listeners.",
    ),
]
"""the option by which verbs are told who listens"""

_BARS = " ▁▂▃▄▅▆▇█"
_ANY_WIDTH = 10_000


def print_json(value: Any) -> None:
    """Print one JSON document on standard output; undefined values (NaN) are null."""
    print(to_json(value))


def print_json_line(value: Any) -> None:
    """Print one JSON object on one line of standard output, at once; undefined values (NaN) are null."""
    print(to_json(value, indent=None), flush=True)


def print_error(error: HaaqiEdgeError) -> None:
    """An error on standard error, without a traceback: its message says what to do."""
    err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)


def print_table(table: Table) -> None:
    """A table in which nothing is cut or folded: one too wide for the terminal runs over its edge."""
    for column in table.columns:
        column.no_wrap = True
    needed = Console(width=_ANY_WIDTH).measure(table).maximum
    Console(width=max(needed, out.width), highlight=False).print(table)


def progress() -> Progress:
    """A progress bar on standard error, shown on terminals only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """A bar whose text and length follow what is going on."""
    with progress() as bar:
        task = bar.add_task("starting", total=None)
        phase = ""

        def told(what: str, done: int, total: int) -> None:
            nonlocal phase
            if what != phase and not err.is_terminal:
                err.print(what)
            if what != phase:
                bar.reset(task)
            phase = what
            bar.update(task, description=what, completed=done, total=total or None)

        yield told


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
