"""`haaqi-edge score`: score files and folders of music, for one or several listeners."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from rich.markup import escape

from ..runtime.bundle import HAAQI
from ..runtime.errors import AudioFileNotFoundError, HaaqiEdgeError, OptionError
from ..runtime.files import display_name, is_file, is_folder
from .console import (
    draw_curve,
    err,
    format_interval,
    out,
    print_error,
    print_json,
    print_table,
    progress,
    show_notes,
)
from .familiarity import familiarity_document, warn_of_unfamiliar
from .interruption import explain_interruption
from .options import (
    AUDIO,
    MODEL,
    OUTPUT,
    PROCESSING,
    AudiogramOption,
    ChannelOption,
    EarsOption,
    JsonOption,
    Level1Option,
    ModelOption,
    NalROption,
    ProviderOption,
    SplOption,
    VerboseOption,
    parse_channel,
    parse_window,
)
from .two_ears import format_ears

if TYPE_CHECKING:
    from ..runtime.audiogram import Audiogram, EarPair
    from ..runtime.batch.results import ResultsWriter
    from ..runtime.scores import Score

_MAX_CURVES = 3
"""Up to this number of files, scores are printed with their curves. More files are printed as a table."""


def score(
    audiogram: AudiogramOption,
    audio: Annotated[
        list[str] | None,
        typer.Argument(help="Audio files, folders to search for them, m3u playlists, or @LIST with a path per line."),
    ] = None,
    model: ModelOption = "nano",
    config: Annotated[
        Path | None,
        typer.Option(help="HAAQI-Net's config.yaml, which must describe the checkpoint.", rich_help_panel=MODEL),
    ] = None,
    audio_option: Annotated[
        list[str] | None,
        typer.Option("--audio", help="Same as the AUDIO argument. Repeat for several.", rich_help_panel=AUDIO),
    ] = None,
    level1: Level1Option = None,
    spl: SplOption = None,
    channel: ChannelOption = None,
    ears: EarsOption = False,
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
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the results to a file: .csv or .jsonl, file by file as they are scored, or .json or .parquet.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted --output: skip the files that have scores in it.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Plot the scores of one file over its spectrogram, as PNG.", rich_help_panel=OUTPUT),
    ] = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score audio files from 0 (bad) to 1 (as good as the original).

    The audio is the signal at the ear: the output of a hearing aid. Use --nal-r for raw music.
    Exit codes: 1 if some of several files could not be scored, 2 for invalid input.
    """
    from ..runtime.audio.folders import describe_left_out
    from ..runtime.batch.requests import ScoreRequest
    from ..runtime.batch.results import ResultsWriter, check_results_path, describe_run, score_columns, score_rows
    from .models import open_model
    from .parallel_scoring import describe_workers, start_scoring
    from .two_ears import parse_listeners, warn_of_mix

    who = parse_listeners(audiogram, ears, channel)
    listeners = who.audiograms
    window_length, selected_channel = parse_window(window), parse_channel(channel)
    if frames and not as_json:
        raise OptionError(
            "--frames adds to the output of --json: give both, or leave out --frames. Files of --output have no scores "
            "of patches"
        )
    if resume and output is None:
        raise OptionError("--resume continues a file of results: give it with --output")
    if output is not None:
        check_results_path(output)
    files, left_out, has_folder = _list_files([*(audio or []), *(audio_option or [])])
    if plot is not None:
        from .score_plot import check_plot, save_score_plot

        check_plot(plot, files)
    warn_of_mix(files, who, channel)
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
        () if ears else tuple(listeners),
        level1,
        spl,
        nal_r,
        window_length,
        batch=batch_size,
        channel=selected_channel,
        ears=tuple(who.pairs),
        **opened.options,
    )
    settings = {
        "nal_r": nal_r,
        "level1": level1 or card.level1,
        "spl": spl,
        "window": {"default": card.window, "whole": None}.get(window, window_length),
        "channel": "ears" if ears else selected_channel,
    }
    writer: ResultsWriter | None = None
    if output is not None:
        record = describe_run("score", card, settings, listeners)
        columns = score_columns(card.predicts, card.interval is not None, card.familiarity is not None)
        writer = ResultsWriter(output, columns, record, rows_per_item=len(listeners), resume=resume)
        writer.set_order([path] for path in files)
    places = [place for place, path in enumerate(files) if writer is None or not writer.is_done(path)]
    run = start_scoring(request, [files[place] for place in places], jobs, backend, scheduler)
    started = time.perf_counter()
    results: dict[int, list[Score]] = {}
    failures: dict[int, HaaqiEdgeError] = {}
    unfamiliar: list[int] = []
    seconds, done = 0.0, 0
    with (
        explain_interruption(writer),
        show_notes(verbose),
        contextlib.nullcontext() if writer is None else writer,
        progress() as bar,
    ):
        for scored in bar.track(run, total=len(places), description="scoring"):
            place, outcome = places[scored.place], scored.outcome
            if writer is not None:
                writer.write(score_rows(files[place], listeners, outcome))
            if isinstance(outcome, HaaqiEdgeError):
                failures[place] = outcome
                continue
            seconds, done = seconds + outcome[0].windows[-1].end, done + 1
            if any(score.unfamiliar for score in outcome):
                unfamiliar.append(place)
            if writer is None or as_json or plot is not None:
                results[place] = outcome
    elapsed = time.perf_counter() - started
    if failures and len(files) == 1 and not has_folder:
        raise failures[0]
    if plot is not None and results:
        save_score_plot(files[0], results[0], selected_channel, plot)
    in_order = [(files[place], results[place]) for place in sorted(results)]
    errors = [(files[place], failures[place]) for place in sorted(failures)]
    if as_json:
        print_json(
            {
                "model": card.name,
                "predicts": asdict(card.predicts),
                "version": card.version,
                "provider": run.provider,
                "settings": settings,
                **familiarity_document(card),
                "elapsed_seconds": round(elapsed, 4),
                **_to_documents(in_order, errors, frames, who.pairs),
                "left_out": [display_name(path) for path in left_out],
                **({} if writer is None else {"output": str(output), "resumed": writer.resumed}),
            }
        )
    else:
        if len(in_order) <= _MAX_CURVES and len(files) <= _MAX_CURVES:
            for path, scores in in_order:
                _print_scores(path, scores, who.pairs)
        elif in_order:
            _print_table(in_order, listeners, who.pairs)
        out.print(
            f"[dim]{seconds:.1f} s of audio in {elapsed:.2f} s with {card.name} on {run.provider}, "
            f"{describe_workers(run)}[/]",
            soft_wrap=True,
        )
        if writer is not None:
            before = f", {writer.resumed} of them from a run before" if writer.resumed else ""
            out.print(
                f"{escape(str(output))}: {writer.rows} rows of {writer.resumed + done + len(failures)} files{before}",
                soft_wrap=True,
            )
        if left_out:
            out.print(f"[dim]{escape(describe_left_out(left_out))}[/]", soft_wrap=True)
        warn_of_unfamiliar(card, [display_name(files[place].name) for place in sorted(unfamiliar)], len(files))
        for _, failure in errors:
            print_error(failure)
        if failures:
            err.print(f"{len(failures)} of {len(files)} files could not be scored")
    if failures:
        raise typer.Exit(1)


