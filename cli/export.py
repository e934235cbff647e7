"""`haaqi-edge export`: checkpoints to verified bundles, and to what other devices take."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from ..runtime.errors import OptionError
from .console import err, out, print_json, require

if TYPE_CHECKING:
    from ..export.bundle import Source
    from .devices import Maker

app = typer.Typer(no_args_is_help=True, help="Turn a checkpoint into a verified ONNX bundle.")

_Folder = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the bundle.")]
_Fused = Annotated[Path | None, typer.Option(help="Write the single waveform-to-score file too, or alone.")]
_Samples = Annotated[bool, typer.Option("--samples", help="Put the front end into the encoder's graph.")]
_Int8 = Annotated[bool, typer.Option("--int8", help="Quantize it for this machine; see `quantize` for more.")]
_Target = Annotated[
    str,
    typer.Option(
        help="What it is for: `onnx`, ONNX Runtime; `ort`, its own format for minimal builds; `tensorrt`, front end in "
        "the graph, profiles beside it; `c`, plain C99 (nano)."
    ),
]
_Fp16 = Annotated[bool, typer.Option("--fp16", help="For TensorRT: products in fp16.")]
_Profiles = Annotated[
    list[str] | None,
    typer.Option("--profile", help="For TensorRT: patches of an optimization profile, N or MIN:OPT:MAX. Repeat it."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def student(
    checkpoint: Annotated[Path, typer.Argument(help="haaqi_net_distillBEATs.pth, or safetensors with its keys.")],
    output: _Folder = None,
    fused: _Fused = None,
    samples: _Samples = False,
    int8: _Int8 = False,
    target: _Target = "onnx",
    fp16: _Fp16 = False,
    profile: _Profiles = None,
    name: Annotated[str, typer.Option(help="The bundle's name.")] = "student",
    as_json: _Json = False,
) -> None:
    """Export the distilled student, folded to fewer parameters without loss."""
    wanted = _check(output, fused, int8, target, fp16=fp16 or None, profile=profile)
    from ..export.bundle import student_source

    source = student_source(checkpoint, name)
    if wanted is not None and output is not None:
        wanted(source, output, samples, as_json)
    elif int8 and output is not None:
        _export_int8(source, output, samples, as_json)
    else:
        _export(source, output, fused, samples, as_json, _surgery(source))


@app.command()
def nano(
    checkpoint: Annotated[Path | None, typer.Argument(help="Safetensors; by default the shipped weights.")] = None,
    output: _Folder = None,
    fused: _Fused = None,
    samples: _Samples = False,
    int8: _Int8 = False,
    target: _Target = "onnx",
    fp16: _Fp16 = False,
    profile: _Profiles = None,
    name: Annotated[str, typer.Option(help="The bundle's name.")] = "nano",
    weights: Annotated[
        Literal["float", "int8"] | None, typer.Option(help="How C keeps the matrices; by default int8.")
    ] = None,
    window: Annotated[float | None, typer.Option(help="Seconds that a score of the C covers; by default 10.")] = None,
    as_json: _Json = False,
) -> None:
    """Export nano."""
    wanted = _check(output, fused, int8, target, fp16=fp16 or None, profile=profile, weights=weights, window=window)
    from ..export.bundle import nano_source

    source = nano_source(checkpoint, name)
    if wanted is not None and output is not None:
        wanted(source, output, samples, as_json)
    elif int8 and output is not None:
        _export_int8(source, output, samples, as_json)
    else:
        _export(source, output, fused, samples, as_json, [])


@app.command()
def bundle(
    model: Annotated[str, typer.Argument(help="A bundle's folder, or a shipped name; fp32 or int8.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new bundle.")],
    target: Annotated[str, typer.Option(help="`ort`: ONNX Runtime's own format for minimal builds.")] = "ort",
    as_json: _Json = False,
) -> None:
    """Turn the files of a bundle that is there into another format."""
    from .devices import check_converted, to_ort

    check_converted(target)
    _check(output, None, False, target)
    from ..runtime.bundle import Bundle

    to_ort(Bundle(model), output, as_json)


def _check(output: Path | None, fused: Path | None, int8: bool, target: str = "onnx", **options: Any) -> Maker | None:
    """Refuse what has no meaning before anything is read; gives what makes the target's files, None for a plain bundle.

    `options` are those of targets that not all of them know, None where they were not given.
    """
    from .devices import maker_for

    given = {name: value for name, value in options.items() if value is not None}
    maker = maker_for(target, output, fused, given | ({"int8": True} if int8 else {}))
    require("export", "torch", "onnx", "onnxscript", "safetensors")
    if maker is not None:
        return maker
    if output is None and fused is None:
        raise OptionError("nothing to write: give a folder with -o, a file with --fused, or both")
    if int8 and (output is None or fused is not None):
        raise OptionError("--int8 makes a bundle: give its folder with -o, and no --fused")
    from ..runtime.writing import check_file, check_folder

    if output is not None:
        check_folder(output)
    if fused is not None:
        check_file(fused)
    return None


def _export_int8(source: Source, output: Path, samples: bool, as_json: bool) -> None:
    """Export in fp32 for a moment, and quantize that."""
    require("quantize", "onnx", "scipy", "numba")
    import tempfile

    from ..calibration.calibration_data import composed
    from ..calibration.quantization import Settings
    from ..calibration.targets import AUTO, target_of
    from ..export.bundle import write_bundle
    from ..runtime.bundle import Bundle
    from .quantize import quantized_into, report

    settings = Settings(target_of(AUTO))
    with tempfile.TemporaryDirectory() as folder:
        fp32 = Path(folder) / source.name
        with err.status("tracing and verifying"):
            write_bundle(source, fp32, samples=samples)
        report(quantized_into(Bundle(fp32), composed(), settings, output), settings, output, as_json)


def _surgery(source: Source) -> list[dict[str, Any]]:
    """Parameters after each step of the student's surgery, and how far scores moved."""
    import numpy as np
    import torch

    from ..export.surgery import report
    from ..export.verify import LISTENERS, probe_signal
    from ..model.student import Student
    from ..runtime.audiogram import Audiogram
    from ..runtime.features.fbank import fbank

    assert isinstance(source.original, Student)
    audiograms = torch.from_numpy(np.stack([Audiogram.named(name).array() for name in LISTENERS]))
    features = torch.from_numpy(fbank(probe_signal(160_000))).expand(len(audiograms), -1, -1)
    return [asdict(step) for step in report(source.original, features, audiograms)]


