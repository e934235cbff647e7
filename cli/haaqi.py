"""`haaqi-edge haaqi`: compute HAAQI from processed music and its clean original."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.audio.levels import LEVEL1
from ..runtime.errors import HaaqiEdgeError
from ..runtime.files import display_name
from .console import err, print_error, print_json, print_table, progress, require, show_notes
from .options import (
    AUDIO,
    LISTENERS,
    AudiogramOption,
    ChannelOption,
    JobsOption,
    JsonOption,
    VerboseOption,
    parse_channel,
)

if TYPE_CHECKING:
    from ..haaqi.index import Haaqi, Listener
    from ..training.pairs import Pair

_PARTS = ("cepstral", "synchrony", "loudness", "spectrum")


def haaqi(
    reference: Annotated[Path, typer.Argument(help="The clean, unamplified music: a file or a folder.")],
    processed: Annotated[
        Path,
        typer.Argument(
            help="The output of the hearing aid for it, at the same --level1: a file, or a folder of files with the "
            "same names. Suffixes may differ, as in clean/a.wav and aided/a.mp3."
        ),
    ],
    audiogram: AudiogramOption,
    nal_r: Annotated[
        bool,
        typer.Option(
            "--nal-r", help="Amplify the processed music for each listener (NAL-R).", rich_help_panel=LISTENERS
        ),
    ] = False,
    level1: Annotated[
        float, typer.Option(help="Level in dB SPL of a signal with RMS 1.0, for both files.", rich_help_panel=AUDIO)
    ] = LEVEL1,
    channel: ChannelOption = "mix",
    jobs: JobsOption = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute HAAQI itself: compare processed music with its clean original.

    HAAQI runs from 0 (bad) to 1. The reference is unamplified; HAAQI amplifies it for the listener (NAL-R). The
    processed music is the output of the hearing aid, already amplified; use --nal-r if it is not.
    Channels are averaged; use --channel for one of them. Delays are compensated. Files last up to 120 s. The first
    call compiles code, which takes some seconds.
    Exit codes: 1 if some of several pairs could not be scored or have no partner, 2 for invalid input.
    """
    from ..runtime.audiogram import parse_audiograms
    from ..runtime.session import available_cores

    listeners = parse_audiograms(audiogram)
    require("haaqi", "scipy", "numba", "joblib")
    from ..haaqi.index import Listener
    from ..training.pairs import match_files, score_pairs

    selected_channel = parse_channel(channel)
    ears = [Listener(listener, level1=level1) for listener in listeners]
    pairs, unpaired = match_files(reference, processed)
    started = time.perf_counter()
    found: dict[int, list[Haaqi]] = {}
    failed: dict[int, HaaqiEdgeError] = {}
    with show_notes(verbose), progress() as bar:
        work = score_pairs(pairs, ears, jobs or available_cores(), nal_r, selected_channel)
        for place, scores in bar.track(work, total=len(pairs), description="scoring"):
            if isinstance(scores, list):
                found[place] = scores
            elif pairs == [(reference, processed)]:
                raise scores
            else:
                failed[place] = scores
    results = [(pairs[place], found[place]) for place in sorted(found)]
    errors = [*((pairs[place].processed, failed[place]) for place in sorted(failed)), *unpaired]
    if as_json:
        import importlib.metadata

        print_json(
            {
                "version": importlib.metadata.version("haaqi-edge"),
                "settings": {"level1": level1, "nal_r": nal_r, "channel": selected_channel},
                "elapsed_seconds": round(time.perf_counter() - started, 4),
                "results": [_to_document(pair, scores, ears) for pair, scores in results],
                "errors": [
                    {"file": display_name(path), "type": type(error).__name__, "message": str(error)}
                    for path, error in errors
                ],
            }
        )
    else:
        if results:
            _print_results(results, ears)
        for _, error in errors:
            print_error(error)
        if errors:
            err.print(f"pairs scored: {len(results)}, failed: {len(failed)}; files without a partner: {len(unpaired)}")
    if errors:
        raise typer.Exit(1)


def _print_results(results: list[tuple[Pair, list[Haaqi]]], ears: list[Listener]) -> None:
    """Print one row per pair and listener, and the means of several pairs."""
    table = Table("file", "listener", "HAAQI", *_PARTS)
    for column in table.columns[2:]:
        column.justify = "right"
    for pair, scores in results:
        for number, (ear, score) in enumerate(zip(ears, scores, strict=True)):
            table.add_row("" if number else escape(display_name(pair.processed)), *_format_cells(ear, score._asdict()))
    if len(results) > 1:
        table.add_section()
        for number, ear in enumerate(ears):
            of_all = [scores[number]._asdict() for _, scores in results]
            mean = {name: sum(score[name] for score in of_all) / len(of_all) for name in of_all[0]}
            table.add_row("" if number else "[bold]mean[/]", *_format_cells(ear, mean))
    print_table(table)


def _format_cells(ear: Listener, score: dict[str, float]) -> list[str]:
    return [escape(ear.audiogram.name), f"[bold]{score['score']:.3f}[/]", *(f"{score[name]:.3f}" for name in _PARTS)]


def _to_document(pair: Pair, scores: list[Haaqi], ears: list[Listener]) -> dict[str, Any]:
    return {
        "reference": display_name(pair.reference),
        "processed": display_name(pair.processed),
        "scores": [
            {"audiogram": ear.audiogram.name, "levels": list(ear.audiogram.levels), **score._asdict()}
            for ear, score in zip(ears, scores, strict=True)
        ],
    }
