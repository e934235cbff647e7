"""Raw PCM of every format, in pieces that end anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import encode
from haaqi_edge.runtime.audio.pcm import FORMATS, Pcm
from haaqi_edge.runtime.audio.reading import full_scale
from haaqi_edge.runtime.errors import AudioError, OptionError
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import music, noise

SUBTYPES = {"s16le": "PCM_16", "s24le": "PCM_24", "s32le": "PCM_32", "f32le": "FLOAT"}


@pytest.mark.parametrize("form", FORMATS)
def test_it_reads_what_libsndfile_writes(form: str, tmp_path: Path) -> None:
    sound = np.stack([music(1, start=3), -noise(16_000)], axis=1)
    sound[:2] = [[1, -1], [-1, 1]]
    path = tmp_path / "raw"
    soundfile.write(path, sound, 16_000, format="RAW", subtype=SUBTYPES[form], endian="LITTLE")
    expected, _ = soundfile.read(
        path, dtype="float32", samplerate=16_000, channels=2, format="RAW", subtype=SUBTYPES[form], endian="LITTLE"
    )
    pcm = Pcm(form, 2)
    np.testing.assert_array_equal(full_scale(pcm.push(path.read_bytes())), expected)
    pcm.finish()


@given(
    form=st.sampled_from(sorted(FORMATS)), channels=st.integers(1, 5), cuts=st.lists(st.integers(0, 50), max_size=60)
)
@settings(max_examples=80, deadline=None)
def test_pieces_may_end_anywhere(form: str, channels: int, cuts: list[int]) -> None:
    size = sum(cuts) // (FORMATS[form] * channels) * channels
    raw = noise(size).tobytes() if form == "f32le" else np.random.default_rng(0).bytes(size * FORMATS[form])
    pcm, at, got = Pcm(form, channels), 0, []
    for size in [*cuts, len(raw)]:
        got.append(pcm.push(raw[at : at + size]))
        at += size
    pcm.finish()
    if len(raw) < 4:  # might be a file's beginning
        return
    assert np.array_equal(np.concatenate(got), Pcm(form, channels).push(raw))


def test_an_end_within_a_frame() -> None:
    pcm = Pcm("s24le", 2)
    assert pcm.push(bytes(10)).shape == (1, 2)
    with pytest.raises(AudioError, match="end 4 of 6 bytes into a frame: --format s24le and --channels 2 are not"):
        pcm.finish()


@pytest.mark.parametrize(
    ("form", "name"),
    [("WAV", "a wav"), ("FLAC", "a FLAC"), ("OGG", "an Ogg"), ("AIFF", "an aiff"), ("MP3", "an mp3"), ("CAF", "a CAF")],
)
def test_a_file_is_no_raw_samples(form: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    soundfile.write(path, noise(8_000), 8_000, format=form)
    pcm = Pcm("s16le", 1)
    pcm.push(path.read_bytes()[:3])
    with pytest.raises(AudioError, match=f"this is {name} file, not raw samples"):
        pcm.push(path.read_bytes()[3:])


@pytest.mark.parametrize("form", ["s16le", "s24le", "s32le"])
def test_integers_are_no_floating_point(form: str, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    soundfile.write(path, music(1), 16_000, format="RAW", subtype=SUBTYPES[form], endian="LITTLE")
    with pytest.raises(AudioError, match=r"cannot be audio of the format f32le: give the --format of the samples"):
        Pcm("f32le", 1).push(path.read_bytes())


@pytest.mark.parametrize(("form", "channels"), [("s16be", 1), ("", 1), ("s16le", 0), ("s16le", 65)])
def test_what_is_no_form(form: str, channels: int) -> None:
    with pytest.raises(OptionError, match=r"expected one of s16le, s24le, s32le, f32le|channels: give 1 to 64"):
        Pcm(form, channels)


@pytest.mark.parametrize(
    ("codec", "container", "name"),
    [
        ("libmp3lame", "mp3", "an mp3 file"),
        ("aac", "adts", "an AAC stream"),
        ("aac", "ipod", "an MPEG-4 file"),
        ("libopus", "webm", "a Matroska or WebM file"),
        ("wavpack", "wv", "a WavPack file"),
        ("libopus", "ogg", "an Ogg file"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 700, 10_000])
def test_compressed_audio_is_no_raw_samples(codec: str, container: str, name: str, size: int) -> None:
    data = encode(
        music(1, 48_000),
        48_000,
        codec,
        container,
        container_options={"id3v2_version": "0"} if container == "mp3" else {},
    )
    pcm = Pcm("s16le", 1)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    with pytest.raises(AudioError, match=f"this is {name}.*, not raw samples"):
        list(map(pcm.push, pieces))


def test_samples_that_begin_like_a_frame_are_samples() -> None:
    samples = np.concatenate([np.array([-1, -1, -1025, 25_744], dtype="<i2"), np.arange(6000, dtype="<i2")])
    for first in range(4):
        pcm, raw = Pcm("s16le", 1), samples[first:].tobytes()
        got = [pcm.push(raw[start : start + 7]) for start in range(0, len(raw), 7)]
        np.testing.assert_array_equal(np.concatenate([*got, pcm.finish()])[:, 0], samples[first:])


def test_a_few_bytes_are_samples() -> None:
    pcm = Pcm("s16le", 1)
    assert len(pcm.push(b"\1\0\2\0")) == 0
    np.testing.assert_array_equal(pcm.finish(), [[1], [2]])


def test_complete_frames_before_one_that_is_cut() -> None:
    pcm = Pcm("s16le", 1)
    assert len(pcm.push(bytes([1, 0, 2, 0, 3]))) == 0  # too few bytes for a signature
    np.testing.assert_array_equal(pcm.flush(), [[1], [2]])
    with pytest.raises(AudioError, match="end 1 of 2 bytes into a frame"):
        pcm.finish()
