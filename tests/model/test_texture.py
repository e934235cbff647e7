"""The front end in torch: the runtime's numbers, in one piece or in patches, and gradients that can be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from haaqi_edge.model import Texture
from haaqi_edge.runtime.errors import AudioError
from haaqi_edge.runtime.texture import textures
from sounds import PATCH, READ, music, noise


@pytest.mark.parametrize("samples", [READ, READ + PATCH, 5 * PATCH + 77, 48_000])
def test_the_runtimes_texture(samples: int) -> None:
    sound = music(4.0)[:samples]
    with torch.inference_mode():
        got = Texture()(torch.from_numpy(sound)[None])[0].numpy()
    expected = textures(sound)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-3)  # of numbers around 10 whose spread is 3
    assert np.abs(got - expected).mean() < 2e-5


def test_a_batch_is_its_clips() -> None:
    clips = torch.stack([torch.from_numpy(part[:20_000].copy()) for part in (music(2.0), noise(32_000))])
    front_end = Texture()
    torch.testing.assert_close(front_end(clips)[1], front_end(clips[1:])[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("silent", [False, True])
def test_gradients_are_finite(silent: bool) -> None:
    sound = torch.zeros(1, READ) if silent else torch.from_numpy(music(1.0)[:READ].copy())[None]
    sound.requires_grad_()
    Texture()(sound).sum().backward()  # type: ignore[no-untyped-call]
    assert sound.grad is not None
    assert torch.isfinite(sound.grad).all()
    if not silent:
        assert sound.grad.abs().max() > 0


@pytest.mark.parametrize("shape", [(READ,), (1, READ - 1), (1, 1, READ)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match=r"expected \[batch, samples\] at 16000 Hz with at least 2800"):
        Texture()(torch.zeros(shape))
