"""Degradations: chains that survive being written down, seeded, as loud as the music, at any rate and length."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.training.degradations import DEGRADATIONS, EXTENDED, STUDIES, format_chain, parse_chain
from haaqi_edge.training.degradations import degrade as degrade_with
from haaqi_edge.training.degradations.chains import Registry, degradation
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal
from voices import Voices

EXAMPLES = {
    "noise": "noise(snr=10)",
    "music_babble": "music_babble(snr=5)",
    "clip": "clip(peak=0.2)",
    "quantize": "quantize(bits=4)",
    "compress": "compress(ratio=8,attack=5,release=50)",
    "spectral_subtraction": "spectral_subtraction(snr=5,over=2)",
    "babble_subtraction": "babble_subtraction(snr=5,over=2)",
    "lowpass": "lowpass(hz=2000)",
    "highpass": "highpass(hz=800)",
    "bandpass": "bandpass(low=400,high=3000)",
    "tilt": "tilt(slope=-6)",
    "resonance": "resonance(hz=600,gain=20,peaks=3)",
    "wdrc": "wdrc(bands=4,ratio=3,threshold=-20,attack=5,release=50)",
    "softclip": "softclip(drive=15)",
    "ringing": "ringing(hz=2000,gain=1)",
    "modulation": "modulation(hz=4,depth=0.5,skew=0.2)",
    "reverb": "reverb(t60=0.8,wet=0.5)",
    "hum": "hum(hz=50,snr=10)",
    "dropouts": "dropouts(per_second=5,ms=60)",
    "resample": "resample(hz=6000)",
    "mp3": "mp3(kbps=16)",
    "vorbis": "vorbis(quality=0)",
    "opus": "opus(kbps=12)",
    "babble": "babble(snr=5,talkers=6,room=0.5)",
    "talker": "talker(snr=5,talkers=2)",
    "speech_noise": "speech_noise(snr=10)",
    "speech_babble_subtraction": "speech_babble_subtraction(snr=5,over=2,talkers=6)",
    "aac": "aac(kbps=16)",
    "sbc": "sbc(hz=16000,bitpool=12)",
    "packet_loss": "packet_loss(percent=20,ms=10,burst=2,concealment=1)",
    "resample_pass": "resample_pass(hz=16000,method=4)",
    "feedback_tremolo": "feedback_tremolo(hz=800,shift=5,wet=0.5,step=0.01)",
    "directional_mic": "directional_mic(hz=300,mm=10,snr=30)",
    "noise_reduction": "noise_reduction(db=20,over=2)",
    "agc": "agc(ratio=5,attack=50,release=500)",
    "frequency_lowering": "frequency_lowering(hz=1500,ratio=3)",
    "room": "room(t60=0.8,wet=0.5,damping=0.5,delay=10)",
    "traffic": "traffic(snr=10)",
    "crowd": "crowd(snr=10)",
    "wind": "wind(snr=0,gust=0.5)",
    "mains_hum": "mains_hum(hz=50,snr=10,harmonics=20,buzz=0.5)",
    "dc": "dc(offset=1)",
    "rumble": "rumble(snr=0)",
}
RANDOM = {
    *("noise", "music_babble", "spectral_subtraction", "babble_subtraction"),
    *("ringing", "modulation", "reverb", "hum", "dropouts"),
    *("babble", "talker", "speech_noise", "speech_babble_subtraction", "packet_loss", "feedback_tremolo"),
    *("directional_mic", "room", "traffic", "crowd", "wind", "mains_hum", "rumble"),
}
INAUDIBLE = {"dc", "rumble"}
SPOKEN = {"babble", "talker", "speech_noise", "speech_babble_subtraction"}
MEMORYLESS = [name for name in EXAMPLES if name not in {"mp3", "vorbis", "opus", "aac"}]
VOICES = Voices()
Array = NDArray[np.float64]


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def degrade(x: Array, rate: int, chain: str, seed: int) -> Array:
    """With voices for the conditions that need some."""
    return degrade_with(x, rate, chain, seed, speech=VOICES)


def test_every_condition_has_an_example_here() -> None:
    assert DEGRADATIONS.keys() == EXAMPLES.keys()
    assert DEGRADATIONS.keys() == STUDIES | EXTENDED
    assert not STUDIES & EXTENDED
    assert {"noise", "babble", "speech_babble_subtraction", "babble_subtraction", "tilt"} <= STUDIES
    assert {"wdrc", "mp3", "ringing", "talker", "aac", "crowd"} <= EXTENDED
    assert {name for name, entry in DEGRADATIONS.items() if entry.needs_speech} == SPOKEN
    assert {name for name, entry in DEGRADATIONS.items() if entry.inaudible} == INAUDIBLE


@pytest.mark.parametrize("name", EXAMPLES)
def test_limits_belong_to_the_parameters(name: str) -> None:
    parameters = inspect.signature(DEGRADATIONS[name].function).parameters.values()
    assert DEGRADATIONS[name].limits.keys() == {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert all(low < high for low, high in DEGRADATIONS[name].limits.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_condition_changes_the_sound_and_keeps_its_level(name: str, excerpt: Excerpt) -> None:
    samples, rate = excerpt
    got = degrade(samples, rate, EXAMPLES[name], seed=4)  # the excerpt cannot be written to
    assert got.dtype == np.float64
    assert got.shape == samples.shape
    assert np.isfinite(got).all()
    if name not in INAUDIBLE:
        assert rms(got) == pytest.approx(rms(samples), rel=1e-9)
    assert rms(got - samples) > 0.02 * rms(samples)


@pytest.mark.parametrize("name", sorted(INAUDIBLE))
def test_what_is_not_heard_does_not_count_as_level(name: str, excerpt: Excerpt) -> None:
    samples, rate = excerpt
    inaudible = DEGRADATIONS[name](
        samples, rate, np.random.default_rng([4, 0]), **dict(parse_chain(EXAMPLES[name])[0][1])
    )
    np.testing.assert_array_equal(
        degrade(samples, rate, EXAMPLES[name], 4), inaudible
    )  # the music is as loud as before
    assert rms(inaudible) > 1.2 * rms(samples)
    before = degrade(samples, rate, "noise(snr=0)", 4)
    added = degrade(samples, rate, f"noise(snr=0)|{EXAMPLES[name]}", 4) - before
    assert rms(before) == pytest.approx(rms(samples), rel=1e-9)
    spectrum = np.abs(np.fft.rfft(added * np.hanning(len(added)))) ** 2
    hz = np.fft.rfftfreq(len(added), 1 / rate)
    assert spectrum[hz > 60].sum() < 1e-4 * spectrum.sum()


@pytest.mark.parametrize("name", sorted(SPOKEN))
def test_people_talk_only_where_there_are_voices(name: str, excerpt: Excerpt) -> None:
    with pytest.raises(OptionError, match=rf"{name} needs the voices of a speech bank .* `haaqi-edge corpus build`"):
        degrade_with(*excerpt, EXAMPLES[name], 0)


@pytest.mark.parametrize("name", EXAMPLES)
def test_chain_and_seed_say_all(name: str, excerpt: Excerpt) -> None:
    samples, rate = excerpt
    first = degrade(samples, rate, EXAMPLES[name], seed=4)
    np.random.default_rng().random(3)
    assert (degrade(samples, rate, EXAMPLES[name], seed=4) == first).all()
    other = degrade(samples, rate, EXAMPLES[name], seed=5)
    assert (other == first).all() == (name not in RANDOM)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_degradation_is_the_same_at_any_level(name: str, excerpt: Excerpt) -> None:
    samples, rate = excerpt
    soft, loud = (degrade(samples * factor, rate, EXAMPLES[name], seed=4) for factor in (1 / 32, 8))
    np.testing.assert_allclose(loud, soft * 256, atol=1e-6)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.5, 1.0])
def test_any_rate_and_half_a_second_will_do(name: str, rate: int, seconds: float, excerpt: Excerpt) -> None:
    music = signal.resample_poly(excerpt.samples, rate, excerpt.rate)[rate // 3 :][: int(rate * seconds)]
    got = degrade(music, rate, EXAMPLES[name], seed=1)
    assert got.shape == music.shape
    assert np.isfinite(got).all()
    if name not in INAUDIBLE:
        assert rms(got) == pytest.approx(rms(music), rel=1e-9)


@st.composite
def chains(draw: st.DrawFn) -> str:
    """One or two conditions with parameters anywhere within their limits."""
    links = []
    for name in draw(st.lists(st.sampled_from(MEMORYLESS), min_size=1, max_size=2)):
        limits = DEGRADATIONS[name].limits
        links.append((name, {key: draw(st.floats(low, high)) for key, (low, high) in limits.items()}))
    return "|".join(f"{name}({','.join(f'{k}={v!r}' for k, v in values.items())})" for name, values in links)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    chain=chains(), seed=st.integers(0, 2**32), rate=st.sampled_from([16_000, 24_000, 44_100]), start=st.floats(0, 1)
)
def test_within_the_limits_all_is_finite_and_audible(
    chain: str, seed: int, rate: int, start: float, excerpt: Excerpt
) -> None:
    music = excerpt.samples[int(start * 24_000) :][:13_001]
    got = degrade(music, rate, chain, seed)
    assert got.shape == music.shape
    assert np.isfinite(got).all()
    if any(f"{name}(" in chain for name in INAUDIBLE):
        assert rms(got) > 0
    else:
        assert rms(got) == pytest.approx(rms(music), rel=1e-6)


def test_each_link_draws_for_itself(excerpt: Excerpt) -> None:
    samples, rate = excerpt
    once, twice = (degrade(samples, rate, "|".join(["noise(snr=0)"] * n), 2) for n in (1, 2))
    first = once * (rms(samples) / rms(once))
    assert np.corrcoef(twice - samples, first - samples)[0, 1] < 0.95


def test_links_act_from_left_to_right(excerpt: Excerpt) -> None:
    samples, rate = excerpt
    filtered = degrade(samples, rate, "highpass(hz=1000)", 3)
    clipped_last = degrade(samples, rate, "highpass(hz=1000)|clip(peak=0.3)", 3)
    np.testing.assert_allclose(clipped_last, degrade(filtered, rate, "clip(peak=0.3)", 3), atol=1e-12)
    clipped_first = degrade(samples, rate, "clip(peak=0.3)|highpass(hz=1000)", 3)
    assert rms(clipped_last - clipped_first) > 0.05 * rms(samples)


def test_no_chain_leaves_the_music_as_it_is(excerpt: Excerpt) -> None:
    assert (degrade(*excerpt, "", 0) == excerpt.samples).all()


def test_chains_are_written_as_they_are_read() -> None:
    for chain in EXAMPLES.values():
        links = parse_chain(chain)
        assert parse_chain(format_chain(*((entry.name, parameters) for entry, parameters in links))) == links
    two = "|".join([EXAMPLES["mp3"], EXAMPLES["wdrc"]])
    assert [entry.name for entry, _ in parse_chain(two)] == ["mp3", "wdrc"]
    assert (
        format_chain(("noise", {"snr": 12.3456}), ("lowpass", {"hz": 1234.5})) == "noise(snr=12.3)|lowpass(hz=1.23e+03)"
    )


def test_registries_keep_apart() -> None:
    registry: Registry = {}

    @degradation(registry, by=(0, 2))
    def louder(x: Array, rate: int, rng: np.random.Generator, *, by: float) -> Array:  # noqa: ARG001
        return x * by

    assert registry == {"louder": louder}
    assert "louder" not in DEGRADATIONS
    assert (louder(np.ones(3), 16_000, np.random.default_rng(), by=2.0) == 2).all()


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ("echo(ms=3)", r"'echo\(ms=3\)' is not a condition: expected name\(parameter=value\) of \['aac', 'agc'"),
        ("noise", "'noise' is not a condition"),
        ("noise(snr=10", "is not a condition"),
        ("__import__(os=1)", "is not a condition"),
        ("speed(ratio=1.1)", "is not a condition"),
        ("noise(snr=10)|loud(db=3)", r"'loud\(db=3\)' is not a condition"),
        ("noise()", r"noise takes \['snr'\], each once, got \[\]"),
        ("noise(snr=10,hz=3)", r"noise takes \['snr'\], each once, got \['hz', 'snr'\]"),
        ("noise(snr=10,snr=3)", r"noise takes \['snr'\], each once, got \['snr', 'snr'\]"),
        ("clip(snr=10)", r"clip takes \['peak'\], each once, got \['snr'\]"),
        ("noise(10)", r"noise takes \['snr'\], each once, got \['10'\]"),
        ("noise(snr=loud)", r"snr=loud in 'noise\(snr=loud\)' is not a number from -20 to 80"),
        ("noise(snr=nan)", "snr=nan in .* is not a number from -20 to 80"),
        ("noise(snr=inf)", "is not a number from -20 to 80"),
        ("clip(peak=0)", r"peak=0 in 'clip\(peak=0\)' is not a number from 0.001 to 1"),
        ("mp3(kbps=400)", "is not a number from 8 to 320"),
    ],
)
def test_other_chains_are_refused(chain: str, words: str, excerpt: Excerpt) -> None:
    with pytest.raises(OptionError, match=words):
        degrade(*excerpt, chain, 0)
