"""Streaming over minutes, with nano and with the student: scores and memory. Only the benchmark measures times."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from haaqi_edge.benchmarks.fresh_process import run_fresh_process
from haaqi_edge.benchmarks.golden import export_golden_student
from haaqi_edge.benchmarks.sections import streaming
from haaqi_edge.benchmarks.studies.soak import HOUR, MINUTE, EndlessSignal, soak
from haaqi_edge.runtime import Audiogram, Bundle, Scorer, Stream
from haaqi_edge.runtime.features.texture import textures
from haaqi_edge.runtime.session import Session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from sounds import PATCH, music, noise
from streaming import check_against_tokens, split

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def student(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """The golden student as a bundle."""
    return Scorer(export_golden_student(shared, tmp_path_factory.mktemp("student")), threads=1)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """Nano with a statically quantized encoder and head: scales are constants, so no patch depends on its batch."""
    folder = tmp_path_factory.mktemp("int8")
    bundle = Bundle("nano")
    card = json.loads((bundle.folder / "card.json").read_text(encoding="utf-8")) | {"precision": "int8"}
    encoder = Session(bundle.path("encoder"), threads=1)
    listener = Audiogram.named("N3").array()[None]
    readings = [textures(music(5, start=start)) for start in (0.0, 5.0, 10.0)]
    tokens = [encoder.run(texture=reading)[0].reshape(1, -1, card["width"]) for reading in readings]
    fed = {
        "encoder": [{"texture": reading} for reading in readings],
        "head": [{"tokens": own, "audiogram": listener} for own in tokens],
    }

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, rows: list[dict[str, Any]]) -> None:
            self.rows = iter(rows)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.rows, None)

    for role, rows in fed.items():
        source, made = bundle.path(role), folder / card["files"][role]["file"]
        quantize_static(
            source, made, Reader(rows), quant_format=QuantFormat.QDQ, op_types_to_quantize=["MatMul", "Gemm"]
        )
        graph = onnx.load(made)
        props = {prop.key: prop.value for prop in onnx.load(source).metadata_props} | {"precision": "int8"}
        del graph.metadata_props[:]
        onnx.helper.set_model_props(graph, props)
        made.write_bytes(graph.SerializeToString())
        card["files"][role] |= {"precision": "int8", "sha256": hashlib.sha256(made.read_bytes()).hexdigest()}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return Scorer(folder, threads=1)


@pytest.mark.parametrize("nal_r", [False, True])
def test_every_update_of_a_static_int8_model_is_the_oracles(int8: Scorer, nal_r: bool) -> None:
    sound = np.concatenate([music(14, 44_100, 3), np.zeros(44_100, np.float32), noise(2 * 44_100)])
    fp32 = Scorer("nano", threads=1).encode((sound, 44_100)).encoded.tokens
    assert not np.array_equal(int8.encode((sound, 44_100)).encoded.tokens, fp32)
    for window in (1.0, 10.0):
        stream = int8.stream("N3", 44_100, window=window, nal_r=nal_r)
        got = list(stream.updates(split(sound, [1, 7_000, 333, 20_000])))
        tokens = int8.encode((sound, 44_100), nal_r_for="N3" if nal_r else None)
        check_against_tokens(got, int8, tokens, ["N3"], int(window / 0.16))


@given(
    rate=st.sampled_from([8_000, 16_000, 44_100]),
    sizes=st.lists(st.integers(1, 100) | st.integers(1, 40_000), min_size=1, max_size=6),
    start=st.floats(0, 15),
    gap=st.floats(0, 1.5),
    hop=st.integers(1, 3),
    nal_r=st.booleans(),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_update_of_the_student_is_the_oracles(
    student: Scorer, rate: int, sizes: list[int], start: float, gap: float, hop: int, nal_r: bool
) -> None:
    sound = np.concatenate([music(1.2, rate, start), np.zeros(int(gap * rate), np.float32), noise(rate)])
    sound[len(sound) // 2 :] *= np.float32(0.05)
    stream = student.stream("N3", rate, window=1.0, hop=hop * 0.16, nal_r=nal_r)
    got = list(stream.updates(split(sound, [*sizes, 500])))
    tokens = student.encode((sound, rate), nal_r_for="N3" if nal_r else None)
    check_against_tokens(got, student, tokens, ["N3"], 6, hop)
    total = stream.summary().score
    assert total is not None
    offline = student.score((sound, rate), "N3", window=1.0, nal_r=nal_r).score
    assert total == pytest.approx(offline, abs=1e-6)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_memory_and_scores_are_stable_over_ten_minutes() -> None:
    code = "import json\nfrom haaqi_edge.benchmarks.studies.soak import measure\nprint(json.dumps(measure(1 / 6)))"
    found: dict[str, Any] = run_fresh_process(code)
    assert found["growth"] < 2
    assert found["drift"] <= 1e-6
    assert found["peak"] < 120  # the benchmark's own imports included
    assert found["first"] > 0
    assert found["last"] > 0


def test_the_soak_test_detects_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose scores drift is detected."""
    accept, calls = Stream.accept_waveform, 0

    def drift(self: Stream, samples: Any, sample_rate: int | None = None) -> Any:
        nonlocal calls
        calls += 1
        return accept(self, samples * np.float32(1 + calls * 1e-4), sample_rate=sample_rate)

    monkeypatch.setattr(Stream, "accept_waveform", drift)
    assert soak(Scorer("nano", threads=1), 0.05).drift > 1e-4


def test_the_endless_signal_is_reproducible_and_varies() -> None:
    signal, again = EndlessSignal(), EndlessSignal()
    places = [0, 1, MINUTE - 1, MINUTE, 7 * MINUTE + 123, 23 * HOUR + 5]
    for place in places:
        patch = signal.patch(place)
        assert patch.shape == (PATCH,)
        assert patch.dtype == np.float32
        assert np.array_equal(patch, again.patch(place))
    levels = np.array([np.abs(signal.patch(place)).max() for place in range(0, 20 * MINUTE, 7)])
    assert (levels == 0).any()
    assert levels.max() > 3 * np.median(levels[levels > 0])
    assert len(np.unique(levels)) > 100


def test_the_parts_of_the_section_measure_times_and_differences() -> None:
    scorer, bundle = Scorer("nano", threads=1), Bundle("nano")
    assert streaming.max_score_difference(scorer, 2.0, 6.0) <= 1e-6
    seconds_of_hops = streaming.time_hops(scorer, 48_000, 2, 1.0, 12)
    assert seconds_of_hops.shape == (12,)
    assert (seconds_of_hops > 0).all()
    parts = streaming.time_parts(bundle, scorer, 1.0, 4)
    assert {part: len(seconds) for part, seconds in parts.items()} == {"front end": 4, "encoder": 4, "head": 4}
