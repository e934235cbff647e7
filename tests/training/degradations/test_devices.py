"""Feedback cancelling, directional microphones, noise reduction, levelling and lowering do what they say."""

from __future__ import annotations

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.training.degradations import devices
from haaqi_edge.training.degradations.chains import Degradation
from haaqi_edge.training.degradations.devices import (
    RANGES,
    agc,
    directional_mic,
    feedback_tremolo,
    frequency_lowering,
    noise_reduction,
)
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]
RATE = 24_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def tone(hz: float, seconds: float = 2.0) -> Array:
    return np.asarray(np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE))


def level(x: Array, low: float, high: float) -> float:
    """dB of the RMS between two frequencies."""
    hz = np.fft.rfftfreq(len(x), 1 / RATE)
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x))))[(hz >= low) & (hz < high)]
    return float(10 * np.log10(np.sum(spectrum**2)))


def tremolo(x: Array, **changes: float) -> Array:
    values = {"hz": 800.0, "shift": 5.0, "wet": 0.5, "step": 0.0, **changes}
    return feedback_tremolo(x, RATE, rng(), **values)


@pytest.mark.parametrize("shift", [3.0, 10.0])
def test_a_shifted_tone_beats_with_the_direct_one(shift: float) -> None:
    envelope = np.abs(signal.hilbert(tremolo(tone(3_000), shift=shift)))[RATE // 4 : -RATE // 4]
    assert envelope.max() == pytest.approx(1, abs=0.05)
    assert envelope.min() < 0.1
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean(), 8 * RATE))
    assert spectrum.argmax() / 8 == pytest.approx(shift, abs=0.5)
    assert np.ptp(np.abs(signal.hilbert(tremolo(tone(100), shift=shift)))[RATE // 4 : -RATE // 4]) < 0.01  # not below


@pytest.mark.parametrize("hz", [2_000.0, 3_000.0])
def test_all_of_it_shifted_is_a_tone_of_another_pitch(hz: float) -> None:
    y = tremolo(tone(hz), shift=20.0, wet=1.0)
    assert level(y, hz + 18, hz + 22) > level(y, hz - 30, hz + 10) + 20


def test_the_canceller_takes_tones_and_leaves_noise() -> None:
    white = rng(1).standard_normal(2 * RATE)
    for step, at_least in ((0.003, 6.0), (0.03, 15.0)):
        taken = [
            level(x[RATE:], 1_500, 6_000) - level(tremolo(x, step=step, wet=1.0, shift=0.0)[RATE:], 1_500, 6_000)
            for x in (tone(3_000), white)
        ]
        assert taken[0] > at_least
        assert abs(taken[1]) < 1.0


def test_neither_shift_nor_canceller_change_nothing(excerpt: Excerpt) -> None:
    np.testing.assert_allclose(tremolo(excerpt.samples, shift=0.0, wet=0.0), excerpt.samples, atol=1e-12)


def test_a_directional_microphone_loses_bass_by_6_db_per_octave() -> None:
    click = np.zeros(RATE)
    click[RATE // 2] = 1.0
    response = np.abs(np.fft.rfft(directional_mic(click, RATE, rng(), hz=1_000.0, mm=12.0, snr=80.0)))
    decibels = 20 * np.log10(response)
    assert decibels[200] - decibels[100] == pytest.approx(6, abs=0.5)
    assert decibels[4_000] - decibels[3_000] == pytest.approx(0, abs=1)
    assert decibels[1_000] == pytest.approx(-3, abs=0.5)
    comb = np.abs(np.fft.rfft(directional_mic(click, RATE, rng(), hz=1_000.0, mm=40.0, snr=80.0)))
    zero = 343.0 / (2 * 0.040)
    assert abs(int(comb[3_000:6_000].argmin()) + 3_000 - zero) < 30


def test_microphones_have_noise_that_the_aid_lifts_in_the_bass(excerpt: Excerpt) -> None:
    quiet, noisy = (directional_mic(excerpt.samples, RATE, rng(), hz=300.0, mm=12.0, snr=snr) for snr in (80.0, 10.0))
    added = noisy - quiet
    assert 20 * np.log10(rms(quiet) / rms(added)) == pytest.approx(10, abs=0.2)
    assert level(added, 300, 600) > level(added, 4_800, 5_100) + 15


def test_noise_reduction_reduces_noise_more_than_a_melody() -> None:
    melody = np.concatenate([tone(hz, 0.2) for hz in (400, 900, 600, 1_500, 700, 2_000) * 2])
    hiss = 0.05 * rng(2).standard_normal(len(melody))
    y = noise_reduction(melody + hiss, RATE, rng(), db=20.0, over=1.5)
    half = slice(len(y) // 2, None)
    assert level(y[half], 4_000, 10_000) < level((melody + hiss)[half], 4_000, 10_000) - 8
    assert level(y[half], 300, 2_200) == pytest.approx(level(melody[half], 300, 2_200), abs=1.5)


def test_noise_reduction_takes_a_held_tone_for_noise(excerpt: Excerpt) -> None:
    held = tone(1_000, 6)
    falls = [
        rms(held[-RATE:]) / rms(noise_reduction(held, RATE, rng(), db=db, over=1.5)[-RATE:]) for db in (0.0, 6.0, 12.0)
    ]
    assert falls[0] == pytest.approx(1, abs=1e-6)
    assert falls[1] == pytest.approx(2, abs=0.1)
    assert falls[2] == pytest.approx(4, abs=0.3)
    np.testing.assert_allclose(
        noise_reduction(excerpt.samples, RATE, rng(), db=0.0, over=1.0), excerpt.samples, atol=1e-9
    )


def test_gain_control_levels_slowly_and_overshoots() -> None:
    steps = np.repeat([0.1, 1.0], 4 * RATE) * np.tile(tone(1_000, 4), 2)
    y = agc(steps, RATE, rng(), ratio=3.0, attack=300.0, release=300.0)
    change = 20 * np.log10(rms(y[-RATE:]) / rms(y[3 * RATE : 4 * RATE]))
    assert change == pytest.approx(20 / 3, abs=0.3)
    assert rms(y[4 * RATE : 4 * RATE + RATE // 50]) > 1.5 * rms(y[-RATE:])


@pytest.mark.parametrize(("hz", "ratio"), [(2_000.0, 2.0), (1_500.0, 3.0)])
def test_frequencies_above_the_cut_move_down(hz: float, ratio: float) -> None:
    for pitch in (500.0, 4_000.0, 8_000.0):
        y = frequency_lowering(tone(pitch), RATE, rng(), hz=hz, ratio=ratio)[RATE // 4 : -RATE // 4]
        expected = pitch if pitch < hz else hz * (pitch / hz) ** (1 / ratio)
        spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
        found = np.fft.rfftfreq(len(y), 1 / RATE)[spectrum.argmax()]
        assert found == pytest.approx(expected, abs=30)
        assert np.std(np.abs(signal.hilbert(y))[1000:-1000]) < 0.2 * rms(y)  # a tone stays one


def test_a_cut_above_the_music_changes_nothing(excerpt: Excerpt) -> None:
    y = frequency_lowering(excerpt.samples, RATE, rng(), hz=12_000.0, ratio=2.0)
    assert rms(y - excerpt.samples) < 1e-3 * rms(excerpt.samples)


@pytest.mark.parametrize("name", RANGES)
def test_a_condition_is_aligned_in_time(name: str, excerpt: Excerpt) -> None:
    entry = vars(devices)[name]
    for seed in range(4):
        drawn = {key: draw(rng(seed)) for key, draw in RANGES[name].items()}
        y = entry(excerpt.samples, RATE, rng(seed), **drawn)
        assert y.shape == excerpt.samples.shape
        correlation = signal.correlate(y, excerpt.samples, method="fft")
        if correlation.max() > 0.5 * rms(y) * rms(excerpt.samples) * len(y):
            assert abs(int(correlation.argmax()) - (len(y) - 1)) <= RATE // 1000


def test_ranges_lie_within_the_limits() -> None:
    entries = {name: entry for name, entry in vars(devices).items() if isinstance(entry, Degradation)}
    assert RANGES.keys() == entries.keys()
    for name, draws in RANGES.items():
        limits = entries[name].limits
        assert draws.keys() == limits.keys()
        for key, draw in draws.items():
            assert all(limits[key][0] <= draw(rng(seed)) <= limits[key][1] for seed in range(50))
