"""Degradations: seeded, named, of the loudness of the music; chains that survive being written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.training.degradations import CONDITIONS, chain_of, degrade, parse_chain, random_chain
from numpy.typing import NDArray

DEMO = Path(__file__).resolve().parents[2] / "demo"
EXAMPLES = {
    "noise": "noise(snr=10)",
    "music_babble": "music_babble(snr=5)",
    "clip": "clip(peak=0.2)",
    "quantize": "quantize(bits=4)",
    "compress": "compress(ratio=8,attack=5,release=50)",
    "spectral_subtraction": "spectral_subtraction(snr=5,over=2)",
    "lowpass": "lowpass(hz=2000)",
    "highpass": "highpass(hz=800)",
    "bandpass": "bandpass(low=400,high=3000)",
    "tilt": "tilt(slope=-6)",
    "resonance": "resonance(hz=600,gain=20,peaks=3)",
    "reverb": "reverb(t60=0.8,wet=0.5)",
    "dropouts": "dropouts(per_second=5,ms=60)",
}
RANDOM = {"noise", "music_babble", "spectral_subtraction", "reverb", "dropouts"}
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def music() -> tuple[Array, int]:
    samples, rate = soundfile.read(DEMO / "clean.flac", start=24_000, frames=48_000)
    return samples, rate


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def spectrum(x: Array, rate: int, low: float, high: float) -> float:
    """Energy from `low` to `high` Hz."""
    hz = np.fft.rfftfreq(len(x), 1 / rate)
    return float((np.abs(np.fft.rfft(x))[(hz >= low) & (hz < high)] ** 2).sum())


def test_every_condition_has_an_example_here() -> None:
    assert CONDITIONS.keys() == EXAMPLES.keys()
    assert len(CONDITIONS) >= 12


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_condition_changes_the_sound_and_keeps_its_level(name: str, music: tuple[Array, int]) -> None:
    samples, rate = music
    before = samples.copy()
    got = degrade(samples, rate, EXAMPLES[name], seed=4)
    assert (samples == before).all()
    assert got.dtype == np.float64
    assert got.shape == samples.shape
    assert np.isfinite(got).all()
    assert rms(got) == pytest.approx(rms(samples), rel=1e-9)
    assert rms(got - samples) > 0.02 * rms(samples)


@pytest.mark.parametrize("name", EXAMPLES)
def test_chain_and_seed_say_all(name: str, music: tuple[Array, int]) -> None:
    samples, rate = music
    first = degrade(samples, rate, EXAMPLES[name], seed=4)
    np.random.default_rng().random(3)
    assert (degrade(samples, rate, EXAMPLES[name], seed=4) == first).all()
    other = degrade(samples, rate, EXAMPLES[name], seed=5)
    assert (other == first).all() == (name not in RANDOM)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_any_rate_and_a_second_will_do(name: str, rate: int) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate) + 0.01 * np.random.default_rng(0).standard_normal(
        rate
    )
    got = degrade(tone, rate, EXAMPLES[name], seed=1)
    assert np.isfinite(got).all()
    assert rms(got) == pytest.approx(rms(tone), rel=1e-9)


def test_each_link_draws_for_itself(music: tuple[Array, int]) -> None:
    samples, rate = music
    once, twice = (degrade(samples, rate, "|".join(["noise(snr=0)"] * n), 2) for n in (1, 2))
    first = once * (rms(samples) / rms(once))
    assert np.corrcoef(twice - samples, first - samples)[0, 1] < 0.95


def test_links_act_from_left_to_right(music: tuple[Array, int]) -> None:
    samples, rate = music
    noise_last = degrade(samples, rate, "lowpass(hz=1000)|noise(snr=10)", 3)
    noise_first = degrade(samples, rate, "noise(snr=10)|lowpass(hz=1000)", 3)
    assert spectrum(noise_last, rate, 3_000, 8_000) > 100 * spectrum(noise_first, rate, 3_000, 8_000)


def test_no_chain_leaves_the_music_as_it_is(music: tuple[Array, int]) -> None:
    assert (degrade(music[0], music[1], "", 0) == music[0]).all()


@pytest.mark.parametrize("snr", [-5.0, 20.0])
@pytest.mark.parametrize("name", ["noise", "music_babble"])
def test_noise_is_as_loud_as_it_says(name: str, snr: float, music: tuple[Array, int]) -> None:
    samples, rate = music
    noisy = CONDITIONS[name](samples, rate, np.random.default_rng(0), snr=snr)
    assert 20 * np.log10(rms(samples) / rms(noisy - samples)) == pytest.approx(snr, abs=1e-6)


def test_clipping_and_quantizing_do_what_they_say(music: tuple[Array, int]) -> None:
    samples, rate = music
    rng, peak = np.random.default_rng(0), np.abs(samples).max()
    clipped = CONDITIONS["clip"](samples, rate, rng, peak=0.25)
    assert np.abs(clipped).max() == pytest.approx(0.25 * peak)
    assert (clipped == samples)[np.abs(samples) < 0.25 * peak].all()
    quantized = CONDITIONS["quantize"](samples, rate, rng, bits=3.0)
    assert len(np.unique(np.round(quantized / peak, 9))) <= 9
    assert np.abs(quantized - samples).max() <= peak / 8 + 1e-12


def test_filters_take_away_what_they_say(music: tuple[Array, int]) -> None:
    _, rate = music
    white, rng = np.random.default_rng(0).standard_normal(rate), np.random.default_rng(0)
    low = CONDITIONS["lowpass"](white, rate, rng, hz=1_000.0)
    assert spectrum(low, rate, 2_000, 12_000) < 0.01 * spectrum(low, rate, 0, 1_000)
    high = CONDITIONS["highpass"](white, rate, rng, hz=2_000.0)
    assert spectrum(high, rate, 0, 1_000) < 0.01 * spectrum(high, rate, 2_000, 3_000)
    tilted = CONDITIONS["tilt"](white, rate, rng, slope=-6.0)
    ratio = spectrum(tilted, rate, 4_000, 4_400) / spectrum(tilted, rate, 1_000, 1_100)
    plain = spectrum(white, rate, 4_000, 4_400) / spectrum(white, rate, 1_000, 1_100)
    assert 10 * np.log10(ratio / plain) == pytest.approx(-12.0, abs=0.5)  # two octaves


def test_a_chain_survives_being_written_down(music: tuple[Array, int]) -> None:
    samples, rate = music
    rng = np.random.default_rng(8)
    lengths, names = set(), set()
    for seed in range(300):
        chain = random_chain(rng)
        links = parse_chain(chain)
        lengths.add(len(links))
        names.update(function.__name__ for function, _ in links)
        assert chain_of(*((function.__name__, parameters) for function, parameters in links)) == chain
        if seed < 20:
            got = degrade(samples[:24_000], rate, chain, seed)
            assert np.isfinite(got).all()
            assert rms(got) == pytest.approx(rms(samples[:24_000]), rel=1e-9)
    assert lengths == {0, 1, 2}
    assert names == CONDITIONS.keys()


def test_the_same_generator_draws_the_same_chains() -> None:
    first, second, third = ([random_chain(rng) for _ in range(20)] for rng in map(np.random.default_rng, (1, 1, 2)))
    assert first == second != third


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ("echo(ms=3)", "'echo.ms=3.' is not a condition: expected name.parameter=value. of"),
        ("noise", "'noise' is not a condition"),
        ("noise(snr=10", "is not a condition"),
        ("__import__(os=1)", "is not a condition"),
        ("noise(snr=10)|loud(db=3)", "'loud.db=3.' is not a condition"),
        ("noise()", r"noise takes \['snr'\], got \[\]"),
        ("noise(snr=10,hz=3)", r"noise takes \['snr'\], got \['hz', 'snr'\]"),
        ("clip(snr=10)", r"clip takes \['peak'\], got \['snr'\]"),
        ("noise(10)", r"noise"),
        ("noise(snr=loud)", r"noise"),
        ("noise(snr=nan)", r"noise"),
    ],
)
def test_other_chains_are_refused(chain: str, words: str, music: tuple[Array, int]) -> None:
    with pytest.raises(OptionError, match=words):
        degrade(*music, chain, 0)
