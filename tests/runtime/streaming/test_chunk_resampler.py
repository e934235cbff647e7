"""The intake: neither samples nor when they come depend on the chunks, whatever the rate."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from haaqi_edge.runtime.audio.reading import MAX_AMPLITUDE, ArrayAudio, checked_samples, full_scale
from haaqi_edge.runtime.errors import AudioError, OptionError, SampleFormatWarning
from haaqi_edge.runtime.streaming.chunk_resampler import _RESAMPLER_BLOCK_SECONDS, ChunkResampler
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE, noise
from streaming import split

RATES = [8_000, 11_025, 12_345, 16_000, 44_100, 44_101, 48_000, 88_200, 96_000, 192_000, 767_999]


@pytest.mark.slow
@given(
    rate=st.sampled_from(RATES),
    sizes=st.lists(st.integers(1, 5) | st.integers(1, 20_000), min_size=1, max_size=12),
    channels=st.sampled_from([None, 1, 2, 5]),
    milliseconds=st.integers(0, 300),
)
@settings(max_examples=120, deadline=None)
def test_the_samples_do_not_depend_on_the_chunks(
    rate: int, sizes: list[int], channels: int | None, milliseconds: int
) -> None:
    sound = noise(rate * milliseconds // 1000, channels=channels)
    sizes = [*sizes, 1 + len(sound) // 300]  # no more than some hundred chunks
    intake = ChunkResampler(rate)
    got = [block for chunk in split(sound, sizes) for block in intake.push(intake.check(chunk))]
    got.append(intake.finish())
    mono = sound if channels is None else sound.mean(axis=1, dtype=np.float32)
    expected = mono if rate == RATE else soxr.resample(mono, rate, RATE, quality="HQ")
    assert np.array_equal(np.concatenate(got), expected)
    if len(sound):
        offline = np.concatenate(list(ArrayAudio(sound, rate).blocks()))
        assert np.array_equal(np.concatenate(got), offline)


@pytest.mark.slow
@given(rate=st.sampled_from(RATES), sizes=st.lists(st.integers(1, 9_000), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_when_samples_come_does_not_depend_on_the_chunks(rate: int, sizes: list[int]) -> None:
    sound = noise(rate // 4)
    arrivals = []
    for own in (sizes, [1 + rate // 400]):
        intake, taken, out, seen = ChunkResampler(rate), 0, 0, {}
        for chunk in split(sound, own):
            taken += len(chunk)
            out += sum(map(len, intake.push(chunk)))
            seen[taken] = out
        arrivals.append(seen)
    common = arrivals[0].keys() & arrivals[1].keys()
    assert len(sound) in common or max(arrivals[0]) == max(arrivals[1])
    assert all(arrivals[0][at] == arrivals[1][at] for at in common)


def test_soxr_alone_gives_them_at_moments_that_do() -> None:
    """Why there are blocks: the samples are the same, but not how many have come."""
    sound = noise(88_200 * 3 // 2)

    def come(size: int) -> int:
        stream = soxr.ResampleStream(88_200, RATE, 1, dtype="float32", quality="HQ")
        return sum(len(stream.resample_chunk(chunk)) for chunk in split(sound, [size]))

    assert come(441) != come(len(sound))


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_what_is_held_back_is_bounded(rate: int) -> None:
    intake, sound, out = ChunkResampler(rate), noise(rate * 2), 0
    for at, sample in enumerate(split(sound[: rate // 2], [1])):
        out += sum(map(len, intake.push(sample)))
        assert (at + 1) * RATE / rate - out < (_RESAMPLER_BLOCK_SECONDS + 0.12) * RATE


@given(at=st.integers(0, 30_000), sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_time_of_a_bad_sample_is_named(at: int, sizes: list[int]) -> None:
    sound = np.zeros((30_001, 2), dtype=np.float32)
    sound[at, 1] = np.nan
    intake = ChunkResampler(8_000)
    pushed = (block for chunk in split(sound, sizes) for block in intake.push(intake.check(chunk)))
    with pytest.raises(AudioError, match=rf"the stream holds a sample .* not a finite number at {at / 8000:.3f} s"):
        list(pushed)


def test_far_above_full_scale() -> None:
    intake = ChunkResampler(RATE)
    with pytest.raises(AudioError, match=r"amplitude 32767 at 0\.000 s: full scale is 1\.0; divide integers"):
        list(intake.push(np.array([32767.0])))
    assert [len(block) for block in intake.push(np.full(80, MAX_AMPLITUDE))] == [80]


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.zeros(3, np.uint8), "type uint8"),
        (np.zeros(3, np.complex64), "type complex64"),
        (None, "type object"),
        ([[1.0], [1.0, 2.0]], "not an array"),
        (np.zeros((2, 16_000)), r"shape \(2, 16000\).*transpose"),
        (np.zeros((5, 0)), r"shape \(5, 0\)"),
        (np.zeros((5, 1)), "a chunk with 1 channel.* in the stream of 2: channels cannot change"),
        (np.zeros(5), "a chunk with 1 channel.* in the stream of 2"),
    ],
)
def test_chunks_of_another_form(chunk: object, words: str) -> None:
    intake = ChunkResampler(RATE)
    list(intake.push(intake.check(np.zeros((5, 2)))))
    with pytest.raises(AudioError, match=words):
        intake.check(chunk)


@pytest.mark.parametrize("rate", [0, 7_999, 768_001, 44_100.5, "48 kHz"])
def test_rates_that_cannot_be(rate: int) -> None:
    with pytest.raises(AudioError, match="the sample rate of the stream"):
        ChunkResampler(rate)


def test_an_empty_chunk_says_nothing_of_the_channels() -> None:
    intake = ChunkResampler(RATE)
    assert list(intake.push(intake.check([]))) == []
    assert [len(block) for block in intake.push(intake.check(np.zeros((80, 2))))] == [80]


def test_integers_are_of_their_full_scale() -> None:
    for dtype in (np.int8, np.int16, np.int32):
        assert full_scale(checked_samples(np.array([np.iinfo(dtype).min], dtype)))[0] == -1.0
    assert full_scale(np.array([1e300]))[0] == np.inf


def test_a_first_chunk_that_may_be_transposed_is_refused() -> None:
    with pytest.raises(
        AudioError, match=r"shape \(2, 64\) is ambiguous: expected is \[n, channels\], .* transpose it, .* channels=64"
    ):
        ChunkResampler(RATE).check(np.zeros((2, 64)))
    declared = ChunkResampler(RATE, channels=64)
    assert declared.check(np.zeros((2, 64))).shape == (2, 64)
    with pytest.raises(
        AudioError, match=r"2 channel\(s\) in the stream of 64.* shape \(64, 2\), expected is \[n, 64\]"
    ):
        declared.check(np.zeros((64, 2)))
    for shape in ((64, 2), (1, 2), (2, 6), (100, 64)):
        assert ChunkResampler(RATE).check(np.zeros(shape)).shape == shape
    for channels in (0, 65, -1, True):
        with pytest.raises(OptionError, match="give 1 to 64"):
            ChunkResampler(RATE, channels=channels)


def test_integers_of_another_full_scale() -> None:
    resampler = ChunkResampler(RATE)
    with pytest.raises(AudioError, match="type int64 with a peak of 1000: the full scale of the samples is unclear"):
        resampler.check([1000, -5])
    resampler.check(np.array([0, 2**50]))
    right = np.full(RATE, 2**20, dtype=np.int32)
    list(resampler.push(resampler.check(right)))
    with pytest.warns(SampleFormatWarning, match="if they are of 24 bits, shift them by 8 bits to the left"):
        resampler.finish()
