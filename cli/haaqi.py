"""`haaqi-edge haaqi`: the index itself, where there is a clean original to compare with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.audio.levels import LEVEL1
from ..runtime.errors import HaaqiEdgeError
from .console import Listeners, err, print_error, print_json, print_table, progress, require

if TYPE_CHECKING:
    from ..haaqi.index import Ear, Haaqi
    from ..training.pairs import Pair

_PARTS = ("cepstral", "synchrony", "loudness", "spectrum")


def haaqi(
    reference: Annotated[Path, typer.Argument(help="The clean, unamplified music: a file, or a folder.")],
    processed: Annotated[
        Path,
        typer.Argument(
            help="What came out of the hearing aid for it, at the same --level1: a file, or a folder of files with the "
            "same names (other suffixes will do: clean/a.wav and aided/a.mp3)."
        ),
    ],
    audiogram: Listeners,
    nal_r: Annotated[
        bool, typer.Option("--nal-r", help="The processed music is not amplified yet: do it for each listener.")
    ] = False,
    level1: Annotated[float, typer.Option(help="dB SPL of RMS 1.0, in both.")] = LEVEL1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default the cores of this process.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute HAAQI, from 0 (bad) to 1, of processed music against its clean original.

    The reference is the clean, unamplified music: HAAQI amplifies it for the listener itself (NAL-R).
    The processed one is the output of the hearing aid for it, amplification included, at the same --level1;
    --nal-r amplifies one that is not.
    Channels are averaged, delays are found; clips last up to 120 s. The first call compiles for some seconds.
    Exit code 1 if some of several pairs could not be scored or have no partner, 2 for bad input.
    """
    from ..runtime.audiogram import Audiogram
    from ..runtime.session import available_cores

    listeners = [Audiogram.parse(text) for text in audiogram]
    require("haaqi", "scipy", "numba", "joblib")
    from ..haaqi.index import Ear
    from ..training.pairs import match, score_pairs

    ears = [Ear(listener, level1) for listener in listeners]
    pairs, alone = match(reference, processed)
    started = time.perf_counter()
    found: dict[int, list[Haaqi]] = {}
    failed: dict[int, HaaqiEdgeError] = {}
    with progress() as bar:
        work = score_pairs(pairs, ears, jobs or available_cores(), nal_r)
        for place, scores in bar.track(work, total=len(pairs), description="scoring"):
            if isinstance(scores, list):
                found[place] = scores
            elif pairs == [(reference, processed)]:
                raise scores
            else:
                failed[place] = scores
    results = [(pairs[place], found[place]) for place in sorted(found)]
    errors = [*((pairs[place].processed, failed[place]) for place in sorted(failed)), *alone]
    if as_json:
        import importlib.metadata

        print_json(
            {
                "version": importlib.metadata.version("haaqi-edge"),
                "settings": {"level1": level1, "nal_r": nal_r},
                "elapsed_seconds": round(time.perf_counter() - started, 4),
                "results": [_document(pair, scores, ears) for pair, scores in results],
                "errors": [
                    {"file": str(path), "type": type(error).__name__, "message": str(error)} for path, error in errors
                ],
            }
        )
    else:
        if results:
            _print(results, ears)
        for _, error in errors:
            print_error(error)
        if errors:
            err.print(f"{len(results)} pairs were scored, {len(failed)} could not be, without a partner: {len(alone)}")
    if errors:
        raise typer.Exit(1)


def _print(results: list[tuple[Pair, list[Haaqi]]], ears: list[Ear]) -> None:
    """One row a pair and listener, and the means of several pairs."""
    table = Table("file", "listener", "HAAQI", *_PARTS)
    for column in table.columns[2:]:
        column.justify = "right"
    for pair, scores in results:
        for number, (ear, score) in enumerate(zip(ears, scores, strict=True)):
            table.add_row("" if number else escape(str(pair.processed)), *_cells(ear, score._asdict()))
    if len(results) > 1:
        table.add_section()
        for number, ear in enumerate(ears):
            of_all = [scores[number]._asdict() for _, scores in results]
            mean = {name: sum(score[name] for score in of_all) / len(of_all) for name in of_all[0]}
            table.add_row("" if number else "[bold]mean[/]", *_cells(ear, mean))
    print_table(table)


def _cells(ear: Ear, score: dict[str, float]) -> list[str]:
    return [escape(ear.audiogram.name), f"[bold]{score['score']:.3f}[/]", *(f"{score[name]:.3f}" for name in _PARTS)]


def _document(pair: Pair, scores: list[Haaqi], ears: list[Ear]) -> dict[str, Any]:
    return {
        "reference": str(pair.reference),
        "processed": str(pair.processed),
        "scores": [
            {"audiogram": ear.audiogram.name, "levels": list(ear.audiogram.levels), **score._asdict()}
            for ear, score in zip(ears, scores, strict=True)
        ],
    }
