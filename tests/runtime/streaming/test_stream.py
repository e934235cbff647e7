"""A stream says what the offline scorer says of the same patches, however the samples are split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from comparison import TOLERANCE
from haaqi_edge.runtime import Scorer, Stream, Update, shipped_models
from haaqi_edge.runtime.audio.levels import nal_r
from haaqi_edge.runtime.errors import AudioError, StreamError
from haaqi_edge.runtime.features import patches as fe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sounds import DEMO, PATCH, RATE, READ, Sound, as_int16, music, noise, samples_for
from streaming import check_against_tokens, same_updates, split

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]
SIZES = st.lists(st.integers(1, 3) | st.integers(1, 600) | st.integers(1, 60_000), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


def scene(rate: int, channels: int, seed: int, seconds: float) -> Sound:
    """Music and noise in turn, at levels that jump, with digital silence between: float32 [n, channels]."""
    draw = np.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < seconds * rate:
        length = int(rate * draw.uniform(0.05, 1.2))
        kind = draw.integers(3)
        start = draw.uniform(0, 15)
        own = music(1.3, rate, start)[:length] if kind == 0 else noise(length, int(draw.integers(99)))
        gain = 0.0 if kind == 2 else 10 ** draw.uniform(-3, 0.5)
        parts.append(own[:, None] * gain * draw.uniform(0.2, 1, (1, channels)))
    return np.concatenate(parts)[: int(seconds * rate)].astype(np.float32)


def streamed(stream: Stream, samples: Sound, sizes: list[int]) -> list[Update]:
    return list(stream.updates(split(samples, sizes)))


@pytest.mark.slow
@pytest.mark.parametrize("model", shipped_models())
@given(
    rate=st.sampled_from(RATES),
    channels=st.integers(1, 3),
    sizes=SIZES,
    seed=st.integers(0, 10**6),
    window=st.sampled_from([0.16, 0.5, 1.0, 10.0]),
    hop=st.integers(1, 4),
    options=st.sampled_from([{}, {"level1": 70.0}, {"nal_r": True}]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_update_is_the_oracles(
    model: str,
    rate: int,
    channels: int,
    sizes: list[int],
    seed: int,
    window: float,
    hop: int,
    options: dict[str, Any],
) -> None:
    scorer = _scorer(model)
    seconds = 0.6 if max(sizes) < 4 else 3.0  # a chunk costs the same, whatever its size
    sound = scene(rate, channels, seed, seconds)
    level1 = options.get("level1")
    listener = "N4" if options.get("nal_r") else None
    got = streamed(scorer.stream("N4", rate, window=window, hop=hop * 0.16, **options), sound, sizes)
    try:
        tokens = scorer.encode((sound, rate), level1=level1, nal_r_for=listener)
    except AudioError:  # silent throughout
        assert all(update.score is None for update in got)
        return
    check_against_tokens(got, scorer, tokens, ["N4"], int(window / 0.16 + 1e-9), hop)


_SCORERS: dict[str, Scorer] = {}


def _scorer(model: str) -> Scorer:
    return _SCORERS.setdefault(model, Scorer(model, threads=1))


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_single_samples(scorer: Scorer, rate: int) -> None:
    sound = scene(rate, 1, 5, 2.0)[:, 0]
    got = streamed(scorer.stream("N3", rate, window=1.0), sound, [1])
    same_updates(got, streamed(scorer.stream("N3", rate, window=1.0), sound, [len(sound)]), 0)
    check_against_tokens(got, scorer, scorer.encode((sound, rate)), ["N3"], 6)


def test_long_music_and_its_windows(scorer: Scorer) -> None:
    sound = np.tile(music(20), 2)
    stream = scorer.stream(["N2", "S3"], RATE)
    got = streamed(stream, sound, [4_321])
    assert len(got) == fe.patch_count(len(sound))
    check_against_tokens(got, scorer, scorer.encode((sound, RATE)), ["N2", "S3"], 62)
    assert len({update.readings[0].score for update in got}) > 150


@pytest.mark.parametrize("options", [{}, {"level1": 75.0}, {"nal_r": True}], ids=str)
@pytest.mark.parametrize("seconds", [0.2, 3.0, 9.935, 13.0, 20.0])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_summary_is_the_offline_score(scorer: Scorer, rate: int, seconds: float, options: dict[str, Any]) -> None:
    sound, listeners = music(seconds, rate, start=0.0), ["N1", "N5"]
    for window in (2.0, 10.0):
        stream = scorer.stream(listeners, rate, window=window, **options)
        updates = streamed(stream, sound, [1_000])
        expected = scorer.score((sound, rate), listeners, window=window, **options)
        summary = stream.summary()
        assert summary.time == updates[-1].time == expected[0].windows[-1].end
        for total, score in zip(summary.totals, expected, strict=True):
            assert total.audiogram == score.audiogram
            assert total.score == pytest.approx(score.score, abs=TOLERANCE)


def test_the_mean_is_the_offline_score_of_the_windows_so_far(scorer: Scorer) -> None:
    sound = music(20)
    got = streamed(scorer.stream("N3", RATE, window=3.0), sound, [777])
    for k in (1, 2, 4, 6):
        expected = scorer.score((sound[: samples_for(18 * k)], RATE), "N3", window=3.0)
        for update in got[18 * k - 1 : 18 * (k + 1) - 1]:
            assert update.mean == pytest.approx(expected.score, abs=TOLERANCE)
    assert got[16].mean is None


def test_a_file_streamed_is_the_file_scored(scorer: Scorer) -> None:
    import soundfile

    stereo, rate = soundfile.read(DEMO, dtype="int16", always_2d=True)
    stream = scorer.stream("N3", rate)
    streamed(stream, stereo, [4_800])
    assert stream.summary().score == pytest.approx(scorer.score(DEMO, "N3").score, abs=TOLERANCE)


# When updates come


@pytest.mark.parametrize("hop", [1, 3])
def test_at_16_khz_an_update_comes_with_the_sample_that_completes_it(scorer: Scorer, hop: int) -> None:
    sound, stream, got = music(2.0, start=3), scorer.stream("N3", RATE, hop=hop * 0.16), 0
    for at in range(0, len(sound), 16):
        got += len(stream.accept_waveform(sound[at : at + 16]))
        assert got == fe.patch_count(at + 16) // hop


@given(rate=st.sampled_from(RATES), first=SIZES, second=SIZES)
@settings(max_examples=15, deadline=None)
def test_when_an_update_comes_does_not_depend_on_the_chunks(
    scorer: Scorer, rate: int, first: list[int], second: list[int]
) -> None:
    sound = noise(rate)
    arrivals = []
    for sizes in (first, second):
        stream, at, seen = scorer.stream("N3", rate, window=0.5), 0, {0: 0}
        for chunk in split(sound, [max(size, 50) for size in sizes]):
            at += len(chunk)
            seen[at] = seen[max(seen)] + len(stream.accept_waveform(chunk))
        arrivals.append(seen)
    for at in arrivals[0].keys() & arrivals[1].keys():
        assert arrivals[0][at] == arrivals[1][at]


def test_no_patch_waits_long(scorer: Scorer) -> None:
    for rate in RATES:
        stream, sound = scorer.stream("N3", rate), noise(rate)
        for at in range(0, rate, rate // 100):
            if stream.accept_waveform(sound[at : at + rate // 100]):
                break
        assert at / rate < 0.175 + 0.12, rate  # what soxr holds back, and a block


def test_the_last_patches_come_at_the_end(scorer: Scorer) -> None:
    sound = noise(samples_for(10) * 3)
    stream = scorer.stream("N3", 48_000, hop=0.48)
    before = stream.accept_waveform(sound)
    after = stream.input_finished()
    assert [update.time for update in before + after] == [fe.patch_end(n) for n in (3, 6, 9, 10)]
    assert len(after) >= 1


def test_a_last_partial_patch_has_no_say(scorer: Scorer) -> None:
    whole, more = music(5, start=3)[: samples_for(20)], noise(PATCH - 1) * 3
    a = streamed(scorer.stream("N3", RATE), whole, [500])
    b = streamed(scorer.stream("N3", RATE), np.concatenate([whole, more]), [500])
    same_updates(a, b, 0)


@pytest.mark.parametrize("length", [0, 1, 400, READ - 1])
def test_less_than_a_patch_has_no_score(scorer: Scorer, length: int) -> None:
    stream = scorer.stream("N3", RATE)
    assert stream.accept_waveform(noise(length)) == stream.input_finished() == []
    assert stream.summary().score is None
    assert stream.summary().time == 0.0


def test_the_first_patch_is_scored_alone(scorer: Scorer) -> None:
    sound = music(1.0, start=3)[:READ]
    (update,) = scorer.stream("N3", RATE).accept_waveform(sound)
    assert update.time == pytest.approx(0.175)
    assert not update.full
    assert update.mean is None
    assert update.score == pytest.approx(scorer.score((sound, RATE), "N3").score, abs=TOLERANCE)


# Levels and silence


@pytest.mark.parametrize(("level1", "gain"), [(None, 1.0), (75.0, 10**-0.5), (100.0, 10**0.75)])
def test_the_level_is_of_the_presented_signal(scorer: Scorer, level1: float | None, gain: float) -> None:
    sound = music(4, start=3)
    sound[RATE * 2 :] *= np.float32(0.05)
    got = streamed(scorer.stream("N3", RATE, hop=0.32, level1=level1), sound, [999])
    for index, update in enumerate(got[:-1]):
        patches = [gain * sound[k * PATCH : k * PATCH + READ].astype(np.float64) for k in (2 * index, 2 * index + 1)]
        expected = 85 + 10 * math.log10(np.mean([np.mean(patch**2) for patch in patches]))
        assert update.level == pytest.approx(expected, abs=1e-3)


def test_levels_of_amplified_listeners_are_their_own(scorer: Scorer) -> None:
    sound = music(3, start=3)
    got = streamed(scorer.stream(["NH", "N5"], RATE, nal_r=True), sound, [999])
    amplified = nal_r(sound, RATE, got[0].readings[1].audiogram).astype(np.float64)
    for k, update in enumerate(got):
        raw, loud = update.readings
        assert raw.level is not None
        assert loud.level is not None
        assert loud.level > raw.level + 3
        assert loud.level == pytest.approx(85 + 10 * math.log10(np.mean(amplified[k * PATCH :][:READ] ** 2)), abs=1e-2)


@pytest.mark.parametrize("options", [{}, {"level1": 120.0}, {"nal_r": True}], ids=str)
def test_silence_has_no_score_and_comes_and_goes(scorer: Scorer, options: dict[str, Any]) -> None:
    sound = np.concatenate([np.zeros(RATE * 3), music(3, start=3), np.zeros(RATE * 4), music(2, start=9)])
    stream = scorer.stream("N3", RATE, window=1.0, **options)
    got = streamed(stream, sound.astype(np.float32), [1_111])
    at = {round(update.time, 3): update for update in got}
    assert at[2.895].score is at[2.895].level is at[2.895].mean is None
    assert at[5.935].score is not None
    assert at[9.935].score is at[9.935].level is None
    assert at[9.935].mean == at[7.855].mean  # silent windows have no say
    assert got[-1].score is not None
    assert stream.summary().score == pytest.approx(
        scorer.score((sound.astype(np.float32), RATE), "N3", window=1.0, **options).score, abs=TOLERANCE
    )


def test_a_stream_of_silence(scorer: Scorer) -> None:
    stream = scorer.stream("N3", 44_100)
    got = streamed(stream, np.zeros((44_100 * 2, 2), np.int16), [1_000])
    assert len(got) == 12
    assert all(update.score is update.level is update.mean is None for update in got)
    assert stream.summary().score is None


# Forms of samples


def test_all_forms_of_samples(scorer: Scorer) -> None:
    sound = as_int16(music(3, start=3))
    expected = streamed(scorer.stream("N3", RATE), sound, [500])
    scaled = sound.astype(np.float64) / 32768
    forms: list[Any] = [
        scaled,
        scaled.astype(np.float32),
        sound.astype(np.int32) * 65536,
        sound[:, None],
        np.stack([sound, sound], axis=1),
        np.asfortranarray(np.stack([scaled * 2, np.zeros_like(scaled)], axis=1)),
    ]
    for form in forms:
        same_updates(streamed(scorer.stream("N3", RATE), form, [500]), expected)


def test_a_buffer_may_be_used_again(scorer: Scorer) -> None:
    sound = music(3, start=3)
    expected = streamed(scorer.stream("N3", RATE), sound, [1_024])
    stream, buffer, got = scorer.stream("N3", RATE), np.empty(1_024, np.float32), []
    for chunk in split(sound, [1_024]):
        buffer[: len(chunk)] = chunk
        got += stream.accept_waveform(buffer[: len(chunk)])
        buffer[:] = np.nan
    same_updates(got + stream.input_finished(), expected, 0)


def test_results_are_not_overwritten(scorer: Scorer) -> None:
    stream, sound = scorer.stream("N3", RATE, window=1.0), music(6, start=3)
    kept = [(update, update.frame_scores.copy()) for update in stream.updates(split(sound, [PATCH]))]
    assert all(np.array_equal(update.frame_scores, copy) for update, copy in kept)


def test_more_than_120_db_spl_ends_the_stream() -> None:
    """The time of the error does not depend on the chunks."""
    scorer, loud = Scorer("nano", threads=1), noise(3 * RATE) * np.float32(600)
    for size in (160, 5000, len(loud)):
        stream = scorer.stream("N3", RATE)
        with pytest.raises(AudioError, match="the stream has a level of 121 dB SPL"):
            list(stream.updates([loud[start : start + size] for start in range(0, len(loud), size)]))
        with pytest.raises(StreamError):
            stream.summary()
