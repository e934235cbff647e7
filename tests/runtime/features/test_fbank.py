"""The front end against Kaldi's golden features, against a naive reference, and against itself in pieces."""

from __future__ import annotations

import cmath
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from haaqi_edge.runtime.features import patches as fe
from haaqi_edge.runtime.features.fbank import PatchStream, fbank, mel_filters, patches, povey_window
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import Sound, music, noise, samples_for

if TYPE_CHECKING:
    from haaqi_edge.benchmarks.golden import Arrays

EMPTY_TRIANGLE = 3
"""the third mel band from 20 Hz lies between two FFT bins"""


@pytest.fixture
def golden_clips(request: pytest.FixtureRequest) -> dict[str, Arrays]:
    """The golden arrays; reading them needs the packages of the benchmarks."""
    pytest.importorskip("torch")
    clips: dict[str, Arrays] = request.getfixturevalue("golden")
    return clips


def naive_frame(frame: Sound) -> npt.NDArray[np.float64]:
    """One frame of 400 samples, written down from Kaldi's documentation, in double precision."""
    x = frame.astype(np.float64) * 32768
    x = x - sum(x) / 400
    emphasised = np.array([x[i] - 0.97 * (x[i - 1] if i else x[0]) for i in range(400)])
    window = np.array([(0.5 - 0.5 * math.cos(2 * math.pi * i / 399)) ** 0.85 for i in range(400)])
    bins = np.arange(512)
    rows = [sum((emphasised * window) * np.exp(-2j * cmath.pi * k * bins[:400] / 512)) for k in range(257)]
    power = np.abs(np.array(rows)) ** 2
    low, high = (1127 * math.log(1 + hz / 700) for hz in (20, 8000))
    width = (high - low) / 129
    energies = []
    for band in range(128):
        left, centre, right = (low + width * (band + i) for i in range(3))
        energy = 0.0
        for k in range(256):
            mel = 1127 * math.log(1 + k * 31.25 / 700)
            if left < mel < right:
                energy += power[k] * ((mel - left) if mel <= centre else (right - mel)) / width
        energies.append(math.log(max(energy, 2.0**-23)))
    return (np.array(energies) - 15.41663) / (2 * 6.55582)


def test_the_golden_features(golden_clips: dict[str, Arrays]) -> None:
    for name, clip in golden_clips.items():
        got = fbank(clip["waveform"].astype(np.float32) / 32768)
        assert got.dtype == np.float32
        assert got.shape == clip["fbank"].shape, name
        difference = np.abs(got - clip["fbank"])
        assert difference.mean() < 1e-5, name
        assert difference.max() < 1e-3, name


def test_the_empty_triangle_is_the_log_of_the_floor(golden_clips: dict[str, Arrays]) -> None:
    floor = (math.log(2.0**-23) - 15.41663) / (2 * 6.55582)
    assert not mel_filters()[:, EMPTY_TRIANGLE].any()
    for clip in golden_clips.values():
        assert np.abs(fbank(clip["waveform"].astype(np.float32) / 32768)[:, EMPTY_TRIANGLE] - floor).max() < 1e-6
    silence = fbank(np.zeros(1000, dtype=np.float32))
    assert np.isfinite(silence).all()
    assert np.abs(silence - floor).max() < 1e-6


@pytest.mark.parametrize("sound", [music(3, start=4), noise(48_000), music(3, start=9) * np.float32(1e-3)])
def test_a_naive_reference_agrees(sound: Sound) -> None:
    features = fbank(sound)
    for index in (0, 1, 57, 127, 128, 200, len(features) - 1):
        expected = naive_frame(sound[160 * index : 160 * index + 400])
        assert np.abs(features[index] - expected).max() < 1e-4, index


@given(length=st.integers(400, 30_000))
@settings(max_examples=30, deadline=None)
def test_the_number_of_frames(length: int) -> None:
    assert fbank(noise(length)).shape == (1 + (length - 400) // 160, 128)


@given(length=st.integers(0, 30_000))
@settings(max_examples=30, deadline=None)
def test_the_number_of_patches(length: int) -> None:
    whole = [start for start in range(0, 40_000, 2560) if start + 2800 <= length]
    got = patches(noise(length))
    assert got.shape == (len(whole), 16, 128)
    assert fe.patch_count(length) == len(whole)


@given(chunks=st.lists(st.integers(0, 9_000), min_size=1, max_size=30), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_any_chunks_give_the_same_patches_to_the_bit(chunks: list[int], seed: int) -> None:
    sound = noise(sum(chunks), seed)
    stream, got, at = PatchStream(), [], 0
    for size in chunks:
        ready = stream.push(sound[at : at + size])
        assert (len(ready) == 0) or (len(ready) - 2800) % 2560 == 0
        got.append(patches(ready))
        at += size
    assert np.array_equal(np.concatenate(got), patches(sound))


def test_a_patch_does_not_depend_on_its_neighbours() -> None:
    sound = music(20)
    whole = patches(sound)
    for k in range(len(whole)):
        assert np.array_equal(patches(sound[2560 * k : 2560 * k + 2800])[0], whole[k]), k


def test_patches_are_the_frames_in_order() -> None:
    sound = music(5)
    assert np.array_equal(patches(sound).reshape(-1, 128), fbank(sound[: samples_for(fe.patch_count(len(sound)))]))


def test_the_input_is_left_alone() -> None:
    sound = noise(20_000)
    before = sound.copy()
    sound.flags.writeable = False
    fbank(sound)
    assert np.array_equal(sound, before)


def test_twice_the_amplitude_adds_two_logs_of_two() -> None:
    sound = music(2, start=5)
    added = (fbank(2 * sound) - fbank(sound))[:, np.arange(128) != EMPTY_TRIANGLE] * (2 * 6.55582)
    loud = fbank(sound)[:, np.arange(128) != EMPTY_TRIANGLE] > 0  # far above the floor
    assert loud.any()
    assert np.abs(added[loud] - 2 * math.log(2)).max() < 1e-4


@pytest.mark.parametrize("constant", [povey_window(), mel_filters()])
def test_the_constants_cannot_be_written(constant: npt.NDArray[Any]) -> None:
    assert constant.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        constant[0] = 1
