"""wav files: the table of headers, and formats of samples."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from audio_files import chunk, encode, fmt, pyav_decode, read_audio, riff
from haaqi_edge.runtime.errors import AudioFileError
from sounds import as_int16, music
from wav_cases import CASES, PYTHON_CASES, WavCase

RATE = 16_000


@pytest.mark.parametrize("case", [*CASES, *PYTHON_CASES], ids=lambda case: case.name)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_table(case: WavCase, channels: int) -> None:
    pcm = np.stack([as_int16(music(1.5, start=5 + 3 * i)) for i in range(channels)], axis=1)
    data = case.build(pcm, RATE)
    if isinstance(case.frames, str):
        with pytest.raises(AudioFileError, match=case.frames):
            read_audio(data)
        return
    read, frames = read_audio(data), case.frames(len(pcm))
    assert read.rate == RATE
    expected = np.resize(pcm, (frames, channels)) if frames > len(pcm) else pcm[:frames]
    np.testing.assert_array_equal(read.samples, expected / np.float32(32768))


@pytest.mark.parametrize("magic", [b"RIFF", b"RIFX"])
def test_both_byte_orders(magic: bytes) -> None:
    pcm, order = as_int16(music(1))[:, None], "<" if magic == b"RIFF" else ">"
    body = b"WAVE" + chunk(b"fmt ", struct.pack(order + "HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16), order=order)
    body += chunk(b"data", pcm.astype(order + "i2").tobytes(), order=order)
    read = read_audio(magic + struct.pack(order + "I", len(body)) + body)
    np.testing.assert_array_equal(read.samples, pcm / np.float32(32768))


@pytest.mark.parametrize(
    ("size", "data_size"), [(None, None), (0, 0), (2**64 - 1, 2**64 - 1), (2**63 - 1, 2**63 - 1)], ids=str
)
def test_rf64(size: int | None, data_size: int | None) -> None:
    pcm = as_int16(music(1)).astype("<i2").tobytes()
    ds64 = struct.pack(
        "<QQQI", 72 + len(pcm) if size is None else size, len(pcm) if data_size is None else data_size, 0, 0
    )
    data = riff(chunk(b"ds64", ds64), fmt(RATE), chunk(b"data", pcm, 0xFFFFFFFF), size=0xFFFFFFFF, magic=b"RF64")
    np.testing.assert_array_equal(read_audio(data).samples[:, 0], np.frombuffer(pcm, "<i2") / np.float32(32768))
    if size is None:
        with pytest.raises(
            AudioFileError, match="is truncated: the chunk data announces 32000 bytes and 30000 are there"
        ):
            read_audio(data[:-2000])


def _extensible(bits: int, valid: int, codec: int, mask: int = 4) -> bytes:
    guid = struct.pack("<H", codec) + bytes.fromhex("000000001000800000aa00389b71")
    return fmt(RATE, bits=bits, tag=0xFFFE, extra=struct.pack("<HHI", 22, valid, mask) + guid)


@pytest.mark.parametrize(
    ("header", "dtype"),
    [
        (_extensible(16, 16, 1), "<i2"),
        (_extensible(16, 16, 1, mask=0), "<i2"),
        (_extensible(32, 24, 1), "<i4"),
        (_extensible(32, 32, 3), "<f4"),
        (fmt(RATE, bits=32), "<i4"),
        (fmt(RATE, bits=24, align=4), "<i4"),
        (fmt(RATE, bits=32, tag=3), "<f4"),
        (fmt(RATE, bits=64, tag=3), "<f8"),
    ],
    ids=["16", "no mask", "24 in 32", "float", "32", "24 in 32, plain", "plain float", "double"],
)
def test_formats_of_samples(header: bytes, dtype: str) -> None:
    sound = music(1)
    scale = 1.0 if dtype[1] == "f" else np.iinfo(dtype).max
    samples = (sound * scale).astype(dtype)
    if dtype == "<i4":
        samples &= ~0xFF  # 24 bits
    read = read_audio(riff(header, chunk(b"data", samples.tobytes())))
    expected = samples if dtype[1] == "f" else samples / (np.iinfo(dtype).max + 1.0)
    np.testing.assert_array_equal(read.samples[:, 0], expected.astype(np.float32))


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
@pytest.mark.parametrize("container", ["wav", "w64"])
@pytest.mark.parametrize("pipe", [False, True])
def test_ffmpeg_writes_them(codec: str, container: str, pipe: bool) -> None:
    sound = np.stack([music(1, 44_100), music(1, 44_100, start=9)], axis=1)
    whole = encode(sound, 44_100, codec, container)
    read = read_audio(encode(sound, 44_100, codec, container, pipe=pipe))
    np.testing.assert_array_equal(read.samples, pyav_decode(whole).samples.astype(np.float32))
    with pytest.raises(AudioFileError, match="is truncated"):
        read_audio(whole[: len(whole) // 2])


def test_mp3_within_wav() -> None:
    data = encode(music(2, 44_100), 44_100, "libmp3lame", "wav", bitrate=96_000)
    oracle, read = pyav_decode(data), read_audio(data)
    assert read.samples.shape == oracle.samples.shape
    np.testing.assert_allclose(read.samples, oracle.samples, atol=1e-5)


def test_more_than_4_gb_is_announced_by_rf64() -> None:
    from haaqi_edge.runtime.audio.containers.riff import _wave_header

    header = _wave_header("<", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16), b"", 6 * 2**30)
    assert header[:4] == b"RF64"
    assert struct.unpack("<QQ", header[20:36]) == (len(header) - 8 + 6 * 2**30, 6 * 2**30)


def test_notes_say_what_was_wrong() -> None:
    pcm = as_int16(music(1)).tobytes()
    for data, note in (
        (riff(fmt(RATE), chunk(b"data", pcm, len(pcm) + 16)), "announces 16 bytes more than there are"),
        (riff(fmt(RATE), chunk(b"data", pcm, 0)), "does not know the length"),
        (riff(fmt(RATE), chunk(b"data", pcm, 8000)), "announces 24000 bytes less than there are; all are read"),
        (riff(fmt(RATE), chunk(b"data", pcm)) + bytes(9), "9 bytes behind the audio were skipped"),
    ):
        assert any(note in text for text in read_audio(data).notes), note
    assert read_audio(riff(fmt(RATE), chunk(b"data", pcm))).notes == []


@pytest.mark.parametrize("codec", [1, 3, 6, 7])
def test_samples_of_no_bits_are_refused(codec: int) -> None:
    pcm = as_int16(music(0.5)).astype("<i2").tobytes()
    with pytest.raises(AudioFileError, match="the chunk fmt announces samples of 0 bits"):
        read_audio(riff(fmt(RATE, bits=0, tag=codec), chunk(b"data", pcm)))
