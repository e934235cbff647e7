"""Texture: what it tells of sounds whose texture is known, and that a patch is nobody else's business."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from haaqi_edge.runtime.texture import BANDS, PLANES, bands, edges, modulation_bins, textures
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import PATCH, RATE, READ, Sound, music, noise

TIME = np.arange(5 * RATE) / RATE


def plane(features: Sound, name: str) -> Sound:
    return features[:, PLANES.index(name)]


def band_of(hz: float) -> int:
    return int(np.searchsorted(edges(), hz)) - 1


def tone(hz: float, amplitude: float = 0.1) -> Sound:
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * TIME), dtype=np.float32)


def test_shape_and_type() -> None:
    for samples, patches in ((0, 0), (READ - 1, 0), (READ, 1), (READ + PATCH - 1, 1), (READ + PATCH, 2)):
        features = textures(music(1.0)[:samples])
        assert features.shape == (patches, len(PLANES), BANDS)
        assert features.dtype == np.float32


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 20), st.integers(1, 10))
def test_a_patch_does_not_depend_on_its_neighbours(first: int, count: int) -> None:
    sound = music(6.0)
    whole = textures(sound)
    part = textures(sound[first * PATCH : (first + count - 1) * PATCH + READ])
    assert (part == whole[first : first + count]).all()


def test_a_gain_moves_levels_and_nothing_else() -> None:
    sound = music(3.0)
    quiet, loud = textures(sound * np.float32(100)), textures(sound * np.float32(1000))  # far above the floor
    np.testing.assert_allclose(plane(loud, "level") - plane(quiet, "level"), np.log(100), atol=1e-3)
    np.testing.assert_allclose(plane(loud, "loudness") - plane(quiet, "loudness"), np.log(10), atol=1e-4)
    others = [i for i, name in enumerate(PLANES) if name not in ("level", "loudness")]
    np.testing.assert_allclose(loud[:, others], quiet[:, others], atol=0.02)


@pytest.mark.parametrize("hz", [200, 1000, 5000])
def test_a_tone_is_in_its_band_and_tonal(hz: float) -> None:
    features = textures(tone(hz))
    assert (plane(features, "level").argmax(axis=1) == band_of(hz)).all()
    hiss = textures(noise(5 * RATE))
    assert plane(features, "tonality")[:, band_of(hz)].min() > plane(hiss, "tonality")[:, band_of(hz)].max() + 1


@pytest.mark.parametrize(("rate", "name"), [(8, "4 Hz"), (16, "12 Hz"), (25, "20 Hz"), (40, "32 Hz"), (65, "50 Hz")])
def test_a_tremolo_shows_at_its_rate(rate: float, name: str) -> None:
    sound = np.asarray(noise(5 * RATE) * (1 + 0.9 * np.sin(2 * np.pi * rate * TIME)), dtype=np.float32)
    names = [n for n in PLANES if n.startswith("modulation")]
    top = slice(BANDS // 2, None)  # bands wide enough to follow it
    trembling, even = textures(sound), textures(noise(5 * RATE))
    strengths = {n: plane(trembling, n)[:, top].mean() - plane(even, n)[:, top].mean() for n in names}
    assert max(strengths, key=lambda n: strengths[n]) == f"modulation {name}"


def test_a_gap_is_a_dip_and_a_click_a_swell() -> None:
    sound = noise(RATE)
    gap, click = sound.copy(), sound.copy()
    gap[1000:1400] *= 0.001
    click[1200:1230] *= 100
    usual = textures(sound)[0]
    dip, swell, crest = (PLANES.index(name) for name in ("dip", "swell", "crest"))
    assert (textures(gap)[0][dip] > usual[dip] + 3).all()
    assert (textures(click)[0][swell] > usual[swell] + 2).all()
    assert textures(click)[0][crest, 0] > usual[crest, 0] + 1


def test_clipping_lowers_the_crest() -> None:
    sound = music(3.0)
    clipped = np.clip(sound, -0.3 * np.abs(sound).max(), 0.3 * np.abs(sound).max())
    assert plane(textures(clipped), "crest").mean() < plane(textures(sound), "crest").mean() - 0.1


@pytest.mark.parametrize("sound", [np.zeros(READ, np.float32), np.full(READ, 1e-30, np.float32), noise(RATE) * 1000])
def test_silence_and_uproar_are_finite(sound: Sound) -> None:
    assert np.isfinite(textures(sound.astype(np.float32))).all()


def test_bands_share_the_spectrum_out() -> None:
    layout = bands()
    assert len(layout.long_starts) == BANDS
    assert layout.long_counts.min() >= 4  # enough bins to tell a tone from noise
    assert layout.long_counts.sum() == layout.long.stop - layout.long.start
    sums = np.add.reduceat(layout.short_weights, layout.short_starts)
    np.testing.assert_allclose(sums, 1.0, atol=1e-6)
    rates = modulation_bins()
    assert all(a.stop == b.start and a.stop > a.start for a, b in pairwise(rates))
