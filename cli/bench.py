"""`haaqi-edge bench`: every claim measured in one run, and two reports compared."""

from __future__ import annotations

import importlib
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from ..runtime.errors import OptionError
from .console import err, out, phases, print_json, print_table, require

if TYPE_CHECKING:
    from ..benchmarks.report.schema import Report

ALL = "all"
_ABOUT = {
    ALL: "Everything.",
    "parameters": "Parameters by network, by part and by step of folding.",
    "latency": "Time from samples to score, for 1 to 60 s of audio.",
    "memory": "Cold start, peak memory, sizes.",
    "parity": "PyTorch against ONNX, fp32 and int8.",
    "accuracy": "Agreement with HAAQI on a label table's test split.",
    "robustness": "Levels, noise, cuts, sample rates, codecs.",
    "streaming": "Time of a hop, memory, equality with offline.",
}
VERBS = tuple(name for name in _ABOUT if name != ALL)


class _Group(TyperGroup):
    """Without a verb it is `all`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = [ALL, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Measure every claim in one run: report.md, report.html, report.json and plots. With no word: all; its "
    "options are told by `bench all --help`.",
)

_Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the report.")]
_Quick = Annotated[bool, typer.Option("--quick", help="Fewer runs, lengths and rows: a few minutes on two cores.")]
_Music = Annotated[Path | None, typer.Option(help="A folder of clips with its CLIPS.csv, for accuracy and robustness.")]
_Tables = Annotated[Path | None, typer.Option(help="The label table, for accuracy.")]
_Student = Annotated[Path | None, typer.Option(help="haaqi_net_distillBEATs.pth; without it, weights by a rule.")]
_Teacher = Annotated[Path | None, typer.Option(help="haaqi_net.pth; without it, weights by a rule.")]
_Reference = Annotated[Path | None, typer.Option(help="The folder that holds reference/golden, for parity.")]
_Bundles = Annotated[list[Path] | None, typer.Option("--bundle", help="Another bundle to time; repeat it.")]
_Threads = Annotated[list[int] | None, typer.Option(help="Threads to time with; by default 1 and 2.")]
_Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn by chance.")]
_Jobs = Annotated[int | None, typer.Option(min=1, help="Processes for what is not timed; by default the cores.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _verb(name: str) -> None:
    def measure(
        output: _Output = Path("report"),
        quick: _Quick = False,
        music: _Music = None,
        table: _Tables = None,
        student: _Student = None,
        teacher: _Teacher = None,
        reference: _Reference = None,
        bundle: _Bundles = None,
        threads: _Threads = None,
        seed: _Seed = 0,
        jobs: _Jobs = None,
        as_json: _Json = False,
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
        from ..benchmarks.runner import run
        from ..runtime.session import available_cores

        for option, folder in (("--music", music), ("--table", table), ("--reference", reference)):
            if folder is not None and not folder.is_dir():
                raise OptionError(f"{option} {folder} is no folder: check the path")
        if any(count < 1 for count in threads or ()):
            raise OptionError(f"--threads {threads}: give numbers from 1")
        counts = tuple(sorted(set(threads or (1, min(2, available_cores())))))
        options = Options(
            quick,
            seed,
            music,
            table,
            student,
            teacher,
            reference,
            tuple(bundle or ()),
            counts,
            jobs or available_cores(),
        )
        asked = VERBS if name == ALL else (name,)
        if name == ALL:
            long = "three to four minutes on two quiet cores" if quick else "over an hour; --quick takes a few minutes"
            err.print(f"everything, into {escape(str(output))}: {long}; stopped, it goes on", soft_wrap=True)
        command = shlex.join(["haaqi-edge", *sys.argv[1:]])
        started = time.perf_counter()
        try:
            with phases() as told:
                report = run(asked, options, output, told, command)
        except KeyboardInterrupt:
            err.print(
                f"stopped; what was measured is kept in {output}.work: the same command goes on from there",
                soft_wrap=True,
            )
            raise typer.Exit(130) from None
        if as_json:
            print_json({"folder": str(output), **report.model_dump(exclude={"sections": {"__all__": {"series"}}})})
        else:
            _print(report, output, time.perf_counter() - started)

    app.command(name, help=_ABOUT[name])(measure)


for _name in (ALL, *VERBS):
    _verb(_name)


def _print(report: Report, output: Path, seconds: float) -> None:
    from ..benchmarks.report.rendering import number, verdict

    targets = [target for section in report.sections for target in section.targets]
    colours = {True: "green", False: "red", None: "dim"}
    if targets:
        table = Table("target", "asked", "measured", "")
        for one in targets:
            asked = f"{one.rule} {number(one.wanted, one.unit)}"
            told = f"[{colours[one.met]}]{verdict(one)}[/]"
            table.add_row(escape(one.what), asked, number(one.value, one.unit), told)
        print_table(table)
    for section in report.sections:
        for line in section.said:
            out.print(f"[bold]{section.title}[/]: {escape(line)}", soft_wrap=True)
    for warning in report.warnings:
        err.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    missing = sum(len(section.missing) for section in report.sections)
    things = "1 thing" if missing == 1 else f"{missing} things"
    lacks = f", {things} not measured (the report says why)" if missing else ""
    out.print(
        f"{seconds:.0f} s{lacks}; [bold]{escape(str(output / 'report.html'))}[/], report.md, report.json",
        soft_wrap=True,
    )


STUDIES = {
    "arm64": "The wheel and its bundles on arm64, under QEMU.",
    "c": "The exported C against Python, and on an emulated Cortex-M7.",
    "distillation": "A student with and without a teacher, on little data.",
    "gpu": "Parity and times on a GPU.",
    "haaqi": "Our HAAQI against pyclarity's.",
    "library": "Files per second, for each way to score a folder.",
    "mos": "Fine-tuning to the ratings of a simulated listener.",
    "sanity": "Whether a model's scores make sense: noise, clean music, formats, listeners.",
    "soak": "Hours of streaming: memory, drift.",
}
"""single measurements that are not part of the report; each is a module of `benchmarks` with a `main`"""


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def study(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STUDIES)}.")],
) -> None:
    """Run a single study; `haaqi-edge bench study NAME --help` lists its options."""
    if name in {"-h", "--help"}:
        out.print(f"haaqi-edge bench study NAME [OPTIONS]; NAME --help lists the options of a study.\n{_STUDY_LIST}")
        return
    if name not in STUDIES:
        raise OptionError(f"there is no study {name!r}: expected one of {', '.join(STUDIES)}")
    sys.argv = [f"haaqi-edge bench study {name}", *context.args]
    importlib.import_module(f"haaqi_edge.benchmarks.studies.{name}").main()


_STUDY_LIST = "\n".join(f"  {name:<14}{about}" for name, about in STUDIES.items())


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A report's folder or report.json, before.")],
    second: Annotated[Path, typer.Argument(help="The same, after.")],
    everything: Annotated[bool, typer.Option("--all", help="Show what didn't move too.")] = False,
    as_json: _Json = False,
) -> None:
    """Say what moved beyond the noise from one report to another: 95% bootstrap intervals, paired where they can be."""
    require("bench", "scipy", "pydantic")
    from ..benchmarks.report.comparison import compare as compare_reports
    from ..benchmarks.report.rendering import number
    from ..benchmarks.report.schema import read_report

    found = compare_reports(read_report(first), read_report(second))
    shown = found.moves if everything else found.moved
    if as_json:
        print_json(
            {
                "first": str(first),
                "second": str(second),
                "compared": len(found.moves),
                "moved": [move.to_dict() for move in shown],
                "times_moved_together": found.drift,
                "gone": found.gone,
                "new": found.new,
                "warnings": found.warnings,
            }
        )
        return
    for warning in found.warnings:
        err.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if shown:
        table = Table("figure", "before", "after", "change (95%)", "", "")
        for move in shown:
            unit = move.figure.unit
            span = "" if move.low is None else f" ({number(move.low)} to {number(move.high)})"
            colour = {True: "green", False: "red", None: ""}[move.better]
            told = {True: "better", False: "worse", None: "moved" if move.moved else ""}[move.better]
            share = "" if move.share is None else f"{100 * move.share:+.1f}%"
            table.add_row(
                escape(move.figure.name),
                number(move.figure.value, unit),
                number(move.other.value, unit),
                f"{number(move.change)}{span}",
                share,
                f"[{colour}]{told}[/]" if colour else told,
            )
        print_table(table)
    out.print(
        f"{len(found.moved)} of {len(found.moves)} figures moved beyond the noise, where chance alone would move "
        f"{found.by_chance:.0f} of the {found.sampled} that have intervals; {len(found.gone)} are gone, "
        f"{len(found.new)} are new",
        soft_wrap=True,
    )
    if found.drift is not None:
        out.print(
            f"times moved together by {100 * found.drift:+.1f}% (their median): that much is the machine's; "
            "ratios within a report are free of it",
            soft_wrap=True,
        )
