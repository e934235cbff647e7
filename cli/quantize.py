"""`haaqi-edge quantize`: an fp32 bundle to an int8 one whose cost is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from .console import err, out, phases, print_json, print_table, require

if TYPE_CHECKING:
    from ..calibration.calibration_data import Sets
    from ..calibration.quantization import Quantized, Settings
    from ..runtime.bundle import Bundle


def quantize(
    model: Annotated[str, typer.Argument(help="An fp32 bundle's folder, or a shipped name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the int8 bundle.")],
    target: Annotated[str, typer.Option(help="x86-vnni, x86, arm64, tensorrt; auto is what this machine is.")] = "auto",
    method: Annotated[
        Literal["static", "dynamic", "auto"], typer.Option(help="static can stream; auto measures both.")
    ] = "auto",
    calibration: Annotated[
        Path | None, typer.Option(help="A folder of clean music of yours; by default music composed by chance.")
    ] = None,
    ranges: Annotated[
        Literal["minmax", "percentile", "entropy", "auto"],
        typer.Option(help="How activations' ranges are found; auto takes the better of the first two."),
    ] = "auto",
    budget: Annotated[
        float | None, typer.Option(min=0, help="Largest change of a score at the 99th percentile; by default 0.005.")
    ] = None,
    lstm: Annotated[bool, typer.Option("--lstm", help="Run LSTMs in int8 too (dynamic, ONNX Runtime only).")] = False,
    rank: Annotated[bool, typer.Option("--rank", help="Measure what each layer alone costs.")] = False,
    work: Annotated[
        Path | None, typer.Option(help="Keeps ranges and measurements; by default beside the output, with .work.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Quantize a bundle to int8: calibrated, cut back until scores keep within the budget, measured against fp32.

    Layers that hurt are left in floating point; everything that was measured is in the new bundle's card. An
    interrupted run goes on where it was stopped. Exit code 1 where no layer can be quantized within the budget.
    """
    require("quantize", "onnx", "scipy", "numba")
    from ..calibration.calibration_data import composed, of_folder
    from ..calibration.quantization import Settings, check_quantizable
    from ..calibration.targets import target_of
    from ..evaluation.comparison import BUDGET
    from ..runtime.bundle import Bundle
    from ..runtime.files import is_file, is_folder
    from ..runtime.writing import check_folder

    settings = Settings(
        target_of(target),
        None if method == "auto" else method,
        None if ranges == "auto" else ranges,
        BUDGET if budget is None else budget,
        lstm,
        rank,
    )
    assert settings.methods
    check_folder(output)
    if calibration is not None and not is_folder(calibration):
        what = "is a file" if is_file(calibration) else "does not exist"
        raise OptionError(f"--calibration {calibration} {what}: give a folder of music")
    bundle = Bundle(model)
    check_quantizable(bundle)
    sets = composed() if calibration is None else of_folder(calibration)
    report(quantized_into(bundle, sets, settings, output, work), settings, output, as_json)


def quantized_into(bundle: Bundle, sets: Sets, settings: Settings, output: Path, work: Path | None = None) -> Quantized:
    """Quantize with a progress bar, and write the bundle."""
    work = work or output.with_name(f"{output.name}.work")
    try:
        made = quantized(bundle, sets, settings, work)
    except KeyboardInterrupt:
        kept = f"what was measured is kept in {work}: the same command goes on from there"
        err.print(f"stopped; {kept if work.is_dir() else 'nothing had been measured yet'}", soft_wrap=True)
        raise typer.Exit(130) from None
    made.write(output)
    return made


def quantized(bundle: Bundle, sets: Sets, settings: Settings, work: Path) -> Quantized:
    """Quantize with a progress bar."""
    from ..calibration.quantization import quantize as quantize_bundle

    with phases() as told:
        return quantize_bundle(bundle, sets, settings, work, told)


def report(quantized: Quantized, settings: Settings, output: Path, as_json: bool) -> None:
    """Print what came of it."""
    from ..calibration.verdict import advice, verdict

    target, chosen = settings.target, quantized.chosen
    verdicts = [verdict(one, quantized.fp32_bytes, target) for one in quantized.candidates]
    if as_json:
        print_json(
            {
                "path": str(output),
                "name": quantized.card.name,
                "streamable": quantized.card.streamable,
                "verdict": verdicts[0],
                "others": verdicts[1:],
                "advice": advice(quantized),
                **quantized.card.figures["quantization"],
            }
        )
        return
    if chosen.found.harms:
        table = Table("quantized alone", "99th percentile of the change", "largest", "")
        left = {group.name for group in chosen.found.left}
        for harm in chosen.found.harms:
            table.add_row(
                escape(harm.group),
                f"{harm.p99:.2g}",
                f"{harm.largest:.2g}",
                "left in fp32" if harm.group in left else "",
            )
        print_table(table)
    out.print(f"[bold]{escape(str(output))}[/], for {target.name} ({target.about}):", soft_wrap=True)
    out.print(f"  [bold]{verdicts[0]}[/]", soft_wrap=True)
    for other in verdicts[1:]:
        out.print(f"  not chosen: {other}", soft_wrap=True)
    for line in advice(quantized):
        out.print(f"  note: {escape(line)}", soft_wrap=True)
