"""The front end inside a graph against the golden features, the runtime's and Kaldi's steps written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from haaqi_edge.benchmarks.golden import Arrays
from haaqi_edge.export.frontend import GraphFbank
from haaqi_edge.export.tracing import SamplesEncoder, trace_encoder
from haaqi_edge.model import Nano, NanoConfig
from haaqi_edge.runtime.features.fbank import fbank, mel_filters, patches
from haaqi_edge.runtime.features.texture import VERSIONS, textures
from haaqi_edge.runtime.session import Session
from numpy.typing import NDArray
from sounds import RATE, READ, music
from torch import nn

Array = NDArray[np.float32]


def graph(samples: Array) -> Array:
    with torch.inference_mode():
        features: Array = GraphFbank()(torch.from_numpy(samples)[None])[0].numpy()
    return features


def kaldi(samples: Array) -> NDArray[np.float64]:
    """Compute the fbank frame by frame in float64, like Kaldi's feature-window.cc and feature-fbank.cc."""
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400].astype(np.float64) * 32768
        frame = frame - frame.mean()
        for i in range(399, 0, -1):
            frame[i] -= 0.97 * frame[i - 1]
        frame[0] -= 0.97 * frame[0]
        frame *= (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
        power = np.abs(np.fft.rfft(frame, 512)[:256]) ** 2
        rows.append(power @ mel_filters())
    return (np.log(np.maximum(rows, np.finfo(np.float32).eps)) - 15.41663) / (2 * 6.55582)


def test_the_golden_waveforms(golden: dict[str, Arrays]) -> None:
    for name, clip in golden.items():
        samples = clip["waveform"].astype(np.float32) / 32768
        got = graph(samples)
        for expected in (clip["fbank"], fbank(samples)):
            difference = np.abs(got - expected)
            assert difference.mean() < 1e-5, name
            assert difference.max() < 1e-3, name


@pytest.mark.parametrize("offset", [0.0, 0.2, -0.5], ids=["centred", "offset", "negative offset"])
def test_kaldis_steps_are_folded_exactly(offset: float) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(4_000) + offset).astype(np.float32)
    with torch.inference_mode():
        got = GraphFbank().double()(torch.from_numpy(samples).double()[None])[0].numpy()
    np.testing.assert_allclose(got, kaldi(samples), atol=1e-5)  # its constants are float32


def test_digital_silence_gives_the_floor_of_the_logarithm() -> None:
    expected = (np.log(np.finfo(np.float32).eps) - 15.41663) / (2 * 6.55582)
    np.testing.assert_allclose(graph(np.zeros(2_800, np.float32)), expected, rtol=1e-6)


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (559, 1), (560, 2), (2_800, 16), (2_799, 15)])
def test_the_edges_are_snipped(samples: int, frames: int) -> None:
    assert graph(np.ones(samples, np.float32)).shape == (frames, 128)


class FrontEndAlone:
    """A network whose encoder returns its input."""

    reads = "fbank"
    encoder = head = nn.Identity()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_traced_front_end_equals_the_runtime(tmp_path: Path) -> None:
    path = tmp_path / "frontend.onnx"
    program = torch.onnx.export(
        SamplesEncoder(FrontEndAlone()),
        (torch.zeros(3, 2_800),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("patches", min=1)},),
        opset_version=18,
        verbose=False,
    )
    assert program is not None
    operators = {node.op_type for node in program.model_proto.graph.node}
    assert "Conv" in operators
    assert not {"STFT", "DFT", "Loop", "Scan", "If", "Gather"} & operators
    program.save(path)
    session = onnxruntime.InferenceSession(path)
    samples = (0.1 * np.random.default_rng(1).standard_normal(2_560 * 4 + 2_800)).astype(np.float32)
    cut = np.stack([samples[i * 2_560 : i * 2_560 + 2_800] for i in range(5)])
    (got,) = session.run(None, {session.get_inputs()[0].name: cut})
    assert np.abs(got - patches(samples)).max() < 1e-3
    assert np.abs(got - patches(samples)).mean() < 1e-5


@pytest.fixture(scope="module", params=VERSIONS)
def encoders(request: pytest.FixtureRequest) -> tuple[int, Session, Session]:
    """A version of the front end, and nano's encoder with it, of samples and of textures."""
    version: int = request.param
    network = Nano(NanoConfig(texture_version=version))
    shipped = Nano.shipped().state_dict()
    network.load_state_dict(
        {key: shipped[key] if "version" not in key else value for key, value in network.state_dict().items()}
    )
    network.eval()
    inside, outside = (Session(trace_encoder(network, samples=form).SerializeToString()) for form in (True, False))
    return version, inside, outside


@pytest.mark.slow
@pytest.mark.parametrize("peak", [0.0, 1e-6, 1e-4])
def test_silence_in_the_graph_equals_the_runtime(encoders: tuple[int, Session, Session], peak: float) -> None:
    """Test a patch of zeros, and one near the floors, between patches of music."""
    version, inside, outside = encoders
    samples = np.stack([music(READ / RATE, start=turn)[:READ] for turn in (1.0, 2.0, 3.0)])
    samples[1] *= peak
    expected = outside.run(texture=np.concatenate([textures(patch, version) for patch in samples]))[0]
    np.testing.assert_allclose(inside.run(samples=samples)[0], expected, atol=2e-3)
