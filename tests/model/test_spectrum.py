"""The folded power spectrum equals NumPy's Fourier transform, bin by bin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from haaqi_edge.model.spectrum import PowerSpectrum
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(deadline=None)
@given(quarter=st.integers(2, 40), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_the_power_of_each_bin(quarter: int, seed: int, data: st.DataObject) -> None:
    length, rng = 4 * quarter, np.random.default_rng(seed)
    low = data.draw(st.integers(0, 2 * quarter - 2))
    bins = np.arange(low, data.draw(st.integers(low + 2, 2 * quarter)))
    window, frames = rng.standard_normal(length), rng.standard_normal((3, length))
    spectrum = PowerSpectrum(window, bins)
    got = spectrum(torch.from_numpy(frames).float()).numpy()
    expected = np.square(np.abs(np.fft.rfft(frames * window)[:, spectrum.order]))
    np.testing.assert_allclose(got, expected, atol=1e-5 * float(np.square(frames * window).sum(axis=1).max()) * length)
    assert sorted(spectrum.order) == list(bins)


@pytest.mark.parametrize("length", [64, 2048])
def test_a_tone_is_in_its_bin(length: int) -> None:
    tone = torch.cos(2 * torch.pi * 9 / length * torch.arange(length))[None]
    spectrum = PowerSpectrum(np.ones(length), np.arange(1, length // 2))
    got = spectrum(tone)[0].numpy()
    assert spectrum.order[np.argmax(got)] == 9
    assert np.delete(got, np.argmax(got)).max() < 1e-9 * got.max()
