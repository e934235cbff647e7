"""Calibration data: reproducible, two sets that share nothing, and messages about folders with too little music."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.calibration.calibration_data import (
    EXCERPT_SECONDS,
    LISTENERS_PER_EXCERPT,
    ExcerptSet,
    create_folder_data,
    create_synthetic_data,
)
from haaqi_edge.runtime.errors import AudioError, AudioFileNotFoundError
from haaqi_edge.runtime.features.patches import SAMPLE_RATE, patch_count
from sounds import DEMO, music


def write(folder: Path, seconds: float, name: str = "a.wav", rate: int = 44_100) -> Path:
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / name, music(seconds, rate), rate)
    return folder


def equal(one: ExcerptSet, other: ExcerptSet) -> bool:
    return all(
        a.name == b.name and np.array_equal(a.samples, b.samples) and a.listeners == b.listeners
        for a, b in zip(one, other, strict=True)
    )


def test_synthetic_sets_are_reproducible_and_share_nothing() -> None:
    calibration, accuracy, warnings = create_synthetic_data(4, 3)
    assert warnings == ()
    assert equal(calibration, calibration)
    assert equal(calibration, create_synthetic_data(4, 3).calibration)
    assert not set(calibration.segments) & set(accuracy.segments)
    assert not set(calibration.segments) & set(create_synthetic_data(4, 3, seed=1).calibration.segments)


def test_different_sets_have_different_digests() -> None:
    digests = [
        one.digest for sets in (create_synthetic_data(4, 3), create_synthetic_data(4, 3, seed=1)) for one in sets[:2]
    ]
    assert len(set(digests)) == 4
    assert digests[0] == create_synthetic_data(4, 3).calibration.digest


@pytest.mark.slow
def test_an_excerpt_has_whole_patches() -> None:
    levels = []
    for excerpt in create_synthetic_data(12, 1).calibration:
        assert excerpt.samples.dtype == np.float32
        assert patch_count(len(excerpt.samples)) == patch_count(int(EXCERPT_SECONDS * SAMPLE_RATE))
        assert np.isfinite(excerpt.samples).all()
        assert np.abs(excerpt.samples).max() > 0
        assert len(set(excerpt.listeners)) == LISTENERS_PER_EXCERPT
        levels.append(20 * np.log10(np.sqrt(np.mean(np.square(excerpt.samples)))))
    assert np.ptp(levels) > 15  # dB: soft and loud, aided and not


def test_the_two_sets_of_a_folder_share_no_segment(tmp_path: Path) -> None:
    folder = write(tmp_path / "music", 20.0)
    write(folder, 20.0, "b.flac", 24_000)
    (folder / "broken.wav").write_bytes(b"RIFF\0\0")
    calibration, accuracy, warnings = create_folder_data(folder, 10, 6)
    assert len(calibration) == 10
    assert len(accuracy) == 6
    assert not set(calibration.segments) & set(accuracy.segments)
    assert {segment.path and segment.path.name for segment in (*calibration.segments, *accuracy.segments)} == {
        "a.wav",
        "b.flac",
    }
    assert len(warnings) == 2
    assert "broken.wav was skipped" in warnings[0]
    assert "40 s" in warnings[1]
    names = [excerpt.name for excerpt in calibration]
    assert len(set(names)) == len(names)  # a repeated segment gets another degradation


def test_a_changed_file_changes_the_digest(tmp_path: Path) -> None:
    folder = write(tmp_path / "music", 20.0)
    before = create_folder_data(folder, 3, 2).calibration.digest
    soundfile.write(folder / "a.wav", 0.5 * music(20.0, 44_100), 44_100)
    assert create_folder_data(folder, 3, 2).calibration.digest != before


def test_too_little_music_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="contains 5 s of usable music; calibration needs at least 10 s"):
        create_folder_data(write(tmp_path / "short", 9.0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioFileNotFoundError, match="no audio"):
        create_folder_data(tmp_path / "empty")
    silent = tmp_path / "silent"
    silent.mkdir()
    soundfile.write(silent / "a.wav", np.zeros(16_000 * 30, dtype=np.float32), 16_000)
    with pytest.raises(AudioError, match="contains 0 s of usable music"):
        create_folder_data(silent)


def test_enough_music_gives_no_warning(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.flac").write_bytes(DEMO.read_bytes())
    assert create_folder_data(folder, 3, 2).warnings == ()
