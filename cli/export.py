"""`haaqi-edge export`: checkpoints to verified bundles."""

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
    from .export_tensorrt import TensorRT

app = typer.Typer(no_args_is_help=True, help="Turn a checkpoint into a verified ONNX bundle.")

_Folder = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the bundle.")]
_Fused = Annotated[Path | None, typer.Option(help="Write the single waveform-to-score file too, or alone.")]
_Samples = Annotated[bool, typer.Option("--samples", help="Put the front end into the encoder's graph.")]
_Int8 = Annotated[bool, typer.Option("--int8", help="Quantize it for this machine; see `quantize` for more.")]
_Target = Annotated[
    Literal["onnx", "tensorrt"],
    typer.Option(help="What it is for: ONNX Runtime; or TensorRT, front end in the graph, profiles beside it."),
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
    _check(output, fused, int8)
    tensorrt = _for_tensorrt(target, output, fused, fp16, int8, profile)
    from ..export.bundle import student_source

    source = student_source(checkpoint, name)
    if tensorrt is not None:
        tensorrt.export(source, as_json)
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
    as_json: _Json = False,
) -> None:
    """Export nano."""
    _check(output, fused, int8)
    tensorrt = _for_tensorrt(target, output, fused, fp16, int8, profile)
    from ..export.bundle import nano_source

    source = nano_source(checkpoint, name)
    if tensorrt is not None:
        tensorrt.export(source, as_json)
    elif int8 and output is not None:
        _export_int8(source, output, samples, as_json)
    else:
        _export(source, output, fused, samples, as_json, [])


def _check(output: Path | None, fused: Path | None, int8: bool) -> None:
    if output is None and fused is None:
        raise OptionError("nothing to write: give a folder with -o, a file with --fused, or both")
    if int8 and (output is None or fused is not None):
        raise OptionError("--int8 makes a bundle: give its folder with -o, and no --fused")
    require("export", "torch", "onnx", "onnxscript", "safetensors")
    from ..runtime.writing import check_file, check_folder

    if output is not None:
        check_folder(output)
    if fused is not None:
        check_file(fused)


def _for_tensorrt(
    target: str,
    output: Path | None,
    fused: Path | None,
    fp16: bool,
    int8: bool,
    profile: list[str] | None,
) -> TensorRT | None:
    """What `--target tensorrt` was told; None for another target."""
    from .export_tensorrt import TensorRT

    if target != "tensorrt":
        if fp16 or profile:
            raise OptionError("--fp16 and --profile are for --target tensorrt")
        return None
    if output is None or fused is not None:
        raise OptionError("--target tensorrt makes a bundle: give its folder with -o, and no --fused")
    return TensorRT.told(output, fp16=fp16, int8=int8, profiles=profile)


def _export_int8(source: Source, output: Path, samples: bool, as_json: bool) -> None:
    """Export in fp32 for a moment, and quantize that."""
    require("quantize", "onnx", "scipy", "numba")
    import tempfile

    from ..calibration.excerpts import composed
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
    from ..runtime.fbank import fbank

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
