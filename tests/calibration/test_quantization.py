"""Quantization of nano's bundle, from fp32 to int8 in one call, for several targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from haaqi_edge.calibration import quantization
from haaqi_edge.calibration.measurement import Speed
from haaqi_edge.calibration.quantization import (
    Candidate,
    QuantizationResult,
    QuantizationSettings,
    describe_candidate,
    list_notes,
    quantize,
    rank_candidates,
)
from haaqi_edge.calibration.sensitivity import SearchResult
from haaqi_edge.calibration.targets import TARGETS
from haaqi_edge.evaluation.timing import Speedup, Timing
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.errors import BundleError, ExportError, OptionError
from quantizable import data
from sounds import DEMO

LISTENERS = ["N1", "N3", "N5", "S2"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def result(work: Path) -> QuantizationResult:
    """Quantize by both methods, for a target whose speed cannot be measured on x86."""
    return quantize(Bundle("nano"), data(), QuantizationSettings(TARGETS["arm64"], rank=True), work)


def scores(model: str | Path) -> np.ndarray:
    scorer = Scorer(model, threads=1)
    clips = (DEMO, DEMO.with_stem("degraded"))
    return np.array([one.score for clip in clips for one in scorer.score(clip, LISTENERS, spl=65.0)])


@pytest.mark.slow
def test_the_int8_bundle_scores_like_the_fp32_bundle(result: QuantizationResult, tmp_path: Path) -> None:
    result.write(tmp_path / "int8")
    card = Bundle(tmp_path / "int8").card
    assert (card.name, card.precision, card.streamable) == ("nano-int8", "int8", True)
    assert card.source_sha256 == Bundle("nano").card.source_sha256
    assert result.chosen.size < 0.62 * result.fp32_bytes
    change = np.abs(scores(tmp_path / "int8") - scores("nano"))
    assert 0 < change.max() < 0.01
    results = card.figures["quantization"]
    assert results["chosen"]["method"] == "static"
    assert results["others"][0]["method"] == "dynamic"
    assert results["chosen"]["change"]["p99"] <= results["budget"]
    assert len(results["chosen"]["alone"]) == 6


@pytest.mark.slow
def test_a_dynamic_bundle_cannot_stream(work: Path, tmp_path: Path) -> None:
    result = quantize(Bundle("nano"), data(), QuantizationSettings(TARGETS["x86"], "dynamic"), work)
    result.write(tmp_path / "int8")
    assert not Bundle(tmp_path / "int8").card.streamable
    assert np.abs(scores(tmp_path / "int8") - scores("nano")).max() < 0.01
    assert any("can't stream" in line for line in list_notes(result))


@pytest.mark.slow
def test_the_second_run_measures_nothing_again(result: QuantizationResult, work: Path) -> None:
    before = (work / quantization.JOURNAL).read_text()
    again = quantize(Bundle("nano"), data(), QuantizationSettings(TARGETS["arm64"], rank=True), work)
    assert (work / quantization.JOURNAL).read_text() == before
    assert again.chosen.graphs == result.chosen.graphs


@pytest.mark.slow
def test_tensorrt_keeps_the_head_in_floating_point(tmp_path: Path) -> None:
    result = quantize(Bundle("nano"), data(), QuantizationSettings(TARGETS["tensorrt"], budget=0.05), tmp_path)
    again = quantize(Bundle("nano"), data(), QuantizationSettings(TARGETS["x86"], "static", budget=0.05), tmp_path)
    assert {group.role for group in again.chosen.search.int8_groups} == {"encoder", "head"}  # of the same ranges
    assert {group.role for group in result.chosen.search.int8_groups} == {"encoder"}
    head = onnx.load_from_string(result.chosen.graphs["head"])
    fp32 = onnx.load(Bundle("nano").path("head"))
    assert [node.op_type for node in head.graph.node] == [node.op_type for node in fp32.graph.node]


@pytest.mark.slow
def test_bundles_that_cannot_be_quantized_are_refused(result: QuantizationResult, work: Path, tmp_path: Path) -> None:
    result.write(tmp_path / "int8")
    with pytest.raises(BundleError, match="int8 already"):
        quantize(Bundle(tmp_path / "int8"), data(), QuantizationSettings(TARGETS["x86"]), work)
    with pytest.raises(OptionError, match="supports static quantization only"):
        quantize(Bundle("nano"), data(), QuantizationSettings(TARGETS["tensorrt"], "dynamic"), work)
    with pytest.raises(ExportError, match="no part of nano can be quantized"):
        quantize(Bundle("nano"), data(), QuantizationSettings(TARGETS["x86"], "static", "minmax", budget=0.0), work)


@pytest.mark.slow
def test_formats_that_cannot_run_here_are_an_error(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_unknown_operator(graph: onnx.ModelProto, *_: object) -> onnx.ModelProto:
        changed = onnx.ModelProto()
        changed.CopyFrom(graph)
        changed.graph.node[0].op_type = "Unknown"
        return changed

    monkeypatch.setattr(quantization, "quantize_static_graph", with_unknown_operator)
    settings = QuantizationSettings(TARGETS["x86"], "static", budget=0.0123)
    with pytest.raises(OptionError, match=r"cannot run the number formats of the target x86 \(U8S8.*Unknown.*upgrade"):
        quantize(Bundle("nano"), data(), settings, work / "unknown")


def candidate(method: str, ratio: float, spread: float = 0.02) -> Candidate:
    timing = Timing(0.002, 0.001, 0.003)
    pair = Speedup(ratio, ratio - spread, ratio + spread)
    change = {"p99": 0.004, "largest": 0.006, "mean": 0.001, "bias": 0.0}
    speed = Speed(timing, timing, pair, pair)
    return Candidate(method, None, SearchResult((), (), change), {"encoder": b"x" * 500_000}, (), speed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("static", "dynamic", "best"), [(1.0, 1.04, "static"), (1.0, 2.0, "dynamic"), (2.0, 1.0, "static")]
)
def test_static_is_preferred_unless_dynamic_is_surely_faster(static: float, dynamic: float, best: str) -> None:
    both = [candidate("dynamic", dynamic), candidate("static", static)]
    assert rank_candidates(both)[0].method == best
    unmeasured = [replace(one, speed=None) for one in both]
    assert rank_candidates(unmeasured)[0].method == "static"


@pytest.mark.parametrize(
    ("ratio", "spread", "words"),
    [
        (2.7, 0.1, "2.70 times faster than fp32"),
        (1.01, 0.05, "not faster than fp32"),
        (0.8, 0.1, "slower than fp32"),
    ],
)
def test_a_speed_is_described_as_faster_only_if_it_is(ratio: float, spread: float, words: str) -> None:
    text = describe_candidate(candidate("static", ratio, spread), 2_000_000, TARGETS["x86"])
    assert words in text
    assert ("times faster" in text) == (ratio - spread > 1)
    assert "4.0 times smaller (0.50 MB)" in text
    assert "99% of scores move by at most 0.004, none by more than 0.006" in text


def test_a_speed_that_was_not_measured_is_not_reported() -> None:
    text = describe_candidate(replace(candidate("static", 2.0), speed=None), 2_000_000, TARGETS["arm64"])
    assert "speed not measured" in text
    assert "faster" not in text
