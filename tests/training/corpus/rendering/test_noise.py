"""Noise floors: measured in a track where it is quiet, and synthesized with the same level and spectrum."""

from __future__ import annotations

import numpy as np
import pytest
from haaqi_edge.training.corpus.rendering.noise import Floor, NoiseFloors, measure_floor
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]
SECONDS = 20
FLAT = (1.0,) * 48


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def db(ratio: float) -> float:
    return float(20 * np.log10(ratio))


def white(rate: int, seconds: float = SECONDS, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(int(rate * seconds)))


def played(rate: int) -> Array:
    """A tone of -20 dBFS that is played for two seconds, then silent for one, and so on."""
    seconds = np.arange(SECONDS * rate) / rate
    return np.asarray(0.1 * np.sqrt(2) * np.sin(2 * np.pi * 440 * seconds) * (seconds % 3 < 2))


def powers(x: Array, rate: int, hz: Array) -> Array:
    """Power density of noise at frequencies, in dB."""
    frequencies, power = signal.welch(x, rate, nperseg=1024)
    return np.asarray(10 * np.log10(np.interp(hz, frequencies, power)))


@pytest.mark.parametrize("rate", [24_000, 44_100])
@pytest.mark.parametrize("level", [-85.0, -75.0, -62.0])
def test_the_level_of_a_floor_is_measured(level: float, rate: int) -> None:
    track = played(rate)
    noise = 10 ** (level / 20) * white(rate)
    found = measure_floor(track + noise, rate)
    assert found is not None
    assert found.level == pytest.approx(level - db(rms(track + noise)), abs=3)
    assert len(found.spectrum) == 48
    assert max(found.spectrum) == 1
    assert min(found.spectrum) > 0.5  # white


def test_single_precision_will_do() -> None:
    track = played(24_000) + 10 ** (-70 / 20) * white(24_000)
    single, double = measure_floor(track.astype(np.float32), 24_000), measure_floor(track, 24_000)
    assert single is not None
    assert double is not None
    assert single.level == pytest.approx(double.level, abs=0.02)
    np.testing.assert_allclose(single.spectrum, double.spectrum, atol=0.01)


def test_the_spectrum_of_a_floor_is_measured() -> None:
    rate = 24_000
    filters = signal.butter(2, 2_000, fs=rate, output="sos")
    noise = signal.sosfilt(filters, white(rate))
    noise *= 10 ** (-70 / 20) / rms(noise)
    found = measure_floor(played(rate) + noise, rate)
    assert found is not None
    hz = np.linspace(0, 12_000, 48)
    inside = (hz > 300) & (hz < 6_000)
    _, response = signal.freqz_sos(filters, hz[inside], fs=rate)
    spectrum = 20 * np.log10(np.array(found.spectrum)[inside])
    expected = 20 * np.log10(np.abs(response))
    np.testing.assert_allclose(spectrum - spectrum[0], expected - expected[0], atol=3)


@pytest.mark.parametrize(
    "track",
    [
        played(24_000),  # between its notes it is silent
        np.zeros(24_000 * SECONDS),
        np.round(played(24_000) * 2**15) / 2**15,
        0.1 * white(24_000),  # loud throughout
        played(24_000) + 10 ** (-45 / 20) * white(24_000),  # too loud to tell from music
        played(24_000) + 10 ** (-100 / 20) * white(24_000),  # dither
        10 ** (-75 / 20) * white(24_000),  # nothing but noise
        np.zeros(0),
        np.zeros(100),
    ],
    ids=["digital silence", "silence", "16 bits", "loud", "loud noise", "dither", "noise alone", "empty", "short"],
)
def test_a_track_without_a_floor(track: Array) -> None:
    assert measure_floor(track, 24_000) is None


def test_a_short_pause_is_no_floor() -> None:
    rate = 24_000
    seconds = np.arange(SECONDS * rate) / rate
    track = 0.1 * np.sin(2 * np.pi * 440 * seconds) * (np.abs(seconds - 10) > 0.4) + 10 ** (-70 / 20) * white(rate)
    assert measure_floor(track, rate) is None


@pytest.mark.parametrize("rate", [24_000, 44_100])
@pytest.mark.parametrize("samples", [1, 24_000, 100_003])
def test_noise_has_the_level_of_the_floor(samples: int, rate: int) -> None:
    noise = NoiseFloors([Floor(-48.0, FLAT)])(np.random.default_rng(1), samples, rate)
    assert noise is not None
    assert noise.shape == (samples,)
    assert noise.dtype == np.float64
    assert db(rms(noise)) == pytest.approx(-48, abs=1e-6)


def test_noise_has_the_spectrum_of_the_floor() -> None:
    hz = np.linspace(0, 12_000, 48)
    amplitude = 1 / (1 + hz / 1_500)
    noise = NoiseFloors([Floor(-50.0, tuple(amplitude.tolist()))])(np.random.default_rng(1), 24_000 * 30, 24_000)
    assert noise is not None
    found, expected = powers(noise, 24_000, hz[2:-2]), 20 * np.log10(amplitude[2:-2])
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1)


def test_a_measured_floor_comes_back() -> None:
    """What is synthesized and mixed with music is measured to be the floor that it was made from."""
    rate = 24_000
    noise = signal.sosfilt(signal.butter(1, 3_000, fs=rate, output="sos"), white(rate))
    first = measure_floor(played(rate) + 10 ** (-68 / 20) * noise / rms(noise), rate)
    assert first is not None
    track = played(rate)
    added = NoiseFloors([first])(np.random.default_rng(2), len(track), rate)
    assert added is not None
    again = measure_floor(track + rms(track) * added, rate)
    assert again is not None
    assert again.level == pytest.approx(first.level, abs=1)
    spectra = [np.array(floor.spectrum).reshape(-1, 6).mean(axis=1) for floor in (again, first)]
    np.testing.assert_allclose(spectra[0] / spectra[0].max(), spectra[1] / spectra[1].max(), atol=0.12)


def test_one_of_the_floors_is_drawn_by_the_generator() -> None:
    floors = NoiseFloors([Floor(-40.0, FLAT), Floor(-60.0, FLAT)])
    drawn = [floors(np.random.default_rng(seed), 2_000, 24_000) for seed in range(40)]
    levels = [round(db(rms(noise))) for noise in drawn if noise is not None]
    assert set(levels) == {-40, -60}
    assert 8 < levels.count(-40) < 32
    again = floors(np.random.default_rng(7), 2_000, 24_000)
    assert again is not None
    assert drawn[7] is not None
    assert (again == drawn[7]).all()


def test_without_floors_there_is_no_noise() -> None:
    assert NoiseFloors([])(np.random.default_rng(0), 100, 24_000) is None
