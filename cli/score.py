"""`haaqi-edge score`: score files and folders of music, for one or several listeners."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from ..runtime.bundle import HAAQI
from ..runtime.errors import HaaqiEdgeError, OptionError
from ..runtime.files import is_folder
from .console import draw_curve, err, out, print_error, print_json, print_table, progress
from .options import (
    AUDIO,
    MODEL,
    OUTPUT,
    PROCESSING,
    AudiogramOption,
    ChannelOption,
    JsonOption,
    Level1Option,
    NalROption,
    ProviderOption,
    SplOption,
    parse_channel,
    parse_window,
)

if TYPE_CHECKING:
    from ..runtime.scores import Score

_MAX_CURVES = 3
"""Up to this number of files, scores are printed with their curves. More files are printed as a table."""


def score(
    audiogram: AudiogramOption,
    audio: Annotated[list[Path] | None, typer.Argument(help="Audio files, or folders to search for them.")] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Name of a shipped model, folder of a bundle, or file of a checkpoint (needs PyTorch).",
            rich_help_panel=MODEL,
        ),
    ] = "nano",
    config: Annotated[
        Path | None,
        typer.Option(help="HAAQI-Net's config.yaml, which must describe the checkpoint.", rich_help_panel=MODEL),
    ] = None,
    audio_option: Annotated[
        list[Path] | None,
        typer.Option("--audio", help="Same as the AUDIO argument. Repeat for several.", rich_help_panel=AUDIO),
    ] = None,
    level1: Level1Option = None,
    spl: SplOption = None,
    channel: ChannelOption = "mix",
    nal_r: NalROption = False,
    window: Annotated[
        str,
        typer.Option(
            help="Length of a scoring window: seconds, `default` (the model's) or `whole` (the file).",
            rich_help_panel=AUDIO,
        ),
    ] = "default",
    provider: ProviderOption = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Number of threads. Default: the CPU cores available to this process.", rich_help_panel=PROCESSING
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of patches, of several files, to encode in one step (10 s are 62 patches).",
            rich_help_panel=PROCESSING,
        ),
    ] = None,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="Record the encoder as a CUDA graph.", rich_help_panel=PROCESSING)
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes that score files. Default: 1.", rich_help_panel=PROCESSING),
    ] = None,
    backend: Annotated[
        Literal["processes", "dask"] | None,
        typer.Option(help="Run in processes of this machine, or on a dask cluster.", rich_help_panel=PROCESSING),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of the dask scheduler, such as tcp://10.0.0.1:8786.", rich_help_panel=PROCESSING),
    ] = None,
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Add the score of each patch of 160 ms to --json.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score audio files from 0 (bad) to 1 (as good as the original).

    The audio is the signal at the ear: the output of a hearing aid. Use --nal-r for unamplified music.
    Exit codes: 1 if some of several files could not be scored, 2 for invalid input.
    """
    from ..runtime.audiogram import Audiogram
    from ..runtime.batch.requests import ScoreRequest
    from .models import open_model
    from .parallel_scoring import describe_workers, start_scoring

    listeners = [Audiogram.parse(text) for text in audiogram]
    window_length, selected_channel = parse_window(window), parse_channel(channel)
    paths = [*(audio or []), *(audio_option or [])]
    if not paths:
        raise OptionError("no audio: give files or folders, as arguments or with --audio")
    files, has_folder = _list_files(paths)
    opened = open_model(
        model,
        provider=provider,
        threads=threads,
        cuda_graphs=cuda_graphs,
        jobs=min(jobs or 1, len(files)),
        config=config,
    )
    card = opened.card
    request = ScoreRequest(
        opened.model,
        tuple(listeners),
        level1,
        spl,
        nal_r,
        window_length,
        batch=batch_size,
        channel=selected_channel,
        **opened.options,
    )
    run = start_scoring(request, files, jobs, backend, scheduler)
    started = time.perf_counter()
    outcomes: dict[int, list[Score] | HaaqiEdgeError] = {}
    with progress() as bar:
        for scored in bar.track(run, total=len(files), description="scoring"):
            if isinstance(scored.outcome, HaaqiEdgeError) and len(files) == 1 and not has_folder:
                raise scored.outcome
            outcomes[scored.place] = scored.outcome
    results = [(path, scores) for i, path in enumerate(files) if isinstance(scores := outcomes[i], list)]
    failures = [(path, error) for i, path in enumerate(files) if isinstance(error := outcomes[i], HaaqiEdgeError)]
    elapsed = time.perf_counter() - started
    if as_json:
        seconds = (
            {"default": card.window, "whole": None}.get(window) if isinstance(window_length, str) else window_length
        )
        settings = {
            "nal_r": nal_r,
            "level1": level1 or card.level1,
            "spl": spl,
            "window": seconds,
            "channel": selected_channel,
        }
        print_json(
            {
                "model": card.name,
                "predicts": asdict(card.predicts),
                "version": card.version,
                "provider": run.provider,
                "settings": settings,
                "elapsed_seconds": round(elapsed, 4),
                **_to_documents(results, failures, frames),
            }
        )
    else:
        if len(files) <= _MAX_CURVES:
            for path, scores in results:
                _print_scores(path, scores)
        elif results:
            _print_table(results, listeners)
        seconds = sum(scores[0].windows[-1].end for _, scores in results)
        out.print(
            f"[dim]{seconds:.1f} s of audio in {elapsed:.2f} s with {card.name} on {run.provider}, "
            f"{describe_workers(run)}[/]",
            soft_wrap=True,
        )
        for _, failure in failures:
            print_error(failure)
        if failures:
            err.print(f"{len(failures)} of {len(files)} files could not be scored")
    if failures:
        raise typer.Exit(1)


