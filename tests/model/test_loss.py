"""HAAQI as a loss: the scorer's scores, gradients that finite differences confirm, and whatever training does to it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from haaqi_edge.model import HAAQILoss, Student, Teacher
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.runtime import Audiogram, Scorer
from haaqi_edge.runtime.errors import AudioError, AudiogramError, OptionError
from haaqi_edge.training.degradations.signals import apply_tilt
from sounds import PATCH, READ, music, noise
from torch import Tensor

SMALL = BeatsConfig(
    layers=2, width=32, heads=2, ffn=48, patch_width=16, norm_layers=2, position_kernel=8, position_groups=2, buckets=8
)
HEAD = HeadConfig(width=16, hidden=6, heads=2)


@pytest.fixture(scope="module")
def loss() -> HAAQILoss:
    return HAAQILoss("nano", "N3")


@pytest.fixture
def small() -> dict[str, Any]:
    torch.manual_seed(0)
    return {"student": Student(SMALL, HEAD, predicts=()), "teacher": Teacher(SMALL, HEAD)}


def clip(samples: int, start: float = 0.0) -> Tensor:
    return torch.from_numpy(music(14.0, start=start)[:samples].copy())[None]


@pytest.mark.parametrize("samples", [READ, 5 * PATCH + 77, 14 * 16_000])
@pytest.mark.parametrize("level1", [85.0, 70.0])
def test_scores_equal_those_of_the_scorer(loss: HAAQILoss, samples: int, level1: float) -> None:
    sound = clip(samples)
    expected = Scorer("nano", threads=1).score((sound[0].numpy(), 16_000), "N3", level1=level1).score
    own = HAAQILoss(loss.network, "N3", level1)
    assert own.score(sound).item() == pytest.approx(expected, abs=2e-5)
    assert own(sound).item() == pytest.approx(1 - expected, abs=2e-5)


def test_every_clip_has_its_own_listener(loss: HAAQILoss) -> None:
    sound, names = torch.cat([clip(16_000), clip(16_000, 4.0)]), ("N1", "N6")
    levels = torch.stack([torch.from_numpy(Audiogram.named(name).array()) for name in names])
    alone = [loss.score(sound[i : i + 1], name).item() for i, name in enumerate(names)]
    torch.testing.assert_close(loss.score(sound, levels), torch.tensor(alone), atol=1e-5, rtol=0)
    each = HAAQILoss(loss.network, reduction="none")(sound, levels)
    assert HAAQILoss(loss.network)(sound, levels).item() == pytest.approx(each.mean().item())
    assert HAAQILoss(loss.network, reduction="sum")(sound, levels).item() == pytest.approx(each.sum().item())
    near = HAAQILoss(loss.network, target=0.4, reduction="none")(sound, levels)
    torch.testing.assert_close(near, (0.6 - each).abs())


@pytest.mark.parametrize("kind", ["nano", "student", "teacher"])
def test_gradients_are_those_of_finite_differences(kind: str, small: dict[str, Any]) -> None:
    loss = HAAQILoss(small.get(kind, kind), "N3").double()
    sound = clip(READ + PATCH).double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(sound), sound)
    assert gradient.norm() > 0
    rng = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = torch.randn(sound.shape, generator=rng, dtype=torch.float64)
        direction = 1e-7 * direction / direction.norm()
        with torch.no_grad():
            rise = (loss(sound + direction) - loss(sound - direction)).item() / 2
        assert (gradient * direction).sum().item() == pytest.approx(rise, rel=1e-3, abs=1e-14)


def test_silence_has_a_gradient_too(loss: HAAQILoss) -> None:
    sound = torch.zeros(1, 2 * READ)
    sound[0, 1_000] = 0.5
    sound.requires_grad_()
    loss(sound).backward()  # type: ignore[no-untyped-call]
    assert sound.grad is not None
    assert torch.isfinite(sound.grad).all()
    silent = torch.zeros(2, READ, requires_grad=True)
    HAAQILoss(loss.network, "N3", check=False)(silent).backward()  # type: ignore[no-untyped-call]
    assert silent.grad is not None
    assert torch.isfinite(silent.grad).all()  # a silent clip has a score of NaN, but harms no other clip


def test_the_network_does_not_change(small: dict[str, Any]) -> None:
    loss = HAAQILoss(small["student"], "N3")
    before = {name: value.clone() for name, value in loss.network.state_dict().items()}
    loss.train()
    assert not any(part.training for part in loss.network.modules() if not isinstance(part, torch.nn.RNNBase))
    sound = torch.nn.Parameter(clip(2 * 16_000))
    optimizer = torch.optim.SGD([sound, *(p for p in loss.parameters() if p.requires_grad)], lr=1.0)
    first = loss(sound)
    for _ in range(3):
        optimizer.zero_grad()
        loss(sound).backward()
        optimizer.step()
    assert loss(sound) < first
    assert all(torch.equal(value, before[name]) for name, value in loss.network.state_dict().items())


def test_autocast_changes_nothing(loss: HAAQILoss) -> None:
    sound = torch.from_numpy(noise(16_000))[None].requires_grad_()
    seen: list[torch.dtype] = []
    handles = [
        part.register_forward_hook(lambda *told: seen.append(torch.as_tensor(told[2]).dtype))
        for part in (loss.front_end, loss.network.encoder)  # type: ignore[union-attr]
    ]
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(sound)
        low = loss(sound.bfloat16())
    value.backward()
    for handle in handles:
        handle.remove()
    assert seen == [torch.float32] * 4
    assert sound.grad is not None
    assert torch.isfinite(sound.grad).all()
    assert value.dtype == torch.float32
    assert value.item() == loss(sound).item()
    assert low.item() == pytest.approx(value.item(), abs=0.05)  # the samples themselves are rounded


def test_samples_that_are_not_finite_are_errors(loss: HAAQILoss) -> None:
    sound = torch.cat([clip(16_000), clip(16_000, 4.0)])
    for value in (float("nan"), float("inf")):
        broken = sound.clone()
        broken[1, 8_000] = value
        with pytest.raises(AudioError, match=r"clips \[1\] .*not finite \(clip 1 at 0.500 s\)"):
            loss(broken)
    unchecked = HAAQILoss(loss.network, "N3", reduction="none", check=False)
    scores = 1 - unchecked(broken)
    assert torch.isnan(scores[1])
    assert scores[0].item() == pytest.approx(loss.score(sound)[0].item(), abs=1e-5)


def test_silence_is_left_out_as_in_a_score(loss: HAAQILoss) -> None:
    """Windows of 10 s: the first is silent, and the second is not."""
    sound = torch.cat([torch.zeros(1, 61 * PATCH + READ), clip(62 * PATCH)], dim=1)
    sound = sound.requires_grad_()
    expected = Scorer("nano", threads=1).score((sound[0].detach().numpy(), 16_000), "N3")
    assert expected.windows[0].score is None
    found = loss.score(sound)
    assert found.item() == pytest.approx(expected.score, abs=1e-4)
    found.sum().backward()
    assert sound.grad is not None
    assert torch.isfinite(sound.grad).all()
    both = torch.cat([sound.detach(), torch.zeros_like(sound.detach())])
    with pytest.raises(AudioError, match=r"clips \[1\] of the batch are silent throughout"):
        loss(both)
    scores = HAAQILoss(loss.network, "N3", check=False).score(both)
    assert scores[0].item() == pytest.approx(expected.score, abs=1e-4)
    assert torch.isnan(scores[1])


def test_second_derivatives(loss: HAAQILoss) -> None:
    sound = clip(READ + PATCH).requires_grad_()
    (slope,) = torch.autograd.grad(loss(sound), sound, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), sound)
    assert torch.isfinite(curvature).all()
    assert curvature.abs().max() > 0


@pytest.mark.slow
def test_it_compiles(loss: HAAQILoss) -> None:
    sound = clip(READ + PATCH).requires_grad_()
    expected = torch.autograd.grad(loss(sound), sound)[0]
    compiled = torch.compile(loss, backend="eager")
    got = torch.autograd.grad(compiled(sound), sound)[0]
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_the_front_end_is_not_compiled(loss: HAAQILoss) -> None:
    compiled: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    sound = clip(READ + PATCH)
    value = torch.compile(loss, backend=backend)(sound)
    assert value.item() == pytest.approx(loss(sound).item(), abs=1e-6)
    assert compiled
    operations = {str(node.target) for graph in compiled for node in graph.graph.nodes}
    assert not any("fft" in name for name in operations)


@pytest.mark.slow
def test_the_example_equaliser_improves_the_score(loss: HAAQILoss) -> None:
    path = Path(__file__).parents[2] / "examples" / "equaliser.py"
    spec = importlib.util.spec_from_file_location("equaliser", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    sound = music(12.0)[: 12 * 16_000].astype(np.float64)
    dull = torch.from_numpy(
        np.stack([apply_tilt(part, 16_000, -6) for part in sound.reshape(6, -1)]).astype(np.float32)
    )
    equaliser, amplifier = example.Equaliser(dull.shape[1]), example.Amplifier(Audiogram.named("N3"))
    with torch.inference_mode():
        before = loss(amplifier(dull))
        torch.testing.assert_close(equaliser(dull), dull, atol=1e-5, rtol=0)  # it begins as a wire
    example.train(equaliser, amplifier, loss, dull, 12)
    with torch.inference_mode():
        assert loss(amplifier(equaliser(dull))) < before - 0.01


def test_accepted_arguments(loss: HAAQILoss, tmp_path: Path) -> None:
    sound = torch.cat([clip(16_000), clip(16_000, 4.0)])
    each = torch.stack([loss.score(sound[i : i + 1], name)[0] for i, name in enumerate(("N1", "N6"))])
    torch.testing.assert_close(loss.score(sound, ["N1", "N6"]), each, atol=1e-5, rtol=0)
    torch.testing.assert_close(loss.score(sound.double(), ["N1", "N6"]), each, atol=1e-5, rtol=0)
    near = HAAQILoss(loss.network, ["N1", "N6"], target=torch.tensor([0.2, 0.8]), reduction="none")
    torch.testing.assert_close(near(sound), (each - torch.tensor([0.2, 0.8])).abs(), atol=1e-5, rtol=0)
    with pytest.raises(OptionError, match="2 targets for 1 clips"):
        near(sound[:1], "N3")
    for wrong in (sound.numpy(), (sound * 30_000).short()):
        with pytest.raises(AudioError, match="expected a tensor of floating-point samples"):
            loss(wrong)
    with pytest.raises(AudiogramError, match="outside -10 to 120 dB HL"):
        loss(sound, torch.full((8,), 200.0))
    with pytest.raises(OptionError, match="is a folder; expected the file of a checkpoint"):
        HAAQILoss(tmp_path)


@pytest.mark.parametrize("shape", [(READ,), (1, READ - 1), (1, 1, READ), (0, READ)])
def test_other_shapes_are_refused(loss: HAAQILoss, shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match=r"expected \[batch, samples\] at 16000 Hz"):
        loss(torch.zeros(shape))


def test_invalid_arguments_are_refused(loss: HAAQILoss) -> None:
    with pytest.raises(AudiogramError, match="no audiogram was given: pass one to HAAQILoss"):
        HAAQILoss(loss.network)(torch.zeros(1, READ))
    with pytest.raises(AudiogramError, match=r"shape \[3, 8\] were given for 2 clips"):
        loss(torch.zeros(2, READ), torch.zeros(3, 8))
    with pytest.raises(OptionError, match="mean, sum or none"):
        HAAQILoss(loss.network, reduction="max")
    with pytest.raises(OptionError, match="target 3: expected a score from 0 to 1"):
        HAAQILoss(loss.network, target=3)
