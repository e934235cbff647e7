"""Levels and NAL-R, with pyclarity's NALR as the oracle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.levels import NalR, amplitude, check_level, decibels, nal_r, nal_r_filter, nal_r_gains
from haaqi_edge.runtime.audiogram import FREQUENCIES, STANDARD
from haaqi_edge.runtime.errors import HaaqiEdgeError, OptionError
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import Sound, music, noise

RATES = {24_000: 140, 16_000: 94, 48_000: 280}
"""Hz to pyclarity's order: 140 taps at 24 kHz, the same time at the others"""
LEVELS = st.lists(st.floats(-10, 120), min_size=8, max_size=8).map(tuple)


def oracle_filter(audiogram: Audiogram, rate: int, order: int) -> tuple[Any, np.ndarray]:
    """Return pyclarity's NALR and its filter. Skip the test if pyclarity is not installed."""
    nalr, oracles = pytest.importorskip("clarity.enhancer.nalr"), pytest.importorskip("clarity.utils.audiogram")
    oracle = nalr.NALR(order, rate)
    taps, _ = oracle.build(oracles.Audiogram(levels=np.array(audiogram.levels), frequencies=np.array(FREQUENCIES)))
    return oracle, taps


def formula(levels: tuple[float, ...]) -> list[float]:
    """The gains as the issue gives them; the levels at its six frequencies are all in the audiogram."""
    at = dict(zip((250, 500, 1000, 2000, 3000, 4000, 6000, 8000), levels, strict=True))
    used = [at[hz] for hz in (250, 500, 1000, 2000, 4000, 6000)]
    if max(used) <= 0:
        return [0.0] * 6
    s = at[500] + at[1000] + at[2000]
    x = 0.05 * s if s <= 180 else 9 + 0.116 * (s - 180)
    return [max(0.0, x + 0.31 * hl + bias) for hl, bias in zip(used, (-17, -8, 1, -1, -2, -2), strict=True)]


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("rate", RATES)
def test_the_filter_is_pyclaritys(name: str, rate: int) -> None:
    audiogram = Audiogram.named(name)
    got = nal_r_filter(audiogram, rate)
    _, expected = oracle_filter(audiogram, rate, RATES[rate])
    assert len(got) == RATES[rate] + 1
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@given(levels=LEVELS, rate=st.sampled_from(sorted(RATES)))
@settings(max_examples=60, deadline=None)
def test_the_filter_is_pyclaritys_for_any_listener(levels: tuple[float, ...], rate: int) -> None:
    audiogram = Audiogram(levels)
    _, expected = oracle_filter(audiogram, rate, RATES[rate])
    got = nal_r_filter(audiogram, rate)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@given(levels=LEVELS)
@settings(deadline=None)
def test_the_gains_follow_the_formula(levels: tuple[float, ...]) -> None:
    np.testing.assert_allclose(nal_r_gains(Audiogram(levels)), formula(levels), rtol=1e-12, atol=1e-9)


def test_gains_worked_by_hand() -> None:
    # N3: S = 35 + 40 + 50 = 125, X = 6.25; 250 Hz: 6.25 + 0.31 * 35 - 17 = 0.1
    np.testing.assert_allclose(nal_r_gains(Audiogram.named("N3")), [0.1, 9.1, 19.65, 20.75, 22.85, 24.4], atol=1e-9)
    # N6: S = 80 + 85 + 90 = 255 > 180, X = 9 + 0.116 * 75 = 17.7
    assert nal_r_gains(Audiogram.named("N6"))[2] == pytest.approx(17.7 + 0.31 * 85 + 1)
    assert not nal_r_gains(Audiogram.named("NH")).any()


