"""Compare two reports: which results changed by more than the noise.

Measurements of the same items (rows, clips, cases) are paired and resampled together. Timed runs are not the same items
in two reports, so they are resampled independently. If single measurements are not stored, intervals are compared: a
result has changed if its two intervals do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime.errors import OptionError
from ...training.statistics import bootstrap, interval_of, none_if_undefined
from .schema import Figure, Report, Section
from .section_builder import MIN_MEASUREMENTS, STATISTICS

Array = npt.NDArray[np.float64]
Method = Literal["paired", "unpaired", "intervals", "exact"]
_TOLERANCE: Final = 1e-9
"""relative difference below which exact results are equal"""


@dataclass(frozen=True)
class FigureChange:
    """Change of a result from one report to another.

    Attributes:
        first, second: the result in both reports.
        change: second minus first.
        low, high: 95% interval of the change, if single measurements are stored.
        method: how the results are compared.
        significant: whether the change exceeds the noise.
    """

    first: Figure
    second: Figure
    change: float
    low: float | None
    high: float | None
    method: Method
    significant: bool

    @property
    def improved(self) -> bool | None:
        """Whether the second result is better; None if it did not change, or if no direction is better."""
        if not self.significant or self.first.better is None:
            return None
        return (self.change < 0) == (self.first.better == "lower")

    @property
    def relative(self) -> float | None:
        """Change relative to the first value; None if that is 0."""
        return self.change / self.first.value if self.first.value else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "key": self.first.key,
            "name": self.first.name,
            "unit": self.first.unit,
            "first": self.first.value,
            "second": self.second.value,
            "change": self.change,
            "low": self.low,
            "high": self.high,
            "share": self.relative,
            "how": self.method,
            "moved": self.significant,
            "better": self.improved,
        }


@dataclass(frozen=True)
class Comparison:
    """Comparison of two reports.

    Attributes:
        changes: all results that both reports contain.
        removed, added: keys that only the first or only the second report contains.
        warnings: what makes the reports less comparable.
    """

    changes: list[FigureChange]
    removed: list[str]
    added: list[str]
    warnings: list[str]

    @property
    def significant(self) -> list[FigureChange]:
        """Results that changed by more than the noise, the largest relative changes first."""
        found = (change for change in self.changes if change.significant)
        return sorted(found, key=lambda change: -abs(change.relative or np.inf))

    @property
    def interval_count(self) -> int:
        """Number of results with an interval for their change."""
        return sum(change.low is not None for change in self.changes)

    @property
    def expected_by_chance(self) -> float:
        """Number of those that 95% intervals are expected to report as changed if nothing changed."""
        return 0.05 * self.interval_count

    @property
    def time_drift(self) -> float | None:
        """Median relative change of times, a sign of another machine or another load; None without times."""
        relative = [
            change.relative
            for change in self.changes
            if change.first.unit == "ms" and change.first.series and change.relative is not None
        ]
        return float(np.median(relative)) if relative else None


def compare_reports(first: Report, second: Report) -> Comparison:
    """Compare two reports, result by result.

    Raises:
        OptionError: the reports have no result in common.
    """
    changes: list[FigureChange] = []
    before, after = first.figures(), second.figures()
    for name in dict.fromkeys(section.name for section in first.sections):
        a, b = first.section(name), second.section(name)
        if a is not None and b is not None:
            changes += [
                _compare_figures(figure, after[figure.key], a, b)
                for figure in a.figures
                if figure.key in after
                if figure.value is not None and after[figure.key].value is not None
            ]
    if not changes:
        raise OptionError("the two reports have no result in common: give reports of the same sections")
    removed, added = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    return Comparison(changes, removed, added, _warnings(first, second))


def _compare_figures(first: Figure, second: Figure, a: Section, b: Section) -> FigureChange:
    """Compare a result of section `a` of the first report with that of section `b` of the second."""
    assert first.value is not None
    assert second.value is not None
    change = second.value - first.value
    before, after = _measurements(first, a), _measurements(second, b)
    resampled = first.statistic not in (None, "largest", "estimate")
    if resampled and before and after and min(before.values.shape[1], after.values.shape[1]) >= MIN_MEASUREMENTS:
        paired = before.of == after.of and before.values.shape == after.values.shape and "runs" not in before.of
        low, high = interval_of(_bootstrap_change(first, before, after, paired))
        significant, limits = low > 0 or high < 0, (none_if_undefined(low), none_if_undefined(high))
        return FigureChange(first, second, change, *limits, "paired" if paired else "unpaired", significant)
    if first.low is not None and second.low is not None and first.high is not None and second.high is not None:
        apart = first.high < second.low or second.high < first.low
        return FigureChange(first, second, change, None, None, "intervals", apart)
    if first.series is None and first.low is None and "estimate" not in (first.statistic, second.statistic):
        same = abs(change) <= _TOLERANCE * max(abs(first.value), abs(second.value))
        return FigureChange(first, second, change, None, None, "exact", not same)
    return FigureChange(first, second, change, None, None, "intervals", False)


class _Measurements(NamedTuple):
    """Single measurements behind a result.

    Attributes:
        values: float64 [1, n], or [2, n] with the labels in the second row.
        of: what they are measurements of, see `Series`.
    """

    values: Array
    of: str


def _measurements(figure: Figure, section: Section) -> _Measurements | None:
    """Return the measurements behind a result; None if they, or their labels, are not stored."""
    values, labels = section.series.get(figure.series or ""), section.series.get(figure.against or "")
    if values is None or (figure.against and labels is None):
        return None
    return _Measurements(np.array([values.values, *([labels.values] if labels else [])]), values.of)


def _bootstrap_change(figure: Figure, before: _Measurements, after: _Measurements, paired: bool) -> Array:
    """Return the change of a result's statistic in each bootstrap resample, [resamples]."""
    assert figure.statistic is not None
    statistic = STATISTICS[figure.statistic]

    def change(first: Array, second: Array, axis: int) -> Array:
        return np.asarray(statistic(*second, axis=axis) - statistic(*first, axis=axis))

    if paired:
        return bootstrap(change, before.values, after.values)
    first, second = (bootstrap(statistic, *part.values, seed=seed) for seed, part in enumerate((before, after)))
    return second - first


def _warnings(first: Report, second: Report) -> list[str]:
    """List what makes the reports less comparable."""
    found = []
    if first.machine != second.machine:
        found.append(
            f"different machines: {first.machine.processor} and {second.machine.processor}; times are not comparable"
        )
    for which, one in (("first", first), ("second", second)):
        if not any(section.series for section in one.sections):
            found.append(f"the {which} report has no single measurements: intervals are compared, nothing is paired")
    for name in sorted(first.models.keys() & second.models.keys()):
        if first.models[name] != second.models[name]:
            found.append(f"{name} differs: {first.models[name]}; {second.models[name]}")
    for what in ("quick", "seed", "threads"):
        one_value, other_value = getattr(first, what), getattr(second, what)
        if one_value != other_value:
            found.append(f"{what} differs: {one_value} and {other_value}")
    changed = [k for k in first.versions.keys() & second.versions.keys() if first.versions[k] != second.versions[k]]
    found += [f"{name} {first.versions[name]} and {second.versions[name]}" for name in sorted(changed)]
    found += [
        f"the {which} report was measured on a busy machine"
        for which, report in (("first", first), ("second", second))
        if report.warnings
    ]
    return found
