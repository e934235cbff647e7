"""Fingerprints: the same recording is found through codecs, levels and trims, and other music is not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.fingerprint import (
    Fingerprint,
    Index,
    MatchThresholds,
    compute_fingerprint,
    find_match,
    find_repeats,
    fingerprint_file,
)
from scipy import signal
from sounds import music

Sound = npt.NDArray[np.float32]
RATE = 24_000


@pytest.fixture(scope="module")
def clean() -> Sound:
    return music(20.0, RATE)


def other(clean: Sound, number: int) -> Sound:
    """Music that is not the demo clip: the clip backwards (odd numbers) or not, at another speed."""
    return np.ascontiguousarray(soxr.resample(clean[:: 1 - 2 * (number % 2)], RATE, RATE * 1.07 ** (number // 2 - 4)))


@pytest.fixture(scope="module")
def reference(clean: Sound) -> Fingerprint:
    return compute_fingerprint(clean, RATE)


def coded(sound: Sound, rate: int, container: str, subtype: str, compression: float) -> Sound:
    """Through a codec: written second by second, since libsndfile's encoders overflow the stack on long arrays."""
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate, 1, format=container, subtype=subtype, compression_level=compression
    ) as out:
        for first in range(0, len(sound), rate):
            out.write(sound[first : first + rate])
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0])


@pytest.mark.parametrize(
    ("container", "subtype", "compression"),
    [
        ("OGG", "VORBIS", 0.5),
        ("OGG", "VORBIS", 1.0),
        ("OGG", "OPUS", 0.9),
        ("MP3", "MPEG_LAYER_III", 0.5),
        ("MP3", "MPEG_LAYER_III", 0.95),
    ],
)
def test_an_excerpt_is_found_through_codecs(
    clean: Sound, reference: Fingerprint, container: str, subtype: str, compression: float
) -> None:
    excerpt = coded(clean[round(6.37 * RATE) : round(16.37 * RATE)], RATE, container, subtype, compression)
    match = find_match(compute_fingerprint(excerpt, RATE), reference)
    assert match is not None
    assert match.offset == pytest.approx(6.37, abs=0.08)
    assert match.share > 0.2
    assert match.seconds >= 8


@pytest.mark.parametrize("start", [0.0, 3.1234, 9.99])
@pytest.mark.parametrize("gain", [0.01, 1.0])
def test_an_excerpt_is_found_at_any_level_and_place(
    clean: Sound, reference: Fingerprint, start: float, gain: float
) -> None:
    excerpt = gain * clean[round(start * RATE) : round((start + 10) * RATE)]
    match = find_match(compute_fingerprint(excerpt, RATE), reference)
    assert match is not None
    assert match.offset == pytest.approx(start, abs=0.03)
    assert match.share > 0.3


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
def test_the_rate_does_not_matter(clean: Sound, reference: Fingerprint, rate: int) -> None:
    excerpt = soxr.resample(clean[5 * RATE : 15 * RATE], RATE, rate)
    match = find_match(compute_fingerprint(np.stack([excerpt, 0.8 * excerpt], axis=1), rate), reference)
    assert match is not None
    assert match.offset == pytest.approx(5.0, abs=0.03)


def test_equalization_and_noise_do_not_matter(clean: Sound, reference: Fingerprint) -> None:
    tilted = signal.lfilter([1, -0.7], [1], clean[5 * RATE : 15 * RATE])
    noisy = tilted + 10 ** (-20 / 20) * np.std(tilted) * np.random.default_rng(0).standard_normal(len(tilted))
    match = find_match(compute_fingerprint(noisy, RATE), reference)
    assert match is not None
    assert match.offset == pytest.approx(5.0, abs=0.03)


def test_a_whole_is_found_in_its_part(clean: Sound, reference: Fingerprint) -> None:
    match = find_match(reference, compute_fingerprint(clean[7 * RATE : 14 * RATE], RATE))
    assert match is not None
    assert match.offset == pytest.approx(-7.0, abs=0.03)
    assert match.share > 0.2


def test_parts_that_overlap_match_there(clean: Sound) -> None:
    first, second = compute_fingerprint(clean[: 13 * RATE], RATE), compute_fingerprint(clean[6 * RATE :], RATE)
    match = find_match(first, second)
    assert match is not None
    assert match.offset == pytest.approx(-6.0, abs=0.03)
    assert 5 <= match.seconds <= 8


def test_other_music_does_not_match(clean: Sound, reference: Fingerprint) -> None:
    assert (
        find_match(compute_fingerprint(clean[: 7 * RATE], RATE), compute_fingerprint(clean[10 * RATE :], RATE)) is None
    )
    for number in range(8):
        assert find_match(compute_fingerprint(other(clean, number), RATE), reference) is None


@pytest.mark.slow
def test_public_clips_of_different_tracks_do_not_match(shared: Path) -> None:
    index = Index()
    tracks = {}
    for path in sorted((shared / "music").glob("*/*-1.ogg"))[::12]:
        name = f"{path.parent.name}/{path.stem}"
        tracks[name] = fingerprint_file(path)
        index.add(name, tracks[name])
    assert len(tracks) > 30
    for name, item in tracks.items():
        assert [found for found, _ in index.lookup(item)] == [name]


