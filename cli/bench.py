"""`haaqi-edge bench`: measure every claim in one run, compare two reports, and run single studies."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from ..runtime.errors import OptionError
from . import study
from .console import err, out, phases, print_json, print_table, require
from .options import DATA, MODEL, OUTPUT, PROCESSING, JobsOption, JsonOption

if TYPE_CHECKING:
    from ..benchmarks.report.comparison import Comparison
    from ..benchmarks.report.schema import Report

_ALL: Final = "all"
_SUMMARIES: Final = {
    _ALL: "Run all sections.",
    "parameters": "Count parameters by network, by part and by step of folding.",
    "latency": "Measure the time from samples to score, for 1 to 60 s of audio.",
    "memory": "Measure cold start, peak memory and sizes.",
    "parity": "Compare PyTorch with ONNX, and fp32 with int8.",
    "accuracy": "Measure the agreement with HAAQI on a label table's test split.",
    "robustness": "Test levels, noise, shortened clips, sample rates and codecs.",
    "streaming": "Measure the time of a hop, memory, and equality with offline scores.",
}
SECTION_COMMANDS: Final = tuple(name for name in _SUMMARIES if name != _ALL)


class _Group(TyperGroup):
    """Commands of which `all` is the default."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = [_ALL, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Measure time, memory, size, parity and accuracy of the models in one run.\n\nThis writes report.md, "
    "report.html, report.json and plots. The default command is `all`; `bench all --help` lists its options.",
)
app.add_typer(study.app, name="study")

_OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder of the report.", rich_help_panel=OUTPUT)]
_QuickOption = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Use fewer runs, durations and rows: a few minutes on two cores.",
        rich_help_panel=PROCESSING,
    ),
]
_MusicOption = Annotated[
    Path | None,
    typer.Option(help="Folder of clips with its CLIPS.csv, for accuracy and robustness.", rich_help_panel=DATA),
]
_TableOption = Annotated[
    Path | None, typer.Option(help="Folder of the label table's shards, for accuracy.", rich_help_panel=DATA)
]
_StudentOption = Annotated[
    Path | None, typer.Option(help="haaqi_net_distillBEATs.pth. Default: artificial weights.", rich_help_panel=MODEL)
]
_TeacherOption = Annotated[
    Path | None, typer.Option(help="haaqi_net.pth. Default: artificial weights.", rich_help_panel=MODEL)
]
_ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that contains reference/golden: scores of the published networks, for parity.",
        rich_help_panel=DATA,
    ),
]
_BundleOption = Annotated[
    list[Path] | None,
    typer.Option("--bundle", help="Another bundle to time. Repeat for several.", rich_help_panel=MODEL),
]
_ThreadsOption = Annotated[
    list[int] | None,
    typer.Option(
        help="Number of threads to time with. Repeat for several. Default: 1 and 2.", rich_help_panel=PROCESSING
    ),
]
_SeedOption = Annotated[int, typer.Option(min=0, help="Seed of all random choices.", rich_help_panel=PROCESSING)]


def _add_section_command(name: str) -> None:
    def measure(
        output: _OutputOption = Path("report"),
        quick: _QuickOption = False,
        music: _MusicOption = None,
        table: _TableOption = None,
        student: _StudentOption = None,
        teacher: _TeacherOption = None,
        reference: _ReferenceOption = None,
        bundle: _BundleOption = None,
        threads: _ThreadsOption = None,
        seed: _SeedOption = 0,
        jobs: JobsOption = None,
        as_json: JsonOption = False,
    ) -> None:
        require(
            "bench",
            "torch",
            "onnx",
            "onnxscript",
            "scipy",
            "numba",
            "matplotlib",
            "jinja2",
            "pydantic",
            "threadpoolctl",
        )
        from ..benchmarks.context import Options
        from ..benchmarks.runner import run_sections
        from ..runtime.session import available_cores

        for option, folder in (("--music", music), ("--table", table), ("--reference", reference)):
            if folder is not None and not folder.is_dir():
                raise OptionError(f"{option} {folder} is not a folder: give the path of a folder")
        for count in threads or ():
            if count < 1:
                raise OptionError(f"--threads {count}: give 1 or more")
        options = Options(
            quick=quick,
            seed=seed,
            music=music,
            table=table,
            student=student,
            teacher=teacher,
            reference=reference,
            bundles=tuple(bundle or ()),
            threads=tuple(sorted(set(threads or (1, min(2, available_cores()))))),
            jobs=jobs or available_cores(),
        )
        if name == _ALL:
            duration = (
                "three to four minutes on two idle cores" if quick else "over an hour; --quick takes a few minutes"
            )
            err.print(
                f"running all sections into {escape(str(output))}: {duration}. Interrupt at any time, and run the "
                "same command to resume.",
                soft_wrap=True,
            )
        names = SECTION_COMMANDS if name == _ALL else (name,)
        command = shlex.join(["haaqi-edge", *sys.argv[1:]])
        started = time.perf_counter()
        try:
            with phases() as on_progress:
                report = run_sections(names, options, output, on_progress, command)
        except KeyboardInterrupt:
            err.print(
                f"interrupted; finished measurements are saved in {escape(str(output))}.work: run the same command to "
                "resume",
                soft_wrap=True,
            )
            raise typer.Exit(130) from None
        if as_json:
            print_json({"folder": str(output), **report.model_dump(exclude={"sections": {"__all__": {"series"}}})})
        else:
            _print_report(report, output, time.perf_counter() - started)

    app.command(name, help=_SUMMARIES[name])(measure)


