"""Read audio files and arrays of any sample rate and channel count as blocks of mono samples, at 16 kHz by default."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from ..errors import AudioError, AudioFileError, AudioFileNotFoundError, OptionError
from ..features.patches import PATCH_LENGTH, SAMPLE_RATE
from ..files import display_name, is_file, is_folder
from .channels import Channel, ChannelMixer, check_channel
from .containers.byte_source import ByteSource
from .containers.inspection import inspect
from .containers.parts import Findings
from .containers.signatures import recognize
from .decoding import decode, probe

Array = npt.NDArray[np.float32]
AudioLike: TypeAlias = (
    "str | os.PathLike[str] | BinaryIO | io.BytesIO | tuple[npt.ArrayLike, int] | ArrayAudio | FileAudio"
)
"""A path (`-` for standard input), an open binary file, `(samples, rate)`, or what `open_audio` returned."""
Damage: TypeAlias = Literal["error", "warn"]

MIN_RATE: Final = 8_000
MAX_RATE: Final = 768_000
BLOCK_SECONDS: Final = 5.0
MAX_AMPLITUDE: Final = 10_000.0
"""Maximum amplitude of a sample: 80 dB above full scale, far above any amplified music."""
MAX_CHANNELS: Final = 64
"""Maximum number of channels. Higher counts suggest that samples and channels are swapped."""
TOO_SHORT: Final = f"at least {PATCH_LENGTH} samples at 16 kHz ({PATCH_LENGTH / SAMPLE_RATE * 1000:g} ms) can be scored"
STANDARD_INPUT: Final = "-"
_IN_MEMORY: Final = 1 << 24
"""Bytes of a pipe that are kept in memory. More are written to a temporary file."""
_UNKNOWN_BYTES: Final = 1 << 22
"""Bytes of a pipe that are read in search of audio."""
_COPY_BYTES: Final = 1 << 16
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Beginning of an address such as `https://`, of which `Path` leaves one slash."""
_SPARE_BITS: Final = 8
"""Integers of 32 bits or more that do not use this number of upper bits have another full scale than their type."""
LOGGER: Final = "haaqi_edge.audio"
"""Name of the logger of notes about files."""
_FILE_LOCKS: Final[weakref.WeakKeyDictionary[Any, threading.Lock]] = weakref.WeakKeyDictionary()


class Audio(Protocol):
    """A recording that can be read any number of times."""

    @property
    def name(self) -> str:
        """Name of the recording in error messages."""

    @property
    def rate(self) -> int:
        """Sample rate of the recording in Hz."""

    @property
    def cancellation(self) -> str | None:
        """Description of how the channels cancel each other. None if they do not, or before the recording was read."""

    @property
    def presented(self) -> bool:
        """Whether the recording is known to be the presented signal, which may be louder than music is before."""

    def blocks(self, rate: int = SAMPLE_RATE) -> Iterator[Array]:
        """Yield the recording as mono blocks. At the recording's own rate, the samples are not resampled.

        A `CancellationWarning` is issued at the end if the channels cancel each other in the mix.

        Args:
            rate: output sample rate, Hz.

        Yields:
            float32 [n], full scale 1.0.

        Raises:
            AudioError: if a sample is not finite or its amplitude is above `MAX_AMPLITUDE`, if the file is damaged, or
                if the recording does not have the channel.
        """


def open_audio(
    audio: AudioLike, *, channel: Channel = "mix", damage: Damage = "error", presented: bool = False
) -> ArrayAudio | FileAudio:
    """Open a recording for reading.

    Args:
        audio: path of an audio file, `-` for standard input, a binary file that is open for reading, or
            `(samples, rate)` with samples [n] or [n, channels] and the rate in Hz. An open file is read from its
            present position on, which does not change.
        channel: `mix` for the mean of the channels, `left` or `right`, or the number of a channel, from 0.
        damage: whether a file that is damaged or truncated is an error, or a `DamagedAudioWarning` for what is missing.
        presented: whether the recording is known to be the presented signal, see `Audio.presented`.

    Raises:
        AudioFileNotFoundError: if there is no such file.
        AudioFileError: if the file cannot be decoded, or is damaged or truncated.
        AudioError: if the samples or the rate cannot be used.
        DependencyError: if the file needs FFmpeg and PyAV is not installed.
        OptionError: if `channel` or `damage` is invalid.
    """
    channel = check_channel(channel)
    if isinstance(audio, ArrayAudio | FileAudio):
        if channel not in ("mix", audio.channel):
            raise OptionError(
                f"channel={channel!r} of {audio.name}, which was opened with channel={audio.channel!r}: open it again"
            )
        return audio
    opened: ArrayAudio | FileAudio
    if isinstance(audio, str | os.PathLike) or _is_file_object(audio):
        opened = FileAudio(audio, channel=channel, damage=damage)  # type: ignore[arg-type]
        opened.presented = presented
        return opened
    if not (isinstance(audio, tuple) and len(audio) == 2):
        raise AudioError(
            f"cannot read audio from {type(audio).__name__}: give a path, or (samples, rate), or an open binary file"
        )
    opened = ArrayAudio(*audio, channel=channel)
    opened.presented = presented
    return opened


