"""Bands are aligned as pyclarity's `envelope_align` does it."""

from __future__ import annotations

import numpy as np
import pytest
from haaqi_edge.haaqi.alignment import LAGS, Aligner
from haaqi_edge.haaqi.bands import Bands, filter_bands
from haaqi_edge.haaqi.cochlea import BANDS, RATE, Loss, middle_ear
from haaqi_edge.haaqi.kernels import PAD
from haaqi_edge.runtime.audiogram import Audiogram
from numpy.typing import NDArray
from oracle import eb
from scipy import signal
from sounds import music

Array = NDArray[np.float64]
KINDS = ("env", "bm")


def bands_of(x: Array) -> Bands:
    loss = Loss.of(Audiogram.named("N2").at((250, 500, 1000, 2000, 4000, 6000)))
    return filter_bands(middle_ear(x), loss, 85.0)


def found(x: Bands, y: Bands, kind: str) -> NDArray[np.int64]:
    aligner = Aligner(getattr(x, kind), getattr(x, f"coarse_{kind}"), carried=kind == "bm")
    return aligner.delays(getattr(y, kind), getattr(y, f"coarse_{kind}"))


def moved(x: Array, delay: int) -> Array:
    """As `envelope_align` does, for a delay of the output."""
    if delay > 0:
        return np.concatenate([x[delay:], np.zeros(delay)])
    return np.concatenate([np.zeros(-delay), x[: len(x) + delay]])


def assert_same(x: Bands, y: Bands) -> None:
    """The same delays; where another lag has the same correlation to 1e-3, that one will do."""
    for kind in KINDS:
        got = found(x, y, kind)
        assert got.min() >= -LAGS
        assert got.max() < LAGS
        for band in range(BANDS):
            a, b = (getattr(part, kind)[band, PAD:-PAD].astype(np.float64) for part in (x, y))
            if not np.array_equal(moved(b, int(got[band])), eb.envelope_align(a, b)):
                correlation = signal.correlate(b, a, "full")[len(a) - 1 - LAGS : len(a) - 1 + LAGS]
                peak, ours = correlation.max(), correlation[got[band] + LAGS]
                assert ours >= peak - 1e-3 * np.abs(correlation).max(), (kind, band)


def excerpt(seconds: float, start: float, clip: str = "clean") -> Array:
    return music(seconds, RATE, start, clip).astype(np.float64)


@pytest.mark.parametrize("start", [1.0, 9.0])
def test_degraded_music(start: float) -> None:
    assert_same(bands_of(excerpt(0.6, start)), bands_of(excerpt(0.6, start, "degraded")))


def test_unrelated_music() -> None:
    assert_same(bands_of(excerpt(0.5, 2.0)), bands_of(excerpt(0.5, 13.0)))


def test_noise() -> None:
    rng = np.random.default_rng(0)
    assert_same(*(bands_of(0.1 * rng.standard_normal(9_001)) for _ in range(2)))


def test_short_clips() -> None:
    assert_same(bands_of(excerpt(0.2, 2.0)), bands_of(excerpt(0.2, 2.0, "degraded")))


def hum_over(x: Array) -> Array:
    """Music that is hardly there, under a loud low tone that high bands hear too."""
    t = np.arange(len(x)) / RATE
    return 0.003 * x + 0.3 * np.sin(2 * np.pi * 60 * t) * (1 + 0.3 * np.sin(2 * np.pi * 7 * t))


@pytest.mark.parametrize("start", [2.0, 9.0])
def test_high_bands_that_hear_low_notes(start: float) -> None:
    low_pass = signal.butter(6, 800, fs=RATE, output="sos")
    x = excerpt(0.5, start)
    assert_same(bands_of(signal.sosfilt(low_pass, x)), bands_of(signal.sosfilt(low_pass, np.tanh(20 * x))))
    assert_same(bands_of(hum_over(x)), bands_of(hum_over(np.roll(x, 70))))


@pytest.mark.parametrize("delay", [-LAGS, -1_003, -1, 0, 1, 48, 2_047, LAGS - 1])
def test_delays_are_found(delay: int) -> None:
    burst = np.zeros(16_000)
    burst[6_000:9_000] = np.hanning(3_000) * np.random.default_rng(3).standard_normal(3_000)
    x, y = bands_of(burst), bands_of(np.roll(burst, delay))
    for kind in KINDS:
        np.testing.assert_array_equal(found(x, y, kind), delay)


def test_silence_is_moved_as_pyclarity_moves_it() -> None:
    x, silence = bands_of(excerpt(0.3, 2.0)), bands_of(np.zeros(7_200))
    for kind in KINDS:
        np.testing.assert_array_equal(found(x, silence, kind), LAGS - 1)
        np.testing.assert_array_equal(found(silence, x, kind), LAGS - 1)
