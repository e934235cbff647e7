"""HAAQI is pyclarity's: the index, and the two steps that are written anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from clarity.evaluator.haaqi import compute_haaqi
from clarity.evaluator.haspi import eb
from clarity.utils.audiogram import Audiogram as ClarityAudiogram
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.errors import AudioError
from haaqi_edge.training.haaqi import Ear, Reference, bm_covariance, env_smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

DEMO = Path(__file__).resolve().parents[2] / "demo"
FREQUENCIES = (250, 500, 1000, 2000, 4000, 6000)
Array = NDArray[np.float64]


def excerpt(name: str, rate: int, start: float, seconds: float) -> Array:
    samples, own = soundfile.read(DEMO / f"{name}.flac", start=int(start * 24_000), frames=int(seconds * 24_000))
    return np.asarray(soxr.resample(samples, own, rate))


def oracle(processed: Array, clean: Array, rate: int, audiogram: Audiogram, level1: float, seed: int = 0) -> float:
    levels = np.interp(np.log(FREQUENCIES), np.log((250, 500, 1000, 2000, 3000, 4000, 6000, 8000)), audiogram.levels)
    np.random.seed(seed)  # noqa: NPY002
    heard = ClarityAudiogram(levels=levels, frequencies=np.array(FREQUENCIES))
    return float(compute_haaqi(processed, clean, rate, rate, heard, equalisation=1, level1=level1))


@pytest.mark.parametrize(
    ("audiogram", "rate", "level1"), [(Audiogram.named("N2"), 24_000, 85.0), (Audiogram.named("S3"), 44_100, 78.5)]
)
def test_the_index_is_pyclaritys(audiogram: Audiogram, rate: int, level1: float) -> None:
    clean, degraded = excerpt("clean", rate, 2.0, 1.0), excerpt("degraded", rate, 2.0, 1.0)
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    got = Reference(clean, rate, Ear(audiogram, level1)).score(degraded, rate)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]  # noqa: NPY002
    assert got.score == pytest.approx(oracle(degraded, clean, rate, audiogram, level1), abs=1e-9)
    assert 0 < got.score < 1
    assert got.nonlinear == pytest.approx(0.754 * got.cepstral**3 + 0.246 * got.synchrony)
    assert got.linear == pytest.approx(0.329 * got.loudness + 0.671 * got.spectrum)


def test_the_same_seed_gives_the_same_index_whatever_was_drawn_before() -> None:
    clean, degraded = excerpt("clean", 24_000, 0.5, 0.6), excerpt("degraded", 24_000, 0.5, 0.6)
    np.random.seed(3)  # noqa: NPY002
    reference = Reference(clean, 24_000, Ear(Audiogram.named("N3")))
    first = reference.score(degraded, 24_000)
    np.random.random(100)  # noqa: NPY002
    assert reference.score(degraded, 24_000) == first
    other = Reference(clean, 24_000, Ear(Audiogram.named("N3")), seed=1).score(degraded, 24_000)
    assert other != first
    assert other.score == pytest.approx(first.score, abs=0.01)


@settings(deadline=None, max_examples=25)
@given(st.integers(500, 3_000), st.integers(1, 3), st.sampled_from([24_000, 16_000]), st.integers(0, 99))
def test_envelopes_are_smoothed_as_pyclarity_does(samples: int, bands: int, rate: int, seed: int) -> None:
    envelopes = np.random.default_rng(seed).uniform(0, 80, (bands, samples))
    expected = eb.env_smooth(envelopes, 8, rate)
    got = env_smooth(envelopes, 8, rate)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


@settings(deadline=None, max_examples=15)
@given(st.integers(1_000, 4_000), st.sampled_from([24_000, 16_000]), st.integers(0, 99), st.floats(0, 1))
def test_covariances_are_pyclaritys(samples: int, rate: int, seed: int, mix: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, samples))
    y = mix * np.roll(x, 5, axis=1) + (1 - mix) * rng.standard_normal((2, samples))
    y[1, : samples // 2] = 0.0  # a band that is silent for a while
    covariance, mean_square, _ = eb.bm_covary(x, y, 16, rate)
    got = bm_covariance(x, y, 16, rate)
    np.testing.assert_allclose(got[0], covariance, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(got[1], mean_square, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("blocks", [4, 7])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_lengths_at_which_a_segment_begins(blocks: int, extra: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, blocks * 96 + extra))
    np.testing.assert_allclose(env_smooth(x, 8, 24_000), eb.env_smooth(x, 8, 24_000), rtol=1e-11, atol=1e-12)
    x = rng.standard_normal((2, blocks * 192 + extra))
    expected = eb.bm_covary(x, x[::-1], 16, 24_000)
    for got, wanted in zip(bm_covariance(x, x[::-1], 16, 24_000), expected, strict=False):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((2, 24_000)), np.array([0.1, np.nan] * 9_000)])
def test_bad_signals_are_refused(bad: Array) -> None:
    good = excerpt("clean", 24_000, 1.0, 0.5)
    with pytest.raises(AudioError, match="the reference signal must be finite samples of one channel"):
        Reference(bad, 24_000, Ear(Audiogram.named("N1")))
    with pytest.raises(AudioError, match="the processed signal must be finite"):
        Reference(good, 24_000, Ear(Audiogram.named("N1"))).score(bad, 24_000)