class ArrayAudio:
    """A recording in memory.

    Args:
        samples: [n] or [n, channels]; floating point with full scale 1.0, or signed integers with the full scale of
            their type.
        rate: Hz.
        channel: as for `open_audio`.

    Attributes:
        rate: Hz.
        name: name in error messages.
        channel: the chosen channel.
        channels: number of channels.
        cancellation: see `Audio.cancellation`.
        presented: see `Audio.presented`.

    Raises:
        AudioError: if the samples or the rate cannot be used.
    """

    def __init__(self, samples: npt.ArrayLike, rate: int, *, channel: Channel = "mix") -> None:
        self._samples = checked_samples(samples)
        if self._samples.ndim == 2 and self._samples.shape[1] > MAX_CHANNELS >= self._samples.shape[0]:
            raise AudioError(f"samples of shape {self._samples.shape} look like [channels, n]: transpose them")
        if self._samples.size == 0:
            raise AudioError(f"the audio is empty: {TOO_SHORT}")
        _check_scale(self._samples, isinstance(samples, np.ndarray))
        self.rate, self.name, self.channel = checked_rate(rate), "the samples given", check_channel(channel)
        self.channels = self._samples.shape[1] if self._samples.ndim == 2 else 1
        self.cancellation: str | None = None
        self.presented = False

    def blocks(self, rate: int = SAMPLE_RATE) -> Iterator[Array]:
        """Yield the recording as mono blocks; see `Audio.blocks`."""
        step = int(BLOCK_SECONDS * self.rate)
        mixer = ChannelMixer(self.channel, self.name)
        resampler = Resampler(self.rate, self.name, rate, mixer)
        for start in range(0, len(self._samples), step):
            yield resampler.push(full_scale(self._samples[start : start + step]))
        yield resampler.finish()
        _warn_once(self, mixer)


