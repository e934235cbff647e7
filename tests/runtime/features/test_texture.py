"""Texture: statistics of sounds whose texture is known, independence of patches, and what version 2 ignores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.runtime.features.texture import (
    BANDS,
    PLANES,
    SEGMENT_POWERS,
    VERSIONS,
    bands,
    detrend,
    edges,
    modulation_bins,
    textures,
    trend_basis,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import PATCH, RATE, READ, Sound, music, noise

TIME = np.arange(5 * RATE) / RATE
both = pytest.mark.parametrize("version", VERSIONS)


def plane(features: Sound, name: str) -> Sound:
    return features[:, PLANES.index(name)]


def band_of(hz: float) -> int:
    return int(np.searchsorted(edges(), hz)) - 1


def tone(hz: float, amplitude: float = 0.1) -> Sound:
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * TIME), dtype=np.float32)


def rumble(low: float, high: float, rms: float, seed: int = 0) -> Sound:
    """Noise from `low` to `high` Hz: float32 [80,000]."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(5 * RATE))
    frequencies = np.fft.rfftfreq(5 * RATE, 1 / RATE)
    sound = np.fft.irfft(np.where((frequencies >= low) & (frequencies <= high), spectrum, 0))
    return np.asarray(rms * sound / np.sqrt(np.mean(np.square(sound))), dtype=np.float32)


@both
def test_shape_and_type(version: int) -> None:
    for samples, patches in ((0, 0), (READ - 1, 0), (READ, 1), (READ + PATCH - 1, 1), (READ + PATCH, 2)):
        features = textures(music(1.0)[:samples], version)
        assert features.shape == (patches, len(PLANES), BANDS)
        assert features.dtype == np.float32


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 20), st.integers(1, 17), st.sampled_from(VERSIONS))
def test_a_patch_does_not_depend_on_its_neighbours(first: int, count: int, version: int) -> None:
    sound = music(6.0) + np.float32(0.05)
    whole = textures(sound, version)
    part = textures(sound[first * PATCH : (first + count - 1) * PATCH + READ], version)
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


@both
@pytest.mark.parametrize(
    "sound",
    [np.zeros(READ), np.full(READ, 1e-30), np.full(READ, 0.5), noise(RATE) * 1000],
    ids=["zeros", "tiny", "constant", "loud"],
)
def test_silence_and_uproar_are_finite(sound: Sound, version: int) -> None:
    assert np.isfinite(textures(sound.astype(np.float32), version)).all()


@pytest.mark.parametrize("offset", [0.5, -0.05, 0.005])
def test_version_2_ignores_a_constant_offset(offset: float) -> None:
    sound = music(5.0)
    shifted = sound + np.float32(offset)
    assert np.abs(textures(shifted, 2) - textures(sound, 2)).max() < 0.01
    assert np.abs(textures(shifted) - textures(sound)).max() > 0.5  # version 1 does not


def test_version_2_ignores_drift_and_rumble() -> None:
    """What is left of them, against version 1's change, and against the spread of the music's own patches."""
    sound = music(5.0)
    spread = textures(sound, 2).std(axis=(0, 2)) + 0.1
    level = float(np.sqrt(np.mean(np.square(sound))))
    drift = np.asarray(0.2 * np.sin(2 * np.pi * 0.7 * TIME) + 0.1 * np.sin(2 * np.pi * 3 * TIME), dtype=np.float32)
    for disturbance, most in ((drift, 1e-3), (rumble(15, 35, 0.3 * level), 0.01), (rumble(15, 35, level), 0.03)):
        first, second = (
            float((np.abs(textures(sound + disturbance, v) - textures(sound, v)).mean(axis=(0, 2)) / spread).mean())
            for v in VERSIONS
        )
        assert second < most
        assert second < first / 5


@pytest.mark.parametrize(("hz", "most"), [(41, 5.5), (50, 0.7), (60, 0.4), (80, 0.2)])
def test_version_2_keeps_the_bass(hz: float, most: float) -> None:
    """A tone loses at most so many dB, whatever its phase."""
    for phase in np.linspace(0, np.pi, 12, endpoint=False):
        sound = np.asarray(0.1 * np.sin(2 * np.pi * hz * TIME[:READ] + phase), dtype=np.float32)
        loudness = [float(plane(textures(sound, version), "loudness")[0, 0]) for version in VERSIONS]
        assert 0 <= 20 / np.log(10) * (loudness[0] - loudness[1]) < most


def test_version_2_leaves_music_without_rumble_nearly_as_it_is() -> None:
    sound = music(5.0)
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / RATE) < 50] = 0
    clean = np.fft.irfft(spectrum).astype(np.float32)
    first, second = textures(clean), textures(clean, 2)
    assert np.abs(second - first).mean() < 0.03
    assert np.abs(second - first)[:, :13, 4:].mean() < 0.01  # above 200 Hz


def test_detrending_is_a_projection() -> None:
    patches = np.stack([noise(READ, seed) + np.float32(seed / 4) for seed in range(4)])
    once = detrend(patches)
    assert once.dtype == np.float32
    np.testing.assert_allclose(detrend(once), once, atol=1e-6)
    curves = trend_basis().curves().astype(np.float64)
    np.testing.assert_allclose(curves @ curves.T, np.eye(len(curves)), atol=1e-6)
    np.testing.assert_allclose(once, patches - (patches @ curves.T) @ curves, atol=2e-6)
    assert np.abs(curves @ once.T).max() < 1e-5


def test_the_trend_is_cosines_a_line_and_a_parabola() -> None:
    places = (np.arange(READ) + 0.5) / READ
    slow = [*(np.cos(np.pi * k * places) for k in range(14)), places, places**2]
    curves = trend_basis().curves().astype(np.float64)
    assert len(curves) == len(slow)
    for curve in slow:
        left = curve - (curve @ curves.T) @ curves
        assert np.sqrt(np.mean(left**2)) < 1e-5
    assert trend_basis().rows.shape == (16, 28 * SEGMENT_POWERS)


@pytest.mark.parametrize("version", [0, 3, "2"])
def test_unknown_versions_are_refused(version: int) -> None:
    with pytest.raises(OptionError, match=r"version .* of the texture front end: expected one of \(1, 2\)"):
        textures(music(1.0), version)


def test_bands_share_the_spectrum_out() -> None:
    layout = bands()
    assert len(layout.long_starts) == BANDS
    assert layout.long_counts.min() >= 4  # enough bins to tell a tone from noise
    assert layout.long_counts.sum() == layout.long.stop - layout.long.start
    sums = np.add.reduceat(layout.short_weights, layout.short_starts)
    np.testing.assert_allclose(sums, 1.0, atol=1e-6)
    rates = modulation_bins()
    assert all(a.stop == b.start and a.stop > a.start for a, b in pairwise(rates))
