"""Hearing aids, rooms, links and codecs do what they say, by as much as they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.training.degradations import DEGRADATIONS
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]
RATE = 24_000


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def tone(hz: float, seconds: float = 1.0) -> Array:
    return np.asarray(np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE))


def energy(x: Array, low: float, high: float, rate: int = RATE) -> float:
    hz = np.fft.rfftfreq(len(x), 1 / rate)
    return float((np.abs(np.fft.rfft(x))[(hz >= low) & (hz < high)] ** 2).sum())


def wdrc(x: Array, **changes: float) -> Array:
    values = {"bands": 4.0, "ratio": 3.0, "threshold": -40.0, "attack": 2.0, "release": 50.0, **changes}
    return DEGRADATIONS["wdrc"](x, RATE, rng(), **values)


@pytest.mark.parametrize("bands", [1.0, 2.0, 5.0, 16.0])
def test_bands_add_up_to_the_whole(bands: float, excerpt: Excerpt) -> None:
    np.testing.assert_allclose(wdrc(excerpt.samples, bands=bands, ratio=1.0), excerpt.samples, atol=1e-12)


@pytest.mark.parametrize(("bands", "tolerance"), [(1.0, 0.05), (4.0, 1.0)])  # neighbouring bands compress less
def test_multi_band_compression_compresses_by_its_ratio(bands: float, tolerance: float) -> None:
    steps = np.repeat([1.0, 0.1], RATE) * np.tile(tone(1000), 2)
    for ratio in (1.5, 3.0):
        y = wdrc(steps, bands=bands, ratio=ratio)
        found = 20 * np.log10(rms(y[RATE // 2 : RATE]) / rms(y[-RATE // 2 :]))
        assert found == pytest.approx(20 / ratio, abs=tolerance)


def test_only_multi_band_compression_keeps_bands_apart() -> None:
    """A loud low tone comes and goes; with one band the soft high one is ducked by it, with several it is not."""
    x = 0.05 * tone(5_000, 2) + np.repeat([1.0, 0.0], RATE) * tone(150, 2)
    ducked = {}
    for bands in (1.0, 2.0, 4.0):
        y = wdrc(x, bands=bands, threshold=-60.0)
        ducked[bands] = 10 * np.log10(energy(y[-RATE // 2 :], 4_800, 5_200) / energy(y[RATE // 2 : RATE], 4_800, 5_200))
    assert ducked[1.0] > 10
    assert ducked[2.0] < 0.6 * ducked[1.0]  # split at 250 Hz, so the tone is in the upper band a little
    assert abs(ducked[4.0]) < 1.5


def test_attack_and_release_take_their_time() -> None:
    x = np.concatenate([0.1 * tone(1000), tone(1000), 0.1 * tone(1000)])
    levels = {ms: np.abs(signal.hilbert(wdrc(x, bands=1.0, attack=ms, release=ms))) for ms in (5.0, 100.0)}
    for ms, level in levels.items():
        just_after, much_later = int(RATE * (1 + 2e-3 * ms)), int(1.9 * RATE)
        assert level[just_after] > 1.02 * level[much_later]  # not yet turned down
    assert levels[100.0][int(1.05 * RATE)] > 1.2 * levels[5.0][int(1.05 * RATE)]
    assert levels[100.0][int(2.1 * RATE)] < 0.8 * levels[5.0][int(2.1 * RATE)]  # not yet turned up again


def test_soft_clipping_bends_peaks(excerpt: Excerpt) -> None:
    samples = excerpt.samples
    faint = DEGRADATIONS["softclip"](samples, RATE, rng(), drive=-20.0)
    assert rms(faint - samples) < 0.005 * rms(samples)
    crests = []
    for drive in (0.0, 10.0, 30.0):
        y = DEGRADATIONS["softclip"](samples, RATE, rng(), drive=drive)
        assert (np.sign(y) == np.sign(samples)).all()
        assert (np.abs(y) <= np.abs(samples) + 1e-12).all()
        crests.append(np.abs(y).max() / rms(y))
    assert crests[0] > crests[1] > crests[2]


def test_ringing_lasts_and_is_narrow() -> None:
    """After a click the loop rings around its frequency; the nearer to a howl, the longer, and a howl is bounded."""
    click = np.zeros(3 * RATE)
    click[0] = 1.0
    left = []
    for gain in (-6.0, -1.0, 3.0):
        y = DEGRADATIONS["ringing"](click, RATE, rng(), hz=2_000.0, gain=gain)
        left.append(rms(y[RATE // 5 :]))
        assert np.abs(y).max() < 2
        if gain > -6:
            assert energy(y[100:], 1_600, 2_500) > 0.9 * energy(y[100:], 0, 12_000)
    assert left[0] < 0.1 * left[1] < 0.01 * left[2]
    howl = DEGRADATIONS["ringing"](click, RATE, rng(), hz=2_000.0, gain=3.0)
    levels = [rms(part) for part in np.array_split(howl, 30)]
    assert max(levels) > 20 * min(levels[5:])  # it grows and decays


@pytest.mark.parametrize("skew", [0.05, 0.5])
def test_modulation_is_as_deep_and_as_quick_as_it_says(skew: float) -> None:
    gain = DEGRADATIONS["modulation"](np.ones(4 * RATE), RATE, rng(), hz=5.0, depth=0.6, skew=skew)
    assert gain.max() == pytest.approx(1.0, abs=1e-3)
    assert gain.min() == pytest.approx(0.4, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(gain - gain.mean()))
    assert np.fft.rfftfreq(len(gain), 1 / RATE)[spectrum.argmax()] == pytest.approx(5.0)
    assert np.mean(np.diff(gain) < 0) == pytest.approx(skew, abs=0.01)


@pytest.mark.parametrize("t60", [0.3, 1.0])
def test_reverberation_decays_as_it_says(t60: float) -> None:
    click = np.zeros(2 * RATE)
    click[0] = 1.0
    tail = DEGRADATIONS["reverb"](click, RATE, rng(), t60=t60, wet=0.5) - click
    assert np.sum(tail**2) == pytest.approx(0.5, rel=1e-6)
    fall = 10 * np.log10(np.sum(tail[: RATE // 20] ** 2) / np.sum(tail[RATE // 5 : RATE // 4] ** 2))
    assert fall == pytest.approx(60 * 0.2 / t60, abs=1.5)


def test_hum_is_on_the_harmonics_of_the_mains(excerpt: Excerpt) -> None:
    samples = excerpt.samples
    for hz in (50.0, 60.0):
        added = DEGRADATIONS["hum"](samples, RATE, rng(), hz=hz, snr=5.0) - samples
        assert 20 * np.log10(rms(samples) / rms(added)) == pytest.approx(5, abs=1e-6)
        on = sum(energy(added, k * hz - 1, k * hz + 1) for k in range(1, 21))
        assert on > 0.999 * energy(added, 0, 12_000)
        assert energy(added, 0, 3.5 * hz) > 0.5 * on


def test_dropouts_are_silent_and_as_long_as_they_say() -> None:
    steady = np.ones(4 * RATE)
    y = DEGRADATIONS["dropouts"](steady, RATE, rng(), per_second=2.0, ms=50.0)
    runs = [len(list(group)) for silent, group in itertools.groupby(y < 0.5) if silent]
    assert 2 <= len(runs) <= 16
    assert min(runs[:-1]) == pytest.approx(0.05 * RATE, rel=0.02)
    assert y.min() == pytest.approx(0, abs=1e-9)
    assert np.abs(np.diff(y)).max() < 0.1  # no clicks
    rare = DEGRADATIONS["dropouts"](steady, RATE, rng(), per_second=0.01, ms=50.0)
    assert (rare < 0.5).any()
    most = DEGRADATIONS["dropouts"](steady, RATE, rng(), per_second=20.0, ms=500.0)
    assert np.mean(most**2) > 0.05  # never all of it


@pytest.mark.parametrize("hz", [5_000.0, 8_000.0, 11_025.0])
def test_a_narrow_link_ends_at_half_its_rate(hz: float) -> None:
    white = np.random.default_rng(1).standard_normal(2 * RATE)
    y = DEGRADATIONS["resample"](white, RATE, rng(), hz=hz)
    assert energy(y, 0.6 * hz, 12_000) < 1e-3 * energy(white, 0.6 * hz, 12_000)
    assert energy(y - white, 100, 0.4 * hz) < 1e-3 * energy(white, 100, 0.4 * hz)


def test_a_link_of_a_higher_rate_changes_nothing(excerpt: Excerpt) -> None:
    assert (DEGRADATIONS["resample"](excerpt.samples, RATE, rng(), hz=24_000.0) == excerpt.samples).all()


CODECS = {
    "mp3": ("kbps", (8.0, 32.0, 160.0)),
    "vorbis": ("quality", (0.0, 0.5, 1.0)),
    "opus": ("kbps", (6.0, 16.0, 96.0)),
}


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_is_the_better_the_more_bits_it_has(name: str, excerpt: Excerpt) -> None:
    samples = excerpt.samples
    parameter, values = CODECS[name]
    errors = [rms(DEGRADATIONS[name](samples, RATE, rng(), **{parameter: value}) - samples) for value in values]
    assert errors[0] > 1.3 * errors[1] > 1.3**2 * errors[2]
    assert errors[2] < 0.1 * rms(samples)  # so in time, too


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("best", [False, True])
def test_no_codec_shifts_the_music(name: str, rate: int, best: bool, excerpt: Excerpt) -> None:
    music = signal.resample_poly(excerpt.samples[:24_000], rate, 24_000)
    parameter, values = CODECS[name]
    y = DEGRADATIONS[name](music, rate, rng(), **{parameter: values[2 if best else 1]})
    assert y.shape == music.shape
    lag = int(signal.correlate(y, music).argmax()) - (len(music) - 1)
    assert abs(lag) <= 2