@pytest.mark.parametrize("name", ["N2", "N4", "N7", "S3"])
def test_tones_are_amplified_by_the_gains(name: str) -> None:
    audiogram = Audiogram.named(name)
    rate, gains = 24_000, formula(STANDARD[name])
    for hz, gain in zip((1000, 2000, 4000, 6000), gains[2:], strict=True):
        tone = (0.01 * np.sin(2 * np.pi * hz * np.arange(rate) / rate)).astype(np.float32)
        inner = slice(1000, -1000)
        measured = decibels(float(np.std(nal_r(tone, rate, audiogram)[inner]) / np.std(tone[inner])))
        assert measured == pytest.approx(gain, abs=1.0), hz


@given(
    chunks=st.lists(st.integers(0, 400), min_size=1, max_size=12),
    name=st.sampled_from(["NH", "N3", "S3"]),
    rate=st.sampled_from(sorted(RATES)),
)
@settings(max_examples=80, deadline=None)
def test_the_stage_does_not_depend_on_chunks(chunks: list[int], name: str, rate: int) -> None:
    audiogram, sound = Audiogram.named(name), noise(sum(chunks))
    stage, at, got = NalR(audiogram, rate), 0, []
    for size in chunks:
        got.append(stage.push(sound[at : at + size]))
        at += size
    got.append(stage.finish())
    whole = nal_r(sound, rate, audiogram)
    assert np.array_equal(np.concatenate(got), whole)
    assert whole.dtype == np.float32
    assert len(whole) == len(sound)


@given(length=st.integers(1, 500), name=st.sampled_from(sorted(STANDARD)), rate=st.sampled_from(sorted(RATES)))
@settings(max_examples=60, deadline=None)
def test_the_result_is_pyclaritys_with_the_delay_cut(length: int, name: str, rate: int) -> None:
    check_against_oracle(noise(length), name, rate)


@pytest.mark.parametrize("name", ["N1", "N4", "S2"])
@pytest.mark.parametrize("rate", RATES)
def test_music_is_amplified_as_pyclarity_does(name: str, rate: int) -> None:
    check_against_oracle(music(4, rate), name, rate)


def check_against_oracle(sound: Sound, name: str, rate: int) -> None:
    oracle, taps = oracle_filter(Audiogram.named(name), rate, RATES[rate])
    delay = RATES[rate] // 2
    expected = oracle.apply(taps, sound.astype(np.float64))[delay : delay + len(sound)]
    got = nal_r(sound, rate, Audiogram.named(name))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(taps).sum() * np.abs(sound).max())


def test_who_needs_no_gain_gets_none() -> None:
    sound = music(2, 24_000)
    for audiogram in (Audiogram.named("NH"), Audiogram((-10,) * 8), Audiogram((0, 0, 0, 0, -5, 0, 0, 120))):
        assert np.array_equal(nal_r(sound, 24_000, audiogram), sound)


def test_a_cached_filter_cannot_be_written() -> None:
    taps = nal_r_filter(Audiogram.named("N3"), 24_000)
    with pytest.raises(ValueError, match="read-only"):
        taps[0] = 1


@given(value=st.floats(0, 140))
def test_levels_in_range_pass(value: float) -> None:
    assert check_level("spl", value) == value


@given(value=st.floats(max_value=-1e-6) | st.floats(min_value=140.001) | st.just(math.nan))
def test_levels_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(
        OptionError, match=r"^level1=.* is not a sound pressure level: give dB SPL from 0 to 140"
    ) as info:
        check_level("level1", value)
    assert isinstance(info.value, HaaqiEdgeError)
    assert isinstance(info.value, ValueError)


@given(decibel=st.floats(-140, 140))
def test_decibels_and_back(decibel: float) -> None:
    assert decibels(amplitude(decibel)) == pytest.approx(decibel, abs=1e-9)


def test_twenty_decibels_are_ten_times() -> None:
    assert amplitude(20) == pytest.approx(10)
    assert amplitude(-6.0206) == pytest.approx(0.5, abs=1e-6)
    assert decibels(0.1) == pytest.approx(-20)
