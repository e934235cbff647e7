"""Audio sources of `haaqi-edge stream`: a file, standard input, the microphone."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ..runtime.errors import AudioError, DependencyError, DeviceError, OptionError
from .console import err, print_warning, require

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..runtime.audio.channels import Channel

Chunks: TypeAlias = "Generator[npt.NDArray[Any], None, None]"

CHUNK_SECONDS: Final = 0.16
"""length of a chunk of a file or the microphone"""
_READ_BYTES: Final = 1 << 16


class Source(NamedTuple):
    """Audio that arrives in chunks.

    Attributes:
        name: for messages.
        rate: sample rate in Hz.
        chunks: arrays [n] or [n, channels].
        channel: the channel of the chunks to score.
    """

    name: str
    rate: int
    chunks: Chunks
    channel: Channel = "mix"


def open_file(path: Path, channel: Channel, *, real_time: bool) -> Source:
    """Return a channel of a file as a source. In real time, a chunk comes when it would have been played."""
    from ..runtime.audio.reading import open_audio

    audio = open_audio(path, channel=channel)

    def chunks() -> Chunks:
        step, played, started = int(CHUNK_SECONDS * audio.rate), 0, time.monotonic()
        for block in audio.blocks(audio.rate):
            for start in range(0, len(block), step):
                chunk = block[start : start + step]
                played += len(chunk)
                if real_time:
                    time.sleep(max(0.0, started + played / audio.rate - time.monotonic()))
                yield chunk

    return Source(audio.name, audio.rate, chunks())


def open_pipe(sample_format: str | None, rate: int | None, channels: int | None) -> Source:
    """Return raw samples on standard input as a source. A chunk is what has arrived."""
    from ..runtime.audio.pcm import FORMATS, Pcm
    from ..runtime.audio.reading import checked_rate

    if sample_format is None or rate is None or channels is None:
        raise OptionError(
            f"raw samples have no header: give --format ({', '.join(FORMATS)}), --rate and --channels, for example "
            "`ffmpeg -i song.mp3 -f s16le -ar 48000 -ac 2 - | haaqi-edge stream - --format s16le --rate 48000 "
            "--channels 2 -a N3`"
        )
    if sys.stdin.isatty():
        raise OptionError(
            "standard input is a terminal: give a file or --mic, or pipe raw samples into `haaqi-edge stream -`"
        )
    pcm = Pcm(sample_format, channels)

    def chunks() -> Chunks:
        while data := os.read(sys.stdin.fileno(), _READ_BYTES):
            yield pcm.push(data)
        try:
            pcm.finish()
        except AudioError as error:  # all complete samples have been scored
            print_warning(f"{error}; these bytes were ignored")

    return Source("standard input", checked_rate(rate, "standard input"), chunks())


def open_microphone(device: str | None, rate: int | None, channels: int | None) -> Source:
    """Return the microphone as a source, through sounddevice. Lost samples are reported on standard error."""
    require("mic", "sounddevice")
    try:
        import sounddevice
    except OSError as error:
        raise DependencyError(
            f"sounddevice is installed, but not PortAudio, which it needs ({error}): install PortAudio with the "
            "system's package manager (apt install libportaudio2)"
        ) from error
    from ..runtime.audio.reading import checked_rate

    chosen: int | str | None = int(device) if device is not None and device.isdecimal() else device
    name = "the default input" if device is None else f"the input {device!r}"
    try:
        properties = sounddevice.query_devices(chosen, "input")
        device_rate = checked_rate(rate or int(properties["default_samplerate"]), "the microphone")
        recording = sounddevice.InputStream(
            samplerate=device_rate, channels=channels or 1, dtype="float32", device=chosen, latency="low"
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise _device_error(name, error) from error

    def chunks() -> Chunks:
        lost = 0
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(recording)
                while True:
                    samples, overflowed = recording.read(int(CHUNK_SECONDS * device_rate))
                    lost += bool(overflowed)
                    if overflowed and lost == 1:
                        err.print("some samples of the microphone were lost: this machine is too busy")
                    yield samples
            except sounddevice.PortAudioError as error:
                raise _device_error(name, error) from error

    return Source(str(properties["name"]), device_rate, chunks())


def _device_error(name: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"cannot record from {name} ({error}): list the inputs with `python -m sounddevice`, and choose one with "
        "--input-device, its --rate and --channels"
    )
