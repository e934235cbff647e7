"""Guards: exported graphs in a program that knows only ONNX Runtime. Bad input gives NaN, never an abort or a score."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.manual_seed(3)
    nano = Nano(NanoConfig(layers=(16,), vector=8, hidden=5, conditioning=4)).eval()
    folder = tmp_path_factory.mktemp("guards")
    source = ExportSource("tiny", "nano", nano, nano, 1, nano.config.width, "0" * 64)
    write_bundle_and_fused(source, folder / "bundle", folder / "fused.onnx")
    return folder / "bundle", folder / "fused.onnx"


def test_random_input_never_ends_the_program(exported: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = Bundle(exported[0])
    runs, (encoders, heads, fused) = run_program([*(bundle.path(role) for role in ROLES), exported[1]], 200, tmp_path)
    assert [len(one) for one in encoders] == [sizes_of(run) for run in range(runs)]
    check_heads(heads, bundle.card.width)
    assert 20 < check_scores(Scorer(bundle, threads=1), fused, TOLERANCE) < 180


@pytest.mark.slow
@pytest.mark.parametrize(("name", "runs"), [("nano", 1000), ("nano-int8", 120), ("small", 120)])
def test_bundles_and_their_ort_files(name: str, runs: int, tmp_path: Path) -> None:
    bundle = Bundle(name)
    write_ort(bundle, tmp_path / "ort")
    paths = [form.path(role) for role in ROLES for form in (bundle, Bundle(tmp_path / "ort"))]
    _, (encoders, encoders_ort, heads, heads_ort) = run_program(paths, runs, tmp_path)
    for run, (one, other) in enumerate(zip(encoders, encoders_ort, strict=True)):
        assert one.shape[0] == sizes_of(run)
        finite = np.isfinite(one)
        np.testing.assert_allclose(one[finite], other[finite], atol=1e-3, rtol=1e-4)
    check_heads(heads, bundle.card.width)
    for one, other in zip(heads, heads_ort, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "runs", "tolerance"), [("nano", 1000, TOLERANCE), ("nano-int8", 40, INT8_TOLERANCE)], ids=["nano", "int8"]
)
def test_fused_files(name: str, runs: int, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "trace_front_end", traced_front_end)  # once for all, since it takes seconds
    paths = [tmp_path / "fused.onnx", tmp_path / "fused.ort"]
    for path in paths:
        write_fused_bundle(Bundle(name), path)
    runs, results = run_program(paths, runs, tmp_path)
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
