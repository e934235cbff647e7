"""Read audio from a pipe while it arrives: wav at once, other files when all of it has arrived."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import AudioFileError
from .channels import Channel
from .containers.parts import Findings
from .containers.riff import CHUNKS, WaveFormat, parse_format
from .containers.signatures import UNCERTAIN, foreign, name_of_file, recognize
from .containers.sizes import HEADER_SLACK, MIN_TAIL_SECONDS, is_placeholder
from .reading import FileAudio

_HEAD: Final = 512
"""Bytes that are read to recognize a file."""
_READ: Final = 1 << 16
_MAX_HEADER: Final = 1 << 24
"""Maximum number of bytes before the data of a wav file."""


class LiveAudio(NamedTuple):
    """Audio that arrives.

    Attributes:
        kind: what it is, see `containers.signatures.recognize`.
        rate: Hz.
        channels: number of channels of the chunks.
        chunks: arrays [n] or [n, channels], as they arrive.
        selected: whether the chunks are the chosen channel, or the mix, instead of all channels.
    """

    kind: str
    rate: int
    channels: int
    chunks: Iterator[npt.NDArray[Any]]
    selected: bool = False


class PipeReader:
    """Bytes that arrive, with a look ahead.

    Args:
        read: function that returns up to that many bytes, at least one, or none at the end.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._held, self._ended = read, b"", False

    def peek(self, size: int) -> bytes:
        """Return the next bytes without taking them: `size` of them, or fewer at the end."""
        while len(self._held) < size and not self._ended:
            piece = self._read(_READ)
            self._held += piece
            self._ended = not piece
        return self._held[:size]

    def take(self, size: int) -> bytes:
        """Return the next bytes: `size` of them, or fewer at the end."""
        taken = self.peek(size)
        self._held = self._held[len(taken) :]
        return taken

    def read(self, size: int) -> bytes:
        """Return the bytes that have arrived, up to `size`, at least one except at the end."""
        if not self._held and not self._ended:
            self.peek(1)
        return self.take(min(size, max(1, len(self._held))))

    def skip(self, size: int) -> bool:
        """Skip bytes, and return whether all of them arrived."""
        while size > 0 and (taken := self.take(min(size, _READ))):
            size -= len(taken)
        return size == 0


def recognize_pipe(reader: PipeReader, name: str) -> str:
    """Return the kind of file that arrives, see `containers.signatures.recognize`; nothing is taken.

    Raises:
        AudioFileError: if nothing arrives, or if it is a file of another kind, such as a picture.
    """
    head = reader.peek(_HEAD)
    if not head:
        raise AudioFileError(f"{name} is empty: pipe an audio file into it")
    if head[:3] == b"ID3":
        return "mpeg"
    kind = recognize(head)
    if kind in UNCERTAIN:
        size = len(head)
        while (file := name_of_file(reader.peek(size))) is None and len(reader.peek(size)) == size:
            size += _HEAD
        kind = kind if file else ""
    if not kind and (what := foreign(head)):
        raise Findings(name).unreadable(f"it is {what}")
    return kind


def open_live(reader: PipeReader, name: str, *, channel: Channel = "mix") -> LiveAudio | None:
    """Open an audio file that arrives.

    The samples of a wav file come as they arrive. Another file is decoded when all of it has arrived: only then it is
    known to be whole.

    Args:
        reader: the bytes.
        name: for messages.
        channel: the channel of files other than wav, as for `open_audio`. wav comes with all its channels.

    Returns:
        The audio, or None if no header is recognized, as for raw samples. Then nothing has been taken.

    Raises:
        AudioFileError: if the file cannot be read.
        DependencyError: if it needs FFmpeg and PyAV is not installed.
    """
    kind = recognize_pipe(reader, name)
    if not kind:
        return None
    if kind == "riff" and (live := open_wave(reader, name)) is not None:
        return live
    audio = FileAudio.from_pipe(reader, name, channel=channel)
    return LiveAudio(kind, audio.rate, 1, audio.blocks(audio.rate), selected=True)


