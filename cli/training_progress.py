"""Progress and results of the commands that train."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from .console import err, out, print_json

if TYPE_CHECKING:
    from ..training.loop import Progress as LoopProgress
    from ..training.run_directory import Metrics
    from ..training.tasks.pipelines import Callbacks, TrainingResult

_SECONDS_PER_LINE: Final = 30.0
"""shortest time between lines on the progress of features, if there is no terminal for a progress bar"""


@contextlib.contextmanager
def show_progress() -> Iterator[Callbacks]:
    """Show progress bars on a terminal, and print a line per epoch. After an interruption, print how to resume.

    Yields:
        The callbacks for a training.
    """
    from ..training.loop import TrainingInterrupted
    from ..training.tasks.pipelines import Callbacks

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    tasks: dict[str, TaskID] = {}
    features: dict[str, tuple[int, int]] = {}
    stages = ["training"]

    def get_task(name: str) -> TaskID:
        if name not in tasks:
            tasks[name] = bar.add_task(name, note="")
        return tasks[name]

    last_line = time.monotonic()

    def on_features(kinds: str, done: int, total: int) -> None:
        nonlocal last_line
        features[kinds] = (done, total)
        if not err.is_terminal and time.monotonic() - last_line > _SECONDS_PER_LINE:
            last_line = time.monotonic()
            err.print(f"{kinds}: {done:,} of {total:,} sounds", markup=False, soft_wrap=True)
        bar.update(get_task(kinds), total=total, completed=done, note=f"{done:,} of {total:,} sounds")

    def on_stage(name: str) -> None:
        stages.append(name)
        err.print(name, markup=False, soft_wrap=True)

    def on_step(now: LoopProgress) -> None:
        time_left = f"at most {format_duration(now.left)} left"
        note = f"{now.step} of {now.steps}, loss {now.loss:.4f}, {now.rate:.2f} steps/s, {time_left}"
        completed = now.epoch * now.steps + now.step
        bar.update(get_task(stages[-1]), total=now.epochs * now.steps, completed=completed, note=note)

    def on_epoch(metrics: Metrics) -> None:
        values = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k not in ("epoch", "rows", "seconds"))
        duration = format_duration(metrics["seconds"])
        err.print(f"epoch {metrics['epoch'] + 1:g}: {values}; {duration}", soft_wrap=True)

    try:
        with bar:
            yield Callbacks(on_features, on_step, on_epoch, on_stage)
    except TrainingInterrupted as interruption:
        err.print(str(interruption), markup=False, soft_wrap=True)
        raise
    except KeyboardInterrupt:
        if tasks.keys() & set(stages):
            state = "while training"
        else:
            saved = [f"{kinds} of {done:,} of {total:,} sounds" for kinds, (done, total) in features.items() if total]
            state = f"before the first step; saved: {', '.join(saved) or 'nothing'}"
        err.print(f"stopped {state}: run the same command again to resume", markup=False, soft_wrap=True)
        raise


def print_result(result: TrainingResult, as_json: bool, bundle: Path | None = None) -> None:
    """Print the best epoch of a training, the file of its weights, and the folder of its bundle, if there is one."""
    name, more_is_better = result.task.monitor
    best = (max if more_is_better else min)(result.history, key=lambda metrics: metrics[name])
    if as_json:
        document: dict[str, Any] = {"weights": str(result.weights), "best": {**best, "epoch": best["epoch"] + 1}}
        print_json({**document, "epochs": len(result.history), **({"bundle": str(bundle)} if bundle else {})})
        return
    out.print(
        f"best epoch {best['epoch'] + 1:g} of {len(result.history)}: LCC {best['lcc']:.3f}, SRCC {best['srcc']:.3f}, "
        f"MSE {best['mse']:.4f} on {best['rows']:g} clips; weights in {result.weights}"
        f"{f', bundle in {bundle}' if bundle else ''}",
        markup=False,
        soft_wrap=True,
    )


def format_duration(seconds: float) -> str:
    """Format a duration, such as `1:05 min` or `1 h 01 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
