"""Guards: exported graphs in a program that knows only ONNX Runtime. Bad input gives NaN, never an abort or a score."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from guarded import INT8_TOLERANCE, TOLERANCE, check_heads, check_scores, run_program
from haaqi_edge.export import bundle as exporting
from haaqi_edge.export.bundle import ExportSource, write_bundle_and_fused, write_fused_bundle
from haaqi_edge.export.guards import most_samples
from haaqi_edge.export.ort import write_ort
from haaqi_edge.export.tracing import trace_front_end
from haaqi_edge.model.nano import Nano, NanoConfig
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.bundle import ROLES
from haaqi_edge.runtime.errors import HaaqiEdgeError
from haaqi_edge.runtime.session import Session
from numpy.typing import NDArray
from sounds import READ, music
from strange_inputs import sizes_of

Array = NDArray[np.float32]
WINDOW = 62
LEVELS = [20.0, 20.0, 25.0, 30.0, 35.0, 45.0, 50.0, 50.0]

traced_front_end = cache(trace_front_end)
STRANGER = """
import json, sys
import numpy as np, onnxruntime

assert not any(name.startswith("haaqi") for name in sys.modules)
head, encoder, fused = map(onnxruntime.InferenceSession, sys.argv[1:4])
count, rng = int(sys.argv[4]), np.random.default_rng(5)
width = head.get_inputs()[0].shape[2]
texture = encoder.get_inputs()[0]
answers = []


def sound(length):
    kind = rng.integers(5)
    x = rng.standard_normal((1, length)).astype(np.float32) * np.float32(10.0 ** rng.uniform(-9, 2))
    if kind == 0:
        x[:] = 0
    if kind == 1 and length:
        x[0, rng.integers(length)] = rng.choice([np.nan, np.inf, -np.inf, 1e30])
    return x


def audiograms():
    rows = int(rng.integers(0, 4))
    levels = rng.uniform(-10, 120, (rows, 8)).astype(np.float32)
    if rows and rng.random() < 0.4:
        levels[rng.integers(rows), rng.integers(8)] = rng.choice([np.nan, np.inf, -11, 121, 1e9])
    return levels


for _ in range(count):
    levels = audiograms()
    good = ((levels >= -10) & (levels <= 120)).all(axis=1)
    x = sound(int(rng.choice([0, 1, 2799, 2800, 5359, 9000, 40_000, 161_519, 161_520, 300_000])))
    patches = (x.shape[1] - 2800) // 2560 + 1 if x.shape[1] >= 2800 else 0
    heard = x[0, : (patches - 1) * 2560 + 2800] if patches else x[0, :0]
    valid = 0 < patches <= 62 and (np.abs(x) <= 10_000).all() and np.abs(heard).max() > 2.0**-24
    valid = valid and (x**2).mean() <= 10**3.5  # 120 dB SPL
    results = fused.run(None, {"waveform": x, "audiogram": levels})
    expected = good & valid if len(levels) else np.array([False])
    for result in results:
        finite = np.isfinite(result.reshape(len(expected), -1)).all(axis=1)
        assert finite.tolist() == expected.tolist(), (x.shape, levels)
    tokens = rng.standard_normal((1, int(rng.choice([0, 1, 2, 62])), width)).astype(np.float32)
    if tokens.size and rng.random() < 0.2:
        tokens.ravel()[rng.integers(tokens.size)] = rng.choice([np.nan, np.inf])
    results = head.run(None, {"tokens": tokens, "audiogram": levels})
    valid = tokens.size > 0 and np.isfinite(tokens).all()
    expected = good & valid if len(levels) else np.array([False])
    for result in results:
        finite = np.isfinite(result.reshape(len(expected), -1)).all(axis=1)
        assert finite.tolist() == expected.tolist(), (tokens.shape, levels)
    shape = [int(rng.choice([0, 1, 9])), *texture.shape[1:]]
    assert len(encoder.run(None, {texture.name: np.zeros(shape, np.float32)})[0]) == shape[0]
    answers.append(bool(expected.any()))