class FileAudio:
    """An audio file: wav, flac, ogg, opus, mp3, aiff and more, and what FFmpeg reads if PyAV is installed.

    The file is inspected when it is opened: nothing of it may be missing or damaged. Each call of `blocks` decodes it
    again, block by block. A pipe is read once, into memory or a temporary file.

    Args:
        file: path of the file, `-` for standard input, or a binary file that is open for reading. Such a file is read
            from its present position on, and not closed.
        channel: as for `open_audio`.
        damage: as for `open_audio`.

    Attributes:
        name: name in error messages: the path, with escape sequences for characters that cannot be printed.
        rate: sample rate of the (first part of the) file, Hz.
        channel: the chosen channel.
        channels: number of channels of the (first part of the) file.
        notes: what is unusual about the file, for example a header that does not know the length. All of the audio is
            read nevertheless.
        cancellation: see `Audio.cancellation`.
        presented: see `Audio.presented`.

    Raises:
        AudioFileNotFoundError: if there is no such file.
        AudioFileError: if the file cannot be decoded, holds no samples, or is damaged or truncated.
        AudioError: if the sample rate cannot be used.
        DependencyError: if the file needs FFmpeg and PyAV is not installed.
        OptionError: if `channel` or `damage` is invalid.
    """

    def __init__(
        self, file: str | os.PathLike[str] | BinaryIO, *, channel: Channel = "mix", damage: Damage = "error"
    ) -> None:
        if damage not in ("error", "warn"):
            raise OptionError(f"damage={damage!r}: give 'error' or 'warn'")
        self._open(_open_content(file), check_channel(channel), damage)

    @classmethod
    def from_pipe(cls, pipe: Any, name: str, *, channel: Channel = "mix", damage: Damage = "error") -> FileAudio:
        """Read a pipe to its end, and return its audio.

        Args:
            pipe: an object with a method `read(size)`, which returns up to `size` bytes, and none at the end.
            name: name in error messages.
            channel: as for `open_audio`.
            damage: as for `open_audio`.

        Raises:
            AudioFileError: as for `FileAudio`.
        """
        audio = cls.__new__(cls)
        audio._open(_spool(pipe, name), check_channel(channel), damage)
        return audio

    def _open(self, content: _Content, channel: Channel, damage: Damage) -> None:
        self.channel, self._content, self.name = channel, content, content.name
        self.cancellation: str | None = None
        self.presented = False
        self._findings = Findings(self.name, tolerate=damage == "warn")
        with self._content.open() as source:
            if source.size == 0:
                raise AudioFileError(f"{self.name} is empty (0 bytes): copy or record it again")
            self._kind, parts = inspect(source, self._findings)
            formats = (probe(source, part, self._kind, self._findings) for part in parts)
            first = next((form for form in formats if form.frames != 0), None)
        if first is None:
            raise self._no_samples()
        self._parts = parts
        self.rate, self.channels = checked_rate(first.rate, self.name), first.channels
        if self.notes:
            import logging  # here, since few files have notes

            for note in self.notes:
                logging.getLogger(LOGGER).info("%s: %s", self.name, note)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about the file."""
        return tuple(self._findings.notes)

    def blocks(self, rate: int = SAMPLE_RATE) -> Iterator[Array]:
        """Yield the recording as mono blocks; see `Audio.blocks`."""
        mixer = ChannelMixer(self.channel, self.name)
        resampler, frames = Resampler(self.rate, self.name, rate, mixer), 0
        with self._content.open() as source:
            for part in self._parts:
                for block in decode(source, part, self._kind, BLOCK_SECONDS, self._findings):
                    if block.rate != resampler.rate:  # joined files
                        yield resampler.finish()
                        own = checked_rate(block.rate, self.name)
                        resampler = Resampler(own, self.name, rate, mixer, resampler.seconds)
                    frames += len(block.samples)
                    yield resampler.push(block.samples)
        yield resampler.finish()
        if frames == 0:
            raise self._no_samples()
        _warn_once(self, mixer)

    def _no_samples(self) -> AudioFileError:
        return AudioFileError(f"{self.name} holds no samples: {TOO_SHORT}")


class _Content(Protocol):
    """The bytes of a file, which can be opened any number of times."""

    name: str

    def open(self) -> contextlib.AbstractContextManager[ByteSource]:
        """Open the file."""


class _PathContent:
    """The bytes of a regular file."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, display_name(path)

    @contextlib.contextmanager
    def open(self) -> Iterator[ByteSource]:
        """Open the file."""
        try:
            file = self._path.open("rb")
        except OSError as error:
            raise AudioFileError(f"{self.name} cannot be read ({error.strerror}): check its permissions") from error
        with file:
            try:
                yield ByteSource(file)
            except OSError as error:
                if isinstance(error, AudioFileError | AudioFileNotFoundError):
                    raise
                raise AudioFileError(f"{self.name} cannot be read ({error.strerror or error})") from error


