"""`haaqi-edge evaluate`: evaluate a model on files with labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from ..runtime.files import display_name
from .console import err, out, phases, print_error, print_json, print_table, print_warning, require
from .haaqi import describe_convention
from .models import open_model
from .options import (
    AUDIOGRAM_NAMES,
    DATA,
    LISTENERS,
    OUTPUT,
    JobsOption,
    JsonOption,
    Level1Option,
    ModelOption,
    NalROption,
    ProviderOption,
    SplOption,
)

if TYPE_CHECKING:
    from ..haaqi.clips import Convention

_MAX_GROUPS = 20
"""maximum number of groups in the table; JSON has all"""
_METRICS = ("lcc", "srcc", "mse", "rmse")


def evaluate(
    labels: Annotated[
        Path,
        typer.Argument(
            help="CSV or JSON Lines with the columns file, audiogram (or listener), and haaqi, rating or reference; "
            "optionally group."
        ),
    ],
    model: ModelOption = "nano",
    audiogram: Annotated[
        list[str] | None,
        typer.Option(
            *AUDIOGRAM_NAMES,
            help="Listeners that LABELS names, such as listeners.json, or the only listener.",
            rich_help_panel=LISTENERS,
        ),
    ] = None,
    scale: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Lowest and highest rating, such as 1 5.", rich_help_panel=DATA),
    ] = None,
    level1: Level1Option = None,
    spl: SplOption = None,
    nal_r: NalROption = False,
    provider: ProviderOption = None,
    jobs: JobsOption = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="PNG file for a scatter plot and a histogram of the errors.", rich_help_panel=OUTPUT),
    ] = None,
    save_labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV file for the table with the computed HAAQI, to evaluate again in seconds.", rich_help_panel=OUTPUT
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on files with labels: HAAQI, ratings or references.

    Prints the linear and rank correlation (LCC, SRCC), the mean squared error (MSE) and its root (RMSE), with 95%
    bootstrap intervals. Whole groups are resampled. Also prints the share of labels within the model's prediction
    intervals. HAAQI is computed from references where labels are missing, which takes seconds per file: keep it with
    --save-labels. Labels and scores are from 0 to 1; ratings are mapped to this range.
    Exit codes: 1 if some files could not be evaluated, 2 for invalid input.
    """
    require("haaqi", "scipy")
    if plot is not None:
        require("plot", "matplotlib")
        if plot.suffix.lower() != ".png" or not plot.absolute().parent.is_dir():
            raise OptionError(f"--plot {plot}: give the path of a PNG file, in a folder that exists")
    from ..evaluation.labelled_files import MIN_GROUPS, LabelsFile, compute_labels, read_labels
    from ..evaluation.labelled_files import evaluate as evaluate_files
    from ..haaqi.clips import Convention
    from ..runtime import Scorer
    from ..runtime.audio.levels import LEVEL1
    from ..runtime.bundle import Scale
    from ..runtime.session import available_cores

    if scale is not None and not scale[0] < scale[1]:
        raise OptionError(f"--scale {scale[0]:g} {scale[1]:g}: give the lowest rating, then the highest")
    if level1 is not None and spl is not None:
        raise OptionError("--level1 and --spl both set the level: give one of them")
    rows = read_labels(labels, audiogram or [], None if scale is None else Scale("rating", *scale))
    saved = None if save_labels is None else LabelsFile(save_labels, rows)
    opened = open_model(model, provider=provider, threads=jobs)
    scorer = Scorer(opened.model, **opened.options)
    missing = sum(row.label is None for row in rows)
    if missing:
        require("haaqi", "numba", "joblib")
    default = LEVEL1 if spl is None else None
    convention = Convention(default if level1 is None else level1, spl, amplify_processed=nal_r)
    with phases(["computing HAAQI", "scoring"] if missing else []) as report:
        count = _counter(report, "computing HAAQI", missing)
        labelled, errors = compute_labels(rows, convention, jobs or available_cores(), count)
        if saved is not None:
            saved.write(labelled)
        count = _counter(report, "scoring", len({row.file for row in labelled}))
        found = evaluate_files(labelled, scorer, level1=level1, spl=spl, nal_r=nal_r, count=count)
    errors = [*errors, *found.errors]
    if not found.rows:
        raise errors[0].error
    metrics = found.to_dict()
    if plot is not None:
        from ..evaluation.plots import save_scatter

        save_scatter(found, scorer.card.name, plot)
    if as_json:
        print_json(
            {
                "model": scorer.card.name,
                "settings": {
                    "nal_r": nal_r,
                    **({"level1": scorer.card.level1 if level1 is None else level1} if spl is None else {"spl": spl}),
                },
                "computed_labels": missing,
                **metrics,
                "results": [
                    {
                        "file": display_name(row.file),
                        "listener": row.listener.name,
                        "group": row.group,
                        "label": float(label),
                        "score": float(score),
                        **({} if found.intervals is None else {"interval": list(found.intervals[place])}),
                    }
                    for place, (row, label, score) in enumerate(
                        zip(found.rows, found.labels, found.predicted, strict=True)
                    )
                ],
                "errors": [
                    {"file": display_name(one.file), "type": type(one.error).__name__, "message": str(one.error)}
                    for one in errors
                ],
            }
        )
    else:
        _print_metrics(metrics, scorer.card.name)
        given = sum(row.label is not None for row in rows)
        out.print(f"labels: {given} given, {len(labelled) - given} computed by HAAQI", soft_wrap=True)
        out.print(f"[dim]{_describe_presentation(convention, computed=missing > 0)}[/]", soft_wrap=True)
        if saved is not None:
            out.print(f"labels in {escape(display_name(saved.path))}", soft_wrap=True)
        if plot is not None:
            out.print(f"plot in {escape(display_name(plot))}", soft_wrap=True)
        for one in errors:
            print_error(one.error)
        if errors:
            err.print(f"{len(errors)} of {len(rows)} rows could not be evaluated")
    if 1 < metrics["groups"] < MIN_GROUPS:
        print_warning(
            f"the 95% intervals are unreliable, and usually too narrow: they resample only {metrics['groups']} groups. "
            f"Evaluate files of {MIN_GROUPS} groups or more"
        )
    if errors:
        raise typer.Exit(1)


