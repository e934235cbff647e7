"""The front end in torch: the runtime's numbers, in one piece or in patches, and gradients that can be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from haaqi_edge.model import Texture
from haaqi_edge.runtime.errors import AudioError, OptionError
from haaqi_edge.runtime.features.texture import VERSIONS, textures
from sounds import PATCH, READ, music, noise

both = pytest.mark.parametrize("version", VERSIONS)


@both
@pytest.mark.parametrize("samples", [READ, READ + PATCH, 5 * PATCH + 77, 48_000])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_texture_equals_the_runtime(samples: int, offset: float, version: int) -> None:
    sound = music(4.0)[:samples] + np.float32(offset)
    with torch.inference_mode():
        got = Texture(version)(torch.from_numpy(sound)[None])[0].numpy()
    expected = textures(sound, version)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-3)  # of numbers around 10 whose spread is 3
    assert np.abs(got - expected).mean() < 2e-5


@both
def test_the_clips_of_a_batch_are_independent(version: int) -> None:
    clips = torch.stack([torch.from_numpy(part[:20_000].copy()) for part in (music(2.0), noise(32_000))])
    front_end = Texture(version)
    torch.testing.assert_close(front_end(clips)[1], front_end(clips[1:])[0], atol=1e-4, rtol=0)


@both
@pytest.mark.parametrize("silent", [False, True])
def test_gradients_are_finite(silent: bool, version: int) -> None:
    sound = torch.zeros(1, READ) if silent else torch.from_numpy(music(1.0)[:READ].copy())[None]
    sound.requires_grad_()
    Texture(version)(sound).sum().backward()  # type: ignore[no-untyped-call]
    assert sound.grad is not None
    assert torch.isfinite(sound.grad).all()
    if not silent:
        assert sound.grad.abs().max() > 0


def test_no_offset_changes_version_2() -> None:
    """The gradient along a constant, a ramp and a slow cosine is 0, unlike in version 1."""
    places = (torch.arange(READ) + 0.5) / READ
    slow = [torch.ones(READ), places - 0.5, torch.cos(torch.pi * 6 * places)]
    along = []
    for version in VERSIONS:
        sound = torch.from_numpy(music(1.0)[:READ].copy()).double()[None].requires_grad_()
        Texture(version).double()(sound)[:, :, :, :8].sum().backward()
        assert sound.grad is not None
        along.append([(sound.grad[0] @ curve.double()).abs().item() for curve in slow])
    assert min(along[0]) > 1
    assert max(along[1]) < 1e-3 * min(along[0])


def test_unknown_versions_are_refused() -> None:
    with pytest.raises(OptionError, match=r"version 3 of the texture front end: expected one of \(1, 2\)"):
        Texture(3)


@pytest.mark.parametrize("shape", [(READ,), (1, READ - 1), (1, 1, READ)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match=r"expected \[batch, samples\] at 16000 Hz with at least 2800"):
        Texture()(torch.zeros(shape))