class _ObjectContent:
    """The bytes of a file object, from its position on. Other readers of the file do not matter."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self.name = file, name
        try:
            self._lock = _FILE_LOCKS.setdefault(file, threading.Lock())
        except TypeError:  # without weak references
            self._lock = threading.Lock()
        with self._lock:
            self._start = file.tell()

    @contextlib.contextmanager
    def open(self) -> Iterator[ByteSource]:
        """Return the bytes. The file stays open, at its position."""
        try:
            yield ByteSource(self._file, self._start, self._lock)
        except (OSError, ValueError) as error:  # ValueError: it was closed
            if isinstance(error, AudioError | OptionError):
                raise
            raise AudioFileError(f"{self.name} cannot be read ({error})") from error


def _open_content(file: Any) -> _Content:
    """Return the bytes of a path, of standard input or of a file object."""
    if _is_file_object(file):
        return _object_content(file)
    text = os.fspath(file)
    if not isinstance(text, str):
        text = os.fsdecode(text)
    if text == STANDARD_INPUT:
        return _standard_input()
    name = display_name(text)
    if not text:
        raise AudioFileNotFoundError("an empty path: give the path of an audio file")
    path = Path(text)
    if is_file(path):
        return _PathContent(path)
    if is_folder(path):
        raise AudioFileNotFoundError(f"{name} is a folder, not a file: give the path of an audio file")
    if _is_special(path):
        with path.open("rb") as pipe:
            return _spool(pipe, name)
    if _ADDRESS.match(text):
        raise AudioFileNotFoundError(f"{name} is an address, not a file: download it, and give the path of the file")
    raise AudioFileNotFoundError(f"{name} does not exist: give the path of an audio file")


def _object_content(file: Any) -> _Content:
    own = getattr(file, "name", None)
    name = display_name(own) if isinstance(own, str) and own else "the file given"
    try:
        readable, seekable = isinstance(file.read(0), bytes), file.seekable()
    except (OSError, ValueError) as error:
        raise AudioFileError(f"{name} cannot be read ({error}): give a file that is open for reading") from error
    if not readable:
        raise AudioError(f"{name} is a text file: open it in binary mode, with open(path, 'rb')")
    if not seekable:
        return _spool(file, name)
    content = _ObjectContent(file, name)
    with content.open() as source:
        if source.size == 0 and file.tell() > 0:
            raise AudioFileError(
                f"{name} is at its end, behind {file.tell()} bytes: move to its beginning with seek(0)"
            )
    return content


def _standard_input() -> _Content:
    name = "standard input"
    try:
        pipe = sys.stdin.buffer
        if sys.stdin.isatty():
            raise AudioFileError(f"{name} is a terminal: pipe an audio file into it, or give a path")
    except (AttributeError, ValueError) as error:  # there is none, or it was closed
        raise AudioFileError(f"{name} is closed: pipe an audio file into it, or give a path") from error
    return _spool(pipe, name)


def _spool(pipe: Any, name: str) -> _Content:
    """Read a pipe to its end, and return its bytes. A pipe without audio may be endless, and is not read to its end."""
    import tempfile  # here, since few recordings come from a pipe

    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed with the content
    size, known = 0, False
    try:
        while data := pipe.read(_COPY_BYTES):
            known = known or (size == 0 and (data[:3] == b"ID3" or bool(recognize(data))))
            size += spool.write(data)
            if not known and size > _UNKNOWN_BYTES:
                raise Findings(name).unreadable(f"its first {size} bytes are no audio")
    except OSError as error:
        raise AudioFileError(f"{name} cannot be read ({error.strerror or error})") from error
    spool.seek(0)
    content = _ObjectContent(spool, name)
    weakref.finalize(content, spool.close)
    return content


def _is_file_object(file: Any) -> bool:
    return all(callable(getattr(file, method, None)) for method in ("read", "seek", "tell", "seekable"))


def is_pipe(path: Path) -> bool:
    """Return whether a path is standard input, `-`, or that of a pipe, a socket or a device."""
    return str(path) == STANDARD_INPUT or _is_special(path)


def _is_special(path: Path) -> bool:
    """Return whether a path is a pipe, a socket or a device."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


