"""Shared by all commands that train: options of data and runs, settings from files, progress, and reports."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ..runtime.errors import OptionError
from .console import err, out, print_json, require

if TYPE_CHECKING:
    from ..training.data.feature_cache import FeatureCache
    from ..training.loop import Progress as Step
    from ..training.run_directory import Metrics
    from ..training.tasks.pipelines import Data, Told, Trained


CorpusOption = Annotated[
    Path | None,
    typer.Option(
        "--corpus", envvar="HAAQI_EDGE_CORPUS", help="Folder of the corpus that the label table is made from."
    ),
]


@dataclass(frozen=True)
class DataOptions:
    """Options of a training's data."""

    table: Annotated[
        Path | None,
        typer.Option(help="Folder of the label tables' shards, or a JSON file such as HAAQI-Net's train.json."),
    ] = None
    train_on: Annotated[
        list[str] | None,
        typer.Option(help="Label table to train on: train, or an older one such as train-2026-11. Repeat for several."),
    ] = None
    valid_on: Annotated[str, typer.Option(help="Label table that chooses the epoch.")] = "valid"
    valid: Annotated[
        Path | None, typer.Option(help="JSON file that chooses the epoch; a tenth of --table's files by default.")
    ] = None
    corpus: CorpusOption = None
    rows: Annotated[int | None, typer.Option(min=1, help="Use the first rows of each table to train on only.")] = None
    valid_rows: Annotated[
        int | None, typer.Option(min=1, help="Use the first rows of the table that chooses the epoch only.")
    ] = None


@dataclass(frozen=True)
class RunOptions:
    """Options of a training run; they override settings from a file."""

    config: Annotated[str | None, typer.Option(help="Settings: a YAML or JSON file, or the name of a shipped one.")] = (
        None
    )
    features: Annotated[
        Path | None, typer.Option(help="Folder in which features are kept; TABLE.features by default.")
    ] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data, at most.")] = None
    patience: Annotated[int | None, typer.Option(min=1, help="Epochs without a better one after which to stop.")] = None
    lr: Annotated[float | None, typer.Option("--lr", min=0, help="Learning rate.")] = None
    batch_size: Annotated[int | None, typer.Option(min=1, help="Clips in a step.")] = None
    seed: Annotated[int | None, typer.Option(help="Of initial weights, order and dropout.")] = None
    device: Annotated[str | None, typer.Option(help="cpu, cuda, or auto.")] = None
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"] | None, typer.Option(help="Of the forward pass.")] = (
        None
    )
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes that make features; all cores of this process by default.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    def flags(self) -> dict[str, Any]:
        """Return the options that are settings."""
        names = ("epochs", "patience", "lr", "seed", "device", "precision")
        return {"batch": self.batch_size, **{name: getattr(self, name) for name in names}}


Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run: config, metrics, curves, weights.")]
Labels = Annotated[int | None, typer.Option(min=1, help="Use so many labels only, drawn at random.")]
_MODULES = ("torch", "safetensors", "scipy", "numba", "pyarrow", "joblib", "yaml", "matplotlib")
_HELD_OUT = 0.1
_PRINTED_EVERY = 30.0
"""seconds between lines on the making of features, where there is no terminal for a bar"""


def with_options(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose parameters of a dataclass type are options each, one for every field; typer reads its signature."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    hints = get_type_hints(verb, include_extras=True)
    for parameter in inspect.signature(verb).parameters.values():
        if is_dataclass(hints[parameter.name]):
            groups[parameter.name] = group = hints[parameter.name]
            types = get_type_hints(group, include_extras=True)
            parameters += [
                inspect.Parameter(f.name, parameter.KEYWORD_ONLY, default=f.default, annotation=types[f.name])
                for f in fields(group)
            ]
        else:
            kind = parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(kind=kind, annotation=hints[parameter.name]))

    @functools.wraps(verb)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        verb(**given)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def require_training() -> None:
    """Raise `DependencyError` unless the extra is installed."""
    require("train", *_MODULES)


def told_by(config: str | None, default: str | None, of_teacher: bool = False) -> dict[str, Any]:
    """The settings in a file; those of the shipped `default`, if any, where none is named.

    HAAQI-Net's file, which is of its teacher, is put in our words for a verb that trains one, and refused by others.
    """
    from ..training.settings import from_haaqi_net, read_settings

    name = config or default
    told = {} if name is None else read_settings(name)
    theirs = from_haaqi_net(told)
    if theirs is not None and not of_teacher:
        raise OptionError(f"{config} is HAAQI-Net's config of its teacher: it goes with `haaqi-edge train teacher`")
    return told if theirs is None else theirs


