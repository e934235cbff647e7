"""`haaqi-edge stream`: a score that moves, of a file, of samples piped in, or of the microphone."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import typer

from ..runtime.bundle import HAAQI
from ..runtime.errors import AudioError, OptionError
from .console import Listeners, err, print_json_line
from .meter import Meter, print_total
from .sources import Chunks, Source, file_source, microphone, pipe_source

if TYPE_CHECKING:
    import numpy.typing as npt


def stream(
    audiogram: Listeners,
    audio: Annotated[str | None, typer.Argument(help="An audio file, or - for raw samples on standard input.")] = None,
    mic: Annotated[bool, typer.Option("--mic", help="Listen to the microphone.")] = False,
    pace: Annotated[
        Literal["real", "fast"] | None,
        typer.Option(help="A file in real time, as if played, or as fast as it goes; by default real."),
    ] = None,
    form: Annotated[str | None, typer.Option("--format", help="Of raw samples: s16le, s24le, s32le, f32le.")] = None,
    rate: Annotated[int | None, typer.Option(help="Hz of raw samples, or of the microphone.")] = None,
    channels: Annotated[int | None, typer.Option(help="Of raw samples, or of the microphone (1).")] = None,
    device: Annotated[
        str | None, typer.Option(help="The microphone's name or number; by default the system's.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A shipped model's name, or a bundle's folder.")] = "nano",
    level1: Annotated[float | None, typer.Option(help="dB SPL of RMS 1.0; by default the model's, 85.")] = None,
    nal_r: Annotated[bool, typer.Option("--nal-r", help="Amplify raw music for the listener first.")] = False,
    window: Annotated[float | None, typer.Option(help="Seconds that one score covers; by default the model's.")] = None,
    hop: Annotated[float | None, typer.Option(help="Seconds between updates, a multiple of 0.16.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="Execution provider, such as cpu or cuda; by default cpu.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads; a patch is too little to share out.")] = 1,
    frames: Annotated[bool, typer.Option("--frames", help="With --json: the scores of the window's patches.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Score audio as it comes: level, score over the last window and mean of the windows, every 160 ms.

    The summary at the end is what `haaqi-edge score` says. Ctrl-C ends the stream with the summary and exit code 0, or
    130 before the first 175 ms. Exit code 2 for bad input.
    """
    from ..runtime import Scorer
    from ..runtime.audio.reading import TOO_SHORT
    from ..runtime.audiogram import Audiogram

    listeners = [Audiogram.parse(text) for text in audiogram]
    if frames and not as_json:
        raise OptionError("--frames adds to what --json prints: give both, or leave it out")
    source = _source(audio, mic, pace, form, rate, channels, device)
    scorer = Scorer(model, provider=provider, threads=threads)
    running = scorer.stream(
        listeners, source.rate, window="default" if window is None else window, hop=hop, level1=level1, nal_r=nal_r
    )
    if scorer.card.predicts != HAAQI:
        err.print(f"scores from 0 to 1 stand for {scorer.card.predicts}", markup=False, soft_wrap=True)
    with running, contextlib.closing(source.chunks), CtrlC() as ctrl_c:
        updates = running.updates(ctrl_c.until(source.chunks))
        if as_json:
            for update in updates:
                print_json_line({"type": "update", **update.to_dict(frames)})
        else:
            with Meter(running.window) as meter:
                for update in updates:
                    meter.show(update)
        summary = running.summary()
        if summary.time == 0.0:
            if ctrl_c.pressed:
                raise KeyboardInterrupt
            raise AudioError(f"{source.name} is shorter than one patch: {TOO_SHORT}")
        if as_json:
            print_json_line({"type": "summary", "model": scorer.card.name, "source": source.name, **summary.to_dict()})
        else:
            print_total(summary, source.name)


def _source(
    audio: str | None,
    mic: bool,
    pace: str | None,
    form: str | None,
    rate: int | None,
    channels: int | None,
    device: str | None,
) -> Source:
    """What is listened to; an option that has no say in it is refused."""
    if mic == (audio is not None):
        raise OptionError("what should be heard? Give one of a file, - (raw samples on standard input) and --mic")
    kind = "the microphone" if mic else "raw samples" if audio == "-" else "a file"
    given = {"--pace": pace, "--format": form, "--rate": rate, "--channels": channels, "--device": device}
    known = {
        "the microphone": {"--rate", "--channels", "--device"},
        "raw samples": {"--format", "--rate", "--channels"},
        "a file": {"--pace"},
    }
    useless = [name for name, value in given.items() if value is not None and name not in known[kind]]
    if useless:
        raise OptionError(f"no meaning for {kind}: leave out {', '.join(useless)}")
    if mic:
        return microphone(device, rate, channels)
    if audio == "-":
        return pipe_source(form, rate, channels)
    return file_source(Path(str(audio)), real_time=pace != "fast")


class CtrlC:
    """Ctrl-C ends a stream between two chunks, never within one; pressed again it interrupts whatever is going on."""

    def __init__(self) -> None:
        self.pressed = False
        self._waiting = False

    def __enter__(self) -> Self:
        self._here = threading.current_thread() is threading.main_thread()  # signals come to no other
        if self._here:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._here:
            signal.signal(signal.SIGINT, self._before)

    def until(self, chunks: Chunks) -> Iterator[npt.NDArray[Any]]:
        """The chunks, until it is pressed."""
        while not self.pressed:
            try:
                self._waiting = True
                chunk = next(chunks)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                self._waiting = False
            yield chunk

    def _handle(self, _: int, __: FrameType | None) -> None:
        again, self.pressed = self.pressed, True
        if again or self._waiting:
            raise KeyboardInterrupt
