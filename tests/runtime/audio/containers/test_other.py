"""AU, CAF, NIST and SVX; containers that FFmpeg reads; files that are no audio."""

from __future__ import annotations

import io
import re
import struct
import sys
import warnings
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


# Files to which another one was appended

APPENDED = ["wav", "aiff", "au", "w64", "flac", "ogg", "m4a", "webm", "mka", "wma"]


def whole_file(kind: str) -> bytes:
    if kind in FFMPEG:
        return ffmpeg_file(kind)
    file = io.BytesIO()
    soundfile.write(file, SOUND, 44_100, format=kind.upper(), subtype="VORBIS" if kind == "ogg" else "PCM_16")
    return file.getvalue()


def warnings_of(data: bytes) -> tuple[list[str], int]:
    """Read a file, and return the warnings and the number of its samples."""
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        samples = read_audio(data).samples
    return [str(one.message) for one in issued], len(samples)


@pytest.mark.parametrize("kind", APPENDED)
def test_another_file_behind_the_audio_is_named(kind: str) -> None:
    data = whole_file(kind)
    issued, count = warnings_of(data)
    assert issued == []
    for other, what in ((b"ID3\4\0\0\0\0\0\0" + mp3_file(), "an mp3 file"), (whole_file("caf"), "a CAF file")):
        if kind in ("flac", "ogg"):
            other = other[: 1 << 15]
        issued, with_other = warnings_of(data + other)
        assert with_other == count
        (warning,) = issued
        assert re.fullmatch(
            rf"the file given has \d+ bytes behind its audio, which are {what}; they were not read", warning
        )


@pytest.mark.parametrize("kind", ["flac", "ogg", "m4a", "webm", "mka", "wma", "w64"])
def test_garbage_behind_the_audio(kind: str) -> None:
    data = whole_file(kind)
    _, count = warnings_of(data)
    garbage = np.random.default_rng(3).bytes(60_000)
    issued, with_garbage = warnings_of(data + garbage)
    assert with_garbage == count
    (warning,) = issued
    assert "that are neither audio nor a tag; they were skipped" in warning
    for harmless in (bytes(60_000), b"TAG" + bytes(125)):
        assert warnings_of(data + harmless) == ([], count)


def mp3_file() -> bytes:
    return encode(SOUND, 44_100, "libmp3lame", "mp3", bitrate=64_000, container_options={"write_xing": "0"})


def test_more_samples_than_a_consistent_header_announces() -> None:
    data = whole_file("wav")
    noise = as_int16(0.1 * np.random.default_rng(3).standard_normal(44_100)).astype("<i2").tobytes()
    issued, count = warnings_of(data + noise)
    assert count == len(SOUND) + 44_100
    assert issued == ["the file given has 88200 bytes more than its header announces; they were read as audio"]


@pytest.mark.parametrize("size", [1, 20_000])
def test_a_segment_that_is_cut(size: int) -> None:
    with pytest.raises(AudioFileError, match=r"is truncated: its segment announces \d+ bytes, and \d+ are there"):
        read_audio(ffmpeg_file("mka")[:-size])


def test_ffmpeg_reads_encodings_that_libsndfile_does_not_know() -> None:
    """libsndfile knows the container, but not the variant of ALAC that FFmpeg writes into it."""
    data = encode(SOUND, 44_100, "alac", "caf")
    with pytest.raises(soundfile.LibsndfileError, match="unsupported encoding"):
        soundfile.read(io.BytesIO(data))
    oracle, read = pyav_decode(data), read_audio(data)
    np.testing.assert_allclose(read.samples, oracle.samples, atol=1e-4)
