"""Decode the parts of a file: with libsndfile, or with FFmpeg (PyAV) where libsndfile does not know the format."""

from __future__ import annotations

import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from ..errors import AudioFileError, DependencyError
from .c_stderr import call_captured
from .containers.byte_source import ByteSource, LayoutReader
from .containers.parts import Findings, Part
from .containers.signatures import FFMPEG_ONLY

if TYPE_CHECKING:
    import av

Array = npt.NDArray[np.float32]
T = TypeVar("T")

_UNKNOWN: Final = 2**63 - 1
"""Length that libsndfile reports for a stream of unknown length."""
_RETRY_FRAMES: Final = 1_024
"""Frames per step in which a damaged block is read again, to find the time of the damage."""
_TOLERANCE_SECONDS: Final = 0.1
"""Decoders may round the length of a lossy stream. A truncated file lacks far more."""
_MIN_FRAMES: Final = 4_096
_START_SECONDS: Final = 0.1
"""The first frames of an mp3 file that was cut out of another need data from frames before, and remain silent."""


_INSPECTED: Final = {"MP3", "FLAC", "OGG", "WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"}
"""Formats in which libsndfile may see audio where `containers` found none."""


_UNSUPPORTED_ENCODING: Final = 4
"""libsndfile's error for a known format with samples that it does not decode."""


class _UnsupportedEncodingError(Exception):
    """Raised if libsndfile knows a format, but not the encoding of its samples."""


class Block(NamedTuple):
    """Decoded samples, float32 [n, channels], and their rate in Hz."""

    samples: Array
    rate: int


class Format(NamedTuple):
    """Rate in Hz, number of channels, and number of frames if it is known."""

    rate: int
    channels: int
    frames: int | None


def probe(source: ByteSource, part: Part, kind: str, findings: Findings) -> Format:
    """Return the format of a part.

    Raises:
        AudioFileError: if the decoder cannot read it.
        DependencyError: if it needs FFmpeg and PyAV is not installed.
    """
    try:
        opened: Any = None if part.decoder == "ffmpeg" else _open_soundfile(source, part, kind, findings)
    except _UnsupportedEncodingError:
        opened = None
    if opened is None:
        with _open_container(source, part, kind, findings) as container:
            stream = _audio_stream(container, findings)
            return Format(stream.rate, stream.channels, None)
    with opened as file:
        frames = None if file.frames == _UNKNOWN else file.frames
        if part.frames is not None:
            frames = max(0, (part.frames if part.stop is None else part.stop) - part.start)
        return Format(file.samplerate, file.channels, frames)


def decode(source: ByteSource, part: Part, kind: str, seconds: float, findings: Findings) -> Iterator[Block]:
    """Decode a part.

    Args:
        source: the file.
        part: the part.
        kind: kind of the file, see `containers.signatures.recognize`.
        seconds: maximum length of a block, of all channels together.
        findings: takes damage.

    Raises:
        AudioFileError: if the part is damaged or truncated.
        DependencyError: if it needs FFmpeg and PyAV is not installed.
    """
    at = 0
    for block in _decode_whole(source, part, kind, seconds, findings):
        begin, end = max(part.start - at, 0), len(block.samples)
        if part.stop is not None:
            end = min(end, part.stop - at)
        at += len(block.samples)
        if end > begin:
            yield block if end - begin == len(block.samples) else Block(block.samples[begin:end], block.rate)


def _decode_whole(source: ByteSource, part: Part, kind: str, seconds: float, findings: Findings) -> Iterator[Block]:
    """Decode a part with what the decoder adds at its ends."""
    if part.decoder != "ffmpeg":
        try:
            yield from _decode_libsndfile(source, part, kind, seconds, findings)
        except _UnsupportedEncodingError:  # when it is opened, before the first block
            pass
        else:
            return
    yield from _decode_ffmpeg(source, part, kind, seconds, findings)


