"""The four terms of the index are pyclarity's."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from haaqi_edge.haaqi import bands, terms
from haaqi_edge.haaqi.cochlea import BANDS, RATE
from haaqi_edge.haaqi.kernels import PAD
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracle import eb

Array = NDArray[np.float64]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyclarity warns of signals below threshold."""
    monkeypatch.setattr(logging.getLogger("clarity.evaluator.haspi.eb"), "disabled", True)


def envelopes(windows: int, seed: int, quietest: float = -20.0) -> tuple[Array, Array]:
    """Two that have something in common, some windows of the first below threshold."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(quietest, 60, windows // 5 + 1), 5)[:windows]
    x = np.maximum(loudness + rng.uniform(0, 20, (BANDS, windows)), 0)
    return x, np.maximum(x + rng.normal(0, 10, x.shape), 0)


@settings(deadline=None, max_examples=15)
@given(st.integers(45, 400), st.integers(0, 99))
def test_cepstral_correlation(windows: int, seed: int) -> None:
    x, y = envelopes(windows, seed)
    loud = terms.loud_windows(x)
    got = 0.0
    if len(loud):
        got = terms.cepstral_correlation(terms.modulations(x[:, loud]), terms.modulations(y[:, loud]))
    assert got == pytest.approx(eb.melcor9(x, y, 2.5, 0.0, 8)[2], abs=1e-9)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_windows_that_are_loud_enough(count: int) -> None:
    smooth = np.zeros((BANDS, 50))
    smooth[:, 7 : 7 + count] = 30.0
    assert terms.loud_windows(smooth).tolist() == ([7, 8] if count == 2 else [])  # one alone has no modulation


def test_what_does_not_change_is_not_correlated() -> None:
    x, _ = envelopes(100, 1)
    flat = terms.modulations(np.zeros((BANDS, 100)))
    assert terms.cepstral_correlation(terms.modulations(x), flat) == 0.0


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(st.integers(2_000, 8_000), st.integers(0, 99), st.sampled_from([0.0, 0.9, 1.0]))
def test_synchrony(samples: int, seed: int, silent: float) -> None:
    rng = np.random.default_rng(seed)
    motion = bands.allocate_padded(samples)
    gain = np.repeat(np.where(rng.random(samples // 500 + 1) < silent, 0.0, rng.uniform(0, 40)), 500)[:samples]
    motion[:, PAD:-PAD] = gain * rng.standard_normal((BANDS, samples)) * rng.uniform(0, 1, (BANDS, 1))
    audible = terms.audible_segments(motion, samples)
    covariance = rng.random(audible.shape)
    _, mean_square, _ = eb.bm_covary(*(motion[:, PAD:-PAD].astype(np.float64),) * 2, 16, RATE)
    wanted = eb.ave_covary2(covariance, mean_square, 2.5)[1][4]
    assert terms.synchrony(covariance.astype(np.float32), audible) == pytest.approx(wanted, abs=1e-6)


@given(st.integers(0, 999), st.floats(0, 100))
def test_spectra(seed: int, spread: float) -> None:
    x, y = np.random.default_rng(seed).uniform(0, spread, (2, BANDS))
    loud, norm, _ = eb.spectrum_diff(x, y)
    wanted = [np.clip(1 - loud[1] / 2.5, 0, 1), np.clip(1 - norm[1] / 25, 0, 1)]
    np.testing.assert_allclose(terms.spectrum_terms(x, y), wanted, atol=1e-12)
    assert terms.spectrum_terms(x, x) == (1.0, 1.0)