for _name in (_ALL, *SECTION_COMMANDS):
    _add_section_command(_name)


def _print_report(report: Report, output: Path, seconds: float) -> None:
    from ..benchmarks.report.rendering import format_number, format_verdict

    targets = [target for section in report.sections for target in section.targets]
    colours = {True: "green", False: "red", None: "dim"}
    if targets:
        table = Table("target", "bound", "measured", "")
        for target in targets:
            table.add_row(
                escape(target.what),
                f"{target.rule} {format_number(target.wanted, target.unit)}",
                format_number(target.value, target.unit),
                f"[{colours[target.met]}]{format_verdict(target)}[/]",
            )
        print_table(table)
    for section in report.sections:
        for statement in section.said:
            out.print(f"[bold]{section.title}[/]: {escape(statement)}", soft_wrap=True)
    _print_warnings(report.warnings)
    count = sum(len(section.missing) for section in report.sections)
    items = "1 item" if count == 1 else f"{count} items"
    missing = f", {items} not measured (see the report for the reasons)" if count else ""
    out.print(
        f"{seconds:.0f} s{missing}; [bold]{escape(str(output / 'report.html'))}[/], report.md, report.json",
        soft_wrap=True,
    )


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="First report: its folder, or its report.json.")],
    second: Annotated[Path, typer.Argument(help="Second report, given in the same ways.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also show results that did not change.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which results changed by more than the noise from one report to another.

    Changes have 95% bootstrap intervals, of paired measurements where possible.
    """
    require("bench", "scipy", "pydantic", "jinja2")
    from ..benchmarks.report.comparison import compare_reports
    from ..benchmarks.report.schema import read_report

    comparison = compare_reports(read_report(first), read_report(second))
    shown = comparison.changes if everything else comparison.significant
    if as_json:
        print_json(
            {
                "first": str(first),
                "second": str(second),
                "compared": len(comparison.changes),
                "moved": [change.to_dict() for change in shown],
                "times_moved_together": comparison.time_drift,
                "gone": comparison.removed,
                "new": comparison.added,
                "warnings": comparison.warnings,
            }
        )
        return
    _print_warnings(comparison.warnings)
    _print_changes(comparison, everything)


def _print_changes(comparison: Comparison, everything: bool) -> None:
    from ..benchmarks.report.rendering import format_number

    shown = comparison.changes if everything else comparison.significant
    if shown:
        table = Table("result", "first", "second", "change (95%)", "", "")
        for change in shown:
            unit = change.first.unit
            limits = "" if change.low is None else f" ({format_number(change.low)} to {format_number(change.high)})"
            verdict = {True: "[green]better[/]", False: "[red]worse[/]", None: "changed" if change.significant else ""}
            table.add_row(
                escape(change.first.name),
                format_number(change.first.value, unit),
                format_number(change.second.value, unit),
                f"{format_number(change.change)}{limits}",
                "" if change.relative is None else f"{100 * change.relative:+.1f}%",
                verdict[change.improved],
            )
        print_table(table)
    by_chance = ""
    if comparison.interval_count:
        by_chance = f" ({comparison.expected_by_chance:.0f} of {comparison.interval_count} are expected to, at random)"
    out.print(
        f"{len(comparison.significant)} of {len(comparison.changes)} results changed by more than the noise{by_chance}"
        f"; {len(comparison.removed)} removed, {len(comparison.added)} added",
        soft_wrap=True,
    )
    if comparison.time_drift is not None:
        out.print(
            f"median change of all times: {100 * comparison.time_drift:+.1f}%, which is due to the machine; ratios "
            "within a report do not depend on it",
            soft_wrap=True,
        )


def _print_warnings(warnings: list[str]) -> None:
    for warning in warnings:
        err.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True)
