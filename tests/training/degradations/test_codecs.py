"""Codecs, lost packets and resamplers: aligned, as good as their parameters say, and SBC as another decoder has it."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest
import soxr
from excerpts import Excerpt
from haaqi_edge.training.degradations.codecs import (
    AAC_RATES,
    METHODS,
    RANGES,
    SBC_DELAY,
    aac,
    encode_sbc,
    packet_loss,
    resample_pass,
    sbc,
)
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]
RATE = 24_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def lag_of(y: Array, x: Array) -> int:
    return int(signal.correlate(y, x, method="fft").argmax()) - (len(x) - 1)


def error(y: Array, x: Array) -> float:
    return rms(y - x) / rms(x)


@pytest.mark.parametrize("rate", [*AAC_RATES, 20_000])
def test_aac_is_aligned_at_any_rate(rate: int, excerpt: Excerpt) -> None:
    music = np.asarray(soxr.resample(excerpt.samples[:RATE], RATE, rate))
    y = aac(music, rate, rng(), kbps=96.0)
    assert y.shape == music.shape
    assert lag_of(y, music) == 0
    assert error(y, music) < 0.15


def test_a_click_stays_where_it_is_in_aac() -> None:
    click = 1e-3 * rng(1).standard_normal(RATE)
    click[9_876] = 1.0
    assert int(np.abs(aac(click, RATE, rng(), kbps=144.0)).argmax()) == 9_876


def test_the_more_bits_the_better(excerpt: Excerpt) -> None:
    samples = excerpt.samples
    for errors in (
        [error(aac(samples, RATE, rng(), kbps=kbps), samples) for kbps in (10.0, 24.0, 96.0)],
        [error(sbc(samples, RATE, rng(), hz=48_000.0, bitpool=pool), samples) for pool in (3.0, 8.0, 31.0)],
        [error(sbc(samples, RATE, rng(), hz=16_000.0, bitpool=pool), samples) for pool in (3.0, 8.0, 26.0)],
    ):
        assert errors[0] > 1.5 * errors[1] > 1.5**2 * errors[2]


@pytest.mark.parametrize("known", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_sbc_is_aligned_at_any_rate(rate: int, known: int, excerpt: Excerpt) -> None:
    music = np.asarray(soxr.resample(excerpt.samples[:RATE], RATE, rate))
    y = sbc(music, rate, rng(), hz=known, bitpool=31.0)
    assert y.shape == music.shape
    assert lag_of(y, music) == 0


@pytest.mark.parametrize("samples", [1, 127, 128, 5_000])
def test_sub_bands_add_up_to_the_whole(samples: int) -> None:
    white = 3_000 * rng(2).standard_normal(samples)
    assert error(encode_sbc(white, 3, 128), white) < 0.001


def libavcodec_sbc(pcm: NDArray[np.int16], bit_rate: int) -> tuple[Array, int]:
    """What libavcodec's encoder and decoder of SBC make of [n] samples at 48 kHz, and the bit pool it chose."""
    encoder = av.AudioCodecContext.create("sbc", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = 48_000, "mono", "s16", bit_rate
    decoder = av.AudioCodecContext.create("sbc", "r")
    decoder.sample_rate, decoder.layout, decoder.format = 48_000, "mono", "s16p"
    packets = []
    for start in range(0, len(pcm) - 127, 128):
        frame = av.AudioFrame.from_ndarray(pcm[None, start : start + 128], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, start
        packets += encoder.encode(frame)
    header = bytes(packets[0])
    assert header[:2] == b"\x9c\xf1"  # 48 kHz, 16 blocks, mono, loudness, 8 sub-bands
    decoded = [frame.to_ndarray()[0] for packet in packets for frame in decoder.decode(packet)]
    return np.concatenate(decoded).astype(np.float64), header[2]


@pytest.mark.parametrize("bit_rate", [60_000, 120_000])
def test_sbc_agrees_with_libavcodec(bit_rate: int, excerpt: Excerpt) -> None:
    """Both choose the same bits in every frame, or else the difference would be that of their errors."""
    music = soxr.resample(excerpt.samples, RATE, 48_000)
    pcm = np.round(music / np.abs(music).max() * 29_000).astype(np.int16)
    expected, bitpool = libavcodec_sbc(pcm, bit_rate)
    expected = expected[SBC_DELAY:]
    got = encode_sbc(pcm.astype(np.float64), 3, bitpool)[: len(expected)]
    clean = pcm[: len(got)].astype(np.float64)
    assert error(got, expected) < 0.005
    assert rms(got - expected) < 0.25 * rms(got - clean)


def gaps(y: Array) -> list[int]:
    return [len(list(group)) for silent, group in itertools.groupby(np.abs(y) < 1e-9) if silent]


@pytest.mark.parametrize(("percent", "burst"), [(5.0, 1.0), (20.0, 1.0), (20.0, 5.0)])
def test_as_many_packets_are_lost_as_it_says(percent: float, burst: float) -> None:
    steady = np.ones(60 * RATE)
    y = packet_loss(steady, RATE, rng(3), percent=percent, ms=7.5, burst=burst, concealment=0.0)
    assert 100 * np.mean(y < 0.5) == pytest.approx(percent, rel=0.2)
    lengths = np.array(gaps(y)) / (0.0075 * RATE)
    assert lengths.mean() == pytest.approx(burst, rel=0.2)
    assert np.abs(np.diff(y)).max() < 0.06  # ramps of 1 ms


def test_at_least_one_packet_is_lost_and_some_arrive(excerpt: Excerpt) -> None:
    rare = packet_loss(excerpt.samples, RATE, rng(), percent=0.01, ms=20.0, burst=1.0, concealment=0.0)
    assert rms(rare - excerpt.samples) > 0
    most = packet_loss(excerpt.samples, RATE, rng(), percent=90.0, ms=20.0, burst=100.0, concealment=0.0)
    assert rms(most) > 0.2 * rms(excerpt.samples)


def test_what_arrives_is_left_as_it_is(excerpt: Excerpt) -> None:
    """The same packets are lost whatever conceals them, and only they and a millisecond after them change."""
    silent, repeated, similar = (
        packet_loss(excerpt.samples, RATE, rng(4), percent=5.0, ms=10.0, burst=1.0, concealment=float(kind))
        for kind in range(3)
    )
    changed = silent != excerpt.samples
    assert 0.02 < changed.mean() < 0.15
    for y in (repeated, similar):
        assert (y[~changed] == excerpt.samples[~changed]).all()
        assert np.isfinite(y).all()


def test_concealment_of_a_tone_by_similarity_is_nearly_seamless() -> None:
    tone = np.sin(2 * np.pi * 441.0 * np.arange(2 * RATE) / RATE)
    errors = [
        error(packet_loss(tone, RATE, rng(5), percent=5.0, ms=7.5, burst=1.0, concealment=float(kind)), tone)
        for kind in range(3)
    ]
    assert errors[2] < 0.4 * min(errors[:2])


def test_repetition_fades() -> None:
    steady = np.ones(20 * RATE)
    y = packet_loss(steady, RATE, rng(3), percent=40.0, ms=20.0, burst=20.0, concealment=1.0)
    assert y.min() < 0.05
    starts = np.flatnonzero((y[:-1] == 1) & (y[1:] < 1))
    assert len(starts) > 3
    np.testing.assert_allclose(y[starts + RATE * 19 // 1000], np.exp(-19 / 20), atol=0.01)


@pytest.mark.parametrize("method", range(len(METHODS)))
@pytest.mark.parametrize("hz", [16_000.0, 22_050.0, 44_100.0, 48_000.0])
def test_no_resampler_shifts_the_music(method: int, hz: float, excerpt: Excerpt) -> None:
    y = resample_pass(excerpt.samples, RATE, rng(), hz=hz, method=float(method))
    assert y.shape == excerpt.samples.shape
    assert lag_of(y, excerpt.samples) == 0
    # To a tenth of a sample: the phase of the cross-spectrum below 3 kHz.
    hertz, cross = signal.csd(excerpt.samples, y, fs=RATE, nperseg=2048)
    low = (hertz > 100) & (hertz < 3_000)
    delay = np.sum(np.angle(cross[low]) * hertz[low]) / np.sum(hertz[low] ** 2) / (2 * np.pi) * RATE
    assert abs(delay) < 0.1


def test_methods_differ_and_linear_interpolation_is_the_worst(excerpt: Excerpt) -> None:
    x = np.sin(2 * np.pi * 5_000 * np.arange(RATE) / RATE)
    ys = [resample_pass(x, RATE, rng(), hz=16_000.0, method=float(method)) for method in range(len(METHODS))]
    errors = [error(y[100:-100], x[100:-100]) for y in ys]
    assert METHODS[int(np.argmax(errors))] == "linear"
    assert all(error(a, b) > 1e-9 for a, b in itertools.combinations(ys, 2))
    assert (resample_pass(excerpt.samples, RATE, rng(), hz=24_000.0, method=2.0) == excerpt.samples).all()


def test_a_rate_of_three_digits_is_the_one_that_is_meant(excerpt: Excerpt) -> None:
    rounded = resample_pass(excerpt.samples, RATE, rng(), hz=float(f"{22_050:.3g}"), method=0.0)
    assert (rounded == resample_pass(excerpt.samples, RATE, rng(), hz=22_050.0, method=0.0)).all()


def test_ranges_lie_within_the_limits() -> None:
    conditions = {"aac": aac, "sbc": sbc, "packet_loss": packet_loss, "resample_pass": resample_pass}
    assert RANGES.keys() == conditions.keys()
    for name, draws in RANGES.items():
        limits = conditions[name].limits
        assert draws.keys() == limits.keys()
        for key, draw in draws.items():
            assert all(limits[key][0] <= draw(rng(seed)) <= limits[key][1] for seed in range(50))
