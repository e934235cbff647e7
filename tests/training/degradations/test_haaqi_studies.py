"""The conditions of the HAAQI studies do what they say, by as much as they say."""

from __future__ import annotations

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.training.degradations import DEGRADATIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[np.float64]
RATE = 24_000


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def energy(x: Array, low: float, high: float, rate: int = RATE) -> float:
    """Energy from `low` to `high` Hz, under a window that keeps the loud frequencies out of the soft ones."""
    hz = np.fft.rfftfreq(len(x), 1 / rate)
    return float((np.abs(np.fft.rfft(x * np.hanning(len(x))))[(hz >= low) & (hz < high)] ** 2).sum())


def gain(y: Array, x: Array, low: float, high: float) -> float:
    """dB by which `y` exceeds `x` from `low` to `high` Hz."""
    return 10 * float(np.log10(energy(y, low, high) / energy(x, low, high)))


@pytest.fixture(scope="module")
def white() -> Array:
    return np.random.default_rng(1).standard_normal(2 * RATE)


@settings(deadline=None, max_examples=20)
@given(snr=st.floats(-20, 80), length=st.integers(12_000, 48_000))
@pytest.mark.parametrize("name", ["noise", "music_babble"])
def test_noise_is_as_loud_as_it_says(name: str, snr: float, length: int, excerpt: Excerpt) -> None:
    samples = excerpt.samples[:length]
    noisy = DEGRADATIONS[name](samples, RATE, rng(), snr=snr)
    assert 20 * np.log10(rms(samples) / rms(noisy - samples)) == pytest.approx(snr, abs=1e-4)


def test_noise_has_the_spectrum_of_speech(excerpt: Excerpt) -> None:
    added = DEGRADATIONS["noise"](excerpt.samples, RATE, rng(), snr=0.0) - excerpt.samples
    density = {hz: 10 * np.log10(energy(added, hz * 0.8, hz * 1.25) / hz) for hz in (150, 300, 1000, 2000, 4000)}
    assert density[300] - density[150] == pytest.approx(0, abs=1.5)
    assert density[2000] - density[1000] == pytest.approx(-9, abs=1.5)
    assert density[4000] - density[2000] == pytest.approx(-9, abs=1.5)


def test_babble_is_music_but_not_the_music(excerpt: Excerpt) -> None:
    samples = excerpt.samples
    added = DEGRADATIONS["music_babble"](samples, RATE, rng(), snr=0.0) - samples
    assert abs(np.corrcoef(added, samples)[0, 1]) < 0.3
    bands = [(100, 400), (400, 1600), (1600, 6400)]
    assert max(abs(gain(added, samples, *band)) for band in bands) < 4


def test_clipping_and_quantizing_do_what_they_say(excerpt: Excerpt) -> None:
    samples = excerpt.samples
    peak = np.abs(samples).max()
    clipped = DEGRADATIONS["clip"](samples, RATE, rng(), peak=0.25)
    assert np.abs(clipped).max() == pytest.approx(0.25 * peak)
    assert (clipped == samples)[np.abs(samples) < 0.25 * peak].all()
    quantized = DEGRADATIONS["quantize"](samples, RATE, rng(), bits=3.0)
    assert len(np.unique(np.round(quantized / peak, 9))) <= 9
    assert np.abs(quantized - samples).max() <= peak / 8 + 1e-12


