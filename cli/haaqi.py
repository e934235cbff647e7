"""`haaqi-edge haaqi`: compute HAAQI from processed music and its clean original."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import HaaqiEdgeError, OptionError
from ..runtime.files import display_name
from .console import err, out, print_error, print_json, print_table, progress, require, show_notes
from .haaqi_manifest import ManifestOptions, run_manifest
from .options import (
    AUDIO,
    AUDIOGRAM_NAMES,
    LISTENERS,
    OUTPUT,
    ChannelOption,
    EarsOption,
    JobsOption,
    JsonOption,
    VerboseOption,
    parse_channel,
)
from .two_ears import Listeners, format_ears, parse_listeners, warn_of_mix

if TYPE_CHECKING:
    from ..haaqi.clips import Convention, Enhancer
    from ..haaqi.index import Haaqi
    from ..runtime.audio.channels import Channel
    from ..training.pairs import Pair

_PARTS = ("cepstral", "synchrony", "loudness", "spectrum")


def haaqi(
    reference: Annotated[Path | None, typer.Argument(help="The clean, unamplified music: a file or a folder.")] = None,
    processed: Annotated[
        Path | None,
        typer.Argument(
            help="The output of the hearing aid for it, at the same level: a file, or a folder of files with the same "
            "names. Suffixes may differ, as in clean/a.wav and aided/a.mp3."
        ),
    ] = None,
    audiogram: Annotated[
        list[str] | None,
        typer.Option(
            *AUDIOGRAM_NAMES,
            help="The listener's audiogram: NH, N1 to N7, S1 to S3, 8 levels in dB HL, a CSV or JSON file, or "
            "listeners.json:L5001. Repeat for several. With --manifest: the listeners that it names.",
            rich_help_panel=LISTENERS,
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="CSV or JSON Lines with columns reference, processed, and optionally listener, ear, system, group.",
            rich_help_panel=AUDIO,
        ),
    ] = None,
    ears: EarsOption = False,
    nal_r: Annotated[
        bool,
        typer.Option(
            "--nal-r", help="Amplify the processed music for each listener (NAL-R).", rich_help_panel=LISTENERS
        ),
    ] = False,
    equalisation: Annotated[
        int | None,
        typer.Option(
            help="1: the reference is unamplified, and HAAQI amplifies it (the default). 2: it is amplified already.",
            rich_help_panel=LISTENERS,
        ),
    ] = None,
    amplify_reference: Annotated[
        bool,
        typer.Option(
            "--amplify-reference",
            help="Amplify the reference by the --enhancer instead of by HAAQI. Implies --equalisation 2.",
            rich_help_panel=LISTENERS,
        ),
    ] = False,
    enhancer: Annotated[
        Literal["haaqi-edge", "pyclarity"] | None,
        typer.Option(
            help="Filter of --nal-r and --amplify-reference: haaqi-edge (default), or pyclarity for its "
            "NALR(220, rate).",
            rich_help_panel=LISTENERS,
        ),
    ] = None,
    level1: Annotated[
        float | None,
        typer.Option(
            help="Level in dB SPL of a signal with RMS 1.0, for both files. Default: 85.", rich_help_panel=AUDIO
        ),
    ] = None,
    spl: Annotated[
        float | None,
        typer.Option(help="Present each reference and ear at this level in dB SPL, such as 65.", rich_help_panel=AUDIO),
    ] = None,
    cadenza: Annotated[
        Literal["cad1", "icassp24", "cad2", "cad2-task2"] | None,
        typer.Option(
            help="Level, equalisation and resampling of a Cadenza challenge. Other options replace single values.",
            rich_help_panel=AUDIO,
        ),
    ] = None,
    compressors: Annotated[
        Path | None,
        typer.Option(
            help="CAD2's compressor_params.json: pass the reference through the compressor of each listener's ear.",
            rich_help_panel=LISTENERS,
        ),
    ] = None,
    channel: ChannelOption = None,
    jobs: JobsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="With --manifest: write the results to a .csv, .jsonl, .json or .parquet file.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted --output: skip the rows that have a result in it.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="For two files: PNG file of envelope correlation and synchrony, by band and time.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute HAAQI itself: compare processed music with its clean original.

    HAAQI runs from 0 (bad) to 1. The reference is unamplified; HAAQI amplifies it for the listener (NAL-R). The
    processed music is the output of the hearing aid, already amplified; use --nal-r if it is not.

    HAAQI is defined for one ear. For stereo, --ears compares each channel for its ear, and averages both scores.
    Without --ears or --channel, channels are averaged.

    A delay between the files is compensated. Files may last up to 120 s. The first call compiles code, which takes
    about ten seconds.
    Exit codes: 1 if some of several pairs could not be scored or have no partner, 2 for invalid input.
    """
    from ..runtime.session import available_cores

    require("haaqi", "scipy", "numba", "joblib")
    convention = _parse_convention(cadenza, level1, spl, equalisation, nal_r, amplify_reference, enhancer, compressors)
    selected_channel = parse_channel(channel)
    if manifest is not None:
        if reference is not None or processed is not None or ears or plot is not None:
            raise OptionError("--manifest names the files and ears: leave out files, --ears and --plot")
        settings = _describe_settings(convention, selected_channel, compressors)
        options = ManifestOptions(jobs or available_cores(), output, resume, verbose, as_json)
        described = describe_convention(convention)
        run_manifest(manifest, audiogram or [], convention, selected_channel, settings, described, options)
        return
    if output is not None or resume:
        raise OptionError("--output and --resume write the results of a --manifest: give one, or use --json")
    if compressors is not None and not ears:
        raise OptionError("--compressors are those of two ears: give --ears and -a listeners.json, or --manifest")
    if reference is None or processed is None:
        raise OptionError("no files: give the clean music and the processed music, or --manifest FILE")
    if not audiogram:
        raise OptionError("no audiogram: give -a, such as -a N3, or -a listeners.json:L5001 --ears")
    from ..training.pairs import match_files, score_pairs

    who = parse_listeners(audiogram, ears, channel)
    pairs, unpaired = match_files(reference, processed)
    if plot is not None:
        _check_plot(plot, pairs, reference)
    warn_of_mix([path for pair in pairs for path in pair], who, channel)
    started = time.perf_counter()
    found: dict[int, list[Haaqi]] = {}
    failed: dict[int, HaaqiEdgeError] = {}
    with show_notes(verbose), progress() as bar:
        work = score_pairs(pairs, who.audiograms, jobs or available_cores(), convention, selected_channel, who.pairs)
        for place, scores in bar.track(work, total=len(pairs), description="scoring"):
            if isinstance(scores, list):
                found[place] = scores
            elif pairs == [(reference, processed)]:
                raise scores
            else:
                failed[place] = scores
    if plot is not None:
        _save_plot(pairs[0], who, convention, selected_channel, plot)
    results = [(pairs[place], found[place]) for place in sorted(found)]
    errors = [*((pairs[place].processed, failed[place]) for place in sorted(failed)), *unpaired]
    if as_json:
        import importlib.metadata

        print_json(
            {
                "version": importlib.metadata.version("haaqi-edge"),
                "settings": _describe_settings(convention, "ears" if ears else selected_channel, compressors),
                "elapsed_seconds": round(time.perf_counter() - started, 4),
                "results": [_to_document(pair, scores, who) for pair, scores in results],
                "errors": [
                    {"file": display_name(path), "type": type(error).__name__, "message": str(error)}
                    for path, error in errors
                ],
            }
        )
    else:
        if results:
            _print_results(results, who)
            out.print(f"[dim]{describe_convention(convention)}[/]", soft_wrap=True)
        for _, error in errors:
            print_error(error)
        if errors:
            err.print(f"pairs scored: {len(results)}, failed: {len(failed)}; files without a partner: {len(unpaired)}")
    if errors:
        raise typer.Exit(1)


