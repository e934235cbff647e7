"""The presented signal: level and NAL-R put between the recording and the encoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.levels import LoudnessMeter, nal_r
from haaqi_edge.runtime.audio.presentation import Presentation
from haaqi_edge.runtime.audio.reading import open_audio
from haaqi_edge.runtime.errors import AudioError, OptionError
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE, Sound, music, noise


def presented(presentation: Presentation, sound: Sound, rate: int = RATE) -> Sound:
    audio = open_audio((sound, rate))
    return np.concatenate(list(presentation.blocks(audio, presentation.gain(audio, 85.0))))


def test_as_it_is() -> None:
    sound = music(12)
    assert np.array_equal(presented(Presentation(), sound), sound)
    assert np.array_equal(presented(Presentation(level1=85), sound), sound)


@given(level1=st.floats(0, 140), model=st.sampled_from([65.0, 85.0, 100.0]))
def test_level1_is_a_gain_against_the_models(level1: float, model: float) -> None:
    gain = Presentation(level1=level1).gain(open_audio((noise(100), RATE)), model)
    assert 20 * math.log10(gain) == pytest.approx(level1 - model, abs=1e-9)


@given(spl=st.floats(20, 120), scale=st.floats(1e-4, 100), length=st.integers(100, 200_000))
@settings(max_examples=25, deadline=None)
def test_spl_sets_the_rms_of_the_whole_clip(spl: float, scale: float, length: int) -> None:
    sound = noise(length) * np.float32(scale)
    sound[: length // 2] *= np.float32(0.1)
    rms = math.sqrt(float(np.mean(presented(Presentation(spl=spl), sound).astype(np.float64) ** 2)))
    assert 85 + 20 * math.log10(rms) == pytest.approx(spl, abs=1e-3)


def test_the_usual_level_is_minus_20_dbfs() -> None:
    got = presented(Presentation(spl=65), music(20, 24_000), 24_000)
    assert float(np.sqrt(np.mean(got.astype(np.float64) ** 2))) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("level1", [None, 75.0])
def test_the_listener_is_amplified_for_after_the_level(level1: float | None) -> None:
    sound, listener = music(17), Audiogram.named("N4")
    scale = np.float32(1 if level1 is None else 10 ** ((level1 - 85) / 20))
    got = presented(Presentation(level1=level1, listener=listener), sound)
    np.testing.assert_allclose(got, nal_r(sound * scale, RATE, listener), rtol=0, atol=1e-6)
    assert len(got) == len(sound)


def test_spl_is_set_before_amplification() -> None:
    sound, listener = music(8), Audiogram.named("N4")
    got = presented(Presentation(spl=65, listener=listener), sound)
    scale = np.float32(0.1 / math.sqrt(float(np.mean(sound.astype(np.float64) ** 2))))
    np.testing.assert_allclose(got, nal_r(sound * scale, RATE, listener), rtol=0, atol=1e-5)


def test_levels_that_contradict_each_other() -> None:
    with pytest.raises(OptionError, match="level1 and spl both set the level: give one of them"):
        Presentation(level1=85, spl=65)


@pytest.mark.parametrize("name", ["level1", "spl"])
@pytest.mark.parametrize("value", [-0.1, 140.1, math.nan, math.inf, -math.inf])
def test_levels_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"^{name}={value}"):
        Presentation(**{name: value})


@pytest.mark.parametrize("amplitude", [0.0, 2.0**-25])
def test_silence_has_no_level(amplitude: float) -> None:
    sound = np.full(RATE, amplitude, dtype=np.float32)
    with pytest.raises(AudioError, match="the samples given is silent throughout"):
        presented(Presentation(spl=65), sound)


@pytest.mark.parametrize("level1", [None, 65.0, 100.0])
def test_more_than_120_db_spl_is_refused(level1: float | None) -> None:
    """The limit is that of the level before amplification, whatever level1 is."""
    sound = noise(2 * RATE)  # RMS 0.1
    scale = 10 ** ((120 - 65 - ((level1 or 85.0) - 85)) / 20)
    listener = Audiogram.named("N7")
    presented(Presentation(level1=level1, listener=listener), sound * np.float32(0.98 * scale))
    with pytest.raises(AudioError, match=r"a level of 120 dB SPL .*above the limit of 120 dB SPL: no music is louder"):
        presented(Presentation(level1=level1, listener=listener), sound * np.float32(1.02 * scale))


def test_amplified_music_above_120_db_spl() -> None:
    """Without NAL-R, loud samples may be amplified music. They are no integers."""
    sound = noise(2 * RATE) * np.float32(10 ** ((124 - 65) / 20))
    message = (
        r"has a level of 124 dB SPL \(RMS, with level1=85\), above the limit of 120 dB SPL: music that is amplified "
        "for a severe hearing loss can be this loud: to score it at this level, give spl=124; otherwise lower level1"
    )
    with pytest.raises(AudioError, match=message):
        presented(Presentation(), sound)
    presented(Presentation(spl=124), sound)


def test_a_signal_that_is_known_to_be_presented_has_another_limit() -> None:
    def present(level: float, listener: Audiogram | None = None) -> None:
        audio = open_audio((noise(RATE) * np.float32(10 ** ((level - 65) / 20)), RATE), presented=True)
        list(Presentation(listener=listener).blocks(audio, 1.0))

    present(140)
    with pytest.raises(AudioError, match=r"level of 142 dB SPL .*above the limit of 141 dB SPL: .* look like integers"):
        present(142)
    with pytest.raises(AudioError, match="above the limit of 120 dB SPL: no music is louder before amplification"):
        present(125, Audiogram.named("N3"))


def test_integers_as_floating_point_are_named() -> None:
    quiet = music(3) / np.abs(music(3)).max()
    for peak, bits in ((5200, 16), (9900, 16)):
        with pytest.raises(
            AudioError, match=rf"up to {peak} look like integers of {bits} bits .*divide them by {2 ** (bits - 1)}"
        ):
            presented(Presentation(), quiet * np.float32(peak))
    with pytest.raises(AudioError, match="lower level1"):
        presented(Presentation(level1=140), quiet)
    presented(Presentation(spl=65), quiet * np.float32(5200))  # the level does not depend on the scale


RUMBLE = {
    "offset": lambda t: np.full(len(t), 0.2),
    "5 Hz": lambda t: 0.3 * np.sin(2 * np.pi * 5 * t),
    "19 Hz": lambda t: 0.3 * np.sin(2 * np.pi * 19 * t),
    "offset and rumble": lambda t: -0.4 + 0.2 * np.sin(2 * np.pi * 11 * t + 1),
}


@pytest.mark.parametrize("kind", RUMBLE)
@pytest.mark.parametrize(("seconds", "tolerance"), [(10, 0.1), (3, 0.3)])
def test_what_is_not_heard_does_not_change_the_level(kind: str, seconds: float, tolerance: float) -> None:
    sound = music(seconds, start=3)
    rumble = RUMBLE[kind](np.arange(len(sound)) / RATE).astype(np.float32)
    presentation = Presentation(spl=65)
    plain, with_rumble = (presentation.gain(open_audio((x, RATE)), 85.0) for x in (sound, sound + rumble))
    assert 20 * math.log10(with_rumble / plain) == pytest.approx(0, abs=tolerance)


def test_an_offset_alone_is_silent() -> None:
    with pytest.raises(AudioError, match="silent throughout"):
        presented(Presentation(spl=65), np.full(2 * RATE, 0.3, dtype=np.float32))


def test_30_hz_is_music() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 30 * np.arange(5 * RATE) / RATE)).astype(np.float32)
    got = presented(Presentation(spl=65), tone)
    assert float(np.sqrt(np.mean(got.astype(np.float64) ** 2))) == pytest.approx(0.1, rel=1e-3)


def test_the_measured_level_does_not_depend_on_the_blocks() -> None:
    sound = music(7) + np.float32(0.3)
    powers = []
    for size in (len(sound), 1000, 77_777):
        meter = LoudnessMeter(RATE)
        for start in range(0, len(sound), size):
            meter.push(sound[start : start + size])
        powers.append(meter.finish())
    assert powers == pytest.approx([powers[0]] * 3, rel=1e-9)
