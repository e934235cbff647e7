"""`haaqi-edge check`: how far one model's scores are from another's, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from .console import out, print_error, print_json, print_table, progress, require

if TYPE_CHECKING:
    from ..evaluation.sounds import Sound

_LONGEST = 90
"""characters of a sound's name in the table; JSON has them whole"""
_SHARDS = "*-[0-9][0-9][0-9][0-9].parquet"


def check(
    model: Annotated[str, typer.Argument(help="What is checked: a bundle's folder, a shipped name, a checkpoint.")],
    against: Annotated[str, typer.Option(help="What it should agree with: any of the same.")],
    audio: Annotated[Path, typer.Option(help="A folder of audio files, or of a label table's shards.")],
    audiogram: Annotated[
        list[str] | None,
        typer.Option("--audiogram", "--hl", "-a", help="Who hears a folder; by default N1, N3, N5, S2."),
    ] = None,
    spl: Annotated[float | None, typer.Option(help="Play each file at this level in dB SPL (usually 65).")] = None,
    nal_r: Annotated[bool, typer.Option("--nal-r", help="Amplify raw music for the listener first.")] = False,
    music: Annotated[Path | None, typer.Option(help="With a label table: its clips, with their CLIPS.csv.")] = None,
    split: Annotated[str, typer.Option(help="With a label table: train, valid or test.")] = "test",
    rows: Annotated[int | None, typer.Option(min=1, help="With a label table: so many rows, drawn by chance.")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Largest change of a score at the 99th percentile; by default 0.005.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a PNG: scatter plot and histogram.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two models score by score: PyTorch with ONNX, fp32 with int8, one version with the next.

    Files of a folder are taken as what reaches the ear, unless --nal-r says that they are raw music. The rows of a
    label table are made again from --music and compared with HAAQI too. Exit code 1 where the 99th percentile of the
    changes exceeds the budget, or some sounds could not be scored; 2 for bad input.
    """
    from ..evaluation.comparison import BUDGET

    allowed = BUDGET if budget is None else budget
    require("haaqi", "scipy")
    sounds = _sounds(audio, music, split, rows, audiogram or [], spl, nal_r)
    if picture is not None:
        require("bench", "matplotlib")
        if picture.suffix.lower() != ".png":
            raise OptionError(f"--picture {picture}: a PNG is written; give a name that ends in .png")
        if not picture.absolute().parent.is_dir():
            raise OptionError(f"--picture {picture}: its folder does not exist")
    from ..evaluation.comparison import compare
    from ..evaluation.predictors import judge_of

    first, second = judge_of(against), judge_of(model)
    with progress() as bar:
        task = bar.add_task("comparing", total=len(sounds))
        found = compare(first, second, sounds, lambda: bar.update(task, advance=1))
    figures = found.figures()
    exceeded = figures["p99"] > allowed
    if picture is not None:
        from ..evaluation.plots import draw

        draw(found, first.name, second.name, allowed, picture)
    if as_json:
        print_json(
            {
                "model": second.name,
                "against": first.name,
                "budget": allowed,
                "within_budget": not exceeded,
                **figures,
                "errors": [
                    {"sound": name, "type": type(error).__name__, "message": str(error)} for name, error in found.failed
                ],
            }
        )
    else:
        _print(figures, first.name, second.name)
        for _, error in found.failed:
            print_error(error)
        verdict = "[red]exceeds[/]" if exceeded else "[green]keeps within[/]"
        out.print(f"99th percentile of the changes: {figures['p99']:.2g}, which {verdict} the budget of {allowed:g}")
    if exceeded or found.failed:
        raise typer.Exit(1)


def _sounds(
    audio: Path, music: Path | None, split: str, rows: int | None, names: list[str], spl: float | None, nal_r: bool
) -> list[Sound]:
    from ..evaluation.sounds import of_folder, of_table
    from ..runtime.audiogram import Audiogram
    from ..runtime.files import is_folder

    if not is_folder(audio):
        raise OptionError(f"--audio {audio} is no folder: give one of audio files, or of a label table's shards")
    if not any(audio.glob(_SHARDS)):
        if music is not None or rows is not None:
            raise OptionError(f"{audio} is no label table, and --music and --rows are for one")
        return of_folder(audio, [Audiogram.parse(name) for name in names], spl, nal_r)
    if names or spl is not None or nal_r:
        raise OptionError("a label table says who hears its rows and how: leave out --audiogram, --spl and --nal-r")
    if music is None:
        raise OptionError(f"{audio} is a label table: give the folder of its clips with --music")
    require("train", "pyarrow", "numba")
    return of_table(audio, music, split, rows)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _print(figures: dict[str, Any], first: str, second: str) -> None:
    out.print(f"[bold]{escape(second)}[/] against [bold]{escape(first)}[/], {figures['sounds']} sounds")
    if figures.get("lcc") is not None:
        out.print(f"between the two: LCC {figures['lcc']:.6f}, SRCC {figures['srcc']:.6f}")
    changes = Table("change of a score", "sounds", "largest", "99th percentile", "mean", "bias")
    groups = [("all", "", figures)]
    groups += [(kind, name, part) for kind, parts in figures["by"].items() for name, part in parts.items()]
    before = "all"
    for kind, name, part in groups:
        if kind != before:
            changes.add_section()
        before = kind
        sizes = (f"{part[key]:.2g}" for key in ("largest", "p99", "mean", "bias"))
        changes.add_row(f"{kind} {escape(name)}".strip(), str(part["sounds"]), *sizes)
    print_table(changes)
    if "against_haaqi" in figures:
        table = Table("against HAAQI", "before", "after", "change (95%)")
        for name, f in figures["against_haaqi"].items():
            if f["change"] is None:
                continue
            span = f"{f['change']:+.4f} ({f['low']:+.4f} to {f['high']:+.4f})"
            table.add_row(name.upper(), f"{f['first']:.4f}", f"{f['second']:.4f}", span)
        print_table(table)
    worst = Table("most changed", "listener", "before", "after", "change")
    for one in figures["worst"]:
        cells = (f"{one['first']:.3f}", f"{one['second']:.3f}", f"{one['change']:+.2g}")
        worst.add_row(escape(_short(one["sound"])), escape(one["audiogram"]), *cells)
    print_table(worst)
