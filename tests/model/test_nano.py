"""Nano: encoder and head, the inputs that must not matter, weights, and cost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from haaqi_edge.model import Nano, NanoConfig
from haaqi_edge.runtime import Bundle
from haaqi_edge.runtime.errors import AudioError, AudiogramError, BundleError, CheckpointError
from torch import Tensor, nn

PATCH = (16, 32)
FREQUENCIES = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)


@pytest.fixture(scope="module")
def nano() -> Nano:
    """Return a nano whose weights and statistics are far from the initial ones."""
    torch.manual_seed(2)
    network = Nano().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        network.encoder.mean.normal_()
        network.encoder.scale.uniform_(1, 3)
    return network


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def some_texture(clips: int, count: int, seed: int = 0) -> Tensor:
    """Return random texture [clips, count, 16, 32] of a realistic magnitude."""
    return 3 * torch.randn(clips, count, *PATCH, generator=torch.Generator().manual_seed(seed))


def some_audiograms(count: int) -> Tensor:
    return 100 * torch.rand(count, 8, generator=torch.Generator().manual_seed(1))


def test_scores_have_their_shapes_and_range(nano: Nano) -> None:
    scores = nano(some_texture(3, 9), some_audiograms(3))
    assert scores.frame_scores.shape == (3, 9)
    assert scores.score.shape == (3,)
    for values in scores:
        assert ((values > 0) & (values < 1)).all()
        assert values.std() > 1e-4


def test_the_clips_of_a_batch_are_independent(nano: Nano) -> None:
    features, audiograms = some_texture(5, 10), some_audiograms(5)
    together = nano(features, audiograms)
    for i in range(5):
        alone = nano(features[i : i + 1], audiograms[i : i + 1])
        torch.testing.assert_close(alone.score[0], together.score[i], atol=2e-6, rtol=0)
        torch.testing.assert_close(alone.frame_scores[0], together.frame_scores[i], atol=2e-6, rtol=0)


def test_one_clips_tokens_serve_many_listeners(nano: Nano) -> None:
    features, audiograms = some_texture(1, 10), some_audiograms(4)
    tokens = nano.encode(features[0]).reshape(1, 10, -1)
    together = nano.head(tokens, audiograms)
    for i in range(4):
        torch.testing.assert_close(nano(features, audiograms[i : i + 1]).score[0], together.score[i], atol=2e-6, rtol=0)
    assert together.score.std() > 1e-4


def test_the_encoder_is_local_to_a_patch(nano: Nano) -> None:
    patches = some_texture(1, 9)[0]
    tokens = nano.encode(patches)
    assert tokens.shape == (9, 1, nano.config.width)
    for i in range(9):
        torch.testing.assert_close(nano.encode(patches[i : i + 1])[0], tokens[i], atol=1e-5, rtol=0)
    altered = patches.clone()
    altered[4] += some_texture(1, 1, seed=3)[0, 0]
    changed = (nano.encode(altered) - tokens).abs().amax((1, 2)) > 1e-4
    assert changed.tolist() == [i == 4 for i in range(9)]


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_only_the_frequencies_that_haaqi_uses_matter(frequency: int, nano: Nano) -> None:
    features, audiograms = some_texture(1, 10), some_audiograms(1)
    altered = audiograms.clone()
    altered[:, FREQUENCIES.index(frequency)] += 30
    difference = (nano(features, altered).score - nano(features, audiograms).score).abs().item()
    assert (difference == 0) if frequency in (3000, 8000) else (difference > 1e-6)


def test_the_order_of_patches_matters(nano: Nano) -> None:
    features, audiograms = some_texture(1, 10), some_audiograms(1)
    assert (nano(features, audiograms).score - nano(features.flip(1), audiograms).score).abs() > 1e-6


def test_tokens_contain_the_levels_of_the_bands(nano: Nano) -> None:
    features = some_texture(1, 10)
    levels = nano.encode(features[0])[:, 0, -32:]
    softer = features.clone()
    softer[:, :, 0] -= 2 * np.log(10)
    torch.testing.assert_close(levels - nano.encode(softer[0])[:, 0, -32:], torch.full_like(levels, 20 / 30))


def test_at_most_a_million_parameters(nano: Nano) -> None:
    assert 100_000 < sum(parameter.numel() for parameter in nano.parameters()) <= 1_000_000


def test_at_most_a_gigaflop_for_ten_seconds(nano: Nano) -> None:
    with counted(nano) as operations:
        nano(some_texture(1, 62), some_audiograms(1))
    assert 10_000_000 < sum(operations) <= 1_000_000_000


@contextmanager
def counted(network: nn.Module) -> Iterator[list[int]]:
    """Count operations of linear layers and recurrences that run: two per multiplication and addition."""
    operations: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(module, nn.Linear):
            operations.append(2 * output.numel() * module.in_features)
        elif isinstance(module, nn.GRU):
            matrices = sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
            operations.append(2 * inputs[0].shape[0] * inputs[0].shape[1] * matrices)

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    try:
        yield operations
    finally:
        for hook in hooks:
            hook.remove()


def test_the_shipped_bundle_holds_its_checkpoint_to_the_bit() -> None:
    nano = Nano.shipped()
    assert not nano.training
    checkpoint = safetensors.torch.save(nano.state_dict())
    assert hashlib.sha256(checkpoint).hexdigest() == Bundle("nano").card.source_sha256 == nano.checkpoint_sha256


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_weights_read_from_a_bundle_are_those_that_were_exported(version: int, tmp_path: Path) -> None:
    from haaqi_edge.export.bundle import load_nano_source, write_bundle

    torch.manual_seed(3)
    state = Nano(NanoConfig(texture_version=version)).state_dict()
    state["encoder.mean"].normal_()
    state["encoder.scale"].uniform_(1, 3)
    safetensors.torch.save_file(state, tmp_path / "nano.safetensors")
    write_bundle(load_nano_source(tmp_path / "nano.safetensors"), tmp_path / "bundle")
    nano = Nano.from_bundle(Bundle(tmp_path / "bundle"))
    assert nano.config.texture_version == version
    assert nano.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in nano.state_dict().items())


def test_weights_are_read_from_fp32_graphs_only() -> None:
    with pytest.raises(BundleError, match="not an fp32 bundle"):
        Nano.from_bundle(Bundle("nano-int8"))


def test_a_checkpoint_stores_its_front_end(tmp_path: Path) -> None:
    shipped = Nano.shipped()
    assert (shipped.config.texture_version, shipped.reads) == (2, "texture-2")
    network = Nano(NanoConfig(texture_version=2))
    path = tmp_path / "nano.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    again = Nano.from_checkpoint(path)
    assert (again.config, again.reads) == (NanoConfig(texture_version=2), "texture-2")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())
    assert network.state_dict().keys() == shipped.state_dict().keys()


@pytest.mark.parametrize("version", [torch.tensor(3.0), torch.tensor(float("nan")), torch.ones(2)])
def test_a_checkpoint_of_an_unknown_front_end_is_refused(version: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "nano.safetensors"
    safetensors.torch.save_file(Nano().state_dict() | {"encoder.texture_version": version}, path)
    with pytest.raises(CheckpointError, match=r"nano\.safetensors needs version .*this release computes 1, 2"):
        Nano.from_checkpoint(path)


def test_an_average_of_weights_keeps_the_version() -> None:
    network = Nano(NanoConfig(texture_version=2))
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)  # type: ignore[no-untyped-call]
    averaged = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    for _ in range(50):
        averaged.update_parameters(network)
    assert averaged.state_dict()["module.encoder.texture_version"].item() == 2


def test_dropout_acts_in_training_only(nano: Nano) -> None:
    network = Nano()
    network.load_state_dict(nano.state_dict())
    features, audiograms = some_texture(2, 10), some_audiograms(2)
    network.eval()
    assert torch.equal(network(features, audiograms).score, network(features, audiograms).score)
    network.train()
    assert not torch.equal(network(features, audiograms).score, network(features, audiograms).score)


@pytest.mark.parametrize("shape", [(1, 0, 16, 32), (10, 16, 32), (1, 160, 128)])
def test_other_features_are_refused(shape: tuple[int, ...], nano: Nano) -> None:
    with pytest.raises(AudioError, match=r"expected \[batch, patches, 16, 32\]"):
        nano(torch.zeros(shape), some_audiograms(1))


@pytest.mark.parametrize("shape", [(8,), (1, 7), (3, 8)])
def test_other_audiograms_are_refused(shape: tuple[int, ...], nano: Nano) -> None:
    with pytest.raises(AudiogramError, match=r"expected \[2, 8\]"):
        nano(some_texture(2, 3), torch.zeros(shape))


def test_other_sizes() -> None:
    network = Nano(NanoConfig(layers=(8,), vector=12, hidden=5, conditioning=6)).eval()
    assert network(some_texture(2, 4), some_audiograms(2)).frame_scores.shape == (2, 4)
    assert network.encode(some_texture(1, 4)[0]).shape == (4, 1, 12 + 32)
