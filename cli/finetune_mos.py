"""`haaqi-edge finetune-mos`: fine-tune a network to mean opinion scores."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from ..runtime.errors import OptionError
from ..runtime.writing import write_json
from .console import err, out, print_json, print_table, require
from .options import DATA, MODEL, OUTPUT, TRAINING, with_option_groups
from .training_options import RunOptions, load_settings, open_feature_cache, require_training
from .training_progress import show_progress

if TYPE_CHECKING:
    from ..runtime.bundle import Scale
    from ..training.tasks.mos import TuningResult


@with_option_groups
def finetune_mos(
    run: RunOptions,
    ratings: Annotated[
        Path,
        typer.Option(
            help="CSV file with the columns file, audiogram, rating and, optionally, group.", rich_help_panel=DATA
        ),
    ],
    scale: Annotated[tuple[float, float], typer.Option(help="Lowest and highest rating.", rich_help_panel=DATA)] = (
        1.0,
        5.0,
    ),
    name: Annotated[str, typer.Option(help="Name of the predicted quantity.", rich_help_panel=DATA)] = "MOS",
    model: Annotated[
        str, typer.Option("--model", "-m", help="`nano`, or the file of a checkpoint.", rich_help_panel=MODEL)
    ] = "nano",
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder of the results: run directories, metrics, weights and the bundle.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("runs/mos"),
    freeze: Annotated[
        Literal["all-but-output", "encoder", "nothing"] | None,
        typer.Option(help="Part of the network to keep frozen. Default: all-but-output.", rich_help_panel=TRAINING),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, help="Number of folds. The clips of a group stay in one fold. Default: 5.", rich_help_panel=TRAINING
        ),
    ] = None,
) -> None:
    """Fine-tune a network to mean opinion scores.

    Ratings may be on any scale (`--scale`). The audio is the signal at the ear. The improvement is measured by
    cross-validation and tested for significance. The new bundle stores the scale, so that `score` prints ratings.
    Interrupt the command at any time (Ctrl-C), and run it again to resume.
    """
    require_training()
    require("export", "onnx", "onnxscript")
    from ..model.family import load_network
    from ..runtime.bundle import Scale
    from ..runtime.session import available_cores
    from ..training.settings import build_settings
    from ..training.tasks.mos import MosConfig, tune
    from ..training.tasks.pipelines import TrainingData
    from ..training.tasks.ratings import read_ratings

    low, high = scale
    if not low < high:
        raise OptionError(f"--scale {low:g} {high:g}: give the lowest rating, then the highest")
    overrides = {**run.overrides(), "freeze": freeze, "folds": folds}
    config = build_settings(MosConfig, load_settings(run.config, None), overrides, run.config or "the settings")
    rating_scale = Scale(name, low, high)
    examples = read_ratings(ratings, rating_scale, lambda note: err.print(note, markup=False, soft_wrap=True))
    data = TrainingData(examples, [], open_feature_cache(ratings, run.features), None, run.jobs or available_cores())
    network = load_network(model)
    with show_progress() as callbacks:
        result = tune(network, config, data, output, rating_scale, callbacks)
    figures: dict[str, Any] = {"mos": result.metrics}
    write_json(figures, output / "figures.json")
    bundle = _write_bundle(result, rating_scale, figures, output / "bundle")
    if run.as_json:
        print_json({"weights": str(result.weights), "bundle": bundle and str(bundle), **result.metrics})
        return
    _print_metrics(result.metrics, rating_scale)
    bundle_text = f", bundle in {bundle}" if bundle else ""
    out.print(f"weights in {result.weights}{bundle_text}", markup=False, soft_wrap=True)


def _write_bundle(result: TuningResult, scale: Scale, figures: dict[str, Any], folder: Path) -> Path | None:
    """Export the fine-tuned network. Return None for the teacher, which has no bundle because it reads whole clips."""
    from ..export.bundle import load_nano_source, load_small_source, load_student_source, write_bundle
    from ..model import Nano, Small, Student

    metrics = result.metrics
    ratings = f"{metrics['ratings']} ratings of {metrics['groups']} groups; {metrics['freeze']} frozen"
    notes = {
        "tuning": f"{ratings}. {metrics['verdict_text']}",
        "limits": "the model is limited to the raters, the music and the hearing losses of these ratings",
    }
    if isinstance(result.network, Nano):
        source = load_nano_source(result.weights, "nano-mos", figures=figures, notes=notes)
    elif isinstance(result.network, Small):
        source = load_small_source(result.weights, "small-mos", figures=figures, notes=notes)
    elif isinstance(result.network, Student):
        source = replace(load_student_source(result.weights, "student-mos"), figures=figures, notes=notes)
    else:
        return None
    write_bundle(replace(source, predicts=scale), folder)
    return folder


def _print_metrics(metrics: dict[str, Any], scale: Scale) -> None:
    table = Table("", "LCC", "SRCC", f"MSE ({scale.name} scale)")
    for column in table.columns[1:]:
        column.justify = "right"
    names = {"before": "before", "line": "before, with a linear fit*", "after": "fine-tuned"}
    for key, name in names.items():
        row = metrics[key]
        table.add_row(name, *(_format(row[metric]) for metric in ("lcc", "srcc", "mse")))
    changes = {"after_against_before": "fine-tuned - before, 95%", "after_against_line": "fine-tuned - linear fit, 95%"}
    for key, name in changes.items():
        table.add_row(name, *(_format_interval(metrics[key][metric]) for metric in ("lcc", "srcc", "mse")))
    print_table(table)
    colour = {"better": "green", "rescaled": "yellow", "worse": "red", "unclear": "yellow"}[metrics["verdict"]]
    out.print(f"[{colour}]{metrics['verdict_text']}[/]", soft_wrap=True)
    tested = metrics["after_against_before"]
    out.print(
        f"{metrics['ratings']} ratings, {metrics['folds']} folds by group; fine-tuned against before: p of equal LCCs "
        f"{_format(tested['lcc_p'], '.2g')} (Williams), of equal errors {_format(tested['error_p'], '.2g')} "
        "(Wilcoxon)\n"
        "* In each fold, the line and the networks are fitted to the ratings of the other folds. A row pools the "
        "predictions of all folds.",
        soft_wrap=True,
    )


def _format(value: float, form: str = ".3f") -> str:
    """Format a number; NaN is undefined, as the correlation with a constant."""
    return "undefined" if math.isnan(value) else format(value, form)


def _format_interval(ends: list[float]) -> str:
    return "undefined" if any(map(math.isnan, ends)) else f"{ends[0]:+.3f} to {ends[1]:+.3f}"
