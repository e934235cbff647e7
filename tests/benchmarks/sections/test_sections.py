"""Sections of the report: operations, cost lines, windows, parts, stored measurements, fresh processes, plots."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from haaqi_edge.benchmarks import sections
from haaqi_edge.benchmarks.context import BenchContext, Options
from haaqi_edge.benchmarks.fresh_process import measure_peak_memory, run_fresh_process
from haaqi_edge.benchmarks.report import readme
from haaqi_edge.benchmarks.report.schema import read_report
from haaqi_edge.benchmarks.report.section_builder import SectionBuilder
from haaqi_edge.benchmarks.report.store import MeasurementStore
from haaqi_edge.benchmarks.runner import SECTIONS
from haaqi_edge.benchmarks.sections import cold_start, implementations, latency, memory, parity, robustness, streaming
from haaqi_edge.benchmarks.sections.parameters import extractor_parameters, parameters_by_part, percent_saved
from haaqi_edge.benchmarks.sections.roofline import count_operations
from haaqi_edge.benchmarks.sections.size import measure_installation
from haaqi_edge.cli.bench import SECTION_COMMANDS
from haaqi_edge.model import Nano, Student
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.features.patches import patch_count
from sounds import RATE, music, samples_for

ROOT = Path(__file__).resolve().parents[3]


def test_operations_are_those_of_the_layers() -> None:
    """Nano's operations, counted from its layers: each matrix once per patch, the audiogram's once per window."""
    nano, bundle = Nano.shipped(), Bundle("nano")
    samples = music(10)
    count = patch_count(len(samples))
    once = {"head.conditioning.0", "head.conditioning.2", "head.interval"}
    needed = 0
    for name, module in nano.named_modules():
        if isinstance(module, torch.nn.Linear):
            needed += module.weight.numel() * (1 if name in once else count)
        if isinstance(module, torch.nn.GRU):
            weights = [parameter for key, parameter in module.named_parameters() if key.startswith("weight")]
            needed += count * sum(weight.numel() for weight in weights)
    thresholds = nano.head.thresholds.numel()
    found = count_operations(bundle, [samples])
    assert 1e9 * (found.constant + found.rest) == pytest.approx(2 * (needed + thresholds), rel=1e-6)
    assert found.seconds({"fp32": 10.0, "int8": 20.0}, "fp32") == pytest.approx((found.constant + found.rest) / 10)
    assert found.seconds({"fp32": 10.0, "int8": 20.0}, "int8") == pytest.approx(found.constant / 20 + found.rest / 10)


def test_the_line_fits_the_costs() -> None:
    durations = np.array([1.0, 3.0, 10.0, 60.0])
    slope, intercept, deviation = latency.fit_line(durations, 0.5 + 0.25 * durations)
    assert (slope, intercept, deviation) == pytest.approx((0.25, 0.5, 0.0), abs=1e-9)
    assert latency.fit_line(durations, durations**2)[2] > latency.LINEAR_TOLERANCE


def test_windows_contain_every_patch_once() -> None:
    samples = np.arange(samples_for(150), dtype=np.float32)
    parts = implementations.split_windows(samples, 10.0)
    assert [patch_count(len(part)) for part in parts] == [62, 62, 26]
    assert all(after[0] - before[0] == 62 * 2560 for before, after in pairwise(parts))


def test_parts_of_a_network_add_up() -> None:
    with torch.device("meta"):
        student = Student()
    total = sum(parameter.numel() for parameter in student.parameters())
    assert sum(int(count.replace(",", "")) for _, count, _ in parameters_by_part(student.named_parameters())) == total
    assert percent_saved(90_311_792, extractor_parameters(student) - 3 * 590_592) == pytest.approx(
        75.85, abs=0.005
    )  # the published count


def test_pytorch_scores_as_the_scorer_does() -> None:
    sound, listeners = music(12.5), [Audiogram.named(name) for name in ("NH", "N3", "S2")]
    scorer = Scorer("nano", threads=1)
    for window in (10.0, 1.0, None):
        expected = [
            one.score for one in scorer.score((sound, RATE), listeners, window="whole" if window is None else window)
        ]
        np.testing.assert_allclose(parity.score_in_torch(Nano.shipped(), sound, listeners, window), expected, atol=1e-6)


def test_measurements_are_stored(tmp_path: Path) -> None:
    calls: list[str] = []

    def measure() -> list[float]:
        calls.append("called")
        return [0.1, 2.0]

    for _ in range(2):
        assert MeasurementStore(tmp_path, "key").load_or_measure("a/b c", (1,), measure) == [0.1, 2.0]
    assert len(calls) == 1
    MeasurementStore(tmp_path, "key").load_or_measure("a/b c", (2,), measure)  # other settings
    MeasurementStore(tmp_path, "other").load_or_measure("a/b c", (1,), measure)  # other code
    assert len(calls) == 3

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MeasurementStore(tmp_path, "key").load_or_measure("interrupted", (), interrupt)
    assert not list(tmp_path.rglob("interrupted*"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_parallel_results_are_in_the_order_of_the_items(jobs: int, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    context = BenchContext(
        Options(jobs=jobs),
        MeasurementStore(tmp_path, "key"),
        lambda step, done, total: calls.append((step, done, total)),
    )
    assert context.parallel_map(abs, range(-20, 0), "absolute values") == list(range(20, 0, -1))
    assert calls == [("absolute values", done, 20) for done in range(1, 21)]


def test_fresh_processes_measure_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, full = measure_peak_memory(""), measure_peak_memory("held = b'x' * 50_000_000")
    assert full - alone == pytest.approx(50, abs=2)
    assert run_fresh_process("import json, sys\nprint(json.dumps(sys.argv[2:]))", "a", "b c") == ["a", "b c"]
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # users do not set it, and it makes starts slower
    assert run_fresh_process("import json, sys\nprint(json.dumps(sys.dont_write_bytecode))") is False
    with pytest.raises(RuntimeError, match="no such thing"):
        run_fresh_process("raise SystemExit('no such thing')")


def imported_names(code: str) -> Iterator[tuple[str, str]]:
    """Yield the modules of this package that code imports, and the imported names."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("haaqi_edge"):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("module", [cold_start, memory, streaming], ids=lambda module: module.__name__)