def _parse_convention(
    cadenza: str | None,
    level1: float | None,
    spl: float | None,
    equalisation: int | None,
    nal_r: bool,
    amplify_reference: bool,
    enhancer: Enhancer | None,
    compressors: Path | None,
) -> Convention:
    """Return the convention of the options. They replace single values of --cadenza.

    Raises:
        OptionError: options contradict each other.
    """
    from ..haaqi.clips import CADENZA, DEFAULT
    from ..haaqi.index import check_equalisation
    from ..runtime.audio.levels import check_level

    if level1 is not None and spl is not None:
        raise OptionError("--level1 and --spl both set the level: give one of them")
    changes: dict[str, Any] = {"amplify_processed": nal_r}
    if level1 is not None or spl is not None:
        changes |= {"level1": None if level1 is None else check_level("level1", level1), "spl": spl}
    if amplify_reference:
        changes |= {"amplify_reference": True, "equalisation": 2}
    if equalisation is not None:
        if equalisation == 1 and amplify_reference:
            raise OptionError("--equalisation 1 amplifies the reference already: leave out --amplify-reference")
        changes["equalisation"] = check_equalisation(equalisation)
        if equalisation == 1:
            changes["amplify_reference"] = False
    if enhancer is not None:
        changes["enhancer"] = enhancer
    if compressors is not None:
        from ..haaqi.compressor import load_compressors

        if equalisation == 1 or amplify_reference:
            raise OptionError("--compressors amplify the reference: leave out --equalisation 1 and --amplify-reference")
        changes |= {"compressors": load_compressors(compressors), "equalisation": 2, "amplify_reference": False}
    return replace(CADENZA[cadenza] if cadenza else DEFAULT, **changes)


def _check_plot(plot: Path, pairs: list[Pair], reference: Path) -> None:
    """Raise an error unless there is a single pair, and a PNG file can be written."""
    from ..runtime.writing import check_file

    require("plot", "matplotlib")
    if len(pairs) != 1 or pairs[0].reference != reference:
        raise OptionError("--plot draws one comparison: give two files, not folders")
    if plot.suffix.lower() != ".png" or not plot.absolute().parent.is_dir():
        raise OptionError(f"--plot {plot}: give the path of a PNG file, in a folder that exists")
    check_file(plot)