def test_compression_brings_loud_and_soft_together(excerpt: Excerpt) -> None:
    steps = np.repeat([1.0, 0.1], RATE) * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    found = []
    for ratio in (1.0, 2.0, 8.0):
        y = DEGRADATIONS["compress"](steps, RATE, rng(), ratio=ratio, attack=2.0, release=50.0)
        found.append(20 * np.log10(rms(y[RATE // 2 : RATE]) / rms(y[-RATE // 2 :])))
    assert found[0] == pytest.approx(20, abs=0.01)
    assert found[1] == pytest.approx(10, abs=0.3)  # 20 dB through 2 to 1
    assert found[2] == pytest.approx(2.5, abs=0.3)
    y = DEGRADATIONS["compress"](excerpt.samples, RATE, rng(), ratio=10.0, attack=0.5, release=30.0)
    spreads = [np.std([np.log(rms(part)) for part in np.array_split(x, 20)]) for x in (excerpt.samples, y)]
    assert spreads[1] < 0.5 * spreads[0]


@pytest.mark.parametrize(
    ("name", "source"), [("spectral_subtraction", "noise"), ("babble_subtraction", "music_babble")]
)
def test_subtraction_takes_noise_away_and_music_with_it(name: str, source: str, excerpt: Excerpt) -> None:
    samples = excerpt.samples
    noisy = DEGRADATIONS[source](samples, RATE, rng(), snr=0.0)
    nothing = DEGRADATIONS[name](samples, RATE, rng(), snr=0.0, over=0.0)
    np.testing.assert_allclose(nothing, noisy, atol=1e-12)  # segments add up to the whole
    some, much = (DEGRADATIONS[name](samples, RATE, rng(), snr=0.0, over=over) for over in (1.0, 4.0))
    assert rms(much) < rms(some) < rms(noisy)
    best = min(rms(factor * some - samples) for factor in np.linspace(0.5, 2, 31))
    assert best < rms(noisy - samples)


@pytest.mark.parametrize("hz", [500.0, 1_000.0, 4_000.0])
def test_filters_take_away_what_they_say(hz: float, white: Array) -> None:
    low = DEGRADATIONS["lowpass"](white, RATE, rng(), hz=hz)
    high = DEGRADATIONS["highpass"](white, RATE, rng(), hz=hz)
    for y, stopped, passed in ((low, 2 * hz, hz / 2), (high, hz / 2, 2 * hz)):
        # Sixth-order Butterworth: 36 dB per octave, and 3 dB at the corner; high octaves are warped
        assert gain(y, white, 0.95 * stopped, 1.05 * stopped) < -33
        assert gain(y, white, 0.95 * passed, 1.05 * passed) == pytest.approx(0, abs=0.3)
        assert gain(y, white, 0.97 * hz, 1.03 * hz) == pytest.approx(-3, abs=0.7)
    both = DEGRADATIONS["bandpass"](white, RATE, rng(), low=hz / 2, high=hz)
    np.testing.assert_allclose(
        both, DEGRADATIONS["lowpass"](DEGRADATIONS["highpass"](white, RATE, rng(), hz=hz / 2), RATE, rng(), hz=hz)
    )


def test_a_low_pass_beyond_the_rate_is_none(white: Array) -> None:
    y = DEGRADATIONS["lowpass"](white, RATE, rng(), hz=20_000.0)
    assert gain(y, white, 100, 10_000) == pytest.approx(0, abs=0.1)


@settings(deadline=None, max_examples=20)
@given(slope=st.floats(-12, 12))
def test_a_tilt_is_as_steep_as_it_says(slope: float, white: Array) -> None:
    y = DEGRADATIONS["tilt"](white, RATE, rng(), slope=slope)
    assert gain(y, white, 990, 1_010) == pytest.approx(0, abs=0.3)
    assert gain(y, white, 3_960, 4_040) == pytest.approx(2 * slope, abs=0.3)
    assert gain(y, white, 247, 253) == pytest.approx(-2 * slope, abs=0.6)


@pytest.mark.parametrize("peaks", [1, 3])
def test_resonances_peak_where_they_say(peaks: int, white: Array) -> None:
    y = DEGRADATIONS["resonance"](white, RATE, rng(), hz=700.0, gain=18.0, peaks=float(peaks))
    for octave in range(3):
        centre = 700.0 * 2**octave
        expected = 18 if octave < peaks else 1.5  # a skirt
        assert gain(y, white, 0.995 * centre, 1.005 * centre) == pytest.approx(expected, abs=1.5)
    assert abs(gain(y, white, 100, 200)) < 1.5
