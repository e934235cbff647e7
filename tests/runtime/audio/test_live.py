"""wav from a pipe, as it arrives."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from audio_files import chunk, fmt, id3v2, riff
from haaqi_edge.runtime.audio.live import LiveAudio, PipeReader, open_live, open_wave, recognize_pipe
from haaqi_edge.runtime.audio.reading import full_scale, open_audio
from haaqi_edge.runtime.errors import AudioFileError
from sounds import DEMO, as_int16, music, write
from wav_cases import CASES, TRUNCATED, WavCase

RATE = 16_000


def pipe(data: bytes, seed: int = 0) -> PipeReader:
    """Return a pipe that gives pieces of any size."""
    file, generator = io.BytesIO(data), random.Random(seed)
    return PipeReader(lambda size: file.read(min(size, generator.choice([1, 3, 100, 5000, 60_000]))))


def read(data: bytes, seed: int = 0) -> npt.NDArray[np.float32]:
    live = open_wave(pipe(data, seed), "the pipe")
    assert isinstance(live, LiveAudio)
    return np.concatenate([full_scale(piece) for piece in live.chunks] or [np.zeros((0, live.channels), np.float32)])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_table(case: WavCase, channels: int) -> None:
    pcm = np.stack([as_int16(music(1.5, start=5 + 3 * i)) for i in range(channels)], axis=1)
    data = case.build(pcm, RATE)
    if case.frames == TRUNCATED:
        with pytest.raises(AudioFileError, match=r"is truncated after|cannot be read as audio"):
            read(data)
    elif isinstance(case.frames, str):
        assert len(read(data)) < 100  # no samples, or the chunk that follows none
    else:
        samples, frames = read(data), case.frames(len(pcm))
        if "behind" in case.name and len(samples) > frames:  # nothing tells zeros from silence while they arrive
            samples = samples[:frames]
        np.testing.assert_array_equal(samples, pcm[:frames] / np.float32(32768))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_formats_of_samples(subtype: str, endian: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sound = np.stack([music(1), music(1, start=7)], axis=1)
    soundfile.write(path, sound, RATE, subtype=subtype, endian=endian)
    expected, _ = soundfile.read(path, dtype="float32")
    for seed in range(3):
        np.testing.assert_array_equal(read(path.read_bytes(), seed), expected)


def test_rf64() -> None:
    pcm = as_int16(music(1)).astype("<i2").tobytes()
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 72 + len(pcm), len(pcm), 0, 0))
    data = riff(ds64, fmt(RATE), chunk(b"data", pcm, 0xFFFFFFFF), size=0xFFFFFFFF, magic=b"RF64")
    assert len(read(data)) == RATE
    with pytest.raises(AudioFileError, match=r"the pipe is truncated after 0\.50 s: its header announces 32000 bytes"):
        read(data[: len(data) // 2 + 30])


def test_samples_come_as_they_arrive() -> None:
    data = riff(fmt(RATE), chunk(b"data", as_int16(music(2)).tobytes()))
    sent = 0

    def arrive(size: int) -> bytes:
        nonlocal sent
        piece = data[sent : sent + min(size, 3200)]
        sent += len(piece)
        return piece

    live = open_wave(PipeReader(arrive), "the pipe")
    assert live is not None
    assert (live.rate, live.channels) == (RATE, 1)
    for piece in live.chunks:
        assert sent <= len(data)
        assert len(piece) <= 1600
        if sent < len(data) // 2:
            assert len(piece) > 1000
            break
    else:
        pytest.fail("nothing came before the end")


def test_what_is_compressed_is_left_for_later() -> None:
    reader = pipe(riff(fmt(RATE, bits=8, tag=7), chunk(b"data", bytes(9000))))
    assert open_wave(reader, "the pipe") is None
    assert reader.peek(4) == b"RIFF"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (DEMO.read_bytes(), "flac"),
        (riff(fmt(RATE)), "riff"),
        (id3v2(bytes(2000)), "mpeg"),
        (b"OggS" + bytes(100), "ogg"),
        ((b"\xff\xfb\x90\x64" + bytes(413)) * 5, "mpeg"),
        (b"\xff\xfb\x90\x64" + bytes(500), ""),
        (bytes(600), ""),
    ],
    ids=["flac", "wav", "ID3", "ogg", "mp3", "one frame", "raw"],
)
def test_files_are_recognized(data: bytes, kind: str) -> None:
    reader = pipe(data)
    assert recognize_pipe(reader, "the pipe") == kind
    assert reader.peek(len(data) + 1) == data


def test_what_is_no_audio() -> None:
    with pytest.raises(AudioFileError, match="the pipe is empty"):
        recognize_pipe(pipe(b""), "the pipe")
    with pytest.raises(AudioFileError, match="it is a picture"):
        recognize_pipe(pipe(b"\x89PNG" + bytes(100)), "the pipe")
    for data in (riff(fmt(RATE)), riff(chunk(b"data", bytes(100))), riff(b""), b"RIFF\0\0\0\0AVI "):
        with pytest.raises(AudioFileError, match="the pipe cannot be read as audio"):
            open_wave(pipe(data), "the pipe")


@pytest.mark.parametrize("kind", ["wav", "wavfloat", "flac", "ogg", "opus", "mp3", "aiff"])
def test_every_format_is_read_from_a_pipe(kind: str, tmp_path: Path) -> None:
    sound = np.stack([music(1, 24_000), music(1, 24_000, start=5)], axis=1)
    path = write(tmp_path / "a", sound, 24_000, kind)
    live = open_live(pipe(path.read_bytes()), "the pipe", channel="right")
    assert live is not None
    assert live.rate == open_audio(path).rate
    assert live.channels == (2 if kind.startswith("wav") else 1)
    samples = np.concatenate([full_scale(piece) for piece in live.chunks])
    expected = np.concatenate(list(open_audio(path, channel="right").blocks(live.rate)))
    np.testing.assert_array_equal(samples[:, 1] if live.channels == 2 else samples, expected)


def test_raw_samples_are_left_in_the_pipe() -> None:
    raw = as_int16(music(1)).tobytes()
    reader = pipe(raw)
    assert open_live(reader, "the pipe") is None
    assert b"".join(iter(lambda: reader.read(5000), b"")) == raw


def test_a_broken_file_in_a_pipe() -> None:
    with pytest.raises(AudioFileError, match="the pipe is truncated"):
        open_live(pipe(DEMO.read_bytes()[:30_000]), "the pipe")
