"""AIFF: sizes that pipes leave, compression types, and truncation."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from audio_files import encode, pyav_decode, read_audio
from haaqi_edge.runtime.errors import AudioFileError
from sounds import as_int16, music

RATE_80: bytes = b"\x40\x0c\xfa\0\0\0\0\0\0\0"  # 16,000 Hz as an 80-bit float
PCM = np.stack([as_int16(music(1.0, start=3)), as_int16(music(1.0, start=9))], axis=1)
SIZE, FRAMES = PCM.nbytes, len(PCM)


def aiff(
    form: int | None = None,
    sound: int | None = None,
    frames: int | None = None,
    *,
    kind: bytes = b"",
    data: bytes = PCM.astype(">i2").tobytes(),
    bits: int = 16,
    after: bytes = b"",
) -> bytes:
    """Return an AIFF file, or AIFF-C of a compression type, with sizes in place of the right ones."""
    comm = struct.pack(">HIH", 2, FRAMES if frames is None else frames, bits) + RATE_80
    if kind:
        comm += kind + b"\0\0"
    body = (b"AIFC" if kind else b"AIFF") + b"COMM" + struct.pack(">I", len(comm)) + comm
    body += b"SSND" + struct.pack(">III", len(data) + 8 if sound is None else sound, 0, 0) + data + after
    return b"FORM" + struct.pack(">I", len(body) if form is None else form) + body


@pytest.mark.parametrize(
    "data",
    [
        aiff(),
        aiff(0, 0, 0),
        aiff(0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        aiff(0x7FFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF),
        aiff(0x7F000008 + 0x1000000, 0x7FFFF008, 0x1FFFFC00),
        aiff(0x80000024, 0x80000000, 0x20000000),
        aiff(0, 8, 0),
        aiff(frames=0),
        aiff(frames=FRAMES // 2),
        aiff(sound=SIZE // 2 + 8),
        aiff(form=40),
        aiff(sound=SIZE + 24),
        aiff(after=b"NAME\0\0\0\x04abcd"),
        aiff(after=b"NAME\0\0\x40\x04abcd"),
        aiff() + bytes(3),
        b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + aiff(),
    ],
    ids=[
        "plain", "0", "ffffffff", "7fffffff", "7ffff008", "80000000", "empty SSND", "0 frames", "half the frames",
        "half of SSND", "short FORM", "16 bytes too many", "a chunk behind", "a cut chunk behind", "3 bytes behind",
        "ID3v2",
    ],
)  # fmt: skip
def test_sizes(data: bytes) -> None:
    np.testing.assert_array_equal(read_audio(data).samples, PCM / np.float32(32768))


@pytest.mark.parametrize(
    "data",
    [
        aiff()[:-10],
        aiff()[: SIZE // 2],
        aiff()[:50],
        aiff()[:30],
        aiff(form=0)[:-10],
        aiff(frames=2 * FRAMES),
        aiff(sound=2 * SIZE),
    ],
    ids=["10 bytes", "half", "header", "within COMM", "10 bytes, FORM unknown", "frames", "SSND"],
)
def test_truncated(data: bytes) -> None:
    with pytest.raises(AudioFileError, match="is truncated"):
        read_audio(data)


def test_half_a_frame_may_be_missing() -> None:
    np.testing.assert_array_equal(read_audio(aiff()[:-1]).samples, PCM[:-1] / np.float32(32768))


@pytest.mark.parametrize(
    ("kind", "encoded", "bits"),
    [
        (b"NONE", lambda x: (x * 32768).astype(">i2"), 16),
        (b"sowt", lambda x: (x * 32768).astype("<i2"), 16),
        (b"fl32", lambda x: x.astype(">f4"), 32),
        (b"fl64", lambda x: x.astype(">f8"), 64),
    ],
    ids=["NONE", "sowt", "fl32", "fl64"],
)
@pytest.mark.parametrize("size", [None, 0])
def test_compression_types(
    kind: bytes, encoded: Callable[[np.ndarray], np.ndarray], bits: int, size: int | None
) -> None:
    data = aiff(size, size, size, kind=kind, data=encoded(PCM / np.float64(32768)).tobytes(), bits=bits)
    np.testing.assert_array_equal(read_audio(data).samples, PCM / np.float32(32768))


@pytest.mark.parametrize(
    "subtype", ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"]
)
def test_libsndfile_writes_them(subtype: str, tmp_path: object) -> None:
    path = f"{tmp_path}/a.aiff"
    soundfile.write(path, PCM / 32768, 16_000, subtype=subtype, format="AIFF")
    expected, _ = soundfile.read(path, dtype="float32")
    with open(path, "rb") as file:  # noqa: PTH123
        np.testing.assert_array_equal(read_audio(file.read()).samples, expected)


def test_ffmpeg_writes_it_into_a_pipe() -> None:
    sound = music(1, 44_100)
    whole = pyav_decode(encode(sound, 44_100, "pcm_s16be", "aiff")).samples
    np.testing.assert_array_equal(read_audio(encode(sound, 44_100, "pcm_s16be", "aiff", pipe=True)).samples, whole)


@pytest.mark.parametrize("data", [b"FORM\0\0\0\x04ILBM", aiff(kind=b"NONE", bits=0), b"FORM\0\0\0\x04AIFF"])
def test_what_is_no_aiff(data: bytes) -> None:
    with pytest.raises(AudioFileError, match="cannot be read as audio"):
        read_audio(data)