def data_of(given: DataOptions, run: RunOptions) -> Data:
    """Read examples, and find the cache of their features.

    Raises:
        OptionError: no table.
        CorpusError: one that cannot be used.
    """
    from ..runtime.session import available_cores
    from ..training.corpus.clips import Corpus
    from ..training.data.examples import of_json, of_table, parted
    from ..training.tasks.pipelines import Data

    table, valid = given.table, given.valid
    if table is None:
        raise OptionError("no labels: give a label table or a train.json with --table")
    if not table.exists():
        raise OptionError(f"--table {table} is not there: give a label table's folder, or a JSON file")
    corpus = None if given.corpus is None else Corpus(given.corpus)
    if table.is_file():
        if given.train_on:
            raise OptionError("--train-on names label tables: give their folder with --table, not a JSON file")
        examples = of_json(table)[: given.rows]
        train, held = parted(examples, _HELD_OUT) if valid is None else (examples, of_json(valid)[: given.valid_rows])
    else:
        if valid is not None:
            raise OptionError("--valid goes with a JSON file; the table that chooses the epoch is --valid-on")
        if corpus is None:
            raise OptionError("sounds of a label table are made from its corpus: give the folder with --corpus")
        names = given.train_on or ["train"]
        if len(set(names)) < len(names):
            raise OptionError(f"--train-on {' '.join(names)}: name each table once")
        train = [example for name in names for example in of_table(table, name, given.rows)]
        held = of_table(table, given.valid_on, given.valid_rows)
    return Data(train, held, cache_of(table, run.features), corpus, run.jobs or available_cores())


def cache_of(table: Path, features: Path | None) -> FeatureCache:
    """Return the feature cache of a table, by default beside it.

    Raises:
        OptionError: a file.
    """
    from ..training.data.feature_cache import FeatureCache

    return FeatureCache(folder_beside(table, features, "features"))


def folder_beside(table: Path, given: Path | None, suffix: str) -> Path:
    """Return a folder that is given, or TABLE.suffix.

    Raises:
        OptionError: a file.
    """
    folder = given or table.with_name(f"{table.name}.{suffix}")
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file: give a folder")
    return folder


@contextlib.contextmanager
def shown() -> Iterator[Told]:
    """Bars on a terminal, a line an epoch elsewhere; an interruption says how to go on."""
    from ..training.loop import Stopped
    from ..training.tasks.pipelines import Told

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    tasks: dict[str, TaskID] = {}
    made: dict[str, tuple[int, int]] = {}
    training = ["training"]

    def task(name: str) -> TaskID:
        if name not in tasks:
            tasks[name] = bar.add_task(name, note="")
        return tasks[name]

    printed = time.monotonic()

    def features(what: str, done: int, total: int) -> None:
        nonlocal printed
        made[what] = (done, total)
        if not err.is_terminal and time.monotonic() - printed > _PRINTED_EVERY:
            printed = time.monotonic()
            err.print(f"{what}: {done:,} of {total:,} sounds", markup=False, soft_wrap=True)
        bar.update(task(what), total=total, completed=done, note=f"{done:,} of {total:,} sounds")

    def part(name: str) -> None:
        training.append(name)
        err.print(name, markup=False, soft_wrap=True)

    def step(now: Step) -> None:
        note = f"{now.step} of {now.steps}, loss {now.loss:.4f}, {now.rate:.2f} steps/s, {_span(now.left)} left at most"
        bar.update(
            task(training[-1]), total=now.epochs * now.steps, completed=now.epoch * now.steps + now.step, note=note
        )

    def epoch(found: Metrics) -> None:
        told = ", ".join(f"{k} {v:.4f}" for k, v in found.items() if k not in ("epoch", "rows", "seconds"))
        err.print(f"epoch {found['epoch'] + 1:g}: {told}; {_span(found['seconds'])}", soft_wrap=True)

    try:
        with bar:
            yield Told(features, step, epoch, part)
    except Stopped as stopped:
        err.print(str(stopped), markup=False, soft_wrap=True)
        raise
    except KeyboardInterrupt:
        kept = [f"{what} of {done:,} of {total:,} sounds" for what, (done, total) in made.items() if total]
        where = (
            "while training"
            if tasks.keys() & set(training)
            else f"before the first step; kept: {', '.join(kept) or 'nothing yet'}"
        )
        err.print(f"stopped {where}: the same command goes on from what was saved", markup=False, soft_wrap=True)
        raise


def report(trained: Trained, as_json: bool, **more: Any) -> None:
    """What came of a training."""
    name, more_is_better = trained.task.watched
    best = (max if more_is_better else min)(trained.history, key=lambda found: found[name])
    if as_json:
        told = {**best, "epoch": best["epoch"] + 1}
        print_json({"weights": str(trained.weights), "best": told, "epochs": len(trained.history), **more})
        return
    out.print(
        f"best epoch {best['epoch'] + 1:g} of {len(trained.history)}: LCC {best['lcc']:.3f}, SRCC {best['srcc']:.3f}, "
        f"MSE {best['mse']:.4f} on {best['rows']:g} clips; weights in {trained.weights}",
        markup=False,
        soft_wrap=True,
    )


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
