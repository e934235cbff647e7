"""What the verbs that train share: their data, their settings, and what they show while they train."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ..runtime.errors import OptionError
from .console import err, out, print_json, require

if TYPE_CHECKING:
    from ..training.loop import Progress as Step
    from ..training.recipes import Data, Told, Trained
    from ..training.runs import Metrics

TABLE = "Folder of a label table's Parquet shards, or a JSON file as HAAQI-Net's train.json."
Table = Annotated[Path | None, typer.Option(help=TABLE)]
Valid = Annotated[Path | None, typer.Option(help="JSON file to choose the epoch on; else a tenth of --table's files.")]
Music = Annotated[Path | None, typer.Option(help="Folder of the table's music with its CLIPS.csv.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run: config, metrics, curves, weights.")]
Config = Annotated[str | None, typer.Option(help="Settings: a YAML or JSON file, or the name of a shipped one.")]
Features = Annotated[Path | None, typer.Option(help="Folder in which features are kept; by default TABLE.features.")]
Rows = Annotated[int | None, typer.Option(min=1, help="Use the first rows of split train only.")]
ValidRows = Annotated[int | None, typer.Option(min=1, help="Use the first rows of split valid only.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the data, at most.")]
Patience = Annotated[int | None, typer.Option(min=1, help="Epochs without a better one after which to stop.")]
Rate = Annotated[float | None, typer.Option("--lr", min=0, help="Adam's learning rate.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Clips in a step.")]
Seed = Annotated[int | None, typer.Option(help="Of initial weights, order and dropout.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, or auto.")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes that make features; by default the cores.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_MODULES = ("torch", "safetensors", "scipy", "numba", "pyarrow", "joblib", "yaml", "matplotlib")
_HELD_OUT = 0.1


def require_training() -> None:
    """Raise `DependencyError` unless the extra is installed."""
    require("train", *_MODULES)


def told_by(config: str | None, default: str) -> dict[str, Any]:
    """The settings in a file, HAAQI-Net's in our words; those of the shipped `default` where none is named."""
    from ..training.settings import from_haaqi_net, read_settings

    told = read_settings(config or default)
    return from_haaqi_net(told) or told


def data_of(
    table: Path | None,
    valid: Path | None,
    music: Path | None,
    features: Path | None,
    rows: int | None,
    valid_rows: int | None,
    jobs: int | None,
) -> Data:
    """Examples and where their features are kept.

    Raises:
        OptionError: no table.
        CorpusError: one that cannot be used.
    """
    from ..runtime.sessions import available_cores
    from ..training.corpus import Corpus
    from ..training.examples import of_json, of_table, parted
    from ..training.recipes import Data
    from ..training.store import Store

    if table is None:
        raise OptionError("no labels: give a label table or a train.json with --table")
    corpus = None if music is None else Corpus(music)
    if table.is_file():
        examples = of_json(table)[:rows]
        train, held = parted(examples, _HELD_OUT) if valid is None else (examples, of_json(valid)[:valid_rows])
    else:
        if valid is not None:
            raise OptionError("--valid goes with a JSON file; a label table has its own split valid")
        if corpus is None:
            raise OptionError("a label table's sounds are made from its music: give the folder with --music")
        train, held = of_table(table, "train", rows), of_table(table, "valid", valid_rows)
    store = Store(features or table.with_name(f"{table.name}.features"))
    return Data(train, held, store, corpus, jobs or available_cores())


@contextlib.contextmanager
def shown() -> Iterator[Told]:
    """Bars on a terminal, a line an epoch elsewhere; an interruption says how to go on."""
    from ..training.loop import Stopped
    from ..training.recipes import Told

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    tasks: dict[str, TaskID] = {}

    def task(name: str) -> TaskID:
        if name not in tasks:
            tasks[name] = bar.add_task(name, note="")
        return tasks[name]

    def features(what: str, done: int, total: int) -> None:
        bar.update(task(what), total=total, completed=done, note=f"{done:,} of {total:,} sounds")

    def step(now: Step) -> None:
        note = f"{now.step} of {now.steps}, loss {now.loss:.4f}, {now.rate:.2f} steps/s, {_span(now.left)} left at most"
        bar.update(
            task("training"), total=now.epochs * now.steps, completed=now.epoch * now.steps + now.step, note=note
        )

    def epoch(found: Metrics) -> None:
        told = ", ".join(f"{k} {v:.4f}" for k, v in found.items() if k not in ("epoch", "rows", "seconds"))
        err.print(f"epoch {found['epoch'] + 1:g}: {told}; {_span(found['seconds'])}", soft_wrap=True)

    try:
        with bar:
            yield Told(features, step, epoch)
    except Stopped as stopped:
        err.print(str(stopped), soft_wrap=True)
        raise


def report(trained: Trained, as_json: bool, **more: Any) -> None:
    """What came of a training."""
    name, more_is_better = trained.task.watched
    best = (max if more_is_better else min)(trained.history, key=lambda found: found[name])
    if as_json:
        print_json({"weights": str(trained.weights), "best": best, "epochs": len(trained.history), **more})
        return
    out.print(
        f"best epoch {best['epoch'] + 1:g} of {len(trained.history)}: LCC {best['lcc']:.3f}, SRCC {best['srcc']:.3f}, "
        f"MSE {best['mse']:.4f} on {best['rows']:g} clips; weights in {trained.weights}",
        markup=False,
        soft_wrap=True,
    )


def said(**flags: Any) -> Mapping[str, Any]:
    """Flags that say something."""
    return {name: value for name, value in flags.items() if value is not None}


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
