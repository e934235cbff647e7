"""Excerpts: the same each time, two sets that share nothing, and messages about folders that hold too little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.calibration.calibration_data import LISTENERS, SECONDS, ExcerptSet, composed, of_folder
from haaqi_edge.runtime.errors import AudioError, AudioFileNotFoundError
from haaqi_edge.runtime.features.patches import SAMPLE_RATE, patch_count
from sounds import DEMO, music


def write(folder: Path, seconds: float, name: str = "a.wav", rate: int = 44_100) -> Path:
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / name, music(seconds, rate), rate)
    return folder


def same(one: ExcerptSet, other: ExcerptSet) -> bool:
    return all(
        a.name == b.name and np.array_equal(a.samples, b.samples) and a.listeners == b.listeners
        for a, b in zip(one, other, strict=True)
    )


def test_composed_sets_come_again_and_share_nothing() -> None:
    calibration, accuracy, warnings = composed(4, 3)
    assert warnings == ()
    assert same(calibration, calibration)
    assert same(calibration, composed(4, 3).calibration)
    assert not set(calibration.places) & set(accuracy.places)
    assert not set(calibration.places) & set(composed(4, 3, seed=1).calibration.places)


def test_a_digest_tells_sets_apart() -> None:
    digests = [one.digest for sets in (composed(4, 3), composed(4, 3, seed=1)) for one in sets[:2]]
    assert len(set(digests)) == 4
    assert digests[0] == composed(4, 3).calibration.digest


def test_an_excerpt_is_whole_patches_of_a_presented_sound() -> None:
    levels = []
    for excerpt in composed(12, 1).calibration:
        assert excerpt.samples.dtype == np.float32
        assert patch_count(len(excerpt.samples)) == patch_count(int(SECONDS * SAMPLE_RATE))
        assert np.isfinite(excerpt.samples).all()
        assert np.abs(excerpt.samples).max() > 0
        assert len(set(excerpt.listeners)) == LISTENERS
        levels.append(20 * np.log10(np.sqrt(np.mean(np.square(excerpt.samples)))))
    assert np.ptp(levels) > 15  # dB: soft and loud, aided and not


def test_a_folder_gives_both_sets_their_own_stretches(tmp_path: Path) -> None:
    folder = write(tmp_path / "music", 20.0)
    write(folder, 20.0, "b.flac", 24_000)
    (folder / "broken.wav").write_bytes(b"RIFF\0\0")
    calibration, accuracy, warnings = of_folder(folder, 10, 6)
    assert len(calibration) == 10
    assert len(accuracy) == 6
    assert not set(calibration.places) & set(accuracy.places)
    assert {place.path and place.path.name for place in (*calibration.places, *accuracy.places)} == {"a.wav", "b.flac"}
    assert len(warnings) == 2
    assert "broken.wav was left out" in warnings[0]
    assert "40 s" in warnings[1]
    names = [excerpt.name for excerpt in calibration]
    assert len(set(names)) == len(names)  # a stretch that comes again is treated otherwise


def test_a_changed_file_changes_the_digest(tmp_path: Path) -> None:
    folder = write(tmp_path / "music", 20.0)
    before = of_folder(folder, 3, 2).calibration.digest
    soundfile.write(folder / "a.wav", 0.5 * music(20.0, 44_100), 44_100)
    assert of_folder(folder, 3, 2).calibration.digest != before


def test_too_little_music_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"holds 5 s of usable music, 10 s are the least"):
        of_folder(write(tmp_path / "short", 9.0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioFileNotFoundError, match="no audio"):
        of_folder(tmp_path / "empty")
    silent = tmp_path / "silent"
    silent.mkdir()
    soundfile.write(silent / "a.wav", np.zeros(16_000 * 30, dtype=np.float32), 16_000)
    with pytest.raises(AudioError, match="holds 0 s of usable music"):
        of_folder(silent)


def test_plenty_of_music_gives_no_warning(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    for turn in range(4):
        (folder / f"{turn}.flac").write_bytes(DEMO.read_bytes())
    assert of_folder(folder, 3, 2).warnings == ()
