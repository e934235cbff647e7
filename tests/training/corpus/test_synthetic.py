"""Composed music: the same for the same number, different for others, and as varied as it should be."""

from __future__ import annotations

import numpy as np
import pytest
from haaqi_edge.runtime.features.patches import SAMPLE_RATE
from haaqi_edge.training.corpus.synthetic import RATE, synthesize_piece
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pieces() -> list[np.ndarray]:
    return [synthesize_piece(number, 5.2) for number in range(40)]


@settings(deadline=None, max_examples=15)
@given(number=st.integers(0, 10**7), seconds=st.floats(0.5, 7.5))
def test_a_number_is_a_piece(number: int, seconds: float) -> None:
    x = synthesize_piece(number, seconds)
    assert x.dtype == np.float64
    assert len(x) == round(seconds * RATE)
    assert np.isfinite(x).all()
    assert np.any(x)
    assert (synthesize_piece(number, seconds) == x).all()


def test_numbers_differ(pieces: list[np.ndarray]) -> None:
    spectra = np.array([np.log(signal.welch(x, RATE, nperseg=2048)[1] + 1e-12) for x in pieces])
    likeness = np.corrcoef(spectra) - np.eye(len(pieces))
    assert likeness.max() < 0.9999
    assert np.median(likeness) < 0.9


def test_pieces_are_sparse_and_dense_tonal_and_not(pieces: list[np.ndarray]) -> None:
    crest = [np.abs(x).max() / x.std() for x in pieces]
    assert min(crest) < 4 < 8 < max(crest)
    flatness = []
    for x in pieces:
        power = signal.welch(x, RATE, nperseg=1024)[1][4:] + 1e-12
        flatness.append(np.exp(np.log(power).mean()) / power.mean())
    assert min(flatness) < 0.003
    assert max(flatness) > 0.05


def test_pieces_fill_the_band_that_is_read(pieces: list[np.ndarray]) -> None:
    power = np.mean([signal.welch(x / x.std(), RATE, nperseg=1024)[1] for x in pieces], axis=0)
    hz = np.fft.rfftfreq(1024, 1 / RATE)
    for low, high in ((80, 300), (300, 1_000), (1_000, 3_000), (3_000, SAMPLE_RATE / 2)):
        assert power[(hz >= low) & (hz < high)].sum() > 1e-4 * power.sum()
