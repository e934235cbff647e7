"""Small: the pretrained layers are the published ones, blocks are independent, and it streams what it scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from haaqi_edge.model import Nano, Small, Texture, TextureMel
from haaqi_edge.model.family import load_network
from haaqi_edge.model.loss import HAAQILoss
from haaqi_edge.model.small import BLOCK
from haaqi_edge.runtime.errors import AudioError, AudiogramError, CheckpointError
from haaqi_edge.runtime.features.mel import texture_mel
from haaqi_edge.runtime.features.texture import BANDS
from sounds import READ, music, noise


@pytest.fixture(scope="module")
def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def features(seconds: float) -> torch.Tensor:
    return torch.from_numpy(texture_mel(music(seconds)))


def test_it_has_about_a_million_parameters(small: Small) -> None:
    assert sum(parameter.numel() for parameter in small.parameters()) < 1_100_000


def test_the_pretrained_layers_give_the_published_output(shared: Path) -> None:
    """Mean and deviation of every layer's output, for the published code's spectrum."""
    golden = np.load(shared / "reference/mn04/golden.npz")
    small = Small().eval()
    small.load_pretrained(shared / "reference/mn04/mn04_as_mAP_432.pt")
    x = torch.from_numpy(golden["mel"]).float()[None, None]
    with torch.inference_mode():
        for layer, (mean, deviation) in zip(small.encoder.layers, golden["block_means"], strict=False):
            x = layer(x)
            assert float(x.mean()) == pytest.approx(float(mean), abs=1e-4)
            assert float(x.std()) == pytest.approx(float(deviation), abs=1e-3)


def test_another_checkpoint_is_not_the_pretrained_network(tmp_path: Path, small: Small) -> None:
    path = tmp_path / "small.safetensors"
    safetensors.torch.save_file(small.state_dict(), path)
    with pytest.raises(CheckpointError, match="is not mn04's"):
        Small().load_pretrained(path)


@pytest.mark.parametrize("patches", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_blocks_are_independent(small: Small, patches: int) -> None:
    """An incomplete block is completed by silence; what follows a block changes nothing."""
    whole = features(6.0)
    with torch.inference_mode():
        tokens = small.encode(whole[:patches])
        assert tokens.shape == (patches, 1, small.config.width)
        complete = patches // BLOCK * BLOCK
        if complete:
            torch.testing.assert_close(small.encode(whole)[:complete], tokens[:complete], atol=1e-5, rtol=0)
        clips = small.encode_clips(torch.stack([whole[:patches], whole[3 : patches + 3]]))
        torch.testing.assert_close(clips[0], tokens[:, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(clips[1], small.encode(whole[3 : patches + 3])[:, 0], atol=1e-5, rtol=0)


def test_a_checkpoint_is_recognized(tmp_path: Path, small: Small) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(small.state_dict(), path)
    again = load_network(path)
    assert isinstance(again, Small)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in small.state_dict().items())
    with pytest.raises(CheckpointError, match="load it with Small"):
        Nano.from_checkpoint(path)


def test_frozen_layers_stay_in_evaluation_mode(small: Small) -> None:
    try:
        small.train()
        modes = [layer.training for layer in small.encoder.layers]
    finally:
        small.eval()
    assert modes == [index >= small.config.frozen for index in range(len(modes))]
    assert not any(parameter.requires_grad for parameter in small.encoder.layers[0].parameters())


def test_the_front_end_in_torch_equals_the_runtime() -> None:
    sound = music(3.0)
    with torch.inference_mode():
        got = TextureMel()(torch.from_numpy(sound)[None])[0].numpy()
        texture = Texture(2)(torch.from_numpy(sound)[None])[0].numpy()
    expected = texture_mel(sound)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got[..., :BANDS], texture, atol=1e-5)
    np.testing.assert_allclose(got[..., BANDS:], expected[..., BANDS:], atol=2e-3)


def test_the_loss_has_gradients(small: Small) -> None:
    sound = torch.from_numpy(np.stack([music(2.0), noise(32_000)])).requires_grad_()
    loss = HAAQILoss(small, "N3")
    loss(sound).backward()
    assert sound.grad is not None
    assert torch.isfinite(sound.grad).all()
    assert (sound.grad.abs().amax(1) > 0).all()


def test_wrong_shapes_are_refused(small: Small) -> None:
    good = features(2.0)[None]
    with pytest.raises(AudioError, match=r"expected \[batch, patches, 16, 136\]"):
        small(good[..., :32], torch.zeros(1, 8))
    with pytest.raises(AudioError, match="expected"):
        small(good[:, :0], torch.zeros(1, 8))
    with pytest.raises(AudiogramError, match="hearing levels"):
        small(good, torch.zeros(1, 7))
    assert small(good, torch.zeros(1, 8)).frame_scores.shape == (1, 1 + (32_000 - READ) // 2560)
