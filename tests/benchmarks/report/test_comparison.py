"""Comparing reports finds what moved, and does not find what didn't."""

from __future__ import annotations

import pytest
from haaqi_edge.benchmarks.report.comparison import Move, compare
from haaqi_edge.benchmarks.report.schema import Report, Section
from haaqi_edge.benchmarks.report.section_builder import Sheet
from haaqi_edge.runtime.errors import OptionError
from reports import measured, report


def moves(first: Report, second: Report) -> dict[str, Move]:
    return {move.figure.key.partition("/")[2]: move for move in compare(first, second).moves}


def test_what_is_the_same_has_not_moved() -> None:
    found = compare(report(measured()), report(measured()))
    assert found.moved == []
    assert found.gone == found.new == []
    assert found.drift == 0
    assert len(found.moves) == len(measured().figures)


def test_noise_alone_moves_nothing_here() -> None:
    assert not compare(report(measured(seed=1)), report(measured(seed=2))).moved


def test_a_slower_run_is_found_and_called_worse() -> None:
    found = moves(report(measured(5.0, seed=1)), report(measured(5.3, seed=2)))
    move = found["nano/whole/10s/1t"]
    assert move.how == "unpaired"
    assert move.moved
    assert move.better is False
    assert move.low is not None
    assert move.high is not None
    assert 0 < move.low < 0.3 < move.high or move.change == pytest.approx(0.3, abs=0.1)
    assert not found["size"].moved


def test_rows_are_paired() -> None:
    """A change of 1% in errors that spread over more than their mean: seen only because the rows are the same."""
    found = moves(report(measured(error=0.1)), report(measured(error=0.0995)))
    move = found["nano"]
    assert move.how == "paired"
    assert move.moved
    assert move.better is True
    assert found["HAAQI"].better is None
    # Other rows cannot be paired, and then nobody can tell.
    second = measured(error=0.0995)
    series = {key: one.model_copy(update={"of": "other rows"}) for key, one in second.series.items()}
    other = moves(report(measured(error=0.1)), report(second.model_copy(update={"series": series})))["nano"]
    assert other.how == "unpaired"
    assert not other.moved


def judged(lcc: float, low: float, high: float) -> Section:
    sheet = Sheet("accuracy", "Accuracy")
    found = {
        f"{s}{end}": value for s in ("lcc", "srcc", "mse") for end, value in (("", lcc), ("_low", low), ("_high", high))
    }
    sheet.judged("nano/all", "nano", {**found, "rows": 100})
    return sheet.section()


def test_without_measurements_intervals_tell() -> None:
    apart = moves(report(judged(0.7, 0.68, 0.72)), report(judged(0.8, 0.78, 0.82)))
    assert {key: (m.how, m.moved, m.better) for key, m in apart.items()} == {
        "nano/all/lcc": ("intervals", True, True),
        "nano/all/srcc": ("intervals", True, True),
        "nano/all/mse": ("intervals", True, False),
    }
    touching = moves(report(judged(0.7, 0.68, 0.75)), report(judged(0.8, 0.74, 0.82)))
    assert not any(move.moved for move in touching.values())


def test_what_makes_reports_less_comparable_is_told() -> None:
    second = report(measured(), seed=1, warnings=["busy"])
    machine = second.machine.model_copy(update={"processor": "another"})
    second = second.model_copy(update={"machine": machine, "versions": {"python": "3.12"}})
    told = "; ".join(compare(report(measured()), second).warnings)
    for part in (
        "other machines",
        "seed differs: 0 and 1",
        "python 3.11 and 3.12",
        "the second was made on a busy machine",
    ):
        assert part in told


def test_figures_come_and_go() -> None:
    section = measured()
    fewer = section.model_copy(update={"figures": section.figures[1:]})
    assert compare(report(section), report(fewer)).gone == ["latency/size"]
    assert compare(report(fewer), report(section)).new == ["latency/size"]


def test_an_estimate_without_a_spread_is_not_judged() -> None:
    first, second = Sheet("latency", "Latency"), Sheet("latency", "Latency")
    for sheet, value in ((first, 1.0), (second, 2.0)):
        sheet.estimate("limit", "least time", value, "ms")
        sheet.exact("count", "operations", value)
    found = moves(report(first.section()), report(second.section()))
    assert (found["limit"].moved, found["count"].moved) == (False, True)


def test_reports_with_nothing_in_common_are_refused() -> None:
    other = Sheet("size", "Size")
    other.exact("bundle", "bundle", 1.0, "MB")
    with pytest.raises(OptionError, match="no figure in common"):
        compare(report(measured()), report(other.section()))
