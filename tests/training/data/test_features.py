"""What training keeps of label rows beside their scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from haaqi_edge.runtime.audio import ArrayAudio
from haaqi_edge.runtime.audiogram import Audiogram
from haaqi_edge.runtime.levels import nal_r
from haaqi_edge.runtime.texture import BANDS, textures
from haaqi_edge.training.corpus.clips.clips import Clip
from haaqi_edge.training.data import features
from haaqi_edge.training.data.features import Features, clean_level, digest, patches_in, row_texture
from haaqi_edge.training.data.rows import Row, plan
from sounds import music

ROWS = plan([Clip("a.flac", "train", "x", "y", 10.0)], "train", 0, 8, 1.0)


def made(rows: list[Row], seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    patches = patches_in(rows[0].duration)
    return Features(
        rng.standard_normal((len(rows), patches, 16, BANDS)).astype(np.float16),
        rng.standard_normal((len(rows) // 4, patches, BANDS)).astype(np.float16),
        rng.integers(0, 256, (len(rows), 3, patches, BANDS), np.uint8),
        digest(rows),
    )


def same(a: Features, b: Features) -> None:
    for field in dataclasses.fields(Features):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_they_survive_being_saved(tmp_path: Path) -> None:
    given = made(ROWS)
    given.save(tmp_path / "deep" / "train-000000.npz")
    same(Features.load(tmp_path / "deep" / "train-000000.npz"), given)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["train-000000.npz"]


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, **_: object) -> None:
        path.write_bytes(b"a part")
        raise OSError("no space left on device")

    monkeypatch.setattr(features.np, "savez", full)  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="no space left"):
        made(ROWS).save(tmp_path / "train-000000.npz")
    assert not (tmp_path / "train-000000.npz").exists()


def test_a_digest_tells_sounds_apart_and_no_scores() -> None:
    first = digest(ROWS)
    assert digest([dataclasses.replace(row, score=0.3, synchrony=0.5) for row in ROWS]) == first
    assert digest(ROWS[:4]) != first
    assert digest(ROWS[::-1]) != first
    for change in (
        {"seed": 1},
        {"level": 1.0},
        {"chain": "clip(peak=0.5)"},
        {"aid": "nal-r(for=N7)"},
        {"start": 0.001},
    ):
        assert digest([dataclasses.replace(ROWS[0], **change), *ROWS[1:]]) != first  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("missing", [0, 40])
def test_textures_are_those_of_the_front_end(rate: int, missing: int) -> None:
    row = ROWS[0]
    x = music(1.0, rate, 3.0)[: rate - missing].astype(np.float64)  # what is missing at the end counts as silence
    wanted = textures(np.concatenate(list(ArrayAudio(np.pad(x, (0, 400 + missing)), rate).blocks())))[: patches_in(1.0)]
    got = row_texture(row, x, rate)
    assert got.shape == wanted.shape == (6, 16, BANDS)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=0.05)


def test_the_clean_level_is_that_of_the_amplified_music() -> None:
    row = dataclasses.replace(ROWS[0], audiogram=Audiogram.named("N4").levels)
    x = music(1.0, 24_000, 3.0)
    amplified = nal_r(x, 24_000, Audiogram(row.audiogram)).astype(np.float64)
    got = clean_level(row, x.astype(np.float64), 24_000)
    np.testing.assert_array_equal(got, row_texture(row, amplified, 24_000)[:, 0])
    assert got.shape == (6, BANDS)


def test_music_that_is_amplified_beyond_any_file() -> None:
    x = music(1.0, 24_000, 3.0).astype(np.float64)
    quiet, loud = (row_texture(ROWS[0], gain * x, 24_000).astype(np.float64) for gain in (1.0, 1e5))
    np.testing.assert_allclose(loud[:, 0] - quiet[:, 0], np.log(1e10), atol=0.05)  # ten decades of power
