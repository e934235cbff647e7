"""Cutting clips: what they are, where they begin, and each rule that refuses a track or a window."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus import cutting
from haaqi_edge.training.corpus.cutting import CutRules, cut_clips
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from sounds import music

Sound = npt.NDArray[np.float64]


def track(seconds: float, rate: int = 44_100, seed: int = 0) -> Sound:
    """The demo clip in a loop, two channels, with a little noise for treble: float64 [n, 2], peak about 0.5."""
    once = music(10.0, rate).astype(np.float64)
    loop = np.resize(0.5 * once / np.abs(once).max(), round(seconds * rate))
    noise = 1e-3 * np.random.default_rng(seed).standard_normal((len(loop), 2))
    return np.stack([loop, 0.8 * loop], axis=1) + noise


def wav(sound: Sound, rate: int = 44_100) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format="WAV", subtype="FLOAT")
    file.seek(0)
    return file


def ogg(path: Path, sound: Sound, rate: int, subtype: str = "VORBIS", compression: float = 0.2) -> None:
    """Write a file second by second: libsndfile's encoders overflow the stack on long arrays."""
    with soundfile.SoundFile(path, "w", rate, 2, format="OGG", subtype=subtype, compression_level=compression) as file:
        for first in range(0, len(sound), rate):
            file.write(sound[first : first + rate])


def refusals(sound: Sound, rate: int = 44_100, rules: CutRules | None = None) -> list[str]:
    """Why there is no clip of a track."""
    refused: list[str] = []
    assert cut_clips(wav(sound, rate), rules, refused=refused) == []
    return refused


def test_clips_are_what_the_resampler_makes_of_that_place() -> None:
    rate = 44_100
    sound = track(65.0, rate)
    clips = cut_clips(wav(sound, rate))
    assert len(clips) == 4
    for clip in clips:
        assert clip.samples.dtype == np.float32
        assert len(clip.samples) == 12 * 24_000
        assert clip.duration == 12.0
        # Resampled from a second before, so that the ends agree as well.
        first = round(clip.start * rate)
        assert clip.start * rate == pytest.approx(first)
        there = soxr.resample(sound[first - rate : first + 13 * rate].mean(axis=1), rate, 24_000, quality="VHQ")
        np.testing.assert_allclose(clip.samples, there[24_000 : 13 * 24_000], atol=2e-5)


def test_audio_at_the_clips_rate_is_not_resampled() -> None:
    sound = track(30.0, 24_000)
    (clip,) = cut_clips(wav(sound, 24_000), CutRules(per_track=1))
    first = round(clip.start * 24_000)
    np.testing.assert_allclose(clip.samples, sound.mean(axis=1)[first : first + len(clip.samples)], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    duration=st.floats(20.0, 2_000.0),
    per_track=st.integers(1, 12),
    length=st.floats(5.0, 20.0),
    gap=st.floats(0.0, 10.0),
)
def test_windows_lie_in_the_track_and_apart(duration: float, per_track: int, length: float, gap: float) -> None:
    duration = max(duration, length + 0.3)
    rules = CutRules(per_track=per_track, length=length, gap=gap)
    parts = list(cutting._candidate_starts(duration, rules))
    assert 1 <= len(parts) <= per_track
    assert all(start >= 0 and start + length <= duration + 1e-6 for places in parts for start in places)
    for places, after in itertools.pairwise(parts):
        assert min(after) - max(places) >= length + gap - 1e-6


def test_a_bad_place_is_replaced_by_one_near_it() -> None:
    sound = track(80.0)
    middle = cut_clips(wav(sound), CutRules(per_track=1))[0].start
    sound[round((middle + 4) * 44_100) : round((middle + 8) * 44_100)] = 0.0
    refused: list[str] = []
    (clip,) = cut_clips(wav(sound), CutRules(per_track=1), refused=refused)
    assert clip.start != middle
    assert len(refused) == 1
    assert "silence" in refused[0]
    assert clip.quality.silence == 0


def test_loud_clips_are_scaled_and_quiet_ones_are_not() -> None:
    sound = track(25.0)
    loud = cut_clips(wav(sound / np.abs(sound.mean(axis=1)).max() * 0.98))
    assert max(np.abs(clip.samples).max() for clip in loud) == pytest.approx(0.9)
    quiet = cut_clips(wav(0.1 * sound))
    assert np.abs(quiet[0].samples).max() < 0.1


def test_the_same_track_gives_the_same_clips(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(track(40.0)).read())
    first, again = cut_clips(path), cut_clips(path)
    assert [clip.start for clip in first] == [clip.start for clip in again]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, again, strict=True))


