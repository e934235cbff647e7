"""Builder of a section of the report: results with their unit, interval and single measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...evaluation.timing import compute_speedup
from ...training.statistics import Statistic as StatisticFunction
from ...training.statistics import bootstrap_interval, none_if_undefined, pearson, spearman, squared_error
from .schema import Figure, Missing, Rule, Section, Series, Statistic, Table, Target

STATISTICS: Final[Mapping[Statistic, StatisticFunction]] = {
    "median": np.median,
    "mean": np.mean,
    "largest": np.max,
    "lcc": pearson,
    "srcc": spearman,
    "mse": squared_error,
}
"""functions of single measurements (and of their labels, for the last three)"""
MIN_MEASUREMENTS: Final = 3
"""minimum number of measurements for a bootstrap interval"""
Array = npt.NDArray[np.float64]


class SectionBuilder:
    """A section under construction.

    Args:
        name: name of the section, which starts the keys of its results.
        title: heading in the report.

    Attributes:
        statements: sentences that summarize the results.
        figures: results by key.
        series: single measurements by key, without the name of the section.
        tables: tables of text.
        targets: results that are compared with a bound.
        missing: what was not measured, and why.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        self.statements: list[str] = []
        self.figures: dict[str, Figure] = {}
        self.series: dict[str, Series] = {}
        self.tables: list[Table] = []
        self.targets: list[Target] = []
        self.missing: list[Missing] = []

    def add_exact(self, key: str, name: str, value: float, unit: str = "", better: str | None = None) -> Figure:
        """Add a number without an interval, such as a count or a size."""
        return self._add(Figure(key=f"{self.name}/{key}", name=name, value=value, unit=unit, better=better))  # type: ignore[arg-type]

    def add_estimate(self, key: str, name: str, value: float, unit: str = "", better: str | None = None) -> Figure:
        """Add a number derived from timings, without an interval of its own; comparisons of reports ignore it."""
        figure = self.add_exact(key, name, value, unit, better)
        self.figures[figure.key] = figure = figure.model_copy(update={"statistic": "estimate"})
        return figure

    def add_measurements(
        self,
        key: str,
        name: str,
        values: Sequence[float] | npt.NDArray[np.floating],
        *,
        of: str,
        unit: str = "",
        statistic: Statistic = "median",
        better: str | None = "lower",
    ) -> Figure:
        """Add a statistic of single measurements, with its bootstrap interval and their 95th percentile.

        Args:
            key, name: of the result.
            values: the measurements [n].
            of: what the measurements are of, see `Series`.
            unit: of the measurements.
            statistic: how the result is computed from them.
            better: whether lower or higher values are better; None if neither.
        """
        array = np.asarray(values, dtype=np.float64)
        low, high = _interval(array, statistic)
        self.series[key] = Series(values=[_round(value) for value in array], of=of)
        return self._add(
            Figure(
                key=f"{self.name}/{key}",
                name=name,
                value=float(STATISTICS[statistic](array, axis=-1)),
                unit=unit,
                low=low,
                high=high,
                p95=float(np.quantile(array, 0.95)),
                count=len(array),
                better=better,  # type: ignore[arg-type]
                statistic=statistic,
                series=key,
            )
        )

    def add_timing(self, key: str, name: str, seconds: Sequence[float]) -> Figure:
        """Add the median of interleaved runs, in ms."""
        return self.add_measurements(key, name, [1e3 * one for one in seconds], of="runs in turn", unit="ms")

    def add_speedup(self, key: str, name: str, before: Sequence[float], after: Sequence[float]) -> Figure:
        """Add how many times as long `before` takes as `after`, compared run by run."""
        runs = min(len(before), len(after))
        speedup = compute_speedup(list(before[:runs]), list(after[:runs]))
        return self._add(
            Figure(
                key=f"{self.name}/{key}",
                name=name,
                value=speedup.median,
                unit="times",
                low=none_if_undefined(speedup.low),
                high=none_if_undefined(speedup.high),
                count=runs,
                better="higher",
            )
        )

    def add_share(self, key: str, name: str, hits: npt.NDArray[np.bool_], better: str | None = "higher") -> Figure:
        """Add the percentage of hits, with Wilson's 95% interval, which is valid even for 0% and 100%."""
        interval = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
        percent = [100 * value for value in (hits.mean(), interval.low, interval.high)]
        figure = self.add_derived(key, f"{name}, {len(hits)} clips", *percent, unit="%", better=better)
        self.figures[figure.key] = figure = figure.model_copy(update={"count": len(hits)})
        return figure

    def add_derived(
        self, key: str, name: str, value: float, low: float, high: float, *, unit: str = "", better: str | None = None
    ) -> Figure:
        """Add a result derived from another one, with its interval. Undefined numbers (NaN) become null."""
        value_, low_, high_ = (none_if_undefined(one) for one in (value, low, high))
        return self._add(
            Figure(key=f"{self.name}/{key}", name=name, value=value_, unit=unit, low=low_, high=high_, better=better)  # type: ignore[arg-type]
        )

    def add_agreement(self, key: str, name: str, metrics: Mapping[str, Any], series: str | None = None) -> None:
        """Add LCC, SRCC and MSE against HAAQI, as `training.card.metrics_by_group` returns them for a group of rows.

        Args:
            key, name: of the group; the names of the metrics are appended.
            metrics: values and intervals.
            series: key of the predictions if they are stored; the labels are the series `HAAQI`.
        """
        for metric in ("lcc", "srcc", "mse"):
            self._add(
                Figure(
                    key=f"{self.name}/{key}/{metric}",
                    name=f"{name}, {metric.upper()}",
                    value=none_if_undefined(metrics[metric]),
                    low=none_if_undefined(metrics[f"{metric}_low"]),
                    high=none_if_undefined(metrics[f"{metric}_high"]),
                    count=int(metrics["rows"]),
                    better="lower" if metric == "mse" else "higher",
                    statistic=metric,
                    series=series,
                    against="HAAQI" if series else None,
                )
            )

    def add_target(self, what: str, key: str, rule: Rule, bound: float) -> None:
        """Compare a result with a bound. A result that was not measured neither meets nor misses it."""
        figure = self.figures.get(f"{self.name}/{key}")
        value = figure.value if figure else None
        met = None if value is None else value >= bound if rule == "at least" else value <= bound
        unit = figure.unit if figure else ""
        self.targets.append(
            Target(what=what, key=f"{self.name}/{key}", rule=rule, wanted=bound, value=value, unit=unit, met=met)
        )

    def add_table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
        """Add a table of text."""
        self.tables.append(Table(title=title, columns=list(columns), rows=[list(row) for row in rows], note=note))

    def add_missing(self, what: str, why: str) -> None:
        """Record what was not measured, and why."""
        self.missing.append(Missing(what=what, why=why))

    def build(self) -> Section:
        """Return the section for the report."""
        return Section(
            name=self.name,
            title=self.title,
            said=self.statements,
            figures=list(self.figures.values()),
            series=self.series,
            tables=self.tables,
            targets=self.targets,
            missing=self.missing,
        )

    def _add(self, figure: Figure) -> Figure:
        assert figure.key not in self.figures, figure.key
        self.figures[figure.key] = figure
        return figure


def _interval(values: Array, statistic: Statistic) -> tuple[float | None, float | None]:
    """Compute the 95% bootstrap interval of a statistic of values [n].

    Returns:
        lower and upper limit. Both are None for fewer than `MIN_MEASUREMENTS` values, and for the maximum, which
        resampling can never exceed.
    """
    if len(values) < MIN_MEASUREMENTS or statistic == "largest":
        return None, None
    low, high = bootstrap_interval(STATISTICS[statistic], values)
    return none_if_undefined(low), none_if_undefined(high)


def _round(value: float) -> float:
    """Round to six digits, the precision of a measurement."""
    return float(f"{value:.6g}")
