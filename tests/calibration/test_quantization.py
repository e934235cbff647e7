"""From fp32 to int8 in one call: nano's bundle on ONNX Runtime, for every target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from haaqi_edge.calibration import quantization
from haaqi_edge.calibration.quantization import Candidate, Quantized, Settings, quantize, ranked
from haaqi_edge.calibration.sensitivity import Found
from haaqi_edge.calibration.speed import Speed
from haaqi_edge.calibration.targets import TARGETS
from haaqi_edge.calibration.verdict import advice, verdict
from haaqi_edge.evaluation.timing import Ratio, Timing
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.errors import BundleError, ExportError, OptionError
from quantizable import sets
from sounds import DEMO

LISTENERS = ["N1", "N3", "N5", "S2"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def made(work: Path) -> Quantized:
    """By both methods, for a target whose speed this machine need not tell."""
    return quantize(Bundle("nano"), sets(), Settings(TARGETS["arm64"], rank=True), work)


def scores(model: str | Path) -> np.ndarray:
    scorer = Scorer(model, threads=1)
    clips = (DEMO, DEMO.with_stem("degraded"))
    return np.array([one.score for clip in clips for one in scorer.score(clip, LISTENERS, spl=65.0)])


def test_the_bundle_is_one_like_any_other(made: Quantized, tmp_path: Path) -> None:
    made.write(tmp_path / "int8")
    card = Bundle(tmp_path / "int8").card
    assert (card.name, card.precision, card.streamable) == ("nano-int8", "int8", True)
    assert card.source_sha256 == Bundle("nano").card.source_sha256
    assert made.chosen.size < 0.62 * made.fp32_bytes
    change = np.abs(scores(tmp_path / "int8") - scores("nano"))
    assert 0 < change.max() < 0.01
    figures = card.figures["quantization"]
    assert figures["chosen"]["method"] == "static"
    assert figures["others"][0]["method"] == "dynamic"
    assert figures["chosen"]["change"]["p99"] <= figures["budget"]
    assert len(figures["chosen"]["alone"]) == 6


def test_a_dynamic_bundle_says_that_it_cannot_stream(work: Path, tmp_path: Path) -> None:
    made = quantize(Bundle("nano"), sets(), Settings(TARGETS["x86"], "dynamic"), work)
    made.write(tmp_path / "int8")
    assert not Bundle(tmp_path / "int8").card.streamable
    assert np.abs(scores(tmp_path / "int8") - scores("nano")).max() < 0.01
    assert any("can't stream" in line for line in advice(made))


def test_the_second_run_measures_nothing_again(made: Quantized, work: Path) -> None:
    before = (work / quantization.JOURNAL).read_text()
    again = quantize(Bundle("nano"), sets(), Settings(TARGETS["arm64"], rank=True), work)
    assert (work / quantization.JOURNAL).read_text() == before
    assert again.chosen.graphs == made.chosen.graphs


def test_tensorrt_leaves_the_head_in_floating_point(tmp_path: Path) -> None:
    made = quantize(Bundle("nano"), sets(), Settings(TARGETS["tensorrt"], budget=0.05), tmp_path)
    again = quantize(Bundle("nano"), sets(), Settings(TARGETS["x86"], "static", budget=0.05), tmp_path)
    assert {group.role for group in again.chosen.found.quantized} == {"encoder", "head"}  # of the same ranges
    assert {group.role for group in made.chosen.found.quantized} == {"encoder"}
    head = onnx.load_from_string(made.chosen.graphs["head"])
    assert not {"QuantizeLinear", "DequantizeLinear", "Cast"} & {node.op_type for node in head.graph.node}


def test_what_cannot_be_quantized_is_refused(made: Quantized, work: Path, tmp_path: Path) -> None:
    made.write(tmp_path / "int8")
    with pytest.raises(BundleError, match="int8 already"):
        quantize(Bundle(tmp_path / "int8"), sets(), Settings(TARGETS["x86"]), work)
    with pytest.raises(OptionError, match="takes static quantization only"):
        quantize(Bundle("nano"), sets(), Settings(TARGETS["tensorrt"], "dynamic"), work)
    with pytest.raises(ExportError, match="no part of nano can be quantized"):
        quantize(Bundle("nano"), sets(), Settings(TARGETS["x86"], "static", "minmax", budget=0.0), work)


def test_a_target_that_cannot_run_here_is_told(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(graph: onnx.ModelProto, *_: object) -> onnx.ModelProto:
        made = onnx.ModelProto()
        made.CopyFrom(graph)
        made.graph.node[0].op_type = "OfTomorrow"
        return made

    monkeypatch.setattr(quantization, "static_graph", unknown)
    with pytest.raises(OptionError, match=r"cannot run what the target x86 \(U8S8.*OfTomorrow.*upgrade it"):
        quantize(Bundle("nano"), sets(), Settings(TARGETS["x86"], "static", budget=0.0123), work / "tomorrow")


def candidate(method: str, ratio: float, spread: float = 0.02) -> Candidate:
    timing = Timing(0.002, 0.001, 0.003)
    pair = Ratio(ratio, ratio - spread, ratio + spread)
    change = {"p99": 0.004, "largest": 0.006, "mean": 0.001, "bias": 0.0}
    speed = Speed(timing, timing, pair, pair)
    return Candidate(method, None, Found((), (), change), {"encoder": b"x" * 500_000}, (), speed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("static", "dynamic", "best"), [(1.0, 1.04, "static"), (1.0, 2.0, "dynamic"), (2.0, 1.0, "static")]
)
def test_static_is_preferred_unless_dynamic_is_surely_faster(static: float, dynamic: float, best: str) -> None:
    both = [candidate("dynamic", dynamic), candidate("static", static)]
    assert ranked(both)[0].method == best
    unmeasured = [replace(one, speed=None) for one in both]
    assert ranked(unmeasured)[0].method == "static"


@pytest.mark.parametrize(
    ("ratio", "spread", "words"),
    [
        (2.7, 0.1, "2.70 times faster than fp32"),
        (1.01, 0.05, "not faster than fp32"),
        (0.8, 0.1, "slower than fp32"),
    ],
)
def test_nothing_is_called_faster_that_is_not(ratio: float, spread: float, words: str) -> None:
    told = verdict(candidate("static", ratio, spread), 2_000_000, TARGETS["x86"])
    assert words in told
    assert ("times faster" in told) == (ratio - spread > 1)
    assert "4.0 times smaller (0.50 MB)" in told
    assert "99% of scores move by at most 0.004, none by more than 0.006" in told


def test_a_speed_that_was_not_measured_is_not_told() -> None:
    told = verdict(replace(candidate("static", 2.0), speed=None), 2_000_000, TARGETS["arm64"])
    assert "speed not measured" in told
    assert "faster" not in told
