"""Synthesized surroundings: as loud as they say, where they say in the spectrum, as slow as they say."""

from __future__ import annotations

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.training.degradations import DEGRADATIONS, environment
from haaqi_edge.training.degradations.chains import Degradation
from haaqi_edge.training.degradations.environment import (
    RANGES,
    band,
    coloured_noise,
    crowd,
    dc,
    mains_hum,
    random_swell,
    rumble,
    traffic,
    wind,
)
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]
RATE = 24_000
SECONDS = 20


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


@pytest.fixture(scope="module")
def music() -> Array:
    """A carrier whose crest factor is like music's."""
    return np.asarray(0.1 * rng(9).standard_normal(SECONDS * RATE))


def share(x: Array, low: float, high: float) -> float:
    """Of the energy, what lies between two frequencies."""
    hz = np.fft.rfftfreq(len(x), 1 / RATE)
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    return float(power[(hz >= low) & (hz < high)].sum() / power.sum())


def levels(x: Array, hop: float = 0.05) -> Array:
    """RMS in dB of successive parts."""
    size = int(hop * RATE)
    return np.asarray(10 * np.log10(np.mean(x[: len(x) // size * size].reshape(-1, size) ** 2, axis=1) + 1e-20))


@pytest.mark.parametrize("entry", [traffic, crowd, rumble], ids=lambda entry: entry.name)
@pytest.mark.parametrize("snr", [-10.0, 15.0])
def test_the_level_is_as_it_says(entry: Degradation, snr: float, excerpt: Excerpt) -> None:
    added = entry(excerpt.samples, RATE, rng(), snr=snr) - excerpt.samples
    assert 20 * np.log10(rms(excerpt.samples) / rms(added)) == pytest.approx(snr, abs=1e-6)


@pytest.mark.parametrize("hz", [0.5, 4.0])
def test_a_swell_is_as_slow_and_as_deep_as_it_says(hz: float) -> None:
    logarithm = np.log(random_swell(rng(1), 400 * RATE // 10, RATE // 10, (hz, 0.5)))
    assert logarithm.std() == pytest.approx(0.5, rel=0.25)
    power = np.abs(np.fft.rfft(logarithm - logarithm.mean())) ** 2
    frequency = np.fft.rfftfreq(len(logarithm), 10 / RATE)
    assert power[frequency < hz].sum() > 0.97 * power.sum()
    assert power[frequency > hz / 8].sum() > 0.3 * power.sum()


def test_coloured_noise_has_its_band() -> None:
    noise = coloured_noise(rng(), 10 * RATE, RATE, band(500, 1_000))
    assert share(noise, 350, 1_400) > 0.95
    assert share(noise, 500, 510) < 0.75 * share(noise, 700, 710)


@pytest.mark.slow
def test_traffic_rumbles_and_passes(music: Array) -> None:
    swings = []
    for seed in range(6):
        added = traffic(music, RATE, rng(seed), snr=0.0) - music
        assert share(added, 20, 2_000) > 0.8
        assert share(added, 20, 400) > 0.3
        smooth = np.convolve(levels(added, 0.1), np.ones(5) / 5, "valid")
        swings.append(np.ptp(smooth))
    assert np.median(swings) > 6


def test_a_vehicle_falls_in_pitch() -> None:
    """By the ratio (c + v) / (c - v) from far ahead to far behind: the phase of its engine, differentiated."""
    seconds = np.arange(4 * RATE) / RATE
    ratios = []
    for seed in range(12):
        x = environment._vehicle(rng(seed), seconds, RATE)
        hz, _, power = signal.spectrogram(x, RATE, nperseg=RATE // 2, nfft=4 * RATE, noverlap=RATE // 4)
        start, end = power[:, :2].mean(axis=1), power[:, -2:].mean(axis=1)
        low = hz < 300
        stretches = np.linspace(0.8, 1.2, 161)
        likeness = [
            np.corrcoef(np.log(start[low] + 1e-12), np.log(np.interp(hz[low] / s, hz, end) + 1e-12))[0, 1]
            for s in stretches
        ]
        ratios.append(float(stretches[int(np.argmax(likeness))]))
    assert np.median(ratios) > 1.01


def test_a_crowd_is_modulated_as_speech_is_but_in_noise(music: Array) -> None:
    added = crowd(music, RATE, rng(), snr=0.0) - music
    assert share(added, 80, 8_000) > 0.97
    assert share(added, 80, 1_000) > share(added, 1_000, 8_000)
    envelope = np.abs(
        signal.hilbert(signal.sosfilt(signal.butter(3, (400, 700), "band", fs=RATE, output="sos"), added))
    )
    decimated = envelope[: len(envelope) // 240 * 240].reshape(-1, 240).mean(axis=1)  # 100 Hz
    stationary = np.abs(signal.hilbert(coloured_noise(rng(3), len(added), RATE, band(400, 700, 3))))
    steady = stationary[: len(stationary) // 240 * 240].reshape(-1, 240).mean(axis=1)

    def modulation(e: Array) -> float:
        f, p = signal.welch(e / e.mean(), 100, nperseg=512)
        return float(p[(f > 0.5) & (f < 5)].sum())

    assert modulation(decimated) > 1.5 * modulation(steady)


def test_gusts_make_wind_uneven(music: Array) -> None:
    spreads = []
    for gust in (0.0, 0.4, 1.0):
        added = wind(music, RATE, rng(2), snr=10.0, gust=gust) - music
        assert share(added, 0, 500) > 0.8
        spreads.append(float(levels(added, 0.25).std()))
    assert spreads[0] + 1.5 < spreads[1] < spreads[2] - 1.5


def test_strong_wind_clips_at_the_microphone(excerpt: Excerpt) -> None:
    limit = 1.5 * np.abs(excerpt.samples).max()
    clipped = []
    for snr in (20.0, -20.0):
        y = wind(excerpt.samples, RATE, rng(2), snr=snr, gust=0.5)
        assert np.abs(y).max() <= limit
        clipped.append(float(np.mean(np.abs(y) == limit)))
    assert clipped[0] == 0
    assert clipped[1] > 0.05


def hum(x: Array, **changes: float) -> Array:
    values = {"hz": 50.0, "snr": 0.0, "harmonics": 20.0, "buzz": 0.5, **changes}
    return np.asarray(mains_hum(x, RATE, rng(), **values) - x)


@pytest.mark.slow
@pytest.mark.parametrize("harmonics", [1.0, 5.0, 40.0, 200.0])
def test_hum_has_as_many_harmonics_as_it_says(harmonics: float, music: Array) -> None:
    added = hum(music, harmonics=harmonics)
    assert 20 * np.log10(rms(music) / rms(added)) == pytest.approx(0, abs=1e-6)
    on = sum(share(added, k * 50 - 1, k * 50 + 1) for k in range(1, int(harmonics) + 1))
    assert on > 0.999
    assert share(added, harmonics * 50 - 1, harmonics * 50 + 1) > 1e-6


def test_buzz_is_bright_and_peaky(music: Array) -> None:
    round_, sharp = hum(music, buzz=0.0, harmonics=40.0), hum(music, buzz=1.0, harmonics=40.0)
    assert share(round_, 0, 175) > 0.9
    assert share(sharp, 1_000, 2_100) > 0.3
    assert np.abs(sharp).max() / rms(sharp) > 1.5 * np.abs(round_).max() / rms(round_)


def test_what_nobody_hears_leaves_the_music_at_its_level(excerpt: Excerpt) -> None:
    assert {name for name, entry in DEGRADATIONS.items() if entry.inaudible} == {"dc", "rumble"}
    samples = excerpt.samples
    for offset in (-3.0, 0.5):
        np.testing.assert_allclose(
            dc(samples, RATE, rng(), offset=offset) - samples, offset * rms(samples), rtol=0, atol=1e-12
        )
    added = rumble(samples, RATE, rng(), snr=0.0) - samples
    assert share(added, 0, 40) > 0.999
    assert share(added, 60, 12_000) < 1e-6


def test_ranges_lie_within_the_limits() -> None:
    entries = {name: entry for name, entry in vars(environment).items() if isinstance(entry, Degradation)}
    assert RANGES.keys() == entries.keys()
    for name, draws in RANGES.items():
        limits = entries[name].limits
        assert draws.keys() == limits.keys()
        for key, draw in draws.items():
            assert all(limits[key][0] <= draw(rng(seed)) <= limits[key][1] for seed in range(50))
