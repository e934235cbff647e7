"""`haaqi-edge finetune-mos`: a trained network tuned to people's ratings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from ..runtime.errors import OptionError
from ..runtime.writing import write_json
from .console import err, out, print_json, require
from .training import RunOptions, cache_of, require_training, shown, told_by, with_options

if TYPE_CHECKING:
    from ..runtime.bundle import Scale
    from ..training.tasks.mos import Tuned


@with_options
def finetune_mos(
    run: RunOptions,
    ratings: Annotated[Path, typer.Option(help="CSV with the columns file, audiogram, rating, and perhaps group.")],
    model: Annotated[str, typer.Option("--model", "-m", help="`nano`, or a checkpoint of the family.")] = "nano",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of runs, figures, weights, bundle.")] = Path(
        "runs/mos"
    ),
    scale: Annotated[tuple[float, float], typer.Option(help="Lowest and highest rating.")] = (1.0, 5.0),
    freeze: Annotated[
        Literal["all-but-output", "encoder", "nothing"] | None, typer.Option(help="What stays as it is.")
    ] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Of the cross-validation, by groups.")] = None,
    name: Annotated[str, typer.Option(help="What is predicted.")] = "MOS",
) -> None:
    """Tune a network to mean opinion scores on any scale; how much that brings is cross-validated and tested.

    The bundle that is written knows that it predicts ratings, and of which scale: `score` shows them. Files are what
    reached the listener's ear. Stop it at any time (Ctrl-C): the same command goes on from there.
    """
    require_training()
    require("export", "onnx", "onnxscript")
    from ..model.family import network_of
    from ..runtime.bundle import Scale
    from ..runtime.session import available_cores
    from ..training.settings import settings
    from ..training.tasks.mos import MosConfig, tune
    from ..training.tasks.pipelines import Data
    from ..training.tasks.ratings import read_ratings

    low, high = scale
    if not low < high:
        raise OptionError(f"--scale {low:g} {high:g}: give the lowest rating, then the highest")
    flags = {**run.flags(), "freeze": freeze, "folds": folds}
    asked = settings(MosConfig, told_by(run.config, None), flags, run.config or "the settings")
    rated = Scale(name, low, high)
    examples = read_ratings(ratings, rated, lambda told: err.print(told, markup=False, soft_wrap=True))
    cache = cache_of(ratings, run.features)
    network = network_of(model)
    with shown() as tell:
        tuned = tune(
            network, asked, Data(examples, [], cache, None, run.jobs or available_cores()), output, rated, tell
        )
    figures: dict[str, Any] = {"mos": tuned.figures}
    write_json(figures, output / "figures.json")
    bundle = _bundle(tuned, rated, figures, output / "bundle")
    if run.as_json:
        print_json({"weights": str(tuned.weights), "bundle": bundle and str(bundle), **tuned.figures})
        return
    _print(tuned.figures, rated)
    out.print(f"weights in {tuned.weights}" + (f", bundle in {bundle}" if bundle else ""), markup=False, soft_wrap=True)


def _bundle(tuned: Tuned, scale: Scale, figures: dict[str, Any], folder: Path) -> Path | None:
    """Export the tuned network; the teacher, which reads a clip as a whole, has no bundle."""
    from ..export.bundle import nano_source, student_source, write_bundle
    from ..model import Nano, Student

    told = tuned.figures
    notes = {
        "tuning": f"{told['ratings']} ratings of {told['groups']} groups; {told['freeze']} frozen",
        "limits": "it is as good as these ratings: who rated, what music, and which hearing losses",
    }
    if isinstance(tuned.network, Nano):
        source = nano_source(tuned.weights, "nano-mos", figures=figures, notes=notes)
    elif isinstance(tuned.network, Student):
        source = replace(student_source(tuned.weights, "student-mos"), figures=figures, notes=notes)
    else:
        return None
    write_bundle(replace(source, predicts=scale), folder)
    return folder


def _print(figures: dict[str, Any], scale: Scale) -> None:
    table = Table("", "LCC", "SRCC", f"MSE ({scale.name} scale)")
    for column in table.columns[1:]:
        column.justify = "right"
    names = {"before": "before", "line": "before, and a straight line*", "after": "tuned"}
    for key, name in names.items():
        found = figures[key]
        table.add_row(name, f"{found['lcc']:.3f}", f"{found['srcc']:.3f}", f"{found['mse']:.3f}")
    changes = {"after_against_before": "tuned - before, 95%", "after_against_line": "tuned - line, 95%"}
    for key, name in changes.items():
        table.add_row(
            name, *(f"{figures[key][m][0]:+.3f} to {figures[key][m][1]:+.3f}" for m in ("lcc", "srcc", "mse"))
        )
    out.print(table)
    tested = figures["after_against_before"]
    out.print(
        f"{figures['ratings']} ratings, {figures['folds']} folds by group; tuned against before: p of equal LCCs "
        f"{tested['lcc_p']:.2g} (Williams), of equal errors {tested['error_p']:.2g} (Wilcoxon)\n"
        "* fitted in each fold to the other folds' ratings, as the tuned networks are; all folds' predictions together "
        "give a row",
        soft_wrap=True,
    )
