"""Audio in: formats, rates, channels, resampling, memory, and every kind of broken file."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from haaqi_edge.runtime.audio.containers.byte_source import LayoutReader
from haaqi_edge.runtime.audio.folders import find_audio
from haaqi_edge.runtime.audio.reading import ArrayAudio, Audio, FileAudio, Resampler, open_audio
from haaqi_edge.runtime.errors import AudioError, AudioFileError, AudioFileNotFoundError, HaaqiEdgeError
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import DEMO, FORMATS, RATE, Sound, as_int16, music, noise, write

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
LOSSLESS = [kind for kind, form in FORMATS.items() if form.lossless]
LOSSY = [kind for kind, form in FORMATS.items() if not form.lossless]


def whole(audio: Audio) -> Sound:
    blocks = list(audio.blocks())
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    return np.concatenate(blocks)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_file_is_its_samples(rate: int, channels: int, tmp_path: Path) -> None:
    sound = as_int16(noise(int(0.4 * rate), channels=channels))
    array = whole(open_audio((sound, rate)))
    for kind in ("wav", "flac", "rf64"):
        assert np.array_equal(whole(open_audio(write(tmp_path / kind, sound, rate, kind))), array), kind
    mono = (sound / 32768).mean(axis=1)
    expected = mono if rate == RATE else soxr.resample(mono, rate, RATE)
    assert len(array) == len(expected)
    np.testing.assert_allclose(array, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_longer_than_a_block(kind: str, tmp_path: Path) -> None:
    sound = as_int16(np.stack([music(12.3, 44_100), music(12.3, 44_100, start=4)], axis=1))
    path = write(tmp_path / "clip", sound / np.float32(32768) if kind == "wavfloat" else sound, 44_100, kind)
    file = open_audio(path)
    blocks = list(file.blocks())
    assert len(blocks) > 2
    assert max(map(len, blocks)) < 6 * RATE
    assert np.array_equal(np.concatenate(blocks), whole(open_audio((sound, 44_100))))
    assert np.array_equal(whole(file), np.concatenate(blocks)), "read again"
    assert np.array_equal(whole(open_audio(str(path))), np.concatenate(blocks))
    assert file.name == str(path)


@pytest.mark.parametrize("kind", LOSSY)
@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_files_are_the_music_in_its_place(kind: str, rate: int, channels: int, tmp_path: Path) -> None:
    sound = music(9, rate, start=3)
    path = write(tmp_path / "clip", sound[:, None].repeat(channels, axis=1), rate, kind)
    got, expected = whole(open_audio(path)), whole(open_audio((sound, rate)))
    assert abs(len(got) - len(expected)) <= RATE // 10
    shared = min(len(got), len(expected))
    assert np.corrcoef(got[:shared], expected[:shared])[0, 1] > 0.96  # the right way up, too
    middle = expected[RATE : 7 * RATE]
    lags = range(-40, 41)
    assert max(lags, key=lambda lag: float(np.dot(middle, got[RATE + lag : 7 * RATE + lag]))) == 0
    assert np.std(got[:shared]) == pytest.approx(np.std(expected[:shared]), rel=0.1)


def test_every_type_of_sample() -> None:
    sixteen = as_int16(noise(5_000))
    expected = (sixteen / 32768).astype(np.float32)
    same: list[npt.NDArray[Any]] = [
        sixteen,
        sixteen.astype(np.int32) << 16,
        sixteen.astype(np.int64) << 48,
        expected,
        expected.astype(np.float64),
        expected.astype(np.longdouble),
        expected.astype(">f4"),
        sixteen.astype(">i2"),
        np.asfortranarray(expected[:, None].repeat(3, axis=1)),
        np.repeat(expected, 2)[::2],
        expected[:, None],
    ]
    for samples in same:
        assert np.array_equal(whole(open_audio((samples, RATE))), expected), samples.dtype
    assert np.array_equal(
        whole(open_audio(((sixteen >> 8).astype(np.int8), RATE))), ((sixteen >> 8) / 128).astype(np.float32)
    )
    half = expected.astype(np.float16)
    assert np.array_equal(whole(open_audio((half, RATE))), half.astype(np.float32))


@pytest.mark.filterwarnings("ignore::haaqi_edge.runtime.errors.CancellationWarning")
def test_channels_are_averaged() -> None:
    sound = noise(20_000, channels=6)
    expected = sound.astype(np.float64).sum(axis=1) / 6
    np.testing.assert_allclose(whole(open_audio((sound, RATE))), expected, rtol=0, atol=1e-7)
    opposite = np.stack([sound[:, 0], -sound[:, 0]], axis=1)
    assert not whole(open_audio((opposite, RATE))).any()


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_other_rates_can_be_asked_for(rate: int, channels: int, tmp_path: Path) -> None:
    sound = noise(7 * rate, channels=channels)
    path = write(tmp_path / "a", sound, rate, "wavfloat")
    for audio in (open_audio(path), open_audio((sound, rate))):
        assert audio.rate == rate
        own = np.concatenate(list(audio.blocks(rate)))
        np.testing.assert_allclose(own, sound.mean(axis=1), atol=1e-7)
        other = np.concatenate(list(audio.blocks(32_000)))
        np.testing.assert_allclose(other, soxr.resample(own, rate, 32_000, "HQ"), atol=1e-5)
        np.testing.assert_array_equal(np.concatenate(list(audio.blocks(16_000))), np.concatenate(list(audio.blocks())))


def test_sixteen_kilohertz_is_left_alone() -> None:
    sound = music(11)
    assert np.array_equal(whole(open_audio((sound, RATE))), sound)
    assert np.array_equal(whole(open_audio((sound, np.int64(RATE)))), sound)
    assert np.array_equal(whole(open_audio((sound, float(RATE)))), sound)


@given(
    rate=st.sampled_from(RATES),
    chunks=st.lists(st.integers(0, 3_000) | st.integers(0, 3), min_size=1, max_size=20),
    channels=st.sampled_from([None, 1, 2, 6]),
)
@settings(max_examples=80, deadline=None)
def test_the_resampler_does_not_depend_on_chunks(rate: int, chunks: list[int], channels: int | None) -> None:
    sound = noise(sum(chunks), channels=channels)
    stream, at, got = Resampler(rate), 0, []
    for size in chunks:
        got.append(stream.push(sound[at : at + size]))
        at += size
    got.append(stream.finish())
    at_once = Resampler(rate)
    assert np.array_equal(np.concatenate(got), np.concatenate([at_once.push(sound), at_once.finish()]))
    mono = sound if channels is None else sound.mean(axis=1, dtype=np.float32)
    expected = mono if rate == RATE else soxr.resample(mono, rate, RATE, quality="HQ")
    assert np.array_equal(np.concatenate(got), expected)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_keeps_its_place(rate: int) -> None:
    def tone(at: int) -> npt.NDArray[np.float64]:
        return 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(2 * at) / at + 0.3)

    got, expected = whole(open_audio((tone(rate), rate))), tone(RATE)
    assert abs(len(got) - len(expected)) <= 1
    np.testing.assert_allclose(got[1000:-1000], expected[1000 : len(got) - 1000], rtol=0, atol=1e-4)


def test_what_16_khz_cannot_hold_is_filtered_out() -> None:
    high = 0.5 * np.sin(2 * np.pi * 12_000 * np.arange(96_000) / 48_000)
    assert np.abs(whole(open_audio((high, 48_000)))[1000:-1000]).max() < 1e-5


# Broken samples and files


@given(at=st.integers(0, 99_999), value=st.sampled_from([math.nan, math.inf, -math.inf]), channel=st.integers(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_time_of_a_sample_that_is_no_number_is_named(at: int, value: float, channel: int) -> None:
    sound = np.zeros((100_000, 2), dtype=np.float32)
    sound[at, channel] = value
    sound[-1, 1] = value  # a later one is not the one named
    with pytest.raises(AudioError, match=rf"samples given holds .* not a finite number at {at / 8000:.3f} s"):
        whole(open_audio((sound, 8_000)))


def test_the_time_of_a_nan_in_a_file(tmp_path: Path) -> None:
    sound = noise(48_000 * 13)
    sound[int(48_000 * 12.345)] = np.nan
    path = write(tmp_path / "bad", sound, 48_000, "wavfloat")
    with pytest.raises(AudioError, match=r"bad\.wav holds a sample that is not a finite number at 12\.345 s: repair"):
        whole(open_audio(path))


def test_numbers_too_large_for_float32_are_not_finite() -> None:
    with pytest.raises(AudioError, match=r"not a finite number at 0\.000 s"):
        whole(open_audio((np.full(20_000, 1e300), RATE)))


@pytest.mark.parametrize("value", [10_001.0, 1e9, 1e30, -1e30])
def test_numbers_far_beyond_full_scale_are_refused(value: float) -> None:
    sound = noise(RATE)
    sound[8_000] = value
    with pytest.raises(AudioError, match=r"of amplitude .* at 0\.500 s: full scale is 1\.0; divide integers by theirs"):
        whole(open_audio((sound, RATE)))


def test_overdriven_music_is_taken() -> None:
    sound = 300 * noise(RATE)
    assert np.array_equal(whole(open_audio((sound, RATE))), sound)


def refused(path: Path) -> bool:
    try:
        whole(FileAudio(path))
    except AudioFileError:
        return True
    return False


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_truncated_files_are_refused(kind: str, channels: int, tmp_path: Path) -> None:
    sound = music(12, 48_000)[:, None].repeat(channels, axis=1)
    path = write(tmp_path / "whole", sound, 48_000, kind)
    data = path.read_bytes()
    assert not refused(path)
    keep = [len(data) * percent // 100 for percent in (1, 10, 50, 75, 90, 98)]
    if kind != "mp3":  # whose frames are cut anywhere; a tenth of a second may go missing
        keep += [len(data) - 10, len(data) - 100, len(data) - 1000]
    cut = path.with_name("cut" + path.suffix)
    for length in keep:
        cut.write_bytes(data[:length])
        assert refused(cut), f"{length} of {len(data)} bytes were taken for a whole file"


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_an_ogg_cut_between_two_pages_is_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "whole", music(12, 48_000), 48_000, kind)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"OggS")])
    with pytest.raises(AudioFileError, match="its last Ogg page is missing or cut: copy it again"):
        open_audio(path)


def test_a_flac_that_does_not_know_its_length_is_read(tmp_path: Path) -> None:
    """As a pipe writes it: the 36 bits of the total number of samples are 0."""
    sound = as_int16(music(12, 48_000))
    path = write(tmp_path / "piped", sound, 48_000, "flac")
    data = bytearray(path.read_bytes())
    assert data[:4] == b"fLaC"
    data[8 + 13] &= 0xF0
    data[8 + 14 : 8 + 18] = bytes(4)
    path.write_bytes(data)
    assert np.array_equal(whole(open_audio(path)), whole(open_audio((sound, 48_000))))


@pytest.mark.parametrize("announced", [0, 0xFFFFFFFF])
def test_a_wav_that_does_not_know_its_length_is_read(announced: int, tmp_path: Path) -> None:
    """As a pipe writes it: the length of the file stays at a placeholder."""
    sound = as_int16(music(7))
    path = write(tmp_path / "piped", sound, RATE, "wav")
    data = bytearray(path.read_bytes())
    data[4:8] = announced.to_bytes(4, "little")
    path.write_bytes(data)
    assert np.array_equal(whole(open_audio(path)), whole(open_audio((sound, RATE))))


def test_bytes_after_the_end_do_no_harm(tmp_path: Path) -> None:
    sound = as_int16(music(3))
    path = write(tmp_path / "tagged", sound, RATE, "wav")
    path.write_bytes(path.read_bytes() + b"ID3 something a tagger left behind")
    assert np.array_equal(whole(open_audio(path)), whole(open_audio((sound, RATE))))


@pytest.mark.parametrize("name", ["text.wav", "text.mp3", "text.flac", "text.ogg", "text.opus", "text"])
@pytest.mark.parametrize(
    "content", [b"These are not the bytes of a sound.\n" * 20, bytes(4000), b"RIFF", b"OggS", b"fLaC"]
)
def test_other_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=name):
        whole(open_audio(path))


def test_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.wav", "a\0b.wav", "x" * 5000 + ".wav"):
        with pytest.raises(AudioFileNotFoundError, match="give the path of an audio file") as info:
            open_audio(path)
        assert isinstance(info.value, FileNotFoundError)
        assert isinstance(info.value, HaaqiEdgeError)
    with pytest.raises(AudioFileNotFoundError, match="is a folder, not a file"):
        open_audio(tmp_path)


def test_files_without_sound(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    with pytest.raises(AudioFileError, match=r"empty\.wav is empty \(0 bytes\)"):
        open_audio(empty)
    header = write(tmp_path / "header", np.zeros(0, dtype=np.float32), RATE, "wav")
    with pytest.raises(AudioFileError, match="holds no samples"):
        open_audio(header)
    slow = tmp_path / "slow.wav"
    soundfile.write(slow, noise(8_000), 4_000)
    with pytest.raises(AudioError, match=r"slow\.wav is 4000 Hz; give audio from 8000"):
        open_audio(slow)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "the audio is empty"),
        (np.zeros((0, 2)), "the audio is empty"),
        (np.zeros((5, 0)), "the audio is empty"),
        (np.zeros((2, 5, 5)), r"shape \(2, 5, 5\)"),
        (np.float32(1), r"shape \(\)"),
        (np.zeros(5000, dtype=np.uint8), "uint8: expected"),
        (np.zeros(5000, dtype=bool), "bool: expected"),
        (np.zeros(5000, dtype=complex), "complex128: expected"),
        (np.array(["a"] * 5000), "expected"),
        (np.array([None] * 5000), "object: expected"),
        (np.zeros((2, 5000)), r"look like \[channels, n\]: transpose"),
        ([[1, 2], [3]], "not an array"),
        (None, "object: expected"),
    ],
)
def test_samples_that_cannot_be_used(samples: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        open_audio((samples, RATE))


@pytest.mark.parametrize("rate", [0, -1, 7_999, 768_001, 10**30, 16_000.5, math.nan, math.inf, "16000", None, True, 1j])
def test_rates_that_cannot_be_used(rate: Any) -> None:
    with pytest.raises(AudioError, match="sample rate of the audio"):
        open_audio((noise(5_000), rate))


@pytest.mark.parametrize("audio", [None, 5, noise(10), [noise(10), RATE], (noise(10),), (noise(10), RATE, 1), b"a.wav"])
def test_what_is_not_audio(audio: Any) -> None:
    with pytest.raises(AudioError, match=r"give a path, or \(samples, rate\)"):
        open_audio(audio)


def test_the_samples_given_are_left_alone() -> None:
    sound = noise(50_000, channels=2)
    before = sound.copy()
    sound.flags.writeable = False
    audio = ArrayAudio(sound, 44_100)
    assert np.array_equal(whole(audio), whole(audio))
    assert np.array_equal(sound, before)


def test_folders_are_searched(tmp_path: Path) -> None:
    names = ["b.wav", "a.FLAC", "deep/er/c.opus", "deep/d.Mp3", "deep/e.ogg", "f.aiff"]
    for name in [*names, ".hidden.wav", "notes.txt", "wav", "g.wav.part"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    assert find_audio(tmp_path) == sorted(tmp_path / name for name in names)


# Memory

READ = """
import sys
from haaqi_edge.runtime.audio.reading import open_audio
print(sum(len(block) for block in open_audio(sys.argv[1]).blocks()))
"""
SCORE = """
import sys
from haaqi_edge.runtime import Scorer
print(len(Scorer(threads=1).score(sys.argv[1], "N3").frame_scores))
"""
PEAK = """
status = open("/proc/self/status").read()  # of this program alone; getrusage counts the one that forked it too
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak(code: str, path: Path) -> tuple[int, float]:
    """How much came out, and the most memory in MB that a fresh process held."""
    command = [sys.executable, "-c", code + PEAK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, kilobytes = done.stdout.split()
    return int(count), int(kilobytes) / 1024


@pytest.fixture(scope="module")
def long_files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Ten seconds and an hour of 8 kHz stereo, by their length in seconds."""
    folder, paths = tmp_path_factory.mktemp("long"), {}
    block = as_int16(music(10, 8_000))[:, None].repeat(2, axis=1)
    for seconds in (10, 3600):
        paths[seconds] = folder / f"{seconds}.flac"
        with soundfile.SoundFile(paths[seconds], "w", 8_000, 2, "PCM_16") as file:
            for _ in range(seconds // 10):
                file.write(block)
    return paths


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(
    ("code", "counts"), [(READ, (10 * RATE, 3600 * RATE)), (SCORE, (62, 22_499))], ids=["blocks", "score"]
)
def test_an_hour_takes_the_memory_of_ten_seconds(
    code: str, counts: tuple[int, int], long_files: dict[int, Path]
) -> None:
    (few, low), (many, high) = (peak(code, long_files[seconds]) for seconds in (10, 3600))
    assert (few, many) == counts
    assert high - low < 50  # MB; at 16 kHz the hour is 230 MB of float32


def test_the_demo_clip_is_what_these_tests_take_it_for() -> None:
    assert len(whole(open_audio(DEMO))) == 20 * RATE
    assert next(open_audio(DEMO).blocks()).any()


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_ctrl_c_while_libsndfile_reads(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    audio = open_audio(write(tmp_path / kind, music(3), RATE, kind))
    expected = whole(audio)
    readinto = LayoutReader.readinto

    def press(reader: LayoutReader, buffer: Any) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return readinto(reader, buffer)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(LayoutReader, "readinto", press)
        with pytest.raises(KeyboardInterrupt):
            list(audio.blocks())
    assert signal.getsignal(signal.SIGINT) is before
    assert np.array_equal(whole(audio), expected)
    assert capfd.readouterr().err == ""  # not an exception that was printed and lost
