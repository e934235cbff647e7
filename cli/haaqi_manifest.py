"""`haaqi-edge haaqi --manifest`: HAAQI of the rows of a manifest, and the means of the systems."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.markup import escape

from ..runtime.errors import HaaqiEdgeError, OptionError
from ..runtime.files import display_name
from .console import err, out, print_error, print_json, print_table, progress, show_notes
from .interruption import explain_interruption

if TYPE_CHECKING:
    from ..evaluation.manifest import SystemMean
    from ..haaqi.clips import Convention
    from ..runtime.audio.channels import Channel
    from ..runtime.batch.results import ResultsWriter


class ManifestOptions(NamedTuple):
    """Options of a run over a manifest.

    Attributes:
        jobs: number of processes.
        output: file for the results; None for none.
        resume: whether to continue `output`.
        verbose: whether to print notes about files.
        as_json: whether to print JSON.
    """

    jobs: int
    output: Path | None
    resume: bool
    verbose: bool
    as_json: bool


def run_manifest(
    path: Path,
    listeners: list[str],
    convention: Convention,
    channel: Channel,
    settings: dict[str, Any],
    described: str,
    options: ManifestOptions,
) -> None:
    """Compare the files of a manifest, write and print the results.

    Args:
        path: the manifest.
        listeners: texts of -a.
        convention: level, amplification and resampling.
        channel: the channel of rows without ears.
        settings: the convention for JSON.
        described: the convention in words.
        options: the other options.

    Raises:
        OptionError: the manifest or the results file is invalid.
        AudiogramError: a listener is invalid.
        Exit: some rows failed.
    """
    import importlib.metadata

    from ..evaluation.manifest import (
        COLUMNS,
        KEY,
        list_audiograms,
        read_manifest,
        result_row,
        score_manifest,
        summarize_systems,
    )
    from ..runtime.batch.results import ResultsWriter, check_results_path, describe_run

    if options.resume and options.output is None:
        raise OptionError("--resume continues a file of results: give it with --output")
    if options.output is not None:
        check_results_path(options.output)
    rows = read_manifest(path, listeners)
    if convention.spl is None and (row := next((row for row in rows if row.unamplified is not None), None)):
        raise OptionError(
            f"{row.place}, column unamplified: it sets the level with --spl or --cadenza: give one of them, or leave "
            "the column empty"
        )
    writer: ResultsWriter | None = None
    if options.output is not None:
        record = describe_run("haaqi", None, settings, list_audiograms(rows))
        writer = ResultsWriter(options.output, COLUMNS, record, key=KEY, resume=options.resume)
        writer.set_order(row.key for row in rows)
    places = [place for place, row in enumerate(rows) if writer is None or not writer.is_done(*row.key)]
    results: dict[int, dict[str, Any]] = {}
    failed: dict[int, HaaqiEdgeError] = {}
    started = time.perf_counter()
    with (
        explain_interruption(writer),
        show_notes(options.verbose),
        contextlib.nullcontext() if writer is None else writer,
        progress() as bar,
    ):
        work = score_manifest([(place, rows[place]) for place in places], convention, options.jobs, channel)
        for place, outcome in bar.track(work, total=len(places), description="scoring"):
            results[place] = result_row(rows[place], outcome)
            if isinstance(outcome, HaaqiEdgeError):
                failed[place] = outcome
            if writer is not None:
                writer.write([results[place]])
    in_order = [results[place] for place in sorted(results)]
    everything = [*(writer.resumed_rows if writer is not None else []), *in_order]
    means = summarize_systems(everything)
    if options.as_json:
        print_json(
            {
                "version": importlib.metadata.version("haaqi-edge"),
                "settings": settings,
                "elapsed_seconds": round(time.perf_counter() - started, 4),
                "results": everything,
                "systems": [{**one._asdict(), "interval": list(one.interval)} for one in means],
                "errors": [
                    {
                        "file": display_name(rows[place].processed),
                        "type": type(failed[place]).__name__,
                        "message": str(failed[place]),
                    }
                    for place in sorted(failed)
                ],
                **({} if writer is None else {"output": str(writer.path), "resumed": writer.resumed}),
            }
        )
    else:
        if means:
            _print_means(means)
            other = sum(row.unamplified is not None for row in rows)
            level = f"; in {other} of {len(rows)} rows, the level is set by the column unamplified" if other else ""
            out.print(f"[dim]{escape(described)}{level}[/]", soft_wrap=True)
        if writer is not None:
            before = f", {writer.resumed} of them from a run before" if writer.resumed else ""
            out.print(f"{escape(display_name(writer.path))}: {writer.rows} rows{before}", soft_wrap=True)
        for place in sorted(failed):
            print_error(failed[place])
        if failed:
            err.print(f"{len(failed)} of {len(rows)} rows could not be compared")
    if failed:
        raise typer.Exit(1)


def _print_means(means: list[SystemMean]) -> None:
    from rich.table import Table

    table = Table("system", "HAAQI", "95% interval", "rows", "groups")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in means:
        known = one.interval.low == one.interval.low  # otherwise NaN: one group
        interval = f"{one.interval.low:.3f} to {one.interval.high:.3f}" if known else "one group"
        table.add_row(escape(one.system or "all"), f"[bold]{one.mean:.3f}[/]", interval, str(one.rows), str(one.groups))
    print_table(table)