def _export(
    source: Source,
    output: Path | None,
    fused: Path | None,
    samples: bool,
    as_json: bool,
    surgery: list[dict[str, Any]],
) -> None:
    from ..export.bundle import parameter_count, write_both, write_bundle, write_fused

    written: dict[str, Any] = {}
    with err.status("tracing and verifying"):
        if output is not None and fused is not None:
            _, written[str(output)], written[str(fused)] = write_both(source, output, fused, samples=samples)
        elif output is not None:
            _, written[str(output)] = write_bundle(source, output, samples=samples)
        elif fused is not None:
            written[str(fused)] = write_fused(source, fused)
    if as_json:
        print_json(
            {
                "name": source.name,
                "parameters": parameter_count(source.network),
                "surgery": surgery,
                "written": [
                    {
                        "path": path,
                        "largest_difference": p.worst.difference,
                        "worst_case": p.worst.case,
                        "cases": p.cases,
                    }
                    for path, p in written.items()
                ],
            }
        )
        return
    if surgery:
        table = Table("step", "parameters", "largest difference of a score")
        for column in table.columns[1:]:
            column.justify = "right"
        for step in surgery:
            table.add_row(step["name"], f"{step['parameters']:,}", f"{step['difference']:.2g}")
        out.print(table)
    for path, p in written.items():
        out.print(
            f"[bold]{path}[/]: scores agree with PyTorch within {p.worst.difference:.2g} in {p.cases} cases "
            f"(worst: {p.worst.case})",
            soft_wrap=True,
        )