class _Files(NamedTuple):
    """The files to score.

    Attributes:
        files: paths, in order.
        left_out: files in folders that are no audio.
        has_folder: whether the files were found in a folder or a list.
    """

    files: list[Path]
    left_out: list[Path]
    has_folder: bool


def _list_files(paths: list[str]) -> _Files:
    """Return the files among the paths, and those in folders and in lists of files among them.

    Raises:
        OptionError: there are none.
        AudioFileNotFoundError: a path is empty, or a folder holds no audio.
        AudioFileError: a list cannot be read.
    """
    from ..runtime.audio.file_lists import is_file_list, read_file_list
    from ..runtime.audio.folders import search_audio

    if not paths:
        raise OptionError("no audio: give files or folders, as arguments or with --audio")
    if paths.count("-") + paths.count("@-") > 1:
        raise OptionError("standard input is given twice, and can be read once: leave out one of - and @-")
    listed: list[Path] = []
    has_folder = False
    for text in paths:
        if not text:
            raise AudioFileNotFoundError("an empty path: give the path of an audio file")
        if is_file_list(text) and not is_folder(Path(text)):
            listed += read_file_list(text)
            has_folder = True
        else:
            listed.append(Path(text))
    files: list[Path] = []
    left_out: list[Path] = []
    for path in listed:
        if is_folder(path):
            search = search_audio(path)
            files, left_out, has_folder = [*files, *search.files], [*left_out, *search.left_out], True
        else:
            files.append(path)
    return _Files(files, left_out, has_folder)


