"""People talking behind music: as loud as said, as many as said, of both sexes, and no more than the voices hold."""

from __future__ import annotations

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.training.degradations import DEGRADATIONS, STUDIES, degrade
from haaqi_edge.training.degradations.speech import RANGES, STUDIED
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal
from voices import Voices

Array = NDArray[np.float64]
NAMES = ("babble", "speech_babble_subtraction", "speech_noise", "talker")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


class Watched(Voices):
    """Voices that remember who was asked for what."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, int]] = []

    def stretch(self, talker: int, start: int, length: int) -> Array:
        self.asked.append((talker, length))
        return super().stretch(talker, start, length)


def babble_of(rate: int, seconds: float, speech: Voices, seed: int = 0, talkers: float = 6, room: float = 0.0) -> Array:
    """Babble of unit RMS alone."""
    x = np.full(round(rate * seconds), 1e-3)
    y = DEGRADATIONS["babble"](x, rate, rng(seed), speech=speech, snr=0.0, talkers=talkers, room=room) - x
    return np.asarray(y / rms(y))


def test_what_needs_speech_is_known_and_so_are_its_ranges() -> None:
    assert {name for name, entry in DEGRADATIONS.items() if entry.needs_speech} == set(NAMES)
    assert STUDIED <= STUDIES
    assert RANGES.keys() == set(NAMES)
    for name, draws in RANGES.items():
        limits = DEGRADATIONS[name].limits
        assert draws.keys() == limits.keys()
        for key, draw in draws.items():
            assert all(limits[key][0] <= draw(rng(seed)) <= limits[key][1] for seed in range(50))


@pytest.mark.parametrize("name", NAMES)
def test_without_a_bank_the_error_says_how_to_build_one(name: str, excerpt: Excerpt) -> None:
    values = {key: draw(rng()) for key, draw in RANGES[name].items()}
    with pytest.raises(OptionError, match=rf"{name} needs .* `haaqi-edge corpus build`"):
        DEGRADATIONS[name](excerpt.samples, excerpt.rate, rng(), **values)
    with pytest.raises(OptionError, match="speech bank"):
        degrade(excerpt.samples, excerpt.rate, "babble(snr=1,talkers=4,room=0)", 0)


@pytest.mark.parametrize("name", ["babble", "talker", "speech_noise"])
@pytest.mark.parametrize("snr", [-5.0, 20.0])
def test_it_is_as_loud_as_said(name: str, snr: float, excerpt: Excerpt) -> None:
    values = {key: draw(rng()) for key, draw in RANGES[name].items()} | {"snr": snr}
    added = DEGRADATIONS[name](excerpt.samples, excerpt.rate, rng(), speech=Voices(), **values) - excerpt.samples
    assert 20 * np.log10(rms(excerpt.samples) / rms(added)) == pytest.approx(snr, abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(
    rate=st.sampled_from([16_000, 22_050, 24_000, 44_100, 48_000, 16_001]),
    length=st.integers(400, 30_000),
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_rate_and_length(rate: int, length: int, name: str, seed: int) -> None:
    x = rng(seed).standard_normal(length)
    chain = f"{name}({','.join(f'{key}={draw(rng(seed)):.3g}' for key, draw in RANGES[name].items())})"
    y = degrade(x, rate, chain, seed, speech=Voices())
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    assert not np.array_equal(y, x)
    assert np.array_equal(y, degrade(x, rate, chain, seed, speech=Voices()))


def test_each_talks_all_the_time_and_none_twice() -> None:
    speech = Watched()
    babble_of(24_000, 2.0, speech, talkers=8)
    assert sorted(talker for talker, _ in speech.asked) == list(range(8))
    assert all(length >= 32_000 for _, length in speech.asked)
    speech = Watched()
    babble_of(24_000, 1.0, speech, talkers=20)  # more than there are
    assert len(speech.asked) == 20
    assert {talker for talker, _ in speech.asked} == set(range(8))


def test_most_are_human_and_half_are_women() -> None:
    speech = Watched()
    for seed in range(150):
        babble_of(16_000, 0.05, speech, seed, talkers=2)
    chosen = [speech.talkers[talker] for talker, _ in speech.asked]
    assert np.mean([talker.human for talker in chosen]) == pytest.approx(0.75, abs=0.07)
    assert np.mean([talker.female for talker in chosen]) == pytest.approx(0.5, abs=0.08)


def test_rates_agree() -> None:
    """The same babble at 16 and at 48 kHz: nothing above 8 kHz, and alike below."""
    low, high = babble_of(16_000, 3.0, Voices(), 5), babble_of(48_000, 3.0, Voices(), 5)
    hz = np.fft.rfftfreq(len(high), 1 / 48_000)
    spectrum = np.abs(np.fft.rfft(high)) ** 2
    assert spectrum[hz > 8_300].sum() < 1e-4 * spectrum.sum()
    down = signal.resample_poly(high, 1, 3)
    # Lengths that suit an FFT differ a little, and with them the last talkers' filters: compare the levels over time.
    frames = [np.sqrt(np.mean(y[:44_800].reshape(-1, 1600) ** 2, axis=1)) for y in (low, down)]
    assert np.corrcoef(*frames)[0, 1] > 0.99


def test_many_talkers_modulate_less_than_few() -> None:
    def modulation(talkers: float) -> float:
        found = []
        for seed in range(6):
            frames = np.mean(babble_of(16_000, 3.0, Voices(), seed, talkers).reshape(-1, 800) ** 2, axis=1)
            found.append(np.std(frames) / np.mean(frames))
        return float(np.mean(found))

    assert modulation(1) > 1.3 * modulation(8)


class Burst(Voices):
    """Talkers that say 50 ms of noise each, all at the same time."""

    def stretch(self, talker: int, start: int, length: int) -> Array:  # noqa: ARG002
        x = np.zeros(length)
        x[16_000:16_800] = rng(talker).standard_normal(800)
        return x


@pytest.mark.slow
def test_rooms_reverberate() -> None:
    def late(room: float) -> float:
        """The share of energy from 100 ms after the bursts on, mean of twelve."""
        found = []
        for seed in range(12):
            y = babble_of(16_000, 4.0, Burst(), seed, talkers=8, room=room)
            found.append(np.sum(y[18_400:48_000] ** 2) / np.sum(y**2))
        return float(np.mean(found))

    assert late(0.0) < 1e-4
    assert late(0.0) < 0.1 * late(0.3)
    assert late(1.0) > 0.02


class Steady(Voices):
    """Talkers that never pause."""

    def stretch(self, talker: int, start: int, length: int) -> Array:
        return np.asarray(rng(talker * 1000 + start).standard_normal(length))


def test_a_talker_pauses_and_babble_does_not() -> None:
    def softest(y: Array) -> float:
        frames = np.mean(y[: len(y) // 800 * 800].reshape(-1, 800) ** 2, axis=1)
        return float(np.percentile(frames, 2) / frames.mean())

    x = np.full(16_000 * 12, 1e-3)
    for seed in range(4):
        alone = DEGRADATIONS["talker"](x, 16_000, rng(seed), speech=Steady(), snr=0.0, talkers=1.0) - x
        assert softest(alone) < 0.1
    assert softest(babble_of(16_000, 12.0, Steady(), talkers=1)) > 0.5


def test_the_noise_has_the_spectrum_of_the_voices() -> None:
    speech = Voices()
    x = np.full(24_000 * 20, 1e-3)
    added = DEGRADATIONS["speech_noise"](x, 24_000, rng(), speech=speech, snr=0.0) - x
    hz, power = signal.welch(added, 24_000, nperseg=1024)
    known, amplitude = speech.spectrum()
    inside = (hz > 100) & (hz < 7_800)
    difference = 10 * np.log10(power[inside]) - 20 * np.log10(np.interp(hz[inside], known, amplitude))
    assert np.std(difference) < 0.6
    assert power[hz > 8_100].max() < 1e-5 * power.max()
    frames = np.mean(added.reshape(-1, 4800) ** 2, axis=1)
    assert np.std(frames) / np.mean(frames) < 0.15


def test_subtraction_of_nothing_leaves_the_babble_and_more_takes_more(excerpt: Excerpt) -> None:
    x = excerpt.samples
    nothing, some, much = (
        DEGRADATIONS["speech_babble_subtraction"](
            x, excerpt.rate, rng(), speech=Voices(), snr=0.0, over=over, talkers=6.0
        )
        for over in (0.0, 1.0, 4.0)
    )
    assert 20 * np.log10(rms(x) / rms(nothing - x)) == pytest.approx(0.0, abs=0.1)
    assert rms(nothing) > rms(some) > rms(much)
