"""Audio sources of `haaqi-edge stream`: a file, standard input, the microphone."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ..runtime.errors import AudioError, AudioFileError, DependencyError, DeviceError, OptionError
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
        channels: number of channels of the chunks.
    """

    name: str
    rate: int
    chunks: Chunks
    channel: Channel = "mix"
    channels: int = 1


def open_file(path: str, channel: Channel, *, ears: bool = False, real_time: bool) -> Source:
    """Return a file as a source: a channel, or both for two ears. In real time, chunks come as they would be played."""
    from ..runtime.audio.reading import open_audio
    from ..runtime.ears import open_ear

    audio = open_audio(path, channel=channel)
    both = [open_ear(audio, "left"), open_ear(audio, "right")] if ears else []

    def blocks() -> Chunks:
        if not ears:
            yield from audio.blocks(audio.rate)
            return
        import numpy as np

        for pair in zip(*(one.blocks(audio.rate) for one in both), strict=True):
            yield np.stack(pair, axis=1)

    def chunks() -> Chunks:
        step, played, started = int(CHUNK_SECONDS * audio.rate), 0, time.monotonic()
        for block in blocks():
            for start in range(0, len(block), step):
                chunk = block[start : start + step]
                played += len(chunk)
                if real_time:
                    time.sleep(max(0.0, started + played / audio.rate - time.monotonic()))
                yield chunk

    return Source(audio.name, audio.rate, chunks(), channels=2 if ears else 1)


def open_pipe(
    sample_format: str | None, rate: int | None, channels: int | None, channel: Channel, *, ears: bool = False
) -> Source:
    """Return standard input as a source: an audio file, whose header is recognized, or raw samples.

    The samples of a wav file and raw samples come as they arrive. Another file is read to its end first.

    Args:
        sample_format: format of raw samples, a key of `FORMATS`. None for a file with a header.
        rate: Hz; None for the rate of the header.
        channels: number of channels; None for that of the header.
        channel: the channel to score.
        ears: whether both channels are needed.

    Raises:
        OptionError: raw samples lack an option, or a header contradicts an option.
        AudioFileError: standard input is closed, empty or unreadable, or it holds no audio.
    """
    from ..runtime.audio.live import PipeReader, open_live

    if sample_format is not None and (rate is None or channels is None):
        raise _missing_format_error(sample_format, rate, channels)
    name = "standard input"
    try:
        descriptor, is_terminal = sys.stdin.fileno(), sys.stdin.isatty()
    except (AttributeError, ValueError, OSError) as error:  # there is none, or it was closed
        raise AudioFileError(f"{name} is closed: pipe audio into it, or give a file or --mic") from error
    if is_terminal:
        raise OptionError(
            "standard input is a terminal: give a file or --mic, or pipe raw samples or an audio file into "
            "`haaqi-edge stream -`"
        )

    def read(size: int) -> bytes:
        try:
            return os.read(descriptor, size)
        except OSError as error:
            raise AudioFileError(f"{name} cannot be read ({error.strerror}): pipe audio into it") from error

    if sample_format is not None:
        return _open_raw(read, sample_format, rate, channels, channel)
    live = open_live(PipeReader(read), name, channel=channel)
    if live is None:
        raise _missing_format_error(None, rate, channels)
    if ears and live.selected:
        raise OptionError(
            f"--ears reads raw samples and wav from {name}, and this is neither: give this audio as a file, or convert "
            "it, as with `ffmpeg -i song.mp3 -f wav - | haaqi-edge stream - --ears`"
        )
    declared = None if live.selected else live.channels
    for option, given, found in (("--rate", rate, live.rate), ("--channels", channels, declared)):
        if given is not None and found is not None and given != found:
            raise OptionError(f"{option} {given}, but the header of {name} says {found}: leave out {option}")

    def chunks() -> Chunks:
        yield from live.chunks

    return Source(name, live.rate, chunks(), "mix" if live.selected else channel, live.channels)


def _open_raw(
    read: Callable[[int], bytes], sample_format: str, rate: int | None, channels: int | None, channel: Channel
) -> Source:
    """Return raw samples as a source. A chunk is what has arrived."""
    from ..runtime.audio.pcm import Pcm
    from ..runtime.audio.reading import checked_rate

    if rate is None or channels is None:
        raise _missing_format_error(sample_format, rate, channels)
    pcm = Pcm(sample_format, channels)

    def chunks() -> Chunks:
        while data := read(_READ_BYTES):
            yield pcm.push(data)
        yield pcm.flush()
        try:
            pcm.finish()
        except AudioError as error:  # all complete samples have been scored
            print_warning(f"{error}; these bytes were ignored")

    return Source("standard input", checked_rate(rate, "standard input"), chunks(), channel, channels)


def _missing_format_error(sample_format: str | None, rate: int | None, channels: int | None) -> OptionError:
    """Return an error that says which options of raw samples are missing."""
    from ..runtime.audio.pcm import FORMATS

    values = {f"--format ({', '.join(FORMATS)})": sample_format, "--rate (Hz)": rate, "--channels": channels}
    missing = [name for name, value in values.items() if value is None]
    given = [name.partition(" ")[0] for name, value in values.items() if value is not None]
    listed = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
    also = f" as well as {' and '.join(given)}" if given else ""
    return OptionError(
        f"raw samples have no header: give {listed}{also}, for example "
        "`ffmpeg -i song.mp3 -f s16le -ar 48000 -ac 2 - | haaqi-edge stream - --format s16le --rate 48000 "
        "--channels 2 -a N3`, or pipe a file with a header, such as wav"
    )


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

    return Source(str(properties["name"]), device_rate, chunks(), channels=channels or 1)


def _device_error(name: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"cannot record from {name} ({error}): list the inputs with `python -m sounddevice`, and choose one with "
        "--input-device, its --rate and --channels"
    )
