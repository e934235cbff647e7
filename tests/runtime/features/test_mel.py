"""The log-mel spectrum of small: the pretrained network's, up to 8 kHz; independent patches; no direct current."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
from haaqi_edge.runtime.features import mel
from haaqi_edge.runtime.features.texture import BANDS, textures
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import PATCH, READ, music, noise


def test_shape_and_type() -> None:
    for samples, patches in ((0, 0), (READ - 1, 0), (READ, 1), (READ + PATCH - 1, 1), (READ + PATCH, 2)):
        features = mel.texture_mel(music(1.0)[:samples])
        assert features.shape == (patches, 16, BANDS + mel.MEL_BANDS)
        assert features.dtype == np.float32
    sound = music(1.0)
    np.testing.assert_array_equal(mel.texture_mel(sound)[..., :BANDS], textures(sound, version=2))
    np.testing.assert_array_equal(mel.texture_mel(sound)[..., BANDS:], mel.mel_patches(sound))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 20), st.integers(1, 17))
def test_a_patch_does_not_depend_on_its_neighbours(first: int, count: int) -> None:
    sound = music(8.0)
    part = sound[first * PATCH : (first + count - 1) * PATCH + READ]
    np.testing.assert_array_equal(mel.mel_patches(part), mel.mel_patches(sound)[first : first + count])


def test_it_is_the_spectrum_of_the_pretrained_network(shared: Path) -> None:
    """The published code's spectrum of a signal at 32 kHz, for the same signal at 16 kHz."""
    golden = np.load(shared / "reference/mn04/golden.npz")
    sound = soxr.resample(golden["x"], 32_000, 16_000).astype(np.float32)
    ours = mel.mel_patches(np.pad(sound, (200, READ))).reshape(-1, mel.MEL_BANDS)  # its frames are centred
    theirs = golden["mel"].T[:, : mel.MEL_BANDS]
    count = min(len(ours), len(theirs)) - 10  # without the end, which the published code reflects
    difference = np.abs(ours[5:count, mel.SILENT_BANDS : 95] - theirs[5:count, mel.SILENT_BANDS : 95])
    assert difference.mean() < 0.02
    assert np.corrcoef(ours[5:count, 8:95].ravel(), theirs[5:count, 8:95].ravel())[0, 1] > 0.999


@pytest.mark.parametrize("offset", [0.1, 0.5, -0.9])
def test_direct_current_does_not_change_it(offset: float) -> None:
    sound = 0.1 * noise(48_000)
    before, after = mel.texture_mel(sound), mel.texture_mel(sound + np.float32(offset))
    np.testing.assert_allclose(before[..., BANDS:], after[..., BANDS:], atol=2e-2)
    assert np.abs(before - after)[..., BANDS:].mean() < 1e-3


def test_silence_has_its_value() -> None:
    silent = mel.mel_patches(np.zeros(READ, np.float32))
    np.testing.assert_allclose(silent, mel.SILENT_VALUE, atol=0.01)