def test_windows_beyond_the_end_of_a_damaged_file_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an MP3 whose header says more than there is."""
    read, file = soundfile.SoundFile.read, wav(track(60.0))

    def ending(self: soundfile.SoundFile, frames: int, **options: object) -> npt.NDArray[np.float32]:
        left = max(25 * self.samplerate - self.tell(), 0)
        return np.asarray(read(self, min(frames, left), **options))  # type: ignore[arg-type]

    monkeypatch.setattr(soundfile.SoundFile, "read", ending)
    refused: list[str] = []
    clips = cut_clips(file, refused=refused)
    assert clips
    assert {clip.duration for clip in clips} == {12.0}
    assert "the file ends within the window" in refused[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    sound = track(20.0)
    sound[::44_100] = value
    assert refusals(sound)


def test_tracks_of_a_low_rate_are_refused() -> None:
    assert refusals(track(30.0, 16_000), 16_000) == ["rate 16000 Hz, at least 22050 is required"]


def test_short_tracks_are_refused() -> None:
    assert refusals(track(19.0)) == ["19.0 s long, at least 20 s are required"]


def test_tracks_of_a_low_bit_rate_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    sound = track(21.0)
    ogg(path, sound, 44_100, compression=0.99)
    refused: list[str] = []
    assert cut_clips(path, refused=refused) == []
    assert "at least 80 are required of stereo VORBIS" in refused[0]
    assert len(cut_clips(path, CutRules(bit_rates={}, treble=-200.0))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_compressed_files_are_cut_where_whole_decoding_says(tmp_path: Path, subtype: str) -> None:
    path, rate = tmp_path / "a.ogg", 48_000
    ogg(path, track(21.0, rate), rate, subtype)
    whole, _ = soundfile.read(path)
    clips = cut_clips(path, CutRules(bit_rates={}, length=5.0, per_track=2))
    assert len(clips) == 2
    resampled = soxr.resample(whole.mean(axis=1), rate, 24_000, quality="VHQ")
    for clip in clips:
        first = round(clip.start * 24_000)
        expected = resampled[first : first + len(clip.samples)]
        error = np.sqrt(np.mean((clip.samples - expected) ** 2)) / np.std(expected)
        # Opus decodes from a place on with a state that settles within some frames.
        assert error < (0.01 if subtype == "VORBIS" else 0.05)


def test_quiet_windows_are_refused() -> None:
    refused = refusals(2e-3 * track(20.0))[0]
    assert "level -" in refused
    assert "above -45 is required" in refused


def test_windows_with_silence_are_refused() -> None:
    sound = track(20.0)
    sound[9 * 44_100 : 11 * 44_100] = 0.0  # within all windows of 12 s
    refused = refusals(sound)[0]
    assert "17% silence, at most 10% is allowed" in refused


def test_clipped_windows_are_refused() -> None:
    assert any("at full scale" in line for line in refusals(np.clip(8 * track(20.0), -1, 1)))


def test_one_clipped_channel_is_enough() -> None:
    sound = track(20.0)
    sound[:, 1] = np.clip(10 * sound[:, 1], -1, 1)
    assert any("at full scale" in line for line in refusals(sound))


def test_low_passed_windows_are_refused() -> None:
    sections = signal.ellip(10, 0.1, 80, 6_500, fs=44_100, output="sos")
    refused = refusals(signal.sosfilt(sections, track(20.0), axis=0))[0]
    edge = float(refused.split("edge at ")[1].split(" Hz")[0])
    assert edge == pytest.approx(6_500, abs=300)


@pytest.mark.parametrize("cutoff", [8_000, 11_000, 16_000])
def test_low_passes_of_usual_codecs_are_allowed(cutoff: float) -> None:
    sections = signal.ellip(10, 0.1, 80, cutoff, fs=44_100, output="sos")
    (clip,) = cut_clips(wav(signal.sosfilt(sections, track(20.0), axis=0)))
    assert clip.quality.edge == pytest.approx(cutoff, abs=500)


def test_windows_without_treble_are_refused() -> None:
    time = np.arange(20 * 44_100) / 44_100
    sound = 0.3 * np.sin(2 * np.pi * 440 * time)[:, None]
    refused = refusals(sound, rules=CutRules(edge=0.0))[0]
    assert "above 8000 Hz, at least -78 is required" in refused


def test_quality_is_measured_in_the_units_that_it_says() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((44_100 * 4, 1)).astype(np.float32)
    noise[:22_050] = 0
    quality = cutting.measure_quality(noise, 44_100, CutRules())
    assert quality.level == pytest.approx(20 * np.log10(0.1 * np.sqrt(7 / 8)), abs=0.05)
    assert quality.silence == pytest.approx(1 / 8)
    assert quality.treble == pytest.approx(10 * np.log10(1 - 8_000 / 22_050), abs=0.1)
    assert quality.edge == 22_050
    assert quality.clipping == 0


def test_public_clips_meet_the_rules(shared: Path) -> None:
    paths = sorted((shared / "music").glob("*/*.ogg"))[::150]
    assert len(paths) > 10
    rules = CutRules()
    for path in paths:
        window, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert cutting._first_violation(cutting.measure_quality(window, rate, rules), rules) is None, path.name


@pytest.mark.parametrize("content", [b"", b"no audio at all" * 100])
def test_what_is_no_audio_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.ogg"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"cannot read .*a\.ogg"):
        cut_clips(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"b\.ogg"):
        cut_clips(tmp_path / "b.ogg")
