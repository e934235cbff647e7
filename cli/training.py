"""What the verbs that train share: their data, their settings, and what they show while they train."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ..runtime.errors import OptionError
from .console import err, out, print_json, require

if TYPE_CHECKING:
    from ..training.loop import Progress as Step
    from ..training.run_directory import Metrics
    from ..training.tasks.pipelines import Data, Told, Trained


@dataclass(frozen=True)
class DataOptions:
    """What a verb is told of its data."""

    table: Annotated[
        Path | None, typer.Option(help="Folder of a label table's shards, or a JSON file as HAAQI-Net's train.json.")
    ] = None
    valid: Annotated[
        Path | None, typer.Option(help="JSON file to choose the epoch on; else a tenth of --table's files.")
    ] = None
    music: Annotated[Path | None, typer.Option(help="Folder of the table's music with its CLIPS.csv.")] = None
    rows: Annotated[int | None, typer.Option(min=1, help="Use the first rows of split train only.")] = None
    valid_rows: Annotated[int | None, typer.Option(min=1, help="Use the first rows of split valid only.")] = None


@dataclass(frozen=True)
class RunOptions:
    """What a verb is told of its run; flags go before settings from a file."""

    config: Annotated[str | None, typer.Option(help="Settings: a YAML or JSON file, or the name of a shipped one.")] = (
        None
    )
    features: Annotated[
        Path | None, typer.Option(help="Folder in which features are kept; by default beside the labels.")
    ] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data, at most.")] = None
    patience: Annotated[int | None, typer.Option(min=1, help="Epochs without a better one after which to stop.")] = None
    lr: Annotated[float | None, typer.Option("--lr", min=0, help="Adam's learning rate.")] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Clips in a step.")] = None
    seed: Annotated[int | None, typer.Option(help="Of initial weights, order and dropout.")] = None
    device: Annotated[str | None, typer.Option(help="cpu, cuda, or auto.")] = None
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"] | None, typer.Option(help="Of the forward pass.")] = (
        None
    )
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that make features; by default the cores.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    def flags(self) -> dict[str, Any]:
        """Those that are settings."""
        names = ("epochs", "patience", "lr", "batch", "seed", "device", "precision")
        return {name: getattr(self, name) for name in names}


Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run: config, metrics, curves, weights.")]
Labels = Annotated[int | None, typer.Option(min=1, help="Use so many labels only, drawn by chance.")]
_MODULES = ("torch", "safetensors", "scipy", "numba", "pyarrow", "joblib", "yaml", "matplotlib")
_HELD_OUT = 0.1


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


def data_of(told: DataOptions, run: RunOptions) -> Data:
    """Examples and where their features are kept.

    Raises:
        OptionError: no table.
        CorpusError: one that cannot be used.
    """
    from ..runtime.sessions import available_cores
    from ..training.corpus.clips import Corpus
    from ..training.data.examples import of_json, of_table, parted
    from ..training.data.feature_cache import Store
    from ..training.tasks.pipelines import Data

    table, valid = told.table, told.valid
    if table is None:
        raise OptionError("no labels: give a label table or a train.json with --table")
    if not table.exists():
        raise OptionError(f"--table {table} is not there: give a label table's folder, or a JSON file")
    corpus = None if told.music is None else Corpus(told.music)
    if table.is_file():
        examples = of_json(table)[: told.rows]
        train, held = parted(examples, _HELD_OUT) if valid is None else (examples, of_json(valid)[: told.valid_rows])
    else:
        if valid is not None:
            raise OptionError("--valid goes with a JSON file; a label table has its own split valid")
        if corpus is None:
            raise OptionError("a label table's sounds are made from its music: give the folder with --music")
        train, held = of_table(table, "train", told.rows), of_table(table, "valid", told.valid_rows)
    store = Store(run.features or table.with_name(f"{table.name}.features"))
    return Data(train, held, store, corpus, run.jobs or available_cores())


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

    def features(what: str, done: int, total: int) -> None:
        made[what] = (done, total)
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