def ffmpeg_available() -> bool:
    """Return whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """An audio file that is read from start to end, without seeking.

    By default soundfile seeks after each block. This is slow, and it fails at the end of a FLAC file that was written
    to a pipe and does not store its length.
    """

    def seekable(self) -> bool:
        return False


def _open_soundfile(source: ByteSource, part: Part, kind: str, findings: Findings) -> soundfile.SoundFile:
    reader = LayoutReader(source, part.layout)
    try:
        file = _capture(lambda: _Sequential(reader), part, kind)[0]
    except (soundfile.LibsndfileError, OSError) as error:
        if reader.error is not None:
            raise AudioFileError(f"{findings.name} cannot be read: {reader.error}") from reader.error
        if kind and getattr(error, "code", None) == _UNSUPPORTED_ENCODING:
            raise _UnsupportedEncodingError from error
        raise findings.unreadable(getattr(error, "error_string", None) or str(error)) from error
    if not kind and file.format in _INSPECTED:
        file.close()
        raise findings.unreadable("it looks like audio, but its header or its frames are damaged")
    return file


def _decode_libsndfile(
    source: ByteSource, part: Part, kind: str, seconds: float, findings: Findings
) -> Iterator[Block]:
    with _open_soundfile(source, part, kind, findings) as file:
        rate, read = file.samplerate, 0
        step = max(_MIN_FRAMES, int(seconds * rate) // file.channels)
        announced = part.frames if part.frames is not None else None if file.frames == _UNKNOWN else file.frames
        while True:
            count = step
            if part.frames is not None and file.format == "FLAC":
                count = min(step, part.frames - read)  # libFLAC must not see what lies behind the last frame
                if count <= 0:
                    break
            try:
                samples, text = _read(file, count, part, kind)
            except soundfile.LibsndfileError as error:
                damage = read + _intact_frames(source, part, kind, read, count, findings)
                raise _damaged(findings, (damage - part.start) / rate, error.error_string) from error
            if "error" in text:
                damage = read + _intact_frames(source, part, kind, read, count, findings)
                if damage - part.start > _START_SECONDS * rate or part.start - damage > rate:
                    findings.damaged("a frame is corrupt", max(0, damage - part.start) / rate)
            if len(samples) == 0:
                break
            read += len(samples)
            yield Block(samples, rate)
        if announced is not None and not findings.warned:
            missing = announced - read
            slack = 0 if part.frames is not None and part.exact else rate * _TOLERANCE_SECONDS
            if missing > slack:
                raise _damaged(findings, read / rate, f"{announced} samples were announced, {read} came")


def _read(file: soundfile.SoundFile, count: int, part: Part, kind: str) -> tuple[Array, str]:
    """Read frames, float32 [n, channels], and return them with what libmpg123 printed meanwhile."""

    def read() -> Array:
        samples: Array = file.read(count, dtype="float32", always_2d=True)
        return samples

    return _capture(read, part, kind)


def _capture(function: Callable[[], T], part: Part, kind: str) -> tuple[T, str]:
    """Call a function of libsndfile, and return its result with what libmpg123 printed, if it takes part."""

    def call() -> tuple[T, str]:
        return call_captured(function) if part.decoder == "libmpg123" or not kind else (function(), "")

    return _call_uninterrupted(call)


def _call_uninterrupted(function: Callable[[], T]) -> T:
    """Call a function, and let Ctrl-C wait for its end.

    libsndfile reads the file through functions in Python. An exception in one of them is printed and lost, and bytes
    with it. Ctrl-C raises exceptions in the main thread only.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        return function()
    pressed: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append((number, frame)))
    try:
        return function()
    finally:
        signal.signal(signal.SIGINT, previous)
        if pressed:
            previous(*pressed[0])


def _intact_frames(source: ByteSource, part: Part, kind: str, start: int, count: int, findings: Findings) -> int:
    """Return how many of the frames from `start` on can be decoded."""
    with _open_soundfile(source, part, kind, findings) as file:
        left, read = start, 0
        try:
            while left > 0 and (skipped := len(_read(file, min(left, 1 << 16), part, kind)[0])):
                left -= skipped
            while read < count:
                samples, text = _read(file, _RETRY_FRAMES, part, kind)
                if len(samples) == 0 or "error" in text:
                    break
                read += len(samples)
        except soundfile.LibsndfileError:
            return read
        return read


