"""`haaqi-edge score`: files and folders of music for one listener or several."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.bundle import CARD, HAAQI
from ..runtime.errors import HaaqiEdgeError, OptionError
from ..runtime.files import is_file, is_folder
from .checkpoint import CHECKPOINTS, score_checkpoint
from .console import Listeners, curve, err, out, print_error, print_json, print_table, progress

if TYPE_CHECKING:
    from ..runtime.scores import Score
    from ..runtime.windows import WindowLike

_FEW = 3
"""files that are shown with their curves; more make a table"""


def score(
    audiogram: Listeners,
    audio: Annotated[list[Path] | None, typer.Argument(help="Audio files, or folders to search for them.")] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="A shipped model's name, a bundle's folder, or a checkpoint (.pth; needs PyTorch)."
        ),
    ] = "nano",
    audio_option: Annotated[list[Path] | None, typer.Option("--audio", help="The same as the argument.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="With a checkpoint: HAAQI-Net's config.yaml, which must be of that network.")
    ] = None,
    level1: Annotated[float | None, typer.Option(help="dB SPL of RMS 1.0; by default the model's, 85.")] = None,
    spl: Annotated[float | None, typer.Option(help="Play each clip at this level in dB SPL (usually 65).")] = None,
    nal_r: Annotated[bool, typer.Option("--nal-r", help="Amplify raw music for the listener first.")] = False,
    window: Annotated[
        str | None, typer.Option(help="Seconds that one score covers, or `whole`; by default the model's.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Execution provider, such as cpu or cuda; by default cpu.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; by default the cores of this process.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Read ahead, and encode so many patches of several files at once (62 last 10 s)."),
    ] = None,
    cuda_graphs: Annotated[bool, typer.Option("--cuda-graphs", help="On a GPU: replay the encoder's kernels.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Spread the files over so many processes.")] = None,
    backend: Annotated[
        Literal["processes", "dask"] | None, typer.Option(help="Where they run: on this machine, or a dask cluster.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="The cluster's scheduler, as tcp://10.0.0.1:8786.")] = None,
    frames: Annotated[bool, typer.Option("--frames", help="With --json: the score of every 160 ms patch.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score audio from 0 (bad) to 1 (as good as the original).

    The audio is taken as what reaches the ear: amplified by a hearing aid already. For raw music say --nal-r.
    Exit code 1 if some of several files could not be scored, 2 for bad input.
    """
    from ..runtime.audiogram import Audiogram
    from ..runtime.batch.requests import Request
    from ..runtime.bundle import Bundle
    from . import library

    listeners = [Audiogram.parse(text) for text in audiogram]
    span = _window(window)
    named = [*(audio or []), *(audio_option or [])]
    if not named:
        raise OptionError("no audio: name files or folders, as arguments or with --audio")
    files, searched = _files(named)
    asked = Request(model, tuple(listeners), level1, spl, nal_r, span, batch, provider, threads, cuda_graphs)
    if Path(model).suffix in CHECKPOINTS and is_file(Path(model)):
        given = {"--level1": level1, "--window": window, "--provider": provider, "--threads": threads, "--batch": batch}
        given |= {"--cuda-graphs": cuda_graphs or None, "--frames": frames or None}
        given |= {"--jobs": jobs, "--backend": backend, "--scheduler": scheduler}
        if others := [name for name, value in given.items() if value is not None]:
            raise OptionError(
                f"{', '.join(others)}: not with a checkpoint, which is scored in PyTorch as it is; --spl and --nal-r "
                "are, and an exported bundle takes all"
            )
        score_checkpoint(Path(model), config, files, listeners, spl, nal_r, as_json)
        return
    if config is not None:
        raise OptionError("--config goes with a checkpoint; a bundle's card says what it is")
    if is_folder(Path(model)) and not is_file(Path(model) / CARD):
        weights = [path for path in sorted(Path(model).iterdir()) if path.suffix in CHECKPOINTS]
        weights = [path for path in weights if path.stem != "checkpoint"]
        bundle = Path(model) / "bundle"
        better = f"its bundle, {bundle}" if is_folder(bundle) else "what `haaqi-edge export` makes of them"
        if weights:
            raise OptionError(f"{model} is a run's folder, not a bundle's: give its weights, {weights[0]}, or {better}")
    card = Bundle(model).card
    run = library.run(asked, files, jobs, backend, scheduler)
    started = time.perf_counter()
    found: dict[int, list[Score] | HaaqiEdgeError] = {}
    with progress() as bar:
        for scored in bar.track(run, total=len(files), description="scoring"):
            if isinstance(scored.outcome, HaaqiEdgeError) and len(files) == 1 and not searched:
                raise scored.outcome
            found[scored.place] = scored.outcome
    results = [(path, scores) for i, path in enumerate(files) if isinstance(scores := found[i], list)]
    failures = [(path, error) for i, path in enumerate(files) if isinstance(error := found[i], HaaqiEdgeError)]
    elapsed = time.perf_counter() - started
    if as_json:
        settings = {"nal_r": nal_r, "level1": level1 or card.level1, "spl": spl, "window": span}
        if isinstance(span, str):
            settings["window"] = card.window if span == "default" else None
        print_json(
            {
                "model": card.name,
                "predicts": asdict(card.predicts),
                "version": card.version,
                "provider": run.provider,
                "settings": settings,
                "elapsed_seconds": round(elapsed, 4),
                **_documents(results, failures, frames),
            }
        )
    else:
        if len(files) <= _FEW:
            for path, scores in results:
                _print_one(path, scores)
        elif results:
            _print_table(results, listeners)
        seconds = sum(scores[0].windows[-1].end for _, scores in results)
        out.print(
            f"[dim]{seconds:.1f} s of audio in {elapsed:.2f} s with {card.name} on {run.provider}, "
            f"{library.who(run)}[/]",
            soft_wrap=True,
        )
        for _, failure in failures:
            print_error(failure)
        if failures:
            err.print(f"{len(failures)} of {len(files)} files could not be scored")
    if failures:
        raise typer.Exit(1)