def open_wave(reader: PipeReader, name: str) -> LiveAudio | None:
    """Read the header of a wav file.

    Args:
        reader: the bytes, of which the first are a RIFF header.
        name: for messages.

    Returns:
        The file, or None if its samples are compressed. Then nothing has been taken.

    Raises:
        AudioFileError: if the header is invalid.
    """
    findings = Findings(name)
    head = reader.peek(12)
    order = ">" if head[:4] == b"RIFX" else "<"
    if head[8:] != b"WAVE":
        raise findings.unreadable(f"it is a RIFF file of the kind {head[8:]!r}")
    at, fmt, data_size = 12, b"", None
    while at < _MAX_HEADER:
        header = reader.peek(at + 8)[at:]
        if len(header) < 8:
            break
        chunk, size = header[:4], int(struct.unpack(order + "I", header[4:])[0])
        if chunk == b"ds64":
            data_size = int.from_bytes(reader.peek(at + 24)[at + 16 :], "little")
        elif chunk == b"fmt ":
            fmt = reader.peek(at + 8 + min(size, 1024))[at + 8 :]
        elif chunk == b"data":
            form = parse_format(order, fmt, findings)
            if form.bits not in {1: (8, 16, 24, 32), 3: (32, 64)}.get(form.codec, ()):
                return None
            known: int | None = size
            if size == 0xFFFFFFFF and data_size is not None:
                known = None if is_placeholder(data_size, 64) else data_size
            elif is_placeholder(size):
                known = None
            reader.take(at + 8)
            riff_size = int(struct.unpack(order + "I", head[4:8])[0])
            # A chunk may claim a little more than there is; then the size of the file decides.
            least = riff_size - at if known is not None and 0 <= at + known - riff_size <= HEADER_SLACK else known
            return LiveAudio(
                "riff", form.rate, form.channels, _wave_chunks(reader, form, order, known, least, findings)
            )
        at += 8 + size
        if size % 2 and reader.peek(at + 4)[at:] not in CHUNKS:
            at += 1
    raise findings.unreadable("the chunk data of the wav file is missing")


def _wave_chunks(
    reader: PipeReader, form: WaveFormat, order: str, size: int | None, least: int | None, findings: Findings
) -> Iterator[npt.NDArray[Any]]:
    """Yield the samples of a wav file as they arrive.

    Args:
        reader: the bytes, from the first sample on.
        form: the format of the samples.
        order: byte order, as in `struct`.
        size: number of bytes that the header announces; None if it does not know.
        least: number of bytes that the file has if it is whole; None with `size`.
        findings: names the file in errors.

    Raises:
        AudioFileError: at the end, if it came before the end that the header announces.
    """
    rest, read = b"", 0
    while True:
        wanted = _READ if size is None else min(_READ, size - read)
        data = reader.read(wanted) if wanted else b""
        if not data:
            if size is None or read < size or _is_end(reader, form):
                break
            size = None  # more audio than the header announces
            continue
        read += len(data)
        joined = rest + data
        whole = len(joined) // form.align * form.align
        rest = joined[whole:]
        if whole:
            yield decode_pcm(joined[:whole], form.codec, form.bits, order).reshape(-1, form.channels)
    if size is not None and least is not None and least - read >= form.align:
        seconds = read / form.align / form.rate
        raise AudioFileError(
            f"{findings.name} is truncated after {seconds:.2f} s: its header announces {size} bytes of audio, "
            f"{read} came"
        )
    while reader.take(_READ):  # so that the writer does not fail
        pass


def _is_end(reader: PipeReader, form: WaveFormat) -> bool:
    """Return whether the audio ends here: nothing follows, or another chunk, or a few bytes."""
    tail = max(8, int(MIN_TAIL_SECONDS * form.rate * form.align))
    head = reader.peek(tail)
    return len(head) < tail or head[:4] in CHUNKS or head[1:5] in CHUNKS


def decode_pcm(data: bytes, codec: int, bits: int, order: str) -> npt.NDArray[Any]:
    """Return samples as a type that `full_scale` converts.

    Args:
        data: whole samples.
        codec: 1 for integers, 3 for floating point.
        bits: 8 (unsigned), 16, 24 or 32 for integers; 32 or 64 for floating point.
        order: byte order, as in `struct`.
    """
    if codec == 3:
        return np.frombuffer(data, f"{order}f{bits // 8}")
    if bits == 8:
        return (np.frombuffer(data, np.uint8) ^ 0x80).view(np.int8)
    if bits == 24:
        wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        wide[:, slice(1, 4) if order == "<" else slice(0, 3)] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        return wide.view(f"{order}i4")[:, 0]
    return np.frombuffer(data, f"{order}i{bits // 8}")
