"""Audio files for the tests: encoded and decoded by PyAV, which is the oracle, and put together byte by byte."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from haaqi_edge.runtime.audio.containers.byte_source import ByteSource
from haaqi_edge.runtime.audio.containers.inspection import inspect
from haaqi_edge.runtime.audio.containers.parts import Findings
from haaqi_edge.runtime.audio.decoding import decode
from haaqi_edge.runtime.audio.reading import Damage, FileAudio
from sounds import Sound


def _pyav() -> Any:
    """Return PyAV, and skip the test without it: the tests of the runtime need not have it."""
    return pytest.importorskip("av")


class Decoded(NamedTuple):
    """What PyAV decodes: the rate in Hz, samples float64 [n, channels], and the number of packets that it refused."""

    rate: int
    samples: npt.NDArray[np.float64]
    errors: int


def pyav_decode(data: bytes) -> Decoded:
    """Decode a file with PyAV at its own rate and channels, without the packets that it cannot decode."""
    av, parts, errors = _pyav(), [], 0
    with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
        stream = container.streams.audio[0]
        for packet in container.demux(stream):
            try:
                parts += [_samples(frame) for frame in packet.decode()]
            except av.error.InvalidDataError:
                errors += 1
        return Decoded(stream.rate, np.concatenate(parts) if parts else np.zeros((0, stream.channels)), errors)


def _samples(frame: Any) -> npt.NDArray[np.float64]:
    data = frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(-1, len(frame.layout.channels))
    if data.dtype.kind == "u":
        return (data.astype(np.float64) - 128) / 128
    if data.dtype.kind == "i":
        return data / (np.iinfo(data.dtype).max + 1.0)
    return data.astype(np.float64)


class _Pipe(io.RawIOBase):
    """A file that cannot seek, as a pipe."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data)
        return len(data)


SAMPLE_FORMATS: Final = {
    "pcm_s16le": "s16", "pcm_s16be": "s16", "pcm_s24le": "s32", "pcm_f32le": "flt", "flac": "s16", "alac": "s16p",
    "libmp3lame": "fltp", "libvorbis": "fltp", "libopus": "flt", "aac": "fltp", "mp2": "s16", "wmav2": "fltp",
    "wavpack": "s16p",
}  # fmt: skip


def encode(
    sound: Sound,
    rate: int,
    codec: str,
    container: str,
    *,
    bitrate: int | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    pipe: bool = False,
) -> bytes:
    """Encode a sound with PyAV.

    Args:
        sound: float32 [n], or [n, channels] with 1, 2 or 6 channels.
        rate: Hz.
        codec: FFmpeg's name of the encoder, a key of `SAMPLE_FORMATS`.
        container: FFmpeg's name of the container.
        bitrate: bit/s.
        options: options of the encoder.
        container_options: options of the container.
        pipe: whether to write into a pipe, where the container cannot correct its header at the end.
    """
    av = _pyav()
    sound = sound[:, None] if sound.ndim == 1 else sound
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[sound.shape[1]]
    file: Any = _Pipe() if pipe else io.BytesIO()
    with av.open(file, "w", format=container, options=dict(container_options or {})) as out:
        stream = out.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.layout = layout
        stream.codec_context.format = SAMPLE_FORMATS[codec]
        if bitrate:
            stream.bit_rate = bitrate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.reshape(1, -1)), "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(SAMPLE_FORMATS[codec], layout, rate)
        fifo = av.AudioFifo()
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            fifo.write(converted)
        size = stream.codec_context.frame_size or 1024
        pts = 0
        while piece := fifo.read(size, partial=True):
            piece.pts, piece.time_base = pts, Fraction(1, rate)
            pts += piece.samples
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return bytes(file.data) if pipe else file.getvalue()


# wav, byte by byte


def chunk(name: bytes, data: bytes, size: int | None = None, order: str = "<") -> bytes:
    """Return a chunk of RIFF. `size` is what its header announces, in place of the size of the data."""
    padding = b"\0" if len(data) % 2 and size is None else b""
    return name + struct.pack(order + "I", len(data) if size is None else size) + data + padding


def fmt(
    rate: int, channels: int = 1, bits: int = 16, tag: int = 1, extra: bytes = b"", align: int | None = None
) -> bytes:
    """Return the chunk `fmt ` of a wav file."""
    align = channels * ((bits + 7) // 8) if align is None else align
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits) + extra)


def riff(*chunks: bytes, size: int | None = None, magic: bytes = b"RIFF") -> bytes:
    """Return a wav file. `size` is what its header announces, in place of the right size."""
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def id3v2(payload: bytes, version: int = 3) -> bytes:
    """Return an ID3v2 tag."""
    size = len(payload)
    return b"ID3" + bytes([version, 0, 0, size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + payload


def ape(items: bytes = b"\x04\0\0\0\0\0\0\0Title\0abcd", header: bool = True) -> bytes:
    """Return an APEv2 tag."""
    size = struct.pack("<II", len(items) + 32, 1)
    has_header = 0x80000000 if header else 0

    def block(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<I", 2000) + size + struct.pack("<I", flags) + bytes(8)

    return (block(has_header | 0x20000000) if header else b"") + items + block(has_header)


def lyrics3(text: bytes = b"la la la") -> bytes:
    """Return a Lyrics3 v2 tag, without the ID3v1 tag that follows it."""
    body = b"LYRICSBEGIN" + b"LYR" + b"%05d" % len(text) + text
    return body + b"%06d" % len(body) + b"LYRICS200"


ID3V1: Final = b"TAG" + b"title".ljust(125, b"\0")
"""An ID3v1 tag."""


class Read(NamedTuple):
    """What haaqi-edge reads: the rate in Hz, samples float32 [n, channels], and notes about the file."""

    rate: int
    samples: npt.NDArray[np.float32]
    notes: list[str]


def read_audio(data: bytes, tolerate: bool = False) -> Read:
    """Read a file at its own rate and channels. Its name is `the file given`."""
    damage: Damage = "warn" if tolerate else "error"
    audio = FileAudio(io.BytesIO(data), damage=damage)
    findings = Findings("the file given", tolerate)
    source = ByteSource(io.BytesIO(data))
    with warnings.catch_warnings():  # `audio` has issued them
        warnings.simplefilter("ignore")
        kind, parts = inspect(source, findings)
    blocks = [block for part in parts for block in decode(source, part, kind, 5.0, findings)]
    if not blocks:
        list(audio.blocks())  # raises the error for a file without samples
    assert audio.rate == blocks[0].rate
    return Read(audio.rate, np.concatenate([block.samples for block in blocks]), list(audio.notes))