def _files(audio: list[Path]) -> tuple[list[Path], bool]:
    """The files named, and those in the folders named; and whether any folder was searched."""
    from ..runtime.audio.reading import audio_in

    files: list[Path] = []
    for path in audio:
        files += audio_in(path) if is_folder(path) else [path]
    return files, any(is_folder(path) for path in audio)


def _window(text: str | None) -> WindowLike:
    if text is None:
        return "default"
    if text == "whole":
        return "whole"
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--window {text!r}: give a number of seconds, or `whole`") from None


def _print_one(path: Path, scores: list[Score]) -> None:
    out.print(f"[bold]{escape(path.name)}[/], {scores[0].windows[-1].end:.1f} s scored")
    for score in scores:
        values = score.to_dict()["frame_scores"]
        told = "" if score.scale == HAAQI else f" {escape(str(score.scale))} "
        out.print(
            f"  {escape(score.audiogram.name):>6}  [bold]{score.value:.3f}[/]{told}  {curve(values)}", soft_wrap=True
        )
    if len(scores[0].windows) > 1:
        for score in scores:
            parts = " ".join("-" if w.score is None else f"{score.scale.of_score(w.score):.3f}" for w in score.windows)
            out.print(f"  {escape(score.audiogram.name):>6}  windows of {_span(score)}: {parts}", soft_wrap=True)


def _span(score: Score) -> str:
    first = score.windows[0]
    return f"{first.end - first.start:.1f} s"


def _print_table(results: list[tuple[Path, list[Score]]], listeners: list[Any]) -> None:
    table = Table("file", "seconds", *(escape(listener.name) for listener in listeners))
    for column in table.columns[1:]:
        column.justify = "right"
    for path, scores in results:
        table.add_row(escape(str(path)), f"{scores[0].windows[-1].end:.1f}", *(f"{s.value:.3f}" for s in scores))
    means = [sum(scores[i].value for _, scores in results) / len(results) for i in range(len(listeners))]
    table.add_section()
    table.add_row("[bold]mean[/]", "", *(f"[bold]{mean:.3f}[/]" for mean in means))
    print_table(table)


def _documents(
    results: list[tuple[Path, list[Score]]], failures: list[tuple[Path, HaaqiEdgeError]], frames: bool
) -> dict[str, Any]:
    hidden = set() if frames else {"frame_scores", "times"}
    return {
        "results": [
            {"file": str(path), "scores": [{k: v for k, v in s.to_dict().items() if k not in hidden} for s in scores]}
            for path, scores in results
        ],
        "errors": [{"file": str(path), "type": type(e).__name__, "message": str(e)} for path, e in failures],
    }
