"""Where a stream's audio comes from: a file, standard input, the microphone."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ..runtime.errors import AudioError, DependencyError, DeviceError, OptionError
from .console import err, require

if TYPE_CHECKING:
    import numpy.typing as npt

Chunks: TypeAlias = "Generator[npt.NDArray[Any], None, None]"

SECONDS: Final = 0.16
"""of a chunk, where we cut it ourselves"""
_BYTES: Final = 1 << 16


class Source(NamedTuple):
    """Audio that comes in chunks [n] or [n, channels] at `rate` Hz; `name` is what messages call it."""

    name: str
    rate: int
    chunks: Chunks


def file_source(path: Path, real_time: bool) -> Source:
    """A file, its channels averaged; in real time a chunk comes when it would have been played."""
    from ..runtime.audio.reading import open_audio

    audio = open_audio(path)

    def chunks() -> Chunks:
        step, played, started = int(SECONDS * audio.rate), 0, time.monotonic()
        for block in audio.blocks(audio.rate):
            for start in range(0, len(block), step):
                chunk = block[start : start + step]
                played += len(chunk)
                if real_time:
                    time.sleep(max(0.0, started + played / audio.rate - time.monotonic()))
                yield chunk

    return Source(audio.name, audio.rate, chunks())


def pipe_source(form: str | None, rate: int | None, channels: int | None) -> Source:
    """Raw samples on standard input, as soon as they come."""
    from ..runtime.audio.pcm import FORMATS, Pcm
    from ..runtime.audio.reading import checked_rate

    if form is None or rate is None or channels is None:
        raise OptionError(
            f"raw samples do not say what they are: give --format ({', '.join(FORMATS)}), --rate and --channels, as in "
            "`ffmpeg -i song.mp3 -f s16le -ar 48000 -ac 2 - | haaqi-edge stream - --format s16le --rate 48000 "
            "--channels 2 -a N3`"
        )
    if sys.stdin.isatty():
        raise OptionError("nothing is piped in: give a file, --mic, or pipe raw samples into `haaqi-edge stream -`")
    pcm = Pcm(form, channels)

    def chunks() -> Chunks:
        while data := os.read(sys.stdin.fileno(), _BYTES):
            yield pcm.push(data)
        try:
            pcm.finish()
        except AudioError as error:  # what was sent whole has been scored
            err.print(f"[bold yellow]warning:[/] {error}; the bytes of it were left out", soft_wrap=True)

    return Source("standard input", checked_rate(rate, "standard input"), chunks())


def microphone(device: str | None, rate: int | None, channels: int | None) -> Source:
    """The microphone, through sounddevice; samples that were lost are told of on standard error."""
    require("mic", "sounddevice")
    try:
        import sounddevice
    except OSError as error:
        raise DependencyError(
            f"sounddevice is installed, but not PortAudio, which it needs ({error}): install it from the system's "
            "packages (apt install libportaudio2)"
        ) from error
    from ..runtime.audio.reading import checked_rate

    chosen: int | str | None = int(device) if device is not None and device.isdecimal() else device
    what = "the default input" if device is None else f"the input {device!r}"
    try:
        about = sounddevice.query_devices(chosen, "input")
        own_rate = checked_rate(rate or int(about["default_samplerate"]), "the microphone")
        recording = sounddevice.InputStream(
            samplerate=own_rate, channels=channels or 1, dtype="float32", device=chosen, latency="low"
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise _failed(what, error) from error

    def chunks() -> Chunks:
        lost = 0
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(recording)
                while True:
                    samples, overflowed = recording.read(int(SECONDS * own_rate))
                    lost += bool(overflowed)
                    if overflowed and lost == 1:
                        err.print("some of the microphone's samples were lost: this machine is too busy")
                    yield samples
            except sounddevice.PortAudioError as error:
                raise _failed(what, error) from error

    return Source(str(about["name"]), own_rate, chunks())


def _failed(what: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"cannot record from {what} ({error}): see `python -m sounddevice` for the inputs there are, and choose one "
        "with --device, its --rate and --channels"
    )
