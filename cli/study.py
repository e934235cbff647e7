"""`haaqi-edge bench study`: single measurements that are not part of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import DependencyError, OptionError
from .console import err, out, phases, print_json, print_table, require
from .options import DATA, MODEL, OUTPUT, PROCESSING, JobsOption, JsonOption, ProviderOption

app = typer.Typer(no_args_is_help=True, help="Run a single study that is not part of the report.")

_MusicArgument = Annotated[Path, typer.Argument(help="Folder of clips with its CLIPS.csv.")]
_ModelOption = Annotated[
    str, typer.Option(help="Name of a shipped model, or folder of a bundle.", rich_help_panel=MODEL)
]
_TableOption = Annotated[Path, typer.Option(help="Folder of the label table's shards.", rich_help_panel=DATA)]
_TABLE = Path("training/table")


@app.command()
def accuracy(
    corpus: Annotated[Path, typer.Argument(help="Folder of the label table's music.")],
    table: _TableOption = _TABLE,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Shipped name, folder of a bundle, or checkpoint. Repeat for several. Default: nano.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Number of rows of the test table. Default: all.", rich_help_panel=DATA)
    ] = None,
    fixed_rows: Annotated[
        int, typer.Option(min=100, help="Number of rows with fixed conditions.", rich_help_panel=DATA)
    ] = 1000,
    clips: Annotated[
        int, typer.Option(min=1, help="Number of clips that are scored clean and in noise.", rich_help_panel=DATA)
    ] = 100,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how well models predict HAAQI on music that is not in the training.

    The models score rows of the test table, rows with 100 fixed conditions (which are labelled first), clean music,
    music in noise, and the same music at other rates and in other formats. The results are compared with a milestone
    and a goal. An asterisk marks a result that reaches the milestone.
    """
    require("bench", "scipy", "numba", "pyarrow", "joblib", "av")
    from ..benchmarks.studies import accuracy as study
    from ..runtime.session import available_cores

    models = model or ["nano"]
    with _progress() as on_progress:
        results = study.measure(corpus, table, models, rows, fixed_rows, clips, jobs or available_cores(), on_progress)
    if as_json:
        print_json(results)
        return
    found = Table("result", *(escape(name) for name in models), "milestone", "goal")
    for row in study.result_rows(results):
        found.add_row(*(escape(cell) for cell in row))
    print_table(found)


@app.command()
def arm64(
    bundles: Annotated[
        list[str] | None, typer.Argument(help="Shipped names or folders of bundles. Default: nano and nano-int8.")
    ] = None,
    audio: Annotated[Path, typer.Option(help="Folder of clips.", rich_help_panel=DATA)] = Path("demo"),
    seconds: Annotated[
        float, typer.Option(min=1, help="Duration of each clip that is scored.", rich_help_panel=DATA)
    ] = 10.0,
    work: Annotated[
        Path, typer.Option(help="Folder for the emulated system and the wheel.", rich_help_panel=PROCESSING)
    ] = Path("build/arm64"),
    mirror: Annotated[
        str | None,
        typer.Option(help="Debian mirror. Default: the one of this machine's apt.", rich_help_panel=PROCESSING),
    ] = None,
    wheel: Annotated[
        Path | None,
        typer.Option(help="Wheel to test. Default: built from the current folder.", rich_help_panel=PROCESSING),
    ] = None,
    cpu: Annotated[
        str, typer.Option(help="Processor that QEMU emulates, such as cortex-a72.", rich_help_panel=PROCESSING)
    ] = "max",
    as_json: JsonOption = False,
) -> None:
    """Test the wheel and bundles on arm64, emulated by QEMU.

    The scores of `haaqi-edge score` on arm64 are compared with those of this machine. This takes minutes. Nothing is
    installed on this machine. The study is skipped if QEMU, apt or a download is missing.
    Exit codes: 1 if the 99th percentile of the differences exceeds 0.005, 2 for invalid input.
    """
    require("bench", "scipy")
    if wheel is not None and not wheel.is_file():
        raise OptionError(f"--wheel {wheel} is not a file: give the path of a wheel of this package")
    from ..benchmarks.studies import arm64 as study

    with _progress() as on_progress:
        results = study.measure(bundles or ["nano", "nano-int8"], audio, seconds, work, mirror, wheel, cpu, on_progress)
    _print_results(results, study.format_lines(results), as_json)
    if not study.is_within_budget(results):
        raise typer.Exit(1)


