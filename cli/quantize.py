"""`haaqi-edge quantize`: quantize a bundle to int8, and measure the change of its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from .console import err, out, phases, print_json, print_table, require
from .options import OUTPUT, JsonOption, LogOption

if TYPE_CHECKING:
    from ..calibration.calibration_data import CalibrationData
    from ..calibration.quantization import QuantizationResult, QuantizationSettings
    from ..runtime.bundle import Bundle


_QUANTIZATION = "Quantization"
_ACCURACY = "Calibration and accuracy"


def quantize(
    model: Annotated[str, typer.Argument(help="Folder of an fp32 bundle, or name of a shipped model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the int8 bundle.", rich_help_panel=OUTPUT)],
    target: Annotated[
        str,
        typer.Option(help="x86-vnni, x86, arm64, tensorrt, or auto for this machine.", rich_help_panel=_QUANTIZATION),
    ] = "auto",
    method: Annotated[
        Literal["static", "dynamic", "auto"],
        typer.Option(
            help="static bundles can stream, dynamic ones cannot. auto measures both and selects one.",
            rich_help_panel=_QUANTIZATION,
        ),
    ] = "auto",
    lstm: Annotated[
        bool,
        typer.Option(
            "--lstm", help="Quantize LSTMs too (dynamic method, ONNX Runtime only).", rich_help_panel=_QUANTIZATION
        ),
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Folder of clean music for calibration. Default: synthetic music.", rich_help_panel=_ACCURACY
        ),
    ] = None,
    ranges: Annotated[
        Literal["minmax", "percentile", "entropy", "auto"],
        typer.Option(
            help="How the ranges of activations are estimated; auto selects minmax or percentile.",
            rich_help_panel=_ACCURACY,
        ),
    ] = "auto",
    budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest allowed 99th percentile of the score changes. Default: 0.005.",
            rich_help_panel=_ACCURACY,
        ),
    ] = None,
    rank: Annotated[
        bool,
        typer.Option(
            "--rank",
            help="Measure how much each layer, quantized alone, changes the scores.",
            rich_help_panel=_ACCURACY,
        ),
    ] = False,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for ranges and measurements. Default: OUTPUT.work.", rich_help_panel=OUTPUT),
    ] = None,
    log: LogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Quantize a bundle to int8 within a budget of score changes.

    The ranges of activations are measured on calibration music. As many layers stay in fp32
    as the budget requires. The card of the new bundle contains all measurements. An interrupted run resumes.
    Exit codes: 1 if no layer can be quantized within the budget, 2 for invalid input.
    """
    require("quantize", "onnx", "scipy", "numba")
    from ..calibration.calibration_data import create_folder_data, create_synthetic_data
    from ..calibration.quantization import QuantizationSettings, check_quantizable
    from ..calibration.targets import get_target
    from ..evaluation.comparison import BUDGET
    from ..runtime.bundle import Bundle
    from ..runtime.files import is_file, is_folder
    from ..runtime.writing import check_folder

    settings = QuantizationSettings(
        get_target(target),
        None if method == "auto" else method,
        None if ranges == "auto" else ranges,
        BUDGET if budget is None else budget,
        lstm,
        rank,
    )
    assert settings.methods
    check_folder(output)
    if calibration is not None and not is_folder(calibration):
        problem = "is a file" if is_file(calibration) else "does not exist"
        raise OptionError(f"--calibration {calibration} {problem}: give a folder of music")
    bundle = Bundle(model)
    check_quantizable(bundle)
    data = create_synthetic_data() if calibration is None else create_folder_data(calibration)
    print_result(quantize_to_folder(bundle, data, settings, output, work, log), settings, output, as_json)


def quantize_to_folder(
    bundle: Bundle,
    data: CalibrationData,
    settings: QuantizationSettings,
    output: Path,
    work: Path | None = None,
    log: Path | None = None,
) -> QuantizationResult:
    """Quantize a bundle with a progress bar, and write the result.

    Args:
        bundle: an fp32 bundle.
        data: calibration data.
        settings: see `QuantizationSettings`.
        output: folder of the new bundle.
        work: folder for measurements, by default OUTPUT.work.
        log: file to which lines on the progress are appended.
    """
    work = work or output.with_name(f"{output.name}.work")
    try:
        result = quantize_with_progress(bundle, data, settings, work, log)
    except KeyboardInterrupt:
        saved = f"measurements are saved in {work}: run the same command again to resume"
        err.print(f"stopped; {saved if work.is_dir() else 'nothing was measured yet'}", soft_wrap=True)
        raise typer.Exit(130) from None
    result.write(output)
    return result


def quantize_with_progress(
    bundle: Bundle, data: CalibrationData, settings: QuantizationSettings, work: Path, log: Path | None = None
) -> QuantizationResult:
    """Quantize a bundle with a progress bar, and append lines on it to a log."""
    from ..calibration.quantization import quantize as quantize_bundle

    with phases(settings.steps, log) as report:
        return quantize_bundle(bundle, data, settings, work, report)


def print_result(
    result: QuantizationResult,
    settings: QuantizationSettings,
    output: Path,
    as_json: bool,
    fused: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Print the selected candidate, the others, and notes.

    Args:
        result: of the quantization.
        settings: options of the quantization.
        output: what was written.
        as_json: print JSON.
        fused: descriptions of fused files, for JSON.
    """
    from ..calibration.quantization import describe_candidate, list_notes

    target, chosen = settings.target, result.chosen
    descriptions = [describe_candidate(candidate, result.fp32_bytes, target) for candidate in result.candidates]
    if as_json:
        print_json(
            {
                "path": str(output),
                "name": result.card.name,
                "streamable": result.card.streamable,
                "verdict": descriptions[0],
                "others": descriptions[1:],
                "advice": list_notes(result),
                **({"written": fused} if fused else {}),
                **result.card.figures["quantization"],
            }
        )
        return
    if chosen.search.sensitivities:
        table = Table("quantized alone", "99th percentile of the score changes", "max", "")
        fp32 = {group.name for group in chosen.search.fp32_groups}
        for sensitivity in chosen.search.sensitivities:
            table.add_row(
                escape(sensitivity.group),
                f"{sensitivity.p99:.2g}",
                f"{sensitivity.largest:.2g}",
                "stays in fp32" if sensitivity.group in fp32 else "",
            )
        print_table(table)
    out.print(f"[bold]{escape(str(output))}[/], for {target.name} ({target.formats}):", soft_wrap=True)
    out.print(f"  [bold]{descriptions[0]}[/]", soft_wrap=True)
    for other in descriptions[1:]:
        out.print(f"  not chosen: {other}", soft_wrap=True)
    for line in list_notes(result):
        out.print(f"  note: {escape(line)}", soft_wrap=True)
