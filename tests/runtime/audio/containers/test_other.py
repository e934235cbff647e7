"""AU, CAF, NIST and SVX; containers that FFmpeg reads; files that are no audio."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import encode, pyav_decode, read_audio
from haaqi_edge.runtime.errors import AudioFileError, DependencyError
from sounds import as_int16, music

SOUND = music(1.5, 44_100, start=3)
FFMPEG = {
    "m4a": ("aac", "ipod"),
    "fragmented mp4": ("aac", "mp4"),
    "alac": ("alac", "ipod"),
    "webm": ("libopus", "webm"),
    "mka": ("flac", "matroska"),
    "wma": ("wmav2", "asf"),
    "wavpack": ("wavpack", "wv"),
    "adts": ("aac", "adts"),
}


def ffmpeg_file(kind: str) -> bytes:
    codec, container = FFMPEG[kind]
    options = {"movflags": "frag_keyframe+empty_moov"} if kind.startswith("frag") else {}
    rate = 48_000 if codec == "libopus" else 44_100
    return encode(music(1.5, rate, start=3), rate, codec, container, bitrate=64_000, container_options=options)


@pytest.mark.parametrize("kind", FFMPEG)
def test_ffmpeg_reads_what_libsndfile_does_not(kind: str) -> None:
    data = ffmpeg_file(kind)
    oracle, read = pyav_decode(data), read_audio(data)
    assert read.rate == oracle.rate
    np.testing.assert_array_equal(read.samples, oracle.samples.astype(np.float32))
    assert len(read.samples) >= 1.45 * read.rate


@pytest.mark.parametrize("kind", FFMPEG)
@pytest.mark.parametrize("keep", [0.3, 0.5, 0.75, 0.9])
def test_what_ffmpeg_reads_is_whole(kind: str, keep: float) -> None:
    data = ffmpeg_file(kind)
    if kind == "fragmented mp4" and keep >= 0.9:
        pytest.skip("its index, at the end, may be missing")
    with pytest.raises(AudioFileError):
        read_audio(data[: int(len(data) * keep)])


@pytest.mark.parametrize("kind", ["m4a", "webm", "wma", "wavpack", "adts"])
def test_without_pyav_the_extra_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ffmpeg_file(kind)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        DependencyError, match=r"the file given is an? .*, which FFmpeg reads: pip install 'haaqi-edge\[ffmpeg\]'"
    ):
        read_audio(data)


@pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF, 4_000])
@pytest.mark.parametrize("order", ["<", ">"])
def test_au(size: int | None, order: str) -> None:
    pcm = as_int16(SOUND)
    data = pcm.astype(order + "i2").tobytes()
    magic = b"dns." if order == "<" else b".snd"
    head = struct.pack(order + "IIIII", 28, len(data) if size is None else size, 3, 44_100, 1)
    whole = magic + head + bytes(4) + data
    np.testing.assert_array_equal(read_audio(whole).samples[:, 0], pcm / np.float32(32768))
    if size is None:
        np.testing.assert_array_equal(read_audio(whole + bytes(100)).samples[:, 0], pcm / np.float32(32768))
        with pytest.raises(AudioFileError, match="is truncated"):
            read_audio(whole[:-10])


@pytest.mark.parametrize("name", ["CAF", "NIST", "SVX", "IRCAM", "PAF", "AVR", "W64", "RF64"])
def test_formats_of_libsndfile(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    soundfile.write(path, SOUND, 44_100, format=name, subtype="PCM_16")
    expected, _ = soundfile.read(path, dtype="float32")
    data = path.read_bytes()
    np.testing.assert_array_equal(read_audio(data).samples[:, 0], expected)
    if name in ("CAF", "NIST", "SVX", "W64", "RF64"):
        with pytest.raises(AudioFileError, match="is truncated"):
            read_audio(data[: len(data) // 2])


def test_a_caf_that_does_not_know_its_length() -> None:
    for pipe in (False, True):
        data = encode(SOUND, 44_100, "pcm_s16le", "caf", pipe=pipe)
        np.testing.assert_array_equal(read_audio(data).samples, pyav_decode(data).samples.astype(np.float32))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"\x89PNG\r\n\x1a\n", "it is a picture"),
        (b"<!DOCTYPE html><html>", "it is a web page: the download may have failed"),
        (b"MThd\0\0\0\x06", "it is MIDI, notes without sound"),
        (b"PK\x03\x04", "it is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1", "run `git lfs pull`"),
        (b"#EXTM3U\n", "it is a playlist"),
        (b"plain text, and more of it", "cannot be read as audio"),
    ],
)
def test_what_is_no_audio_is_named(head: bytes, message: str) -> None:
    with pytest.raises(AudioFileError, match=message):
        read_audio(head + bytes(1000))
