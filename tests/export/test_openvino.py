"""Exported files run unchanged in OpenVINO, another runtime. Its wheel is large, and therefore an extra of its own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from haaqi_edge.export import bundle as exporting
from haaqi_edge.export.bundle import write_fused_bundle
from haaqi_edge.export.tracing import trace_front_end
from haaqi_edge.runtime import Audiogram, Bundle
from haaqi_edge.runtime.features.front_ends import FEATURE_EXTRACTORS
from haaqi_edge.runtime.session import Session
from numpy.typing import NDArray
from sounds import DEMO

openvino = pytest.importorskip("openvino", reason="needs the extra test-openvino (184 MB), which a job of CI installs")
pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
AUDIOGRAMS = np.stack([Audiogram.named(name).array() for name in ("NH", "N3", "S3")])
traced_front_end = cache(trace_front_end)


@cache
def waveform() -> NDArray[np.float32]:
    """Return six seconds of music at 16 kHz, [samples]."""
    samples, rate = soundfile.read(DEMO, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, 16_000)[: 6 * 16_000], np.float32)


def run(path: Path, **inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Run a file in OpenVINO, in fp32: by default it may compute in bf16."""
    compiled: Any = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return list(compiled(inputs).values())


@pytest.mark.parametrize("name", ["nano", "nano-int8", "small"])
def test_the_files_of_a_bundle(name: str) -> None:
    bundle = Bundle(name)
    features = FEATURE_EXTRACTORS[bundle.card.front_end_name](waveform())
    given = {bundle.card.encoder_input: features}
    (tokens,) = Session(bundle.path("encoder")).run(**given)
    np.testing.assert_allclose(run(bundle.path("encoder"), **given)[0], tokens, atol=TOLERANCE)
    inputs = {"tokens": tokens.reshape(1, -1, tokens.shape[2]), "audiogram": AUDIOGRAMS}
    expected = Session(bundle.path("head")).run(**inputs)
    assert np.ptp(expected[1]) > 1e-3
    for a, b in zip(run(bundle.path("head"), **inputs), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["nano", "nano-int8"])
def test_a_fused_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "trace_front_end", traced_front_end)
    path = tmp_path / "fused.onnx"
    write_fused_bundle(Bundle(name), path)
    inputs = {"waveform": waveform()[None], "audiogram": AUDIOGRAMS}
    for a, b in zip(run(path, **inputs), Session(path).run(**inputs), strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)
    for sound in (waveform()[None, :100], waveform()[None] * np.float32(0), waveform()[None] * np.float32(np.nan)):
        assert all(np.isnan(one).all() for one in run(path, waveform=sound, audiogram=AUDIOGRAMS))