def _list_files(audio: list[Path]) -> tuple[list[Path], bool]:
    """Return the files among the paths and those in folders among them, and whether there is a folder."""
    from ..runtime.audio.folders import audio_in

    files: list[Path] = []
    for path in audio:
        files += audio_in(path) if is_folder(path) else [path]
    return files, any(is_folder(path) for path in audio)


def _print_scores(path: Path, scores: list[Score]) -> None:
    out.print(f"[bold]{escape(path.name)}[/], {scores[0].windows[-1].end:.1f} s scored")
    for score in scores:
        values = score.to_dict()["frame_scores"]
        scale = "" if score.scale == HAAQI else f" {escape(str(score.scale))} "
        name, value = escape(score.audiogram.name), f"[bold]{score.value:.3f}[/]"
        out.print(f"  {name:>6}  {value}{scale}  {draw_curve(values)}", soft_wrap=True)
    if len(scores[0].windows) > 1:
        for score in scores:
            parts = " ".join("-" if w.score is None else f"{score.scale.of_score(w.score):.3f}" for w in score.windows)
            out.print(
                f"  {escape(score.audiogram.name):>6}  windows of {_window_length(score)}: {parts}", soft_wrap=True
            )


def _window_length(score: Score) -> str:
    first = score.windows[0]
    return f"{first.end - first.start:.1f} s"


def _print_table(results: list[tuple[Path, list[Score]]], listeners: list[Any]) -> None:
    from rich.table import Table

    table = Table("file", "seconds", *(escape(listener.name) for listener in listeners))
    for column in table.columns[1:]:
        column.justify = "right"
    for path, scores in results:
        table.add_row(escape(str(path)), f"{scores[0].windows[-1].end:.1f}", *(f"{s.value:.3f}" for s in scores))
    means = [sum(scores[i].value for _, scores in results) / len(results) for i in range(len(listeners))]
    table.add_section()
    table.add_row("[bold]mean[/]", "", *(f"[bold]{mean:.3f}[/]" for mean in means))
    print_table(table)


def _to_documents(
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
