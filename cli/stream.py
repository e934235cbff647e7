"""`haaqi-edge stream`: score a file, samples on standard input or the microphone while they arrive."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..runtime.bundle import HAAQI
from ..runtime.errors import AudioError, OptionError
from .console import err, print_json_line, show_notes
from .familiarity import warn_of_unfamiliar
from .interruption import InterruptHandler
from .models import open_model
from .options import (
    AUDIO,
    MODEL,
    OUTPUT,
    PROCESSING,
    AudiogramOption,
    ChannelOption,
    EarsOption,
    Level1Option,
    NalROption,
    ProviderOption,
    VerboseOption,
    parse_channel,
    parse_window,
)
from .stream_display import StreamDisplay, print_summary
from .stream_sources import Source, open_file, open_microphone, open_pipe
from .two_ears import parse_listeners, warn_of_mix

if TYPE_CHECKING:
    from ..runtime.audio.channels import Channel
    from ..runtime.streaming.ear_stream import EarStream
    from ..runtime.streaming.stream import Stream


def stream(
    audiogram: AudiogramOption,
    audio: Annotated[str | None, typer.Argument(help="An audio file, or - for standard input.")] = None,
    mic: Annotated[bool, typer.Option("--mic", help="Use the microphone.", rich_help_panel=AUDIO)] = False,
    pace: Annotated[
        Literal["real", "fast"] | None,
        typer.Option(help="Read a file in real time, or as fast as possible. Default: real.", rich_help_panel=AUDIO),
    ] = None,
    sample_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format of raw samples on standard input: s16le, s24le, s32le or f32le. Leave it out for "
            "input with a header, such as wav, flac, ogg and mp3.",
            rich_help_panel=AUDIO,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            help="Sample rate in Hz of raw samples or the microphone. Default: the microphone's own.",
            rich_help_panel=AUDIO,
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            help="Number of channels of raw samples or the microphone. Default: 1 for the microphone, 2 with --ears.",
            rich_help_panel=AUDIO,
        ),
    ] = None,
    input_device: Annotated[
        str | None,
        typer.Option(
            help="Name or number of the microphone. Default: the system's input device.", rich_help_panel=AUDIO
        ),
    ] = None,
    channel: ChannelOption = None,
    ears: EarsOption = False,
    level1: Level1Option = None,
    spl: Annotated[float | None, typer.Option(hidden=True)] = None,
    nal_r: NalROption = False,
    window: Annotated[
        str,
        typer.Option(help="Length of the scoring window: seconds, or `default` (the model's).", rich_help_panel=AUDIO),
    ] = "default",
    hop: Annotated[
        float | None,
        typer.Option(help="Seconds between updates, a multiple of 0.16. Default: 0.16.", rich_help_panel=AUDIO),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Name of a shipped model, folder of a bundle, or file of a checkpoint of nano or the student.",
            rich_help_panel=MODEL,
        ),
    ] = "nano",
    provider: ProviderOption = None,
    threads: Annotated[
        int,
        typer.Option(
            help="Number of threads. More than one hardly helps, because patches are small.",
            rich_help_panel=PROCESSING,
        ),
    ] = 1,
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Add the scores of the window's patches to --json.", rich_help_panel=OUTPUT),
    ] = False,
    verbose: VerboseOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: one object per line.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Score audio while it plays: a file, standard input or the microphone.

    Each update, every 160 ms, holds the level, the score of the last window, and the mean of the windows so far. The
    summary at the end equals the result of `haaqi-edge score`. Ctrl-C ends the stream and prints the summary. Audio
    that is silent throughout has no summary: it is an error, as for `haaqi-edge score`.
    Exit codes: 2 for invalid input, 130 if Ctrl-C comes before the first 175 ms.
    """
    from ..runtime import Scorer
    from ..runtime.audio.presentation import silent
    from ..runtime.audio.reading import TOO_SHORT

    if spl is not None:
        raise OptionError(
            f"--spl {spl:g} scales a whole clip, and a stream does not know what comes: give --level1, the level of "
            "RMS 1.0 (85 is usual), or use `haaqi-edge score --spl` for a file"
        )
    who = parse_listeners(audiogram, ears, channel)
    window_length = parse_window(window)
    if frames and not as_json:
        raise OptionError("--frames adds to the output of --json: give both, or leave out --frames")
    selected_channel = parse_channel(channel)
    with show_notes(verbose):
        source = _open_source(audio, mic, pace, sample_format, rate, channels, input_device, selected_channel, ears)
    warn_of_mix([Path(audio)] if audio else [], who, channel)
    opened = open_model(model, provider=provider, threads=threads)
    scorer = Scorer(opened.model, **opened.options)
    options: dict[str, Any] = {
        "window": window_length,
        "hop": hop,
        "level1": level1,
        "nal_r": nal_r,
        "channels": source.channels,
    }
    running: Stream | EarStream = (
        scorer.stream(ears=who.pairs, sample_rate=source.rate, **options)
        if ears
        else scorer.stream(who.audiograms, source.rate, channel=source.channel, **options)
    )
    if scorer.card.predicts != HAAQI:
        err.print(f"scores from 0 to 1 represent {scorer.card.predicts}", markup=False, soft_wrap=True)
    with running, contextlib.closing(source.chunks), InterruptHandler() as handler:
        updates = running.updates(handler.iterate(source.chunks))
        if as_json:
            for update in updates:
                print_json_line({"type": "update", **update.to_dict(frames)})
        else:
            with StreamDisplay(running.window) as display:
                for update in updates:
                    display.show(update)
        summary = running.summary()
        if summary.time == 0.0:
            if handler.interrupted:
                raise KeyboardInterrupt
            raise AudioError(f"{source.name} is shorter than one patch: {TOO_SHORT}")
        for number, total in enumerate(summary.totals):
            if total.score is None:
                raise silent(f"{source.name} ({('left', 'right')[number % 2]} ear)" if ears else source.name)
        if as_json:
            print_json_line({"type": "summary", "model": scorer.card.name, "source": source.name, **summary.to_dict()})
        else:
            print_summary(summary, source.name)
            if any(total.unfamiliar for total in summary.totals):
                warn_of_unfamiliar(scorer.card, [source.name])


def _open_source(
    audio: str | None,
    mic: bool,
    pace: str | None,
    sample_format: str | None,
    rate: int | None,
    channels: int | None,
    input_device: str | None,
    channel: Channel,
    ears: bool,
) -> Source:
    """Open the audio source.

    Raises:
        OptionError: there is not exactly one source, or it does not have one of the options.
    """
    if mic == (audio is not None):
        raise OptionError("no audio, or two sources: give a file, - (standard input) or --mic")
    kind = "the microphone" if mic else "standard input" if audio == "-" else "a file"
    values = {
        "--pace": pace,
        "--format": sample_format,
        "--rate": rate,
        "--channels": channels,
        "--input-device": input_device,
    }
    supported = {
        "the microphone": {"--rate", "--channels", "--input-device"},
        "standard input": {"--format", "--rate", "--channels"},
        "a file": {"--pace"},
    }
    unsupported = [name for name, value in values.items() if value is not None and name not in supported[kind]]
    if unsupported:
        raise OptionError(f"{', '.join(unsupported)} cannot be used with {kind}: leave out {', '.join(unsupported)}")
    if mic:
        return open_microphone(input_device, rate, channels or (2 if ears else None))._replace(channel=channel)
    if audio == "-":
        return open_pipe(sample_format, rate, channels, channel, ears=ears)
    return open_file(str(audio), channel, ears=ears, real_time=pace != "fast")
