"""Sums of partials against numpy's sines."""

from __future__ import annotations

import numpy as np
from haaqi_edge.training.corpus.oscillators import add_decaying_partials, add_harmonics
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 24_000


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), partials=st.integers(1, 12), samples=st.integers(1, 20_000))
def test_decaying_partials_are_damped_sines(seed: int, partials: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    turns, amplitudes = rng.uniform(0.001, 0.45, partials), rng.uniform(0.1, 1, partials)
    rates, phases = rng.uniform(1e-5, 1e-2, partials), rng.uniform(0, 2 * np.pi, partials)
    n = np.arange(samples)[:, None]
    expected = (amplitudes * np.exp(-rates * n) * np.sin(2 * np.pi * turns * n + phases)).sum(1)
    out = np.full(samples, 0.5)
    add_decaying_partials(out, turns, amplitudes, rates, phases)
    np.testing.assert_allclose(out, 0.5 + expected, atol=3e-6 * partials)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), orders=st.integers(1, 60))
def test_harmonics_are_sines_of_multiples_of_the_phase(seed: int, orders: int) -> None:
    rng = np.random.default_rng(seed)
    phase = np.cumsum(rng.uniform(0.001, 0.1, 3_000))
    amplitudes = rng.normal(size=orders)
    expected = np.sin(phase[:, None] * np.arange(1, orders + 1)) @ amplitudes
    out = np.zeros(len(phase))
    add_harmonics(out, phase, amplitudes)
    np.testing.assert_allclose(out, expected, atol=1e-6)