@app.command()
def c(
    music: Annotated[
        Path | None,
        typer.Argument(help="Folder of the label table's music. If given, rows of the table are also compared."),
    ] = None,
    audio: Annotated[Path, typer.Option(help="Folder of clips.", rich_help_panel=DATA)] = Path("demo"),
    table: _TableOption = _TABLE,
    rows: Annotated[int, typer.Option(min=1, help="Number of rows of the table.", rich_help_panel=DATA)] = 40,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint of nano. Default: the shipped weights.", rich_help_panel=MODEL)
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="Bundle made from the checkpoint: shipped name or folder.", rich_help_panel=MODEL),
    ] = "nano",
    as_json: JsonOption = False,
) -> None:
    """Test exported C against Python, and on an emulated Cortex-M7.

    Sounds are streamed in random chunks, and the score after every chunk is compared with Python's. Programs that are
    not installed (gcc, clang, arm-none-eabi-gcc, qemu-system-arm) are named and skipped.
    Exit codes: 1 if a score differs by more than the tolerance, 2 for invalid input.
    """
    require("bench", "torch", "onnx", "scipy")
    from ..benchmarks.studies import c as study

    sounds = {"clips": list(study.load_demo_sounds(audio))}
    if music is not None:
        require("bench", "pyarrow", "numba")
        sounds["rows"] = list(study.load_table_sounds(table, music, rows))
    with _progress() as on_progress:
        results = study.measure(sounds, checkpoint, model, on_progress)
    _print_results(results, study.format_lines(results), as_json)
    if not study.is_within_tolerance(results):
        raise typer.Exit(1)


@app.command()
def distillation(
    music: _MusicArgument,
    table: _TableOption = _TABLE,
    rows: Annotated[
        int, typer.Option(min=1, help="Number of labels that the teacher is trained on.", rich_help_panel=DATA)
    ] = 7000,
    sounds: Annotated[
        int, typer.Option(min=1, help="Number of sounds that the student is distilled on.", rich_help_panel=DATA)
    ] = 2000,
    labels: Annotated[
        int, typer.Option(min=1, help="Number of those sounds that have a label.", rich_help_panel=DATA)
    ] = 200,
    seeds: Annotated[int, typer.Option(min=1, help="Number of students of each kind.", rich_help_panel=PROCESSING)] = 2,
    teacher: Annotated[
        Path | None, typer.Option(help="Checkpoint of a teacher. Default: train one.", rich_help_panel=MODEL)
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Folder for features, run directories and results.", rich_help_panel=OUTPUT)
    ] = Path("runs/distillation"),
    as_json: JsonOption = False,
) -> None:
    """Compare a student with and without a teacher, on little data.

    Interrupt the study at any time (Ctrl-C): run it again to resume.
    """
    require("bench", "torch", "scipy", "numba", "pyarrow", "joblib")
    from ..benchmarks.studies import distillation as study

    with _progress() as on_progress:
        results = study.measure(music, table, work, rows, sounds, labels, seeds, teacher, on_progress)
    _print_results(results, study.format_lines(results), as_json)


@app.command()
def gpu(
    provider: Annotated[
        Literal["cuda", "tensorrt", "cpu"],
        typer.Option(help="Execution provider of ONNX Runtime.", rich_help_panel=PROCESSING),
    ] = "cuda",
    student: Annotated[
        Path | None,
        typer.Option(help="haaqi_net_distillBEATs.pth. Default: artificial weights.", rich_help_panel=MODEL),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="haaqi_net.pth. Default: artificial weights.", rich_help_panel=MODEL)
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this model only: nano, student or teacher. Repeat for several.", rich_help_panel=MODEL
        ),
    ] = None,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="Record the encoder as a CUDA graph.", rich_help_panel=PROCESSING)
    ] = False,
    runs: Annotated[int, typer.Option(min=1, help="Number of timed runs.", rich_help_panel=PROCESSING)] = 20,
    as_json: JsonOption = False,
) -> None:
    """Measure parity and times on a GPU, against PyTorch.

    `python -m haaqi_edge.benchmarks.gpu` has the same options and needs neither typer nor rich.
    """
    require("export", "torch", "onnx", "onnxscript")
    require("haaqi", "scipy")
    from ..benchmarks import gpu as study

    def print_line(line: str) -> None:
        if not as_json:
            out.print(line, markup=False, soft_wrap=True)

    results = study.measure_models(
        only or study.NAMES, {"student": student, "teacher": teacher}, provider, runs, cuda_graphs, print_line
    )
    if as_json:
        print_json(results)


