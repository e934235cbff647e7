"""`haaqi-edge export`: export checkpoints to verified bundles, and to the formats of other devices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from .console import err, out, phases, print_json, require
from .options import MODEL, OUTPUT, JsonOption, LogOption, parse_window, with_option_groups

if TYPE_CHECKING:
    from ..export.bundle import ExportSource
    from ..export.verify import Parity
    from ..runtime.bundle import Bundle
    from .export_formats import WriteExport

app = typer.Typer(
    no_args_is_help=True, help="Export a checkpoint to a verified bundle, for ONNX Runtime or other devices."
)

_MODULES = ("torch", "onnx", "onnxscript", "safetensors")
_FORMAT = "Format"
_SURGERY = "measuring the surgery"


@dataclass(frozen=True)
class ExportOptions:
    """Options that all exports of a checkpoint share."""

    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the bundle or the C sources.", rich_help_panel=OUTPUT),
    ] = None
    fused: Annotated[
        Path | None,
        typer.Option(
            help="One file from waveform to score, .onnx or .ort; with or without --output.", rich_help_panel=OUTPUT
        ),
    ] = None
    file_format: Annotated[
        Literal["onnx", "ort", "c"],
        typer.Option(
            "--format",
            help="onnx; ort for minimal builds of ONNX Runtime; c for plain C99 (nano only).",
            rich_help_panel=_FORMAT,
        ),
    ] = "onnx"
    target: Annotated[
        str,
        typer.Option(
            help="tensorrt: a bundle for GPUs, with the front end in the graph and optimization profiles. With --int8 "
            "also x86-vnni, x86, arm64, or auto for this machine.",
            rich_help_panel=_FORMAT,
        ),
    ] = "auto"
    samples: Annotated[
        bool,
        typer.Option("--samples", help="Include the front end in the encoder's graph.", rich_help_panel=_FORMAT),
    ] = False
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantize to int8; `quantize` has more options.", rich_help_panel=_FORMAT),
    ] = False
    fp16: Annotated[
        bool,
        typer.Option("--fp16", help="For TensorRT: compute products in fp16.", rich_help_panel=_FORMAT),
    ] = False
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            help="For TensorRT: patches of an optimization profile, N or MIN:OPT:MAX. Repeat for several.",
            rich_help_panel=_FORMAT,
        ),
    ] = None
    log: LogOption = None
    as_json: JsonOption = False


@app.command()
@with_option_groups
def student(
    options: ExportOptions,
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="haaqi_net_distillBEATs.pth, or a safetensors file with the same keys."),
    ] = None,
    random: Annotated[
        bool,
        typer.Option(
            "--random",
            help="Use random weights in place of a checkpoint, to try the export. The scores mean nothing.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the bundle. Default: student, or student-random.", rich_help_panel=MODEL),
    ] = None,
) -> None:
    """Export the distilled student.

    The parameters are folded to fewer ones without loss.
    """
    if (checkpoint is None) != random:
        raise OptionError("give the path of a checkpoint, or --random for random weights")
    write = _check_options(options)
    from ..export.bundle import load_random_student_source, load_student_source

    if checkpoint is None:
        source = load_random_student_source(name or "student-random")
    else:
        source = load_student_source(checkpoint, name or "student")
    _export(source, options, write, is_student=True)


@app.command()
@with_option_groups
def nano(
    options: ExportOptions,
    checkpoint: Annotated[Path | None, typer.Argument(help="A safetensors file. Default: the shipped weights.")] = None,
    name: Annotated[str, typer.Option(help="Name of the bundle.", rich_help_panel=MODEL)] = "nano",
    weights: Annotated[
        Literal["float", "int8"] | None,
        typer.Option(help="For C: number format of the weights. Default: int8.", rich_help_panel=_FORMAT),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="For C: length of the scoring window, in seconds or `default` (10 s).", rich_help_panel=_FORMAT
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            help="For C: first part of all names, so that several models fit into one program. Default: haaqi.",
            rich_help_panel=_FORMAT,
        ),
    ] = None,
) -> None:
    """Export nano."""
    seconds = None if window is None else parse_window(window)
    if seconds == "whole":
        raise OptionError("--window whole: C has a fixed window; give a number of seconds, or `default`")
    length = None if seconds == "default" else seconds
    write = _check_options(options, weights=weights, window=length, prefix=prefix)
    from ..export.bundle import load_nano_source

    source = load_nano_source(checkpoint, name)
    _export(source, options, write, is_student=False)


@app.command()
@with_option_groups
def small(
    checkpoint: Annotated[Path, typer.Argument(help="A safetensors file of `haaqi-edge train small`.")],
    options: ExportOptions,
    name: Annotated[str, typer.Option(help="Name of the bundle.", rich_help_panel=MODEL)] = "small",
) -> None:
    """Export small."""
    write = _check_options(options)
    from ..export.bundle import load_small_source

    source = load_small_source(checkpoint, name)
    _export(source, options, write, is_student=False)


@app.command()
def bundle(
    model: Annotated[str, typer.Argument(help="Folder of a bundle in fp32 or int8, or name of a shipped model.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the new bundle.", rich_help_panel=OUTPUT)
    ] = None,
    fused: Annotated[
        Path | None,
        typer.Option(
            help="One file from waveform to score, .onnx or .ort, in the precision of the bundle.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    file_format: Annotated[
        Literal["ort"],
        typer.Option("--format", help="ort: for minimal builds of ONNX Runtime.", rich_help_panel=_FORMAT),
    ] = "ort",
    as_json: JsonOption = False,
) -> None:
    """Convert the files of a bundle to another format, or to one file."""
    del file_format  # there is one choice
    from ..runtime.bundle import Bundle
    from ..runtime.writing import check_folder
    from .export_formats import convert_to_ort

    if (output is None) == (fused is None):
        raise OptionError("give a folder with -o, or a file with --fused")
    if output is not None:
        check_folder(output)
    if fused is not None:
        _check_fused(fused)
    require("export", *_MODULES)
    if output is not None:
        source = Bundle(model)
        if output.resolve() == source.folder.resolve():
            raise OptionError(f"-o {output} is the bundle itself, whose ONNX files would be lost: give another folder")
        convert_to_ort(source, output, as_json)
    elif fused is not None:
        parity = _write_fused_bundle(Bundle(model), fused)
        if as_json:
            print_json({"written": [_describe(fused, parity)]})
        else:
            _print_parity(fused, parity, "the bundle")


def _check_options(options: ExportOptions, **c_options: Any) -> WriteExport | None:
    """Check all options before anything is read.

    Args:
        options: of the command.
        c_options: options for C, None if they are not given.

    Returns:
        The function that writes the export; None for a plain ONNX bundle.

    Raises:
        OptionError: options contradict each other, or nothing can be written to a path.
        DependencyError: the extra `export` is not installed.
    """
    from .export_formats import select_writer

    values = {"int8": options.int8 or None, "fp16": options.fp16 or None, "profile": options.profile, **c_options}
    given = {name: value for name, value in values.items() if value is not None}
    require("export", *_MODULES)  # before the checks of a format, which import its exporter
    write = select_writer(options.file_format, options.target, options.output, options.fused, given)
    if write is not None:
        return write
    if options.output is None and options.fused is None:
        raise OptionError("nothing to write: give a folder with -o, a file with --fused, or both")
    from ..runtime.writing import check_folder

    if options.output is not None:
        check_folder(options.output)
    if options.fused is not None:
        _check_fused(options.fused)
    return None


def _check_fused(path: Path) -> None:
    """Raise OptionError unless a fused file can be written."""
    from ..runtime.files import GRAPH_SUFFIXES
    from ..runtime.writing import check_file

    check_file(path)
    if path.suffix not in GRAPH_SUFFIXES:
        raise OptionError(f"--fused {path}: give a name that ends in .onnx or .ort, which selects the format")


def _export(source: ExportSource, options: ExportOptions, write: WriteExport | None, *, is_student: bool) -> None:
    if write is not None and options.output is not None:
        write(source, options.output, options.samples, options.as_json)
    elif options.int8:
        _export_int8(source, options)
    else:
        _export_onnx(source, options, measures_surgery=is_student)


def _export_int8(source: ExportSource, options: ExportOptions) -> None:
    """Export an fp32 bundle to a temporary folder, quantize it, and write the bundle, the fused file, or both."""
    require("quantize", "onnx", "scipy", "numba")
    import tempfile

    from ..calibration.calibration_data import create_synthetic_data
    from ..calibration.quantization import QuantizationSettings
    from ..calibration.targets import get_target
    from ..export.bundle import list_steps, write_bundle
    from ..runtime.bundle import Bundle
    from .quantize import print_result, quantize_to_folder

    settings = QuantizationSettings(get_target(options.target))
    target = options.output or options.fused
    assert target is not None, "the options are checked"
    work = target.with_name(f"{target.name}.work")
    with tempfile.TemporaryDirectory() as folder:
        fp32, int8 = Path(folder) / source.name, options.output or Path(folder) / f"{source.name}-int8"
        with phases(list_steps(bundle=True, fused=False, samples=options.samples), options.log) as report:
            write_bundle(source, fp32, samples=options.samples, progress=report)
        result = quantize_to_folder(Bundle(fp32), create_synthetic_data(), settings, int8, work, options.log)
        parity = None if options.fused is None else _write_fused_bundle(Bundle(int8), options.fused)
    written = [] if options.fused is None or parity is None else [_describe(options.fused, parity)]
    print_result(result, settings, target, options.as_json, written)
    if options.fused is not None and parity is not None and not options.as_json:
        _print_parity(options.fused, parity, "the int8 encoder and head")


def _write_fused_bundle(bundle: Bundle, path: Path) -> Parity:
    from ..export.bundle import write_fused_bundle

    with err.status("joining and verifying"):
        return write_fused_bundle(bundle, path)


def _describe(path: Path | str, parity: Parity) -> dict[str, Any]:
    return {
        "path": str(path),
        "largest_difference": parity.worst.difference,
        "worst_case": parity.worst.case,
        "cases": parity.cases,
    }


def _print_parity(path: Path | str, parity: Parity, reference: str) -> None:
    out.print(
        f"[bold]{escape(str(path))}[/]: scores agree with {reference} within {parity.worst.difference:.2g} in "
        f"{parity.cases} cases (worst: {parity.worst.case})",
        soft_wrap=True,
    )


def _measure_surgery(source: ExportSource) -> list[dict[str, Any]]:
    """Return the number of parameters after each step of the student's surgery, and the change of the scores."""
    import numpy as np
    import torch

    from ..export.surgery import measure_steps
    from ..export.verify import LISTENERS, probe_signal
    from ..model.student import Student
    from ..runtime.audiogram import Audiogram
    from ..runtime.features.fbank import fbank

    assert isinstance(source.original, Student)
    audiograms = torch.from_numpy(np.stack([Audiogram.named(name).array() for name in LISTENERS]))
    features = torch.from_numpy(fbank(probe_signal(160_000))).expand(len(audiograms), -1, -1)
    return [asdict(step) for step in measure_steps(source.original, features, audiograms)]


