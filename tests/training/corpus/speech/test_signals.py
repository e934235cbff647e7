"""Active level, pauses, fundamental frequency, other talkers; on tones whose answers are known, and on music."""

from __future__ import annotations

import numpy as np
import pytest
from haaqi_edge.training.corpus.speech.signals import (
    RATE,
    active_level,
    change_tempo,
    change_voice,
    frame_levels,
    fundamental_frequency,
    pause_depth,
    shorten_pauses,
)
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]


def vowel(hz: float, formant: float, seconds: float = 4.0) -> Array:
    """Harmonics of a pitch under one formant."""
    t = np.arange(round(seconds * RATE)) / RATE
    orders = np.arange(1, int(7500 / hz))
    gains = 1 / (1 + ((orders * hz - formant) / 250) ** 2) + 0.03
    return np.asarray(0.1 * np.sin(2 * np.pi * hz * orders[:, None] * t).T @ gains)


def peak(x: Array) -> float:
    """Hz at which the smoothed spectrum is highest."""
    hz, power = signal.welch(x, RATE, nperseg=256)
    near = power >= 0.5 * power.max()
    return float(np.average(hz[near], weights=power[near]))


def test_pauses_do_not_count_in_the_active_level() -> None:
    tone = vowel(150, 700, 2.0)
    level = 10 * np.log10(np.mean(tone**2))
    assert active_level(tone) == pytest.approx(level, abs=0.3)
    paused = np.concatenate([tone, np.zeros(4 * RATE), tone])
    assert active_level(paused) == pytest.approx(level, abs=0.3)
    assert active_level(np.zeros(RATE)) == -120
    assert active_level(np.empty(0)) == -120


def test_the_floor() -> None:
    rng = np.random.default_rng(0)
    tone = vowel(150, 700, 2.0)
    noise = rng.standard_normal(len(tone)) * np.std(tone) * 10 ** (-40 / 20)
    assert pause_depth(np.concatenate([tone + noise, noise])) == pytest.approx(40, abs=2)
    assert len(frame_levels(tone)) == 200


def test_long_pauses_are_shortened_and_short_ones_stay() -> None:
    tone = vowel(150, 700, 1.0)
    level = active_level(tone)

    def gap(seconds: float) -> Array:
        return np.zeros(round(seconds * RATE))

    x = np.concatenate([gap(2.0), tone, gap(0.2), tone, gap(1.5), tone, gap(0.7)])
    y = shorten_pauses(x, 0.3, level, -100.0)
    assert len(y) / RATE == pytest.approx(3 + 0.2 + 0.3 + 2 * 0.15, abs=0.05)
    assert np.abs(y[[0, -1]]).max() < 1e-9
    assert len(shorten_pauses(gap(1.0), 0.3, level, -100.0)) == 0


@pytest.mark.parametrize("hz", [80.0, 120.0, 213.0, 330.0])
def test_fundamentals_are_found(hz: float) -> None:
    assert fundamental_frequency(vowel(hz, 800)) == pytest.approx(hz, rel=0.02)


def test_noise_has_no_fundamental() -> None:
    assert fundamental_frequency(np.random.default_rng(0).standard_normal(4 * RATE)) == 0
    assert fundamental_frequency(np.empty(0)) == 0


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_tempo_changes_without_pitch(factor: float) -> None:
    x = vowel(140, 800)
    y = change_tempo(x, factor)
    assert len(y) == round(len(x) * factor)
    assert fundamental_frequency(y) == pytest.approx(140, rel=0.02)
    assert np.std(y) == pytest.approx(np.std(x), rel=0.15)


@pytest.mark.parametrize(("pitch", "tract"), [(0.55, 0.85), (0.85, 0.95), (1.2, 1.08), (1.7, 1.16)])
def test_pitch_and_formant_move_apart(pitch: float, tract: float) -> None:
    hz = 110 if pitch > 1 else 200
    x = vowel(hz, 1500)
    y = change_voice(x, pitch, tract, 1.1)
    assert len(y) == pytest.approx(len(x) / 1.1, abs=RATE // 100)
    assert fundamental_frequency(y) == pytest.approx(hz * pitch, rel=0.03)
    assert peak(y) == pytest.approx(peak(x) * tract, rel=0.12)