@app.command()
def haaqi(
    music: _MusicArgument,
    cases: Annotated[
        int | None, typer.Option(min=1, help="Number of cases, spread over all. Default: all.", rich_help_panel=DATA)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare HAAQI with pyclarity's, in values and time.

    The cases include every degradation and other difficult inputs, such as silence, delays and short clips.
    Exit codes: 1 if a score differs by more than 0.001, 2 for invalid input.
    """
    require("bench", "scipy", "numba")
    if find_spec("clarity") is None:
        raise DependencyError(
            "this study needs pyclarity, which no extra installs: run pip install --no-deps pyclarity"
        )
    from ..benchmarks.studies import haaqi as study

    with _progress() as on_progress:
        results = study.measure(music, cases, on_progress)
    if as_json:
        print_json(results)
    else:
        table = Table("family", "cases", "max", "mean")
        *families, total = study.result_rows(results)
        for row in families:
            table.add_row(*row)
        table.add_section()
        table.add_row(*total)
        print_table(table)
        _print_lines(study.format_times(results))
    if not study.is_within_tolerance(results):
        raise typer.Exit(1)


@app.command()
def library(
    folder: Annotated[Path, typer.Argument(help="Folder of audio files.")],
    clips: Annotated[
        int, typer.Option(min=1, help="Number of files, spread over the folder.", rich_help_panel=DATA)
    ] = 60,
    model: _ModelOption = "nano",
    provider: ProviderOption = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of patches in a batch.", rich_help_panel=PROCESSING)
    ] = 256,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.", rich_help_panel=PROCESSING)] = 2,
    runs: Annotated[int, typer.Option(min=1, help="Number of timed runs.", rich_help_panel=PROCESSING)] = 5,
    as_json: JsonOption = False,
) -> None:
    """Measure files per second for each method of scoring a folder.

    Files are scored one after another, in batches, and in several processes.
    """
    require("bench", "scipy", "numba", "joblib")
    from ..benchmarks.studies import library as study

    files = study.select_files(folder, clips)
    results = study.measure(files, model, batch_size, jobs, provider, runs)
    _print_results(results, study.format_lines(results), as_json)


@app.command()
def mos(
    music: _MusicArgument,
    table: _TableOption = _TABLE,
    ratings: Annotated[int, typer.Option(min=1, help="Number of rated sounds.", rich_help_panel=DATA)] = 800,
    freeze: Annotated[
        Literal["all-but-output", "encoder", "nothing"],
        typer.Option(help="Part of the network that is not trained.", rich_help_panel=PROCESSING),
    ] = "all-but-output",
    lr: Annotated[
        float | None,
        typer.Option(min=0, help="Learning rate. Default: as for finetune-mos.", rich_help_panel=PROCESSING),
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Folder for features, the run directory and results.", rich_help_panel=OUTPUT)
    ] = Path("runs/mos-simulated"),
    as_json: JsonOption = False,
) -> None:
    """Fine-tune nano to the ratings of a simulated listener.

    Interrupt the study at any time (Ctrl-C): run it again to resume.
    """
    require("bench", "torch", "scipy", "numba", "pyarrow", "joblib")
    from ..benchmarks.studies import mos as study
    from ..training.tasks.mos import MosConfig

    config = MosConfig(freeze=freeze) if lr is None else MosConfig(freeze=freeze, lr=lr)
    with _progress() as on_progress:
        results = study.measure(music, table, work, ratings, config, on_progress)
    _print_results(results, study.format_lines(results), as_json)


@app.command()
def sanity(
    music: _MusicArgument,
    model: Annotated[
        str, typer.Option(help="Shipped name, folder of a bundle, or file of a checkpoint.", rich_help_panel=MODEL)
    ] = "nano",
    clips: Annotated[int, typer.Option(min=1, help="Number of clips of the test split.", rich_help_panel=DATA)] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random choices.", rich_help_panel=PROCESSING)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Check that the scores of a model make sense on real music.

    The score should fall as noise rises, be high for clean music, not depend on the file format, and change with the
    listener as HAAQI does. The exit code does not depend on the results.
    """
    require("bench", "scipy", "numba")
    from ..benchmarks.studies import sanity as study

    with _progress() as on_progress:
        results = study.measure(music, model, clips, seed, on_progress)
    if as_json:
        print_json(results)
        return
    table = Table("check", "result", "target", "")
    for check, result, target, is_met in study.result_rows(results):
        table.add_row(escape(check), escape(result), target, "[green]met[/]" if is_met else "[red]missed[/]")
    print_table(table)


@app.command()
def soak(
    hours: Annotated[float, typer.Option(help="Duration of the audio.", rich_help_panel=DATA)] = 24.0,
    model: _ModelOption = "nano",
    as_json: JsonOption = False,
) -> None:
    """Stream hours of audio, and check that memory, scores and times are stable.

    The audio is streamed at full speed. Linux only.
    Exit codes: 1 if silence occurs at other times than in a new stream, 2 for invalid input.
    """
    from ..benchmarks.studies import soak as study

    with _progress() as on_progress:
        results = study.measure(hours, model, on_progress)
    _print_results(results, study.format_lines(results), as_json)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress on standard error. After an interruption, print how to resume."""
    try:
        with phases() as on_progress:
            yield on_progress
    except KeyboardInterrupt as interruption:
        if str(interruption):
            err.print(str(interruption), markup=False, soft_wrap=True)
        raise


def _print_results(results: dict[str, Any], lines: list[str], as_json: bool) -> None:
    if as_json:
        print_json(results)
    else:
        _print_lines(lines)


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
