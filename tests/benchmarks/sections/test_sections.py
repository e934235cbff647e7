"""What sections compute beside the clock is right: operations, lines, windows, parts, what is kept, fresh processes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from haaqi_edge.benchmarks.fresh_process import fresh, peak_memory
from haaqi_edge.benchmarks.report.section_builder import Sheet, interval
from haaqi_edge.benchmarks.report.store import Store
from haaqi_edge.benchmarks.runner import SECTIONS
from haaqi_edge.benchmarks.sections import accuracy, latency, memory, parameters, parity, robustness, streaming
from haaqi_edge.benchmarks.sections import cold_start as start
from haaqi_edge.benchmarks.sections import implementations as contenders
from haaqi_edge.benchmarks.sections import roofline as limits
from haaqi_edge.benchmarks.sections.parameters import by_part, extractor, saved
from haaqi_edge.benchmarks.sections.size import installed
from haaqi_edge.cli.bench import VERBS
from haaqi_edge.model import Nano, Student
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.features.patches import patch_count
from sounds import RATE, music, samples_for


def test_operations_are_those_of_the_layers() -> None:
    """Nano's, counted from the sizes of its layers: every matrix once a patch, the audiogram's once a window."""
    nano, bundle = Nano.from_checkpoint(), Bundle("nano")
    samples = music(10)
    count = patch_count(len(samples))
    once = {"head.conditioning.0", "head.conditioning.2"}
    needed = 0
    for name, module in nano.named_modules():
        if isinstance(module, torch.nn.Linear):
            needed += module.weight.numel() * (1 if name in once else count)
        if isinstance(module, torch.nn.GRU):
            weights = [parameter for key, parameter in module.named_parameters() if key.startswith("weight")]
            needed += count * sum(weight.numel() for weight in weights)
    thresholds = nano.head.thresholds.numel()
    found = limits.work(bundle, [samples])
    assert 1e9 * (found.constant + found.rest) == pytest.approx(2 * (needed + thresholds), rel=1e-6)
    assert found.seconds({"fp32": 10.0, "int8": 20.0}, "fp32") == pytest.approx((found.constant + found.rest) / 10)
    assert found.seconds({"fp32": 10.0, "int8": 20.0}, "int8") == pytest.approx(found.constant / 20 + found.rest / 10)


def test_the_line_through_costs() -> None:
    lengths = np.array([1.0, 3.0, 10.0, 60.0])
    slope, at_start, off = latency.straight(lengths, 0.5 + 0.25 * lengths)
    assert (slope, at_start, off) == pytest.approx((0.25, 0.5, 0.0), abs=1e-9)
    assert latency.straight(lengths, lengths**2)[2] > latency.LINEAR


def test_windows_hold_every_patch_once() -> None:
    samples = np.arange(samples_for(150), dtype=np.float32)
    parts = contenders.windows(samples, 10.0)
    assert [patch_count(len(part)) for part in parts] == [62, 62, 26]
    assert all(after[0] - before[0] == 62 * 2560 for before, after in pairwise(parts))


def test_parts_of_a_network_add_up() -> None:
    with torch.device("meta"):
        student = Student()
    total = sum(parameter.numel() for parameter in student.parameters())
    assert sum(int(count.replace(",", "")) for _, count, _ in by_part(student.named_parameters())) == total
    assert saved(90_311_792, extractor(student) - 3 * 590_592) == pytest.approx(75.85, abs=0.005)  # the published count


def test_pytorch_scores_as_the_scorer_does() -> None:
    sound, listeners = music(12.5), [Audiogram.named(name) for name in ("NH", "N3", "S2")]
    scorer = Scorer("nano", threads=1)
    for window in (10.0, 1.0, None):
        expected = [
            one.score for one in scorer.score((sound, RATE), listeners, window="whole" if window is None else window)
        ]
        np.testing.assert_allclose(
            parity.in_torch(Nano.from_checkpoint(), sound, listeners, window), expected, atol=1e-6
        )


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    calls: list[str] = []

    def make() -> list[float]:
        calls.append("made")
        return [0.1, 2.0]

    for _ in range(2):
        assert Store(tmp_path, "key").cell("a/b c", (1,), make) == [0.1, 2.0]
    assert len(calls) == 1
    Store(tmp_path, "key").cell("a/b c", (2,), make)  # other settings
    Store(tmp_path, "other").cell("a/b c", (1,), make)  # other code
    assert len(calls) == 3

    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path, "key").cell("stopped", (), stopped)
    assert not list(tmp_path.rglob("stopped*"))


def test_fresh_processes_tell_what_they_hold() -> None:
    alone, full = peak_memory(""), peak_memory("held = b'x' * 50_000_000")
    assert full - alone == pytest.approx(50, abs=2)
    assert fresh("import json, sys\nprint(json.dumps(sys.argv[2:]))", "a", "b c") == ["a", "b c"]
    with pytest.raises(RuntimeError, match="no such thing"):
        fresh("raise SystemExit('no such thing')")


def test_installations_hold_what_they_need() -> None:
    base = installed("haaqi-edge")
    assert base.keys() >= {"haaqi-edge", "numpy", "soundfile", "soxr"}
    assert not base.keys() & {"onnxruntime", "typer", "rich"}
    found = installed("haaqi-edge", ("cpu", "cli"))
    assert found.keys() >= {*base, "onnxruntime", "typer", "rich"}
    assert not found.keys() & {"torch", "onnx", "scipy", "matplotlib"}
    assert found["numpy"] > 10_000_000


def test_intervals_hold_what_they_should() -> None:
    """About 95 of 100 samples' intervals hold the mean that they were drawn with."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        low, high = interval(rng.standard_normal(60), "mean")
        assert low is not None
        assert high is not None
        held += low <= 0 <= high
    assert 88 <= held <= 100
    assert interval(np.array([1.0, 2.0]), "median") == (None, None)


def test_ratios_and_targets() -> None:
    sheet = Sheet("latency", "Latency")
    figure = sheet.times_faster("times", "times", [2.0, 4.0, 6.0, 9.0], [1.0, 2.0, 3.0])  # a run more of the first
    assert (figure.value, figure.low, figure.high, figure.count) == (2.0, 2.0, 2.0, 3)
    sheet.target("met", "times", "at least", 2.0)
    sheet.target("missed", "times", "at most", 1.9)
    sheet.target("unknown", "absent", "at most", 1.0)
    assert [target.met for target in sheet.targets] == [True, False, None]


def test_each_verb_has_its_sections() -> None:
    assert tuple(SECTIONS) == VERBS
    for module in (accuracy, latency, memory, parameters, parity, robustness, start, streaming):
        assert module.TITLE
        assert module.__name__.rpartition(".")[2] in {name for names in SECTIONS.values() for name in names}


def test_composed_clips_stand_in_for_music() -> None:
    first, again = robustness.heard(None, 2, 0), robustness.heard(None, 2, 0)
    assert [trial.row.listener for trial in first] == ["N1", "N2"]
    assert all(np.array_equal(a.clean, b.clean) for a, b in zip(first, again, strict=True))
    changes = robustness._cut_short(first[0], 0)
    assert len(changes) == len(robustness.CUTS)
    levels = robustness._at_levels(first[0].excerpt(1.0, "N1", 0), 0)
    assert np.array(levels).shape == (2, len(robustness.LEVELS))
    assert ((np.array(levels) >= 0) & (np.array(levels) <= 1)).all()