def _export_onnx(source: ExportSource, options: ExportOptions, *, measures_surgery: bool) -> None:
    from ..export.bundle import count_parameters, list_steps, write_bundle, write_bundle_and_fused, write_fused

    output, fused, samples = options.output, options.fused, options.samples
    written: dict[str, Any] = {}
    steps = list_steps(bundle=output is not None, fused=fused is not None, samples=samples)
    surgery: list[dict[str, Any]] = []
    with phases([*([_SURGERY] if measures_surgery else []), *steps], options.log) as report:
        if measures_surgery:
            report(_SURGERY, 0, 0)
            surgery = _measure_surgery(source)
        if output is not None and fused is not None:
            _, written[str(output)], written[str(fused)] = write_bundle_and_fused(
                source, output, fused, samples=samples, progress=report
            )
        elif output is not None:
            _, written[str(output)] = write_bundle(source, output, samples=samples, progress=report)
        elif fused is not None:
            written[str(fused)] = write_fused(source, fused, report)
    if options.as_json:
        print_json(
            {
                "name": source.name,
                "parameters": count_parameters(source.network),
                "surgery": surgery,
                "written": [_describe(path, parity) for path, parity in written.items()],
            }
        )
        return
    if surgery:
        table = Table("step", "parameters", "max difference of a score")
        for column in table.columns[1:]:
            column.justify = "right"
        for step in surgery:
            table.add_row(step["name"], f"{step['parameters']:,}", f"{step['difference']:.2g}")
        out.print(table)
    for path, parity in written.items():
        _print_parity(path, parity, "PyTorch")