def _print_scores(path: Path, scores: list[Score], pairs: list[EarPair]) -> None:
    name = "standard input" if str(path) == "-" else display_name(path.name if is_file(path) else path)
    out.print(f"[bold]{escape(name)}[/], {scores[0].windows[-1].end:.1f} s scored", soft_wrap=True)
    for score in scores:
        values = score.to_dict()["frame_scores"]
        scale = "" if score.scale == HAAQI else f" {escape(str(score.scale))} "
        name = escape(score.audiogram.name)
        value = f"[bold]{score.value:.3f}[/]{format_interval(score.interval)}"
        out.print(f"  {name:>6}  {value}{scale}  {draw_curve(values)}", soft_wrap=True)
    for left, right, pair in zip(scores[::2], scores[1::2], pairs, strict=False):
        out.print(f"  {escape(pair.name)}: both ears {format_ears(left.value, right.value)}", soft_wrap=True)
    if len(scores[0].windows) > 1:
        for score in scores:
            parts = " ".join("-" if w.score is None else f"{score.scale.of_score(w.score):.3f}" for w in score.windows)
            out.print(
                f"  {escape(score.audiogram.name):>6}  windows of {_window_length(score)}: {parts}", soft_wrap=True
            )


def _window_length(score: Score) -> str:
    first = score.windows[0]
    return f"{first.end - first.start:.1f} s"


def _print_table(results: list[tuple[Path, list[Score]]], listeners: list[Audiogram], pairs: list[EarPair]) -> None:
    from rich.table import Table

    names = [listener.name for listener in listeners]
    if pairs:
        names = [name for pair in pairs for name in (pair.left.name, pair.right.name, "both ears", "better ear")]
    table = Table("file", "seconds", *map(escape, names))
    for column in table.columns[1:]:
        column.justify = "right"
    values = [_table_values([score.value for score in scores], bool(pairs)) for _, scores in results]
    for (path, scores), row in zip(results, values, strict=True):
        table.add_row(escape(display_name(path)), f"{scores[0].windows[-1].end:.1f}", *(f"{v:.3f}" for v in row))
    table.add_section()
    means = [sum(column) / len(results) for column in zip(*values, strict=True)]
    table.add_row("[bold]mean[/]", "", *(f"[bold]{mean:.3f}[/]" for mean in means))
    print_table(table)


def _table_values(values: list[float], ears: bool) -> list[float]:
    """Return the values of a file's row. For ears, the mean and the better one follow each pair."""
    if not ears:
        return values
    pairs = zip(values[::2], values[1::2], strict=True)
    return [value for left, right in pairs for value in (left, right, (left + right) / 2, max(left, right))]


def _to_documents(
    results: list[tuple[Path, list[Score]]],
    failures: list[tuple[Path, HaaqiEdgeError]],
    frames: bool,
    pairs: list[EarPair],
) -> dict[str, Any]:
    from ..runtime.ears import pair_scores

    hidden = set() if frames else {"frame_scores", "times"}
    return {
        "results": [
            {
                "file": display_name(path),
                "scores": [{k: v for k, v in s.to_dict().items() if k not in hidden} for s in scores],
                **({"ears": [one.to_dict() for one in pair_scores(scores, pairs)]} if pairs else {}),
            }
            for path, scores in results
        ],
        "errors": [{"file": display_name(path), "type": type(e).__name__, "message": str(e)} for path, e in failures],
    }