def _counter(report: Callable[[str, int, int], None], name: str, total: int) -> Callable[[], None]:
    """Return a callback that reports one more part of a step. The step begins now, unless it has no parts."""
    done = 0
    if total:
        report(name, 0, total)

    def count() -> None:
        nonlocal done
        done += 1
        report(name, done, total)

    return count


def _describe_presentation(convention: Convention, *, computed: bool) -> str:
    """Return how the files were presented to the model, and to HAAQI if it was computed."""
    if computed:
        return f"HAAQI and the model: {describe_convention(convention)}"
    level = f"{convention.level1:g} dB SPL of RMS 1.0" if convention.spl is None else f"{convention.spl:g} dB SPL"
    return f"the model: {level}{', amplified by NAL-R' if convention.amplify_processed else ''}"


def _print_metrics(metrics: dict[str, Any], model: str) -> None:
    table = Table(escape(model), "value", "95% interval")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in _METRICS:
        one = metrics[name]
        digits = 4 if name == "mse" else 3
        table.add_row(
            name.upper(), f"[bold]{_format(one['value'], digits)}[/]", _format_interval(one["interval"], digits)
        )
    if (coverage := metrics.get("coverage")) is not None:
        table.add_row(
            "labels within the prediction interval",
            f"[bold]{100 * coverage['value']:.1f}%[/]",
            _format_interval([None if end is None else 100 * end for end in coverage["interval"]], 1),
        )
        table.add_row("mean width of the interval", _format(metrics["mean_width"], 3), "")
    print_table(table)
    out.print(f"files: {metrics['files']}, groups: {metrics['groups']}", soft_wrap=True)
    if len(metrics["by_group"]) > 1:
        _print_groups(metrics["by_group"])


def _print_groups(groups: list[dict[str, Any]]) -> None:
    covered = "coverage" in groups[0]
    table = Table("group", "files", "LCC", "SRCC", "RMSE", "bias", *(("within interval",) if covered else ()))
    for column in table.columns[1:]:
        column.justify = "right"
    for one in sorted(groups, key=lambda group: -group["rmse"])[:_MAX_GROUPS]:
        table.add_row(
            escape(one["group"]),
            str(one["files"]),
            _format(one["lcc"], 3),
            _format(one["srcc"], 3),
            f"{one['rmse']:.3f}",
            f"{one['bias']:+.3f}",
            *((f"{100 * one['coverage']:.0f}%",) if covered else ()),
        )
    print_table(table)
    if len(groups) > _MAX_GROUPS:
        out.print(f"the {_MAX_GROUPS} groups with the largest errors of {len(groups)}; --json has all", soft_wrap=True)


def _format(value: float | None, digits: int) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def _format_interval(ends: list[float | None], digits: int) -> str:
    low, high = ends
    return "undefined" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"