class Resampler:
    """Converter of blocks to mono samples at another rate, 16 kHz by default (soxr, quality HQ).

    The output samples do not depend on how the input is split into blocks.

    Args:
        rate: input sample rate, Hz.
        name: name of the audio in error messages.
        to: output sample rate, Hz.
        mixer: chooses the channel. Default: the mean of all.
        seconds: time of the first sample, for error messages.

    Attributes:
        rate: input sample rate, Hz.
    """

    def __init__(
        self,
        rate: int,
        name: str = "the stream",
        to: int = SAMPLE_RATE,
        mixer: ChannelMixer | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.rate, self._name, self._start, self._frames = rate, name, seconds, 0
        self._mixer = ChannelMixer(name=name) if mixer is None else mixer
        self._soxr = None if rate == to else soxr.ResampleStream(rate, to, 1, dtype="float32", quality="HQ")

    @property
    def seconds(self) -> float:
        """Time of the next sample."""
        return self._start + self._frames / self.rate

    def push(self, block: Array) -> Array:
        """Mix a block down to mono and resample it.

        Args:
            block: float32 [n] or [n, channels].

        Returns:
            float32 [m] at the output rate: the samples that are ready.

        Raises:
            AudioError: see `mix`.
        """
        return self.resample(self.mix(block))

    def mix(self, block: Array) -> Array:
        """Mix a block down to mono and advance the time that error messages report.

        Args:
            block: float32 [n] or [n, channels].

        Returns:
            float32 [n] at the input rate.

        Raises:
            AudioError: if a sample is NaN or infinite, or if its amplitude is above `MAX_AMPLITUDE`. The message gives
                the time of the sample. Also if there is no such channel.
        """
        block = self._mixer.select(block)
        if not np.abs(block).max(initial=0.0) <= MAX_AMPLITUDE:  # also true for NaN
            usable = np.abs(block) <= MAX_AMPLITUDE
            first = int(np.argmin(usable.reshape(len(block), -1).all(axis=1)))
            seconds = self._start + (self._frames + first) / self.rate
            if not np.isfinite(block[first]).all():
                raise AudioError(
                    f"{self._name} holds a sample that is not a finite number at {seconds:.3f} s: "
                    "repair the recording or the step that made it"
                )
            raise AudioError(
                f"{self._name} holds a sample of amplitude {np.abs(block[first]).max():g} at {seconds:.3f} s: "
                "full scale is 1.0; divide integers by theirs"
            )
        self._frames += len(block)
        return self._mixer.mix(block, self.rate)

    def resample(self, mono: Array) -> Array:
        """Resample the output of `mix`.

        Args:
            mono: float32 [n] at the input rate.

        Returns:
            float32 [m] at the output rate: the samples that are ready. `mono` itself if the rates are equal.
        """
        return mono if self._soxr is None else self._soxr.resample_chunk(np.ascontiguousarray(mono))

    def finish(self) -> Array:
        """Return the samples that the resampler still holds back, float32 [m] at the output rate."""
        empty = np.empty(0, dtype=np.float32)
        return empty if self._soxr is None else self._soxr.resample_chunk(empty, last=True)


def checked_samples(samples: Any) -> npt.NDArray[Any]:
    """Return samples as an array [n] or [n, channels] of floating-point numbers or signed integers.

    Raises:
        AudioError: if `samples` has another shape or type.
    """
    try:
        array: npt.NDArray[Any] = np.asarray(samples)
    except ValueError as error:
        raise AudioError(f"the samples are not an array ({error}): give [n] or [n, channels]") from error
    if array.ndim not in (1, 2) or array.dtype.kind not in "fi":
        raise AudioError(
            f"samples of shape {array.shape} and type {array.dtype}: expected [n] or [n, channels], "
            "floating point or signed integers"
        )
    return array


def integer_peak(samples: npt.NDArray[Any]) -> int:
    """Return the largest absolute value of integers, 0 for none and for floating-point numbers."""
    if samples.dtype.kind != "i" or samples.size == 0:
        return 0
    return max(abs(int(samples.min())), int(samples.max()))


def _check_scale(samples: npt.NDArray[Any], is_array: bool) -> None:
    """Raise `AudioError` if the full scale of integers is not that of their type.

    Such are 24 bits in the lower bits of int32, and numbers in a Python list, which NumPy makes int64.
    """
    bits = samples.dtype.itemsize * 8
    peak = integer_peak(samples)
    if bits < 32 or peak == 0 or peak >= 2 ** (bits - 1 - _SPARE_BITS):
        return
    kind = f"samples of type {samples.dtype}" if is_array else "a list of integers"
    likely = next(scale for scale in (8, 16, 24, 32, 64) if peak <= 2 ** (scale - 1))
    raise AudioError(
        f"{kind} with a peak of {peak}: their full scale is unclear, for it is not that of {samples.dtype}. Divide "
        f"them by their full scale, which is 2**{likely - 1} for {likely} bits, and give floating point"
    )


def full_scale(samples: npt.NDArray[Any]) -> Array:
    """Convert an array from `checked_samples` to float32 with full scale 1.0.

    Numbers that are too large for float32 become infinite.
    """
    if samples.dtype == np.float32:
        return samples
    with np.errstate(over="ignore"):
        block = samples.astype(np.float32)
    return block if samples.dtype.kind == "f" else block * np.float32(1.0 / (np.iinfo(samples.dtype).max + 1.0))


def checked_rate(rate: Any, name: str = "the audio") -> int:
    """Return a sample rate in Hz as an integer.

    Args:
        rate: sample rate, Hz.
        name: name of the audio in error messages.

    Raises:
        AudioError: if `rate` is not a whole number from `MIN_RATE` to `MAX_RATE`.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer | float) or rate % 1 != 0:  # NaN and infinity
        raise AudioError(f"the sample rate of {name} must be a whole number of Hz, got {rate!r}")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            f"the sample rate of {name} is {rate:g} Hz; give audio from {MIN_RATE} to {MAX_RATE} Hz "
            "(the networks hear up to 8 kHz)"
        )
    return int(rate)


def _warn_once(audio: ArrayAudio | FileAudio, mixer: ChannelMixer) -> None:
    """Issue a warning if the channels cancel each other, at the first reading only."""
    first = audio.cancellation is None
    audio.cancellation = mixer.cancellation()
    if first:
        mixer.warn()
