"""Variations of clean music: another speed, another balance; drawn in the planned shares."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.training.degradations.augmentation import (
    FIRST_RANGE,
    RANGE,
    VariationRange,
    apply_variation,
    random_clean_noise,
    random_variation,
    source_seconds,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

RATE = 24_000


@settings(deadline=None, max_examples=20)
@given(ratio=st.integers(70, 140))
def test_speed_changes_length_and_pitch(ratio: int) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    y = apply_variation(tone, RATE, f"speed(ratio={ratio / 100})")
    assert len(y) == pytest.approx(RATE * 100 / ratio, abs=1)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    assert np.fft.rfftfreq(len(y), 1 / RATE)[spectrum.argmax()] == pytest.approx(10 * ratio, abs=2)
    assert np.sqrt(np.mean(y**2)) == pytest.approx(np.sqrt(0.5), rel=0.01)


@pytest.mark.parametrize(("key", "hz"), [("low", 40), ("mid", 1_000), ("high", 10_500)])
def test_the_equalizer_lifts_its_band(key: str, hz: int, excerpt: Excerpt) -> None:
    levels = {"low": 0, "mid": 0, "high": 0, key: 4}
    tone = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)
    for sign in (1, -1):
        chain = f"equalize({','.join(f'{k}={sign * v}' for k, v in levels.items())})"
        lifted = apply_variation(tone, RATE, chain)[6_000:-6_000]
        change = 20 * np.log10(np.std(lifted) / np.std(tone))
        assert sign * change == pytest.approx(4, abs=0.6)
        assert apply_variation(excerpt.samples, RATE, chain).shape == excerpt.samples.shape


def test_a_flat_equalizer_and_none_change_nothing(excerpt: Excerpt) -> None:
    np.testing.assert_allclose(apply_variation(*excerpt, "equalize(low=0,mid=0,high=0)"), excerpt.samples, atol=1e-12)
    assert (apply_variation(*excerpt, "") == excerpt.samples).all()


def test_a_variation_says_how_much_music_it_takes() -> None:
    assert source_seconds("", 5.2) == 5.2
    assert source_seconds("equalize(low=1,mid=2,high=3)", 5.2) == 5.2
    assert source_seconds("speed(ratio=1.25)|equalize(low=1,mid=2,high=3)", 4.0) == 5.0


@pytest.mark.parametrize("spread", [RANGE, FIRST_RANGE])
def test_variations_are_spread_as_planned(spread: VariationRange) -> None:
    rng = np.random.default_rng(3)
    drawn = [random_variation(rng, spread=spread) for _ in range(4_000)]
    kinds = Counter("+".join(link.split("(")[0] for link in text.split("|")) for text in drawn)
    assert kinds.keys() == {"", "speed", "equalize", "speed+equalize"}
    assert kinds[""] / len(drawn) == pytest.approx(0.35, abs=0.03)
    for kind in kinds.keys() - {""}:
        assert kinds[kind] / len(drawn) == pytest.approx(0.65 / 3, abs=0.03)
    ratios = np.array([source_seconds(text, 1.0) for text in drawn if "speed" in text])
    assert spread.slowest <= ratios.min() < 1.02 * spread.slowest
    assert 0.98 * spread.fastest < ratios.max() <= spread.fastest
    middle = np.sqrt(spread.slowest * spread.fastest)
    assert np.mean(ratios < middle) == pytest.approx(0.5, abs=0.05)  # uniform in log
    levels = [
        float(part.split("=")[1]) for text in drawn if "equ" in text for part in text[:-1].split("(")[-1].split(",")
    ]
    assert -spread.gain <= min(levels) < 0.1 - spread.gain
    assert spread.gain - 0.1 < max(levels) <= spread.gain
    assert all(text == "" or apply_variation(np.ones(100), RATE, text).size for text in drawn[:20])


@pytest.mark.parametrize("fastest", [0.5, 0.9, 1.1])
def test_no_variation_is_faster_than_the_clip_is_long(fastest: float) -> None:
    rng = np.random.default_rng(3)
    ratios = [source_seconds(random_variation(rng, fastest), 1.0) for _ in range(300)]
    assert min(ratios) >= RANGE.slowest
    assert max(ratio for ratio in ratios if ratio != 1) <= max(fastest, RANGE.slowest) + 0.005


@pytest.mark.parametrize(
    ("variation", "words"),
    [
        ("noise(snr=3)", "is not a condition: expected .*'equalize', 'speed'"),
        ("speed(ratio=9)", "ratio=9 in .* is not a number from 0.5 to 2"),
        ("equalize(low=1)", r"equalize takes \['high', 'low', 'mid'\]"),
    ],
)
def test_other_variations_are_refused(variation: str, words: str, excerpt: Excerpt) -> None:
    with pytest.raises(OptionError, match=words):
        apply_variation(*excerpt, variation)
    with pytest.raises(OptionError, match=words):
        source_seconds(variation, 1.0)


def level_of(added: NDArray[np.float64], samples: NDArray[np.float64]) -> float:
    return float(20 * np.log10(np.std(added) / np.std(samples)))


def test_old_recordings_are_as_noisy_as_they_say(excerpt: Excerpt) -> None:
    samples = excerpt.samples
    for hiss in (-70, -40):
        added = apply_variation(*excerpt, f"tape(hiss_db={hiss},wow=0,seed=1)") - samples
        assert level_of(added, samples) == pytest.approx(hiss, abs=0.1)
    crackle = apply_variation(*excerpt, "vinyl(crackle_db=-40,hiss_db=-100,seed=1)") - samples
    surface = apply_variation(*excerpt, "vinyl(crackle_db=-100,hiss_db=-50,seed=1)") - samples
    assert level_of(crackle, samples) == pytest.approx(-40, abs=0.1)
    assert level_of(surface, samples) == pytest.approx(-50, abs=0.1)
    assert np.abs(crackle).max() / np.std(crackle) > 3 * np.abs(surface).max() / np.std(surface)


@pytest.mark.parametrize("kind", ["tape(hiss_db=-50,wow=0.1,seed={})", "vinyl(crackle_db=-50,hiss_db=-50,seed={})"])
def test_the_seed_says_what_noise_it_is(kind: str, excerpt: Excerpt) -> None:
    first, again, other = (apply_variation(*excerpt, kind.format(seed)) for seed in (3, 3, 4))
    assert (first == again).all()
    assert np.std(first - other) > 1e-4 * np.std(excerpt.samples)
    assert first.shape == excerpt.samples.shape


@pytest.mark.parametrize("wow", [0.2, 1.0])
def test_wow_bends_the_pitch(wow: float) -> None:
    tone = np.sin(2 * np.pi * 3_000 * np.arange(8 * RATE) / RATE)
    y = apply_variation(tone, RATE, f"tape(hiss_db=-100,wow={wow},seed=5)")
    pitch = np.diff(np.unwrap(np.angle(signal.hilbert(y)))) * RATE / (2 * np.pi)
    deviation = 100 * (np.convolve(pitch, np.ones(200) / 200, "valid")[RATE:-RATE] / 3_000 - 1)
    assert wow < np.abs(deviation).max() < 1.4 * wow
    assert np.std(np.abs(signal.hilbert(y))[RATE:-RATE]) < 2e-3  # interpolation itself is not heard


def test_one_clip_in_seven_has_the_noise_of_an_old_recording(excerpt: Excerpt) -> None:
    rng = np.random.default_rng(3)
    drawn = [random_clean_noise(rng) for _ in range(4_000)]
    kinds = Counter(text.split("(")[0] for text in drawn)
    assert kinds.keys() == {"", "tape", "vinyl"}
    assert kinds[""] / len(drawn) == pytest.approx(0.85, abs=0.02)
    assert kinds["tape"] / len(drawn) == pytest.approx(0.075, abs=0.015)
    noisy = [text for text in drawn if text]
    assert len({text.split("seed=")[1] for text in noisy}) > 300
    for text in noisy[:20]:
        y = apply_variation(*excerpt, text)
        assert y.shape == excerpt.samples.shape
        assert source_seconds(text, 5.2) == 5.2