print(json.dumps({"runs": count, "answers": sum(answers)}))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.manual_seed(3)
    nano = Nano(NanoConfig(layers=(16,), vector=8, hidden=5, conditioning=4)).eval()
    folder = tmp_path_factory.mktemp("guards")
    source = ExportSource("tiny", "nano", nano, nano, 1, nano.config.width, "0" * 64)
    write_bundle_and_fused(source, folder / "bundle", folder / "fused.onnx")
    return folder / "bundle", folder / "fused.onnx"


def run_stranger(bundle: Path, fused: Path, count: int) -> dict[str, int]:
    """Run random inputs in a process of its own, which would die of an abort."""
    files = [str(bundle / "head.onnx"), str(bundle / "encoder.onnx"), str(fused)]
    process = subprocess.run(
        [sys.executable, "-c", STRANGER, *files, str(count)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    found: dict[str, int] = json.loads(process.stdout)
    return found


def test_random_input_never_ends_the_program(exported: tuple[Path, Path]) -> None:
    found = run_stranger(*exported, 200)
    assert 20 < found["answers"] < 180


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "nano-int8", "small"])
def test_bundles_and_their_ort_files(name: str, tmp_path: Path) -> None:
    bundle = Bundle(name)
    write_ort(bundle, tmp_path / "ort")
    paths = [form.path(role) for role in ROLES for form in (bundle, Bundle(tmp_path / "ort"))]
    _, (encoders, encoders_ort, heads, heads_ort) = run_program(paths, 120, tmp_path)
    for run, (one, other) in enumerate(zip(encoders, encoders_ort, strict=True)):
        assert one.shape[0] == sizes_of(run)
        finite = np.isfinite(one)
        np.testing.assert_allclose(one[finite], other[finite], atol=1e-3, rtol=1e-4)
    check_heads(heads, bundle.card.width)
    for one, other in zip(heads, heads_ort, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("nano", TOLERANCE), ("nano-int8", INT8_TOLERANCE)])
def test_fused_files(name: str, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "trace_front_end", traced_front_end)  # once for all, since it takes seconds
    paths = [tmp_path / "fused.onnx", tmp_path / "fused.ort"]
    for path in paths:
        write_fused_bundle(Bundle(name), path)
    runs, results = run_program(paths, 40, tmp_path)
    scorer = Scorer(name, threads=1)
    for one in results:
        assert 0 < check_scores(scorer, one, tolerance) < runs


@pytest.mark.parametrize("samples", [READ - 1, READ, 20_000, most_samples(WINDOW)])
@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_a_fused_file_agrees_with_score(exported: tuple[Path, Path], samples: int, gain: float) -> None:
    scorer, fused = Scorer(exported[0]), Session(exported[1])
    sound = (gain * music(11.0)[:samples]).astype(np.float32)
    frames, scores, intervals = fused.run(waveform=sound[None], audiogram=np.array([LEVELS], np.float32))
    try:
        expected = scorer.score((sound, 16_000), LEVELS)
    except HaaqiEdgeError:
        assert all(np.isnan(one).all() for one in (frames, scores, intervals))
        return
    assert scores[0] == pytest.approx(expected.score, abs=1e-5)
    assert intervals[0].tolist() == pytest.approx(expected.interval, abs=1e-5)


def test_a_longer_waveform_than_the_window_has_no_score(exported: tuple[Path, Path]) -> None:
    session = Session(exported[1])
    for extra, finite in ((0, True), (1, False), (500_000, False)):
        sound = np.resize(music(5.0), most_samples(WINDOW) + extra)[None]
        score = session.run(waveform=sound, audiogram=np.array([LEVELS], np.float32))[1]
        assert np.isfinite(score).all() == finite
    assert session.metadata["max_samples"] == str(most_samples(WINDOW))
    assert session.metadata["min_samples"] == str(READ)
    assert session.metadata["window"] == "10"