def _save_plot(pair: Pair, who: Listeners, convention: Convention, channel: Channel, path: Path) -> None:
    """Plot the comparison for each audiogram."""
    from ..evaluation.plots import HaaqiPanel, save_haaqi_plot
    from ..haaqi.clips import analyse_clip
    from ..runtime.ears import EARS

    panels = []
    for place, audiogram in enumerate(who.audiograms):
        ear = EARS[place % 2] if who.pairs else None
        result, tiles = analyse_clip(*pair, audiogram, convention, channel=channel, ear=ear)
        panels.append(HaaqiPanel(f"{audiogram.name} ({ear} ear)" if ear else audiogram.name, result, tiles))
    save_haaqi_plot(panels, path)


def _describe_settings(convention: Convention, channel: str | int, compressors: Path | None) -> dict[str, Any]:
    """Return the convention for JSON: the amplification that was used, the SHA-256 of the file of compressors."""
    from ..runtime.bundle import file_sha256

    settings = asdict(replace(convention, compressors=None))
    amplified = settings.pop("amplify_processed")
    used = amplified or convention.amplify_reference
    return {
        **settings,
        "nal_r": amplified,
        "enhancer": convention.enhancer if used else None,
        "compressors": None if compressors is None else file_sha256(compressors),
        "channel": channel,
    }


def describe_convention(convention: Convention) -> str:
    """Return how the signals were presented."""
    if convention.spl is not None:
        level = f"{convention.spl:g} dB SPL of each reference"
        if convention.level_before_compressor:
            level += " before the compressor"
    else:
        level = f"{convention.level1:g} dB SPL of RMS 1.0"
    name = {"haaqi-edge": "NAL-R of haaqi-edge", "pyclarity": "NALR(220, rate) of pyclarity"}[convention.enhancer]
    reference = "the reference is amplified by HAAQI (equalisation 1)"
    if convention.equalisation == 2:
        by = f"by {name}" if convention.amplify_reference else "as given"
        by = by if convention.compressors is None else "by the compressor of each ear"
        reference = f"the reference is amplified {by} (equalisation 2)"
    processed = f", the processed music by {name}" if convention.amplify_processed else ""
    return f"{level}; {reference}{processed}"


def _print_results(results: list[tuple[Pair, list[Haaqi]]], who: Listeners) -> None:
    """Print one row per pair and listener, and the means of several pairs."""
    table = Table("file", "listener", "HAAQI", *_PARTS)
    for column in table.columns[2:]:
        column.justify = "right"
    for pair, scores in results:
        _add_rows(table, escape(display_name(pair.processed)), [score._asdict() for score in scores], who)
    if len(results) > 1:
        table.add_section()
        means = []
        for number in range(len(who.audiograms)):
            of_all = [scores[number]._asdict() for _, scores in results]
            means.append({name: sum(score[name] for score in of_all) / len(of_all) for name in of_all[0]})
        _add_rows(table, "[bold]mean[/]", means, who)
    print_table(table)
    if who.pairs and len(results) == 1:
        (_, scores) = results[0]
        for left, right, both in zip(scores[::2], scores[1::2], who.pairs, strict=True):
            out.print(f"{escape(both.name)}: both ears {format_ears(left.score, right.score)}", soft_wrap=True)


def _add_rows(table: Table, name: str, scores: list[dict[str, float]], who: Listeners) -> None:
    """Add a row for each ear, and after the two ears of a listener one with their mean."""
    for number, (audiogram, score) in enumerate(zip(who.audiograms, scores, strict=True)):
        table.add_row("" if number else name, *_format_cells(audiogram.name, score))
        if who.pairs and number % 2:
            mean = {part: (score[part] + scores[number - 1][part]) / 2 for part in score}
            table.add_row("", *_format_cells(f"{who.pairs[number // 2].name}: both ears", mean))


def _format_cells(name: str, score: dict[str, float]) -> list[str]:
    return [escape(name), f"[bold]{score['score']:.3f}[/]", *(f"{score[part]:.3f}" for part in _PARTS)]


def _to_document(pair: Pair, scores: list[Haaqi], who: Listeners) -> dict[str, Any]:
    from ..haaqi.clips import EarHaaqi

    ears = [
        EarHaaqi(left, right, both.name).to_dict()
        for left, right, both in zip(scores[::2], scores[1::2], who.pairs, strict=False)
    ]
    return {
        "reference": display_name(pair.reference),
        "processed": display_name(pair.processed),
        "scores": [
            {"audiogram": audiogram.name, "levels": list(audiogram.levels), **score._asdict()}
            for audiogram, score in zip(who.audiograms, scores, strict=True)
        ],
        **({"ears": ears} if who.pairs else {}),
    }