def test_code_for_fresh_processes_imports_names_that_exist(module: ModuleType) -> None:
    codes = [value for value in vars(module).values() if isinstance(value, str) and "import" in value and "\n" in value]
    names = [pair for code in codes if not code.startswith(str(module.__doc__)) for pair in imported_names(code)]
    assert names
    for source, name in names:
        if source != "haaqi_edge.benchmarks.studies.haaqi":  # it needs pyclarity
            assert hasattr(import_module(source), name), (source, name)


def test_installations_include_their_dependencies() -> None:
    base = measure_installation("haaqi-edge")
    assert base.keys() >= {"haaqi-edge", "numpy", "soundfile", "soxr"}
    assert not base.keys() & {"onnxruntime", "typer", "rich"}
    found = measure_installation("haaqi-edge", ("cpu", "cli"))
    assert found.keys() >= {*base, "onnxruntime", "typer", "rich"}
    assert not found.keys() & {"torch", "onnx", "scipy", "matplotlib"}
    assert found["numpy"] > 10_000_000


def test_intervals_cover_the_true_mean() -> None:
    """About 95 of 100 intervals contain the mean of the distribution that the samples come from."""
    rng, builder, covered = np.random.default_rng(0), SectionBuilder("a", "A"), 0
    for number in range(100):
        figure = builder.add_measurements(f"{number}", "", rng.standard_normal(60), of="samples", statistic="mean")
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0 <= figure.high
    assert 88 <= covered <= 100


@pytest.mark.parametrize(("values", "statistic"), [([1.0, 2.0], "median"), ([1.0, 2.0, 5.0], "largest")])
def test_some_results_have_no_interval(values: list[float], statistic: str) -> None:
    figure = SectionBuilder("a", "A").add_measurements("b", "B", values, of="c", statistic=statistic)  # type: ignore[arg-type]
    assert (figure.low, figure.high, figure.count) == (None, None, len(values))
    assert figure.value == (1.5 if statistic == "median" else 5.0)


def test_speedups_and_targets() -> None:
    builder = SectionBuilder("latency", "Latency")
    figure = builder.add_speedup("times", "times", [2.0, 4.0, 6.0, 9.0], [1.0, 2.0, 3.0])  # the first has one more run
    assert (figure.value, figure.low, figure.high, figure.count) == (2.0, 2.0, 2.0, 3)
    single = builder.add_speedup("single", "single", [2.0], [1.0])
    assert (single.value, single.low, single.high) == (2.0, None, None)
    builder.add_target("met", "times", "at least", 2.0)
    builder.add_target("missed", "times", "at most", 1.9)
    builder.add_target("unknown", "absent", "at most", 1.0)
    assert [target.met for target in builder.targets] == [True, False, None]


def test_each_command_has_its_sections() -> None:
    assert tuple(SECTIONS) == SECTION_COMMANDS
    modules = [name for names in SECTIONS.values() for name in names]
    assert set(modules) <= set(sections.__all__)
    for name in modules:
        module = import_module(f"{sections.__name__}.{name}")
        assert module.TITLE
        assert module.measure
        assert module.plot


@pytest.mark.parametrize("name", ["parameters", "latency", "cold_start", "memory", "size", "robustness"])
def test_sections_are_plotted_from_a_report(name: str) -> None:
    """These sections need no single measurements, which docs/report omits."""
    section = read_report(ROOT / readme.REPORT_FOLDER).section(name)
    assert section is not None
    plots = import_module(f"{sections.__name__}.{name}").plot(section)
    assert {f"{file}.png" for file in plots} == {plot.file for plot in section.plots}


def test_the_steps_of_a_cold_start_add_up_in_the_plot() -> None:
    section = read_report(ROOT / readme.REPORT_FOLDER).section("cold_start")
    assert section is not None
    picture, _ = cold_start.plot(section)["cold_start"]
    bars = picture.axes[0].patches
    models = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    for place, model in enumerate(models):
        total = section.figure(f"cold_start/{model}/together")
        assert total is not None
        assert total.value is not None
        width = sum(bar.get_width() for bar in bars if round(bar.get_y() + bar.get_height() / 2) == place)
        assert width == pytest.approx(total.value, rel=0.1)  # a sum of medians against the median of the sums
    assert models


@pytest.mark.slow
def test_synthetic_pieces_replace_missing_music() -> None:
    first, again = robustness.select_clips(None, 2, 0), robustness.select_clips(None, 2, 0)
    assert [trial.row.listener for trial in first] == ["N1", "N2"]
    assert all(np.array_equal(a.clean, b.clean) for a, b in zip(first, again, strict=True))
    changes = robustness._score_cut(first[0], 0)
    assert len(changes) == len(robustness.CUT_DURATIONS)
    levels = np.array(robustness._score_at_levels(first[0].excerpt(1.0, "N1", 0), 0))
    assert levels.shape == (2, len(robustness.LEVELS))
    assert ((levels >= 0) & (levels <= 1)).all()
