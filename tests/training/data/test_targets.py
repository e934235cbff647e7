"""The dense targets say what a comparison's tiles say, patch by patch."""

from __future__ import annotations

import numpy as np
import pytest
from haaqi_edge.haaqi.cochlea import RATE
from haaqi_edge.haaqi.index import Listener, Reference, Tiles
from haaqi_edge.runtime.audio.levels import LEVEL1, nal_r
from haaqi_edge.runtime.audiogram import Audiogram
from haaqi_edge.training.data.targets import (
    DELAY,
    GAIN_RANGE,
    MISSING,
    PATCH,
    PLANES,
    dense_targets,
    dequantize_targets,
    quantize_targets,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sounds import music

PATCHES = 6
SYNCHRONY, ENVELOPE, GAIN = range(3)


def tiles(start: int = 0, seed: int = 0) -> Tiles:
    """Of a comparison of 5 patches, its tiles drawn by chance."""
    rng = np.random.default_rng(seed)
    count = 5 * PATCH
    synchrony = rng.uniform(0, 1, (32, count // 192)).astype(np.float32)
    synchrony[rng.random(synchrony.shape) < 0.3] = np.nan
    reference = rng.uniform(0, 60, (32, count // 96))
    return Tiles(start, synchrony, reference, np.maximum(reference + rng.normal(3, 10, reference.shape), 0))


def middles(count: int, hop: int, start: int) -> NDArray[np.int64]:
    """The patch in which each window of two hops has its middle, by counting."""
    return np.array([min(max((start + (n + 1) * hop - DELAY) // PATCH, 0), PATCHES - 1) for n in range(count)])


@pytest.mark.parametrize("start", [0, 1_000, 2 * PATCH])
def test_patch_by_patch(start: int) -> None:
    given = tiles(start)
    got = dense_targets(given, PATCHES)
    assert got.shape == (3, PATCHES, 32)
    assert got.dtype == np.float32
    segments = middles(given.synchrony.shape[1], 192, start)
    windows = middles(given.reference.shape[1], 96, start)
    for patch in range(PATCHES):
        for band in range(32):
            values = given.synchrony[band, segments == patch]
            wanted = values[np.isfinite(values)].mean() if np.isfinite(values).any() else np.nan
            assert got[SYNCHRONY, patch, band] == pytest.approx(wanted, abs=1e-5, nan_ok=True)
            x, y = (part[band, windows == patch] for part in (given.reference, given.processed))
            correlation, gain = (np.corrcoef(x, y)[0, 1], (y - x).mean()) if len(x) else (np.nan, np.nan)
            assert got[ENVELOPE, patch, band] == pytest.approx(correlation, abs=1e-5, nan_ok=True)
            assert got[GAIN, patch, band] == pytest.approx(gain, abs=1e-4, nan_ok=True)


def test_what_cannot_be_told() -> None:
    given = tiles()
    given.synchrony[3] = np.nan
    given.reference[3] = 0  # inaudible
    given.processed[3] = 0
    given.reference[4] = 0  # noise where there was silence
    given.processed[5] = 0  # music that is gone
    given.processed[6] += 100  # louder than is told apart
    got = dense_targets(given, PATCHES)[:, :5]
    assert np.isnan(got[:, :, 3]).all()
    assert np.isnan(got[ENVELOPE, :, 4]).all()
    assert (got[GAIN, :, 4] > 0).all()
    assert (got[ENVELOPE, :, 5] == 0).all()
    assert (got[GAIN, :, 5] < 0).all()
    assert (got[GAIN, :, 6] == GAIN_RANGE).all()


def test_music_amplified_and_nothing_else() -> None:
    x = music(0.8, RATE, 3.0)
    _, found = Reference(x, RATE, Listener("N2", level1=LEVEL1)).compare(nal_r(x, RATE, Audiogram.named("N2")), RATE)
    got = dense_targets(found, 5)
    assert np.nanmedian(got[SYNCHRONY]) > 0.95
    assert np.nanmedian(got[ENVELOPE]) > 0.99
    assert np.nanmedian(np.abs(got[GAIN])) < 0.5


def test_silence_before_the_music_has_no_profile() -> None:
    x, y = (np.pad(music(0.8, RATE, 3.0, clip), (3 * PATCH, 0)) for clip in ("clean", "degraded"))
    got = dense_targets(Reference(x, RATE, Listener("N2", level1=LEVEL1)).compare(y, RATE)[1], 8)
    assert np.isnan(got[:, :2]).all()
    assert np.isfinite(got[:, 3:7]).any(axis=(0, 2)).all()


LOWEST = np.array([0, -1, -GAIN_RANGE])[:, None, None]
SPAN = np.array([1, 2, 2 * GAIN_RANGE])[:, None, None]


@given(hnp.arrays(np.float32, (3, 2, 4), elements=st.floats(0, 1, width=32) | st.just(float("nan"))))
def test_bytes_are_within_half_a_step(share: NDArray[np.float32]) -> None:
    planes = (LOWEST + SPAN * share).astype(np.float32)
    stored = quantize_targets(planes)
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored == MISSING, np.isnan(planes))
    got = dequantize_targets(stored)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(planes))
    assert (np.abs(got - planes) <= SPAN * 0.501 / 254)[~np.isnan(planes)].all()
    np.testing.assert_array_equal(quantize_targets(got), stored)


def test_bytes_hold_the_ends_and_no_more() -> None:
    planes = np.stack([LOWEST - 9, LOWEST, LOWEST + SPAN, LOWEST + SPAN + 9])[..., 0].astype(np.float32)[..., None]
    got = dequantize_targets(quantize_targets(planes))
    for row, wanted in zip(got, (LOWEST, LOWEST, LOWEST + SPAN, LOWEST + SPAN), strict=True):
        np.testing.assert_allclose(row, wanted, atol=1e-6)
    assert len(PLANES) == 3
