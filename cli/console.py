"""Output of all commands: consoles, error messages, tables, progress bars and JSON."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

# Other imports wait for the functions that need them: `--help` and the entry point load this module.
if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from ..runtime.errors import HaaqiEdgeError


class _Console(Console):
    """A console that leaves a closed pipe to `main`, as `print` does. By default, rich ends the process."""

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` that is being handled."""
        raise


out = _Console(highlight=False)
err = _Console(stderr=True, highlight=False)

_BARS = " ▁▂▃▄▅▆▇█"
_ANY_WIDTH = 10_000


def print_json(value: Any) -> None:
    """Print a JSON document on standard output. Undefined values (NaN) become null."""
    from ..runtime.writing import to_json

    print(to_json(value))


def print_json_line(value: Any) -> None:
    """Print a JSON object as one line of standard output, and flush it. Undefined values (NaN) become null."""
    from ..runtime.writing import to_json

    print(to_json(value, indent=None), flush=True)


def printable(text: str) -> str:
    """Return text with escape sequences in place of characters that cannot be printed, such as those of file names."""
    from ..runtime.files import display_name

    return "\n".join(display_name(line) for line in text.split("\n"))


def print_error(error: HaaqiEdgeError) -> None:
    """Print an error on standard error, without a traceback."""
    err.print(f"[bold red]error:[/] {escape(printable(str(error)))}", soft_wrap=True)


def print_warning(message: str) -> None:
    """Print a warning on standard error."""
    err.print(f"[bold yellow]warning:[/] {escape(printable(message))}", soft_wrap=True)


def print_note(text: str) -> None:
    """Print a note on standard error."""
    err.print(f"[bold]note:[/] {escape(printable(text))}", soft_wrap=True)


@contextmanager
def show_notes(verbose: bool) -> Iterator[None]:
    """Print notes about files that are opened meanwhile, such as wrong sizes in a header, if requested."""
    if not verbose:
        yield
        return
    from ..runtime.batch.messages import collect_notes

    with collect_notes(print_note):
        yield


def print_table(table: Table) -> None:
    """Print a table without cutting or folding cells. A table may be wider than the terminal."""
    for column in table.columns:
        column.no_wrap = True
    needed = Console(width=_ANY_WIDTH).measure(table).maximum
    Console(width=max(needed, out.width), highlight=False).print(table)


def progress() -> Progress:
    """Return a progress bar on standard error. It is shown on terminals only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def phases(names: Sequence[str] = (), log: Path | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar for work in several phases. Without a terminal, print lines.

    Args:
        names: the phases in their order, to count them; empty if they are not known in advance.
        log: file to which the lines are appended, also with a terminal.

    Yields:
        A callback that takes the name of the current phase, the steps that are done, and all steps (0 if unknown).

    Raises:
        OptionError: the log cannot be written.
    """
    from .progress_lines import ProgressLines, open_log

    lines = ProgressLines(names)
    with open_log(log) as write, progress() as bar:
        task = bar.add_task("starting", total=None)
        phase = ""

        def update(name: str, done: int, total: int) -> None:
            nonlocal phase
            line = lines.update(name, done, total)
            if line is not None:
                write(line)
                if not err.is_terminal:
                    err.print(escape(line), soft_wrap=True)
            if name != phase:
                bar.reset(task)
            phase = name
            bar.update(task, description=lines.describe(name), completed=done, total=total or None)

        yield update
        write("finished")


def require(extra: str, *modules: str) -> None:
    """Raise `DependencyError` unless the modules of an extra are installed."""
    from ..runtime.errors import DependencyError

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"this command needs {', '.join(missing)}, which the base installation does not include: "
            f"run pip install 'haaqi-edge[{extra}]'"
        )


def draw_curve(values: list[float | None], width: int = 60) -> str:
    """Draw values from 0 to 1 as a line of block characters. A dot stands for silence (None).

    Args:
        values: frame scores.
        width: number of characters at most. More values than that are averaged.
    """
    columns = min(width, len(values))
    cells = []
    for i in range(columns):
        part = [v for v in values[i * len(values) // columns : (i + 1) * len(values) // columns] if v is not None]
        cells.append(_BARS[1 + min(7, int(8 * sum(part) / len(part)))] if part else "·")
    return "".join(cells)


def format_interval(interval: tuple[float, float] | None, coverage: float | None = 0.9) -> str:
    """Format a prediction interval to follow a score, such as `, 90%: 0.48 to 0.83`; empty if there is none."""
    if interval is None or coverage is None:
        return ""
    return f", {coverage:.0%}: {interval[0]:.2f} to {interval[1]:.2f}"
