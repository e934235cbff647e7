"""The ear before the bands, and the bands' parameters, are pyclarity's."""

from __future__ import annotations

import numpy as np
import pytest
from haaqi_edge.haaqi import cochlea
from haaqi_edge.haaqi.cochlea import BANDS, RATE, Gammatone, Loss, broad_delay, centre_frequencies, resample, shift
from haaqi_edge.runtime.audiogram import STANDARD, Audiogram
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracle import eb
from sounds import music

FREQUENCIES = (250, 500, 1000, 2000, 4000, 6000)
Array = NDArray[np.float64]

levels_of_an_ear = st.lists(st.floats(-10, 120), min_size=6, max_size=6)


def noise(samples: int, seed: int = 0) -> Array:
    return 0.1 * np.random.default_rng(seed).standard_normal(samples)


def test_centre_frequencies() -> None:
    np.testing.assert_allclose(centre_frequencies(), eb.center_frequency(BANDS), rtol=1e-12)


def assert_same_loss(levels: Array) -> None:
    outer, bandwidth, knee, ratio, inner = eb.loss_parameters(levels, eb.center_frequency(BANDS))
    loss = Loss.of(levels)
    for got, wanted in (
        (loss.outer, outer),
        (loss.inner, inner),
        (loss.bandwidth, bandwidth),
        (loss.knee, knee),
        (loss.ratio, ratio),
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", STANDARD)
def test_losses_of_the_standard_audiograms(name: str) -> None:
    assert_same_loss(Audiogram.named(name).at(FREQUENCIES))


@given(levels_of_an_ear)
def test_losses_of_any_audiogram(levels: list[float]) -> None:
    assert_same_loss(np.array(levels))


@given(st.floats(0, 140), levels_of_an_ear)
def test_filters_widen_with_the_level(level: float, levels: list[float]) -> None:
    least, widest = Loss.of(levels).bandwidth, cochlea.widest_bandwidths()
    got = cochlea.adjusted_bandwidth(np.full(BANDS, 10 ** ((level - 85) / 10)), least, 85.0)
    control = np.full(9, 10 ** ((level - 85) / 20))
    wanted = [eb.bandwidth_adjust(control, low, high, 85.0) for low, high in zip(least, widest, strict=True)]
    np.testing.assert_allclose(got, wanted, rtol=1e-9)


@given(levels_of_an_ear, st.floats(0, 1))
def test_bands_are_put_off_to_the_latest(levels: list[float], wide: float) -> None:
    least = Loss.of(levels).bandwidth
    bandwidth = least + wide * np.maximum(cochlea.widest_bandwidths() - least, 0)
    numbered = np.tile(np.arange(1.0, 601.0), (BANDS, 1))
    compensated = eb.group_delay_compensate(numbered, bandwidth, centre_frequencies(), RATE)
    np.testing.assert_array_equal(Gammatone.of(bandwidth).delay_to_latest(), np.count_nonzero(compensated == 0, axis=1))


def test_no_band_is_put_off_by_more_than_its_pad() -> None:
    assert Gammatone.of(np.ones(BANDS)).delay_to_latest().max() <= 450


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
def test_resampling(rate: int) -> None:
    x = noise(rate // 3)
    np.testing.assert_allclose(resample(x, rate), eb.resample_24khz(x, rate)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_silence_stays_silence(rate: int) -> None:
    assert not resample(np.zeros(rate), rate).any()


@settings(deadline=None, max_examples=20)
@given(st.integers(-3_000, 3_000), st.sampled_from([1.0, -0.3]), st.integers(0, 9))
def test_broad_alignment(delay: int, gain: float, seed: int) -> None:
    x = noise(9_000, seed)
    y = gain * np.roll(x, delay) + 0.3 * noise(9_000, seed + 100)
    assert broad_delay(x, y) == delay
    reference, processed = eb.input_align(x, y)
    sounding = np.flatnonzero(np.abs(x) > 0.001 * np.abs(x).max())
    span = slice(sounding[0], sounding[-1] + 1)
    np.testing.assert_array_equal(x[span], reference)
    np.testing.assert_array_equal(shift(y, broad_delay(x, y) - 48)[span], processed)


def test_broad_alignment_of_music_whose_spectrum_is_there() -> None:
    x, y = (music(1.0, RATE, 2.0, clip).astype(np.float64) for clip in ("clean", "degraded"))
    found = broad_delay(x, y, cochlea.correlation_spectrum(x))
    assert found == broad_delay(x, y)
    sounding = np.flatnonzero(np.abs(x) > 0.001 * np.abs(x).max())
    np.testing.assert_array_equal(shift(y, found - 48)[sounding[0] : sounding[-1] + 1], eb.input_align(x, y)[1])


@pytest.mark.parametrize("delay", [-5, 0, 5])
def test_shifting(delay: int) -> None:
    x = np.arange(1.0, 11.0)
    wanted = {-5: [0, 0, 0, 0, 0, 1, 2, 3, 4, 5], 0: x, 5: [6, 7, 8, 9, 10, 0, 0, 0, 0, 0]}
    np.testing.assert_array_equal(shift(x, delay), wanted[delay])


def test_middle_ear() -> None:
    x = noise(5_000)
    got = cochlea.middle_ear(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, eb.middle_ear(x, RATE), rtol=1e-5, atol=1e-8)


@given(levels_of_an_ear, st.floats(20, 110), st.floats(-30, 30), st.integers(0, 99))
def test_long_term_levels(levels: list[float], level1: float, control: float, seed: int) -> None:
    loss = Loss.of(levels)
    power = 10 ** np.random.default_rng(seed).uniform(-8, 1, BANDS)
    control_power = power * 10 ** (control / 10)
    got = cochlea.spectrum_level(power, control_power, loss, level1)
    roots = np.sqrt(power), np.sqrt(control_power)
    wanted = eb.convert_rms_to_sl(*roots, loss.outer, loss.knee, loss.ratio, loss.inner, level1)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


def test_long_term_levels_of_silence() -> None:
    assert not cochlea.spectrum_level(np.zeros(BANDS), np.zeros(BANDS), Loss.of(np.zeros(6)), 85.0).any()
