"""Comparison of reports: changes beyond the noise are found, and noise alone is not."""

from __future__ import annotations

import numpy as np
import pytest
from haaqi_edge.benchmarks.report.comparison import FigureChange, compare_reports
from haaqi_edge.benchmarks.report.schema import Report, Section
from haaqi_edge.benchmarks.report.section_builder import SectionBuilder
from haaqi_edge.runtime.errors import OptionError
from reports import make_report, make_section


def changes_by_key(first: Report, second: Report) -> dict[str, FigureChange]:
    changes = compare_reports(first, second).changes
    return {change.first.key.partition("/")[2]: change for change in changes}


def test_equal_reports_have_no_changes() -> None:
    comparison = compare_reports(make_report(make_section()), make_report(make_section()))
    assert comparison.significant == []
    assert comparison.removed == comparison.added == []
    assert comparison.time_drift == 0
    assert len(comparison.changes) == len(make_section().figures)


def test_noise_alone_is_not_significant() -> None:
    first, second = make_report(make_section(seed=1)), make_report(make_section(seed=2))
    assert not compare_reports(first, second).significant


def test_a_slower_run_is_worse() -> None:
    changes = changes_by_key(make_report(make_section(5.0, seed=1)), make_report(make_section(5.3, seed=2)))
    change = changes["nano/whole/10s/1t"]
    assert change.method == "unpaired"
    assert change.significant
    assert change.improved is False
    assert change.low is not None
    assert change.high is not None
    assert 0 < change.low < change.change < change.high
    assert change.change == pytest.approx(0.3, abs=0.1)
    assert not changes["size"].significant


def test_measurements_of_the_same_rows_are_paired() -> None:
    """A change of 1% in errors whose spread exceeds their mean is found only because the rows are the same."""
    changes = changes_by_key(make_report(make_section(error=0.1)), make_report(make_section(error=0.0995)))
    change = changes["nano"]
    assert change.method == "paired"
    assert change.significant
    assert change.improved is True
    assert changes["HAAQI"].improved is None
    # Other rows cannot be paired, and then the change is within the noise.
    second = make_section(error=0.0995)
    series = {key: one.model_copy(update={"of": "other rows"}) for key, one in second.series.items()}
    other = make_report(second.model_copy(update={"series": series}))
    unpaired = changes_by_key(make_report(make_section(error=0.1)), other)["nano"]
    assert unpaired.method == "unpaired"
    assert not unpaired.significant


@pytest.mark.parametrize("of", ["rows", "other rows"])
def test_correlations_are_resampled_with_their_labels(of: str) -> None:
    rng = np.random.default_rng(4)
    labels = rng.random(300)

    def section(noise: float, of: str) -> Section:
        builder = SectionBuilder("accuracy", "Accuracy")
        predicted = labels + noise * np.random.default_rng(5).standard_normal(300)
        builder.add_measurements("HAAQI", "labels", labels, of=of, statistic="mean")
        builder.add_measurements("nano", "scores", predicted, of=of, statistic="mean")
        lcc = float(np.corrcoef(predicted, labels)[0, 1])
        metrics = {f"{name}{end}": lcc for name in ("lcc", "srcc", "mse") for end in ("", "_low", "_high")}
        builder.add_agreement("nano/all", "nano", {**metrics, "rows": 300}, "nano")
        return builder.build()

    change = changes_by_key(make_report(section(0.5, "rows")), make_report(section(0.1, of)))["nano/all/lcc"]
    assert change.method == ("paired" if of == "rows" else "unpaired")
    assert change.low is not None
    assert change.high is not None
    assert 0 < change.low < change.change < change.high
    assert change.improved is True


def make_agreement(lcc: float, low: float, high: float) -> Section:
    builder = SectionBuilder("accuracy", "Accuracy")
    metrics = {
        f"{name}{end}": value
        for name in ("lcc", "srcc", "mse")
        for end, value in (("", lcc), ("_low", low), ("_high", high))
    }
    builder.add_agreement("nano/all", "nano", {**metrics, "rows": 100})
    return builder.build()


def test_without_measurements_intervals_are_compared() -> None:
    first = make_report(make_agreement(0.7, 0.68, 0.72))
    apart = changes_by_key(first, make_report(make_agreement(0.8, 0.78, 0.82)))
    assert {key: (c.method, c.significant, c.improved) for key, c in apart.items()} == {
        "nano/all/lcc": ("intervals", True, True),
        "nano/all/srcc": ("intervals", True, True),
        "nano/all/mse": ("intervals", True, False),
    }
    overlapping = changes_by_key(
        make_report(make_agreement(0.7, 0.68, 0.75)), make_report(make_agreement(0.8, 0.74, 0.82))
    )
    assert not any(change.significant for change in overlapping.values())


def test_undefined_metrics_are_null() -> None:
    section = make_agreement(float("nan"), float("nan"), float("nan"))
    assert [(f.value, f.low, f.high) for f in section.figures] == [(None, None, None)] * 3
    assert '"value": null' in make_report(section).to_json()
    with pytest.raises(OptionError, match="no result in common"):
        compare_reports(make_report(section), make_report(section))


def test_differences_between_the_runs_are_warnings() -> None:
    second = make_report(make_section(), seed=1, warnings=["busy"])
    machine = second.machine.model_copy(update={"processor": "another"})
    second = second.model_copy(update={"machine": machine, "versions": {"python": "3.12"}})
    warnings = "; ".join(compare_reports(make_report(make_section()), second).warnings)
    for part in (
        "different machines",
        "seed differs: 0 and 1",
        "python 3.11 and 3.12",
        "the second report was measured on a busy machine",
    ):
        assert part in warnings


def test_removed_and_added_results_are_listed() -> None:
    section = make_section()
    fewer = section.model_copy(update={"figures": section.figures[1:]})
    assert compare_reports(make_report(section), make_report(fewer)).removed == ["latency/size"]
    assert compare_reports(make_report(fewer), make_report(section)).added == ["latency/size"]


def test_an_estimate_is_never_significant() -> None:
    first, second = SectionBuilder("latency", "Latency"), SectionBuilder("latency", "Latency")
    for builder, value in ((first, 1.0), (second, 2.0)):
        builder.add_estimate("limit", "shortest time", value, "ms")
        builder.add_exact("count", "operations", value)
    changes = changes_by_key(make_report(first.build()), make_report(second.build()))
    assert (changes["limit"].significant, changes["count"].significant) == (False, True)


def test_reports_without_common_results_are_refused() -> None:
    other = SectionBuilder("size", "Size")
    other.add_exact("bundle", "bundle", 1.0, "MB")
    with pytest.raises(OptionError, match="no result in common"):
        compare_reports(make_report(make_section()), make_report(other.build()))
