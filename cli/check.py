"""`haaqi-edge check`: compare the scores of two models, and their agreement with HAAQI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from .console import out, print_error, print_json, print_table, progress, require
from .options import AUDIO, AUDIOGRAM_NAMES, DATA, LISTENERS, OUTPUT, JsonOption, NalROption, SplOption

if TYPE_CHECKING:
    from ..evaluation.sounds import Sound

_MAX_NAME = 90
"""maximum number of characters of a sound's name in the table; JSON has full names"""
_SHARDS = "*-[0-9][0-9][0-9][0-9].parquet"


def check(
    model: Annotated[
        str,
        typer.Argument(
            help="Model to check: a shipped name, folder of a bundle, file of `export --fused`, or checkpoint."
        ),
    ],
    against: Annotated[str, typer.Option(help="Reference model, given in the same ways.")],
    audio: Annotated[
        Path, typer.Option(help="Folder of audio files, or of a label table's shards.", rich_help_panel=AUDIO)
    ],
    spl: SplOption = None,
    audiogram: Annotated[
        list[str] | None,
        typer.Option(
            *AUDIOGRAM_NAMES,
            help="Listeners for a folder of audio files. Repeat for several. Default: N1, N3, N5, S2.",
            rich_help_panel=LISTENERS,
        ),
    ] = None,
    nal_r: NalROption = False,
    music: Annotated[
        Path | None,
        typer.Option(help="For a label table: folder of its music, with CLIPS.csv.", rich_help_panel=DATA),
    ] = None,
    split: Annotated[str, typer.Option(help="For a label table: train, valid or test.", rich_help_panel=DATA)] = "test",
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="For a label table: number of rows, chosen at random.", rich_help_panel=DATA),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Maximum 99th percentile of the score changes. Default: 0.005.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG file for a scatter plot and a histogram.", rich_help_panel=OUTPUT),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the scores of two models.

    Use this to compare PyTorch with ONNX, fp32 with int8, or one version with the next. Audio files are signals at the
    ear; use --nal-r for raw music. If --audio is a label table, its sounds are rendered from --music, and both models
    are also compared with HAAQI.
    Exit codes: 1 if the 99th percentile of the changes exceeds the budget or some sounds could not be scored, 2 for
    invalid input.
    """
    require("haaqi", "scipy")
    from ..evaluation.comparison import BUDGET

    allowed = BUDGET if budget is None else budget
    sounds = _list_sounds(audio, music, split, rows, audiogram or [], spl, nal_r)
    if picture is not None:
        require("bench", "matplotlib")
        if picture.suffix.lower() != ".png":
            raise OptionError(f"--picture {picture}: the plot is a PNG file; give a name that ends in .png")
        if not picture.absolute().parent.is_dir():
            raise OptionError(f"--picture {picture}: the folder does not exist; create it, or give another path")
    from ..evaluation.comparison import compare
    from ..evaluation.predictors import open_predictor, uses_pytorch

    if uses_pytorch(against) or uses_pytorch(model):
        require("export", "torch", "safetensors")
    first, second = open_predictor(against), open_predictor(model)
    with progress() as bar:
        task = bar.add_task("comparing", total=len(sounds))
        found = compare(first, second, sounds, lambda: bar.update(task, advance=1))
    metrics = found.to_dict()
    exceeded = metrics["p99"] > allowed
    if picture is not None:
        from ..evaluation.plots import save_plot

        save_plot(found, first.name, second.name, allowed, picture)
    if as_json:
        print_json(
            {
                "model": second.name,
                "against": first.name,
                "budget": allowed,
                "within_budget": not exceeded,
                **metrics,
                "errors": [
                    {"sound": name, "type": type(error).__name__, "message": str(error)} for name, error in found.errors
                ],
            }
        )
    else:
        _print_comparison(metrics, first.name, second.name)
        for error in {str(error): error for _, error in found.errors}.values():  # one per file, not per listener
            print_error(error)
        verdict = "[red]exceeds[/]" if exceeded else "[green]is within[/]"
        out.print(f"99th percentile of the score changes {metrics['p99']:.2g} {verdict} the budget of {allowed:g}")
    if exceeded or found.errors:
        raise typer.Exit(1)


def _list_sounds(
    audio: Path, music: Path | None, split: str, rows: int | None, names: list[str], spl: float | None, nal_r: bool
) -> list[Sound]:
    from ..evaluation.sounds import list_folder_sounds, list_table_sounds
    from ..runtime.audiogram import Audiogram
    from ..runtime.files import is_folder

    if not is_folder(audio):
        raise OptionError(f"--audio {audio} is not a folder: give a folder of audio files or of a label table's shards")
    if not any(audio.glob(_SHARDS)):
        if music is not None or rows is not None:
            raise OptionError(f"{audio} is not a label table: leave out --music and --rows")
        return list_folder_sounds(audio, [Audiogram.parse(name) for name in names], spl, nal_r)
    if names or spl is not None or nal_r:
        raise OptionError("a label table contains listeners and levels: leave out --audiogram, --spl and --nal-r")
    if music is None:
        raise OptionError(f"{audio} is a label table: give the folder of its music with --music")
    require("train", "pyarrow", "numba")
    return list_table_sounds(audio, music, split, rows)


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _print_comparison(metrics: dict[str, Any], first: str, second: str) -> None:
    out.print(f"[bold]{escape(second)}[/] against [bold]{escape(first)}[/], {metrics['sounds']} sounds")
    if metrics.get("lcc") is not None:
        out.print(f"between the models: LCC {metrics['lcc']:.6f}, SRCC {metrics['srcc']:.6f}")
    changes = Table("score changes", "sounds", "max", "99th percentile", "mean", "bias")
    groups = [("all", "", metrics)]
    groups += [(kind, name, part) for kind, parts in metrics["by"].items() for name, part in parts.items()]
    before = "all"
    for kind, name, part in groups:
        if kind != before:
            changes.add_section()
        before = kind
        sizes = (f"{part[key]:.2g}" for key in ("largest", "p99", "mean", "bias"))
        changes.add_row(f"{kind} {escape(name)}".strip(), str(part["sounds"]), *sizes)
    print_table(changes)
    if "against_haaqi" in metrics:
        table = Table("against HAAQI", "before", "after", "change (95%)")
        for name, f in metrics["against_haaqi"].items():
            if f["change"] is None:
                continue
            span = f"{f['change']:+.4f} ({f['low']:+.4f} to {f['high']:+.4f})"
            table.add_row(name.upper(), f"{f['first']:.4f}", f"{f['second']:.4f}", span)
        print_table(table)
    worst = Table("largest changes", "listener", "before", "after", "change")
    for one in metrics["worst"]:
        cells = (f"{one['first']:.3f}", f"{one['second']:.3f}", f"{one['change']:+.2g}")
        worst.add_row(escape(_shorten(one["sound"])), escape(one["audiogram"]), *cells)
    print_table(worst)