def _damaged(findings: Findings, seconds: float, why: str) -> AudioFileError:
    return AudioFileError(
        f"{findings.name} is damaged or truncated after {seconds:.2f} s ({why.rstrip('.')}): copy or encode it again"
    )


def _open_container(source: ByteSource, part: Part, kind: str, findings: Findings) -> av.container.InputContainer:
    try:
        import av
    except ImportError as error:
        raise DependencyError(
            f"{findings.name} is {FFMPEG_ONLY.get(kind, 'compressed')}, which FFmpeg reads: "
            "pip install 'haaqi-edge[ffmpeg]', or convert it with `ffmpeg -i FILE FILE.flac`"
        ) from error
    try:
        return av.open(LayoutReader(source, part.layout), mode="r", metadata_errors="ignore")
    except (av.error.FFmpegError, OSError) as error:
        raise findings.unreadable(f"{FFMPEG_ONLY.get(kind, 'compressed')}: {_reason(error)}") from error


def _audio_stream(container: av.container.InputContainer, findings: Findings) -> Any:
    streams = container.streams.audio
    if not streams:
        raise findings.unreadable("it has no audio track")
    if len(streams) > 1:
        findings.note("only the first of several audio tracks is read")
    stream = streams[0]
    if stream.codec_context is None or not stream.rate or not stream.channels:
        raise findings.unreadable("the format of its audio is unknown")
    return stream


def _decode_ffmpeg(source: ByteSource, part: Part, kind: str, seconds: float, findings: Findings) -> Iterator[Block]:
    with _open_container(source, part, kind, findings) as container:
        import av

        stream = _audio_stream(container, findings)
        rate, read = stream.rate, 0.0
        announced = 0.0  # others estimate the duration from the bit rate
        if kind in ("mp4", "wavpack", "ape", "tta", "musepack") and stream.duration and stream.time_base:
            announced = float(stream.duration * stream.time_base)
        elif kind == "matroska" and container.duration:
            announced = container.duration / av.time_base
        try:
            pending: list[Array] = []
            held = 0
            for frame in container.decode(stream):
                samples = _frame_samples(frame)
                if pending and (frame.sample_rate != rate or samples.shape[1] != pending[0].shape[1]):
                    yield Block(np.concatenate(pending), rate)
                    pending, held = [], 0
                rate = frame.sample_rate
                pending.append(samples)
                held += samples.size
                read += len(samples) / rate
                if held >= seconds * rate:
                    yield Block(np.concatenate(pending), rate)
                    pending, held = [], 0
            if pending:
                yield Block(np.concatenate(pending), rate)
        except (av.error.FFmpegError, OSError) as error:
            raise _damaged(findings, read, _reason(error)) from error
        announced = max(announced, part.seconds)
        if stream.codec_context.name == "speex" and part.seconds and read > part.seconds + 2 * _TOLERANCE_SECONDS:
            raise AudioFileError(
                f"{findings.name} is Speex, of which FFmpeg's decoder gives {read:.2f} s instead of {part.seconds:.2f} "
                "s: convert it with `speexdec FILE FILE.wav`"
            )
        if announced > read + _TOLERANCE_SECONDS and not findings.warned:
            raise _damaged(findings, read, f"{announced:.2f} s were announced")


def _frame_samples(frame: Any) -> Array:
    """Return the samples of a decoded frame with full scale 1.0, float32 [n, channels]."""
    data: npt.NDArray[Any] = frame.to_ndarray()
    channels = len(frame.layout.channels)
    data = data.T if frame.format.is_planar else data.reshape(-1, channels)
    if data.dtype.kind == "u":  # 8 bits
        return (data.astype(np.float32) - 128) / np.float32(128)
    if data.dtype.kind == "i":
        return data.astype(np.float32) * np.float32(1.0 / (np.iinfo(data.dtype).max + 1.0))
    return data.astype(np.float32)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