def test_a_faster_version_is_another_recording(clean: Sound, reference: Fingerprint) -> None:
    faster = soxr.resample(clean, RATE, RATE / 1.06)
    assert find_match(compute_fingerprint(faster, RATE), reference) is None


def test_blocks_do_not_change_a_fingerprint(tmp_path: Path, clean: Sound) -> None:
    sound = np.concatenate([clean, *(0.3 * other(clean, number) for number in range(9))])[: 160 * RATE]
    path = tmp_path / "long.wav"
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    whole, by_blocks = compute_fingerprint(sound, RATE), fingerprint_file(path)
    assert by_blocks.seconds == pytest.approx(160.0, abs=0.2)
    assert abs(whole.length - by_blocks.length) <= 1
    same = np.intersect1d(
        whole.hashes.astype(np.int64) << 20 | whole.frames, by_blocks.hashes.astype(np.int64) << 20 | by_blocks.frames
    )
    # Peaks are kept down to a level below the loudest of their block, so a few of the quietest differ.
    assert len(same) > 0.9 * len(whole.hashes)


def test_short_and_silent_audio_has_no_hashes_and_no_match(reference: Fingerprint) -> None:
    for sound in (np.zeros(0, np.float32), np.zeros(10, np.float32), np.zeros(5 * RATE, np.float32)):
        item = compute_fingerprint(sound, RATE)
        assert len(item.hashes) == 0
        assert find_match(item, reference) is None
        assert find_match(reference, item) is None
    assert Index().lookup(reference) == []


def test_the_best_match_comes_first(clean: Sound, reference: Fingerprint) -> None:
    index = Index()
    first = round(200 * 256 / 11_025 * RATE)  # a whole number of frames, so that it agrees as well as the whole does
    index.add("part", compute_fingerprint(clean[first : 12 * RATE], RATE))
    index.add("whole", reference)
    index.add("other", compute_fingerprint(other(clean, 3), RATE))
    query = compute_fingerprint(clean[round(5.3 * RATE) : round(15.3 * RATE)], RATE)
    assert [name for name, _ in index.lookup(query)] == ["whole", "part"]
    assert len(index) == 3


def test_how_much_must_agree_is_a_parameter(clean: Sound, reference: Fingerprint) -> None:
    excerpt = compute_fingerprint(clean[5 * RATE : 8 * RATE], RATE)
    assert find_match(excerpt, reference) is None
    assert find_match(excerpt, reference, MatchThresholds(seconds=2)) is not None
    assert find_match(excerpt, reference, MatchThresholds(seconds=2, share=1.1)) is None


def test_of_repeated_recordings_the_first_is_kept(clean: Sound) -> None:
    second = other(clean, 1)
    recordings = [
        ("test/a", compute_fingerprint(clean, RATE)),
        ("valid/b", compute_fingerprint(second, RATE)),
        ("train/a", compute_fingerprint(coded(clean, RATE, "OGG", "VORBIS", 0.6)[2 * RATE :], RATE)),
        ("train/c", compute_fingerprint(other(clean, 2), RATE)),
        ("train/part", compute_fingerprint(0.3 * second[4 * RATE : 14 * RATE], RATE)),
    ]
    found = find_repeats(recordings)
    assert [(item.duplicate, item.original) for item in found] == [("train/a", "test/a"), ("train/part", "valid/b")]
    assert found[0].match.share > 0.2


def test_known_recordings_are_kept_before_all_others(clean: Sound) -> None:
    known = Index()
    known.add("public/clip", compute_fingerprint(coded(clean[8 * RATE : 18 * RATE], RATE, "OGG", "VORBIS", 0.3), RATE))
    recordings = [
        ("test/a", compute_fingerprint(clean, RATE)),
        ("train/a", compute_fingerprint(clean[RATE:], RATE)),
        ("train/start", compute_fingerprint(clean[: 7 * RATE], RATE)),
    ]
    found = find_repeats(recordings, known)
    # The start of the dropped recording is in no clip and in no recording that stays.
    assert [(item.duplicate, item.original) for item in found] == [
        ("test/a", "public/clip"),
        ("train/a", "public/clip"),
    ]


def test_fingerprints_are_saved_and_loaded(tmp_path: Path, reference: Fingerprint) -> None:
    path = tmp_path / "a.npz"
    reference.save(path)
    again = Fingerprint.load(path)
    assert np.array_equal(again.hashes, reference.hashes)
    assert np.array_equal(again.frames, reference.frames)
    assert again.length == reference.length
    path.write_bytes(b"PK\x03\x04 no arrays")
    with pytest.raises(CorpusError, match=r"a\.npz"):
        Fingerprint.load(path)
    with pytest.raises(CorpusError, match=r"b\.npz"):
        Fingerprint.load(tmp_path / "b.npz")


def test_files_that_are_no_audio_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    path.write_bytes(b"no audio")
    with pytest.raises(CorpusError, match=r"cannot read .*a\.ogg"):
        fingerprint_file(path)
    with pytest.raises(CorpusError, match="game/theme"):
        fingerprint_file(io.BytesIO(b"no audio"), name="game/theme")
