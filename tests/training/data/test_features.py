"""Features of label rows: textures as the runtime computes them, and fingerprints of sounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from haaqi_edge.runtime.audio.levels import nal_r
from haaqi_edge.runtime.audio.reading import ArrayAudio
from haaqi_edge.runtime.audiogram import Audiogram
from haaqi_edge.runtime.features.texture import BANDS, textures
from haaqi_edge.training.corpus.clips import Clip
from haaqi_edge.training.data.features import clean_level, music_digest, patches_in, row_texture, rows_digest
from haaqi_edge.training.data.rows import plan_rows
from sounds import music

ROWS = plan_rows([Clip("a.flac", "train", "x", "y", 10.0)], "train", 0, 8, 1.0)


def test_a_digest_tells_sounds_apart_and_no_scores() -> None:
    first = rows_digest(ROWS)
    assert rows_digest([dataclasses.replace(row, score=0.3, synchrony=0.5) for row in ROWS]) == first
    assert rows_digest(ROWS[:4]) != first
    assert rows_digest(ROWS[::-1]) != first
    for change in (
        {"seed": 1},
        {"level": 1.0},
        {"chain": "clip(peak=0.5)"},
        {"aid": "nal-r(for=N7)"},
        {"start": 0.001},
    ):
        assert rows_digest([dataclasses.replace(ROWS[0], **change), *ROWS[1:]]) != first  # type: ignore[arg-type]


def test_rows_of_a_group_share_their_music() -> None:
    first = music_digest(ROWS[0])
    assert [music_digest(row) == first for row in ROWS] == [True] * 4 + [False] * 4
    for change in ({"audiogram": (10.0,) * 8}, {"level": 1.0}, {"variation": "gain(by=2)"}, {"start": 0.001}):
        assert music_digest(dataclasses.replace(ROWS[0], **change)) != first  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("missing", [0, 40])
def test_textures_are_those_of_the_front_end(rate: int, missing: int, version: int) -> None:
    row = ROWS[0]
    x = music(1.0, rate, 3.0)[: rate - missing].astype(np.float64)  # what is missing at the end counts as silence
    padded = np.concatenate(list(ArrayAudio(np.pad(x, (0, 400 + missing)), rate).blocks()))
    wanted = textures(padded, version)[: patches_in(1.0)]
    got = row_texture(row, x, rate, version)
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
