"""Builder of a report's section: results with their spread, unit and single measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...evaluation.timing import ratio
from ...training.statistics import agreement
from .schema import Figure, Missing, Rule, Section, Series, Statistic, Table, Target

DRAWS: Final = 1000
"""number of bootstrap draws"""
Array = npt.NDArray[np.float64]


class Sheet:
    """A section under construction.

    Args:
        name: name of the section, which starts the keys of its results.
        title: heading in the report.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        self.said: list[str] = []
        self.figures: dict[str, Figure] = {}
        self.series: dict[str, Series] = {}
        self.tables: list[Table] = []
        self.targets: list[Target] = []
        self.missing: list[Missing] = []

    def exact(self, key: str, name: str, value: float, unit: str = "", better: str | None = None) -> Figure:
        """Add a number without a spread, such as a count or a size."""
        return self._add(Figure(key=f"{self.name}/{key}", name=name, value=value, unit=unit, better=better))  # type: ignore[arg-type]

    def estimate(self, key: str, name: str, value: float, unit: str = "", better: str | None = None) -> Figure:
        """Add a number derived from timings, without a spread of its own; comparisons of reports ignore it."""
        figure = self.exact(key, name, value, unit, better)
        self.figures[figure.key] = figure = figure.model_copy(update={"statistic": "estimate"})
        return figure

    def sampled(
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
        low, high = interval(array, statistic)
        self.series[key] = Series(values=[_rounded(value) for value in array], of=of)
        return self._add(
            Figure(
                key=f"{self.name}/{key}",
                name=name,
                value=float(reduce(array, statistic)),
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

    def timing(self, key: str, name: str, seconds: Sequence[float]) -> Figure:
        """Add the median of interleaved runs, in ms."""
        return self.sampled(key, name, [1e3 * one for one in seconds], of="runs in turn", unit="ms")

    def times_faster(self, key: str, name: str, before: Sequence[float], after: Sequence[float]) -> Figure:
        """Add how many times as long `before` takes as `after`, compared run by run."""
        runs = min(len(before), len(after))
        found = ratio(list(before[:runs]), list(after[:runs]))
        return self._add(
            Figure(
                key=f"{self.name}/{key}",
                name=name,
                value=found.median,
                unit="times",
                low=found.low,
                high=found.high,
                count=runs,
                better="higher",
            )
        )

    def share(self, key: str, name: str, hits: npt.NDArray[np.bool_], better: str | None = "higher") -> Figure:
        """Add the percentage of hits, with Wilson's 95% interval, which is valid even for 0% and 100%."""
        found = stats.binomtest(int(hits.sum()), len(hits))
        spread = found.proportion_ci(method="wilson")
        percent = [100 * value for value in (hits.mean(), spread.low, spread.high)]
        figure = self.derived(key, f"{name}, {len(hits)} clips", *percent, unit="%", better=better)
        self.figures[figure.key] = figure = figure.model_copy(update={"count": len(hits)})
        return figure

    def derived(
        self, key: str, name: str, value: float, low: float, high: float, *, unit: str = "", better: str | None = None
    ) -> Figure:
        """Add a result derived from another one, with its interval."""
        return self._add(
            Figure(key=f"{self.name}/{key}", name=name, value=value, unit=unit, low=low, high=high, better=better)  # type: ignore[arg-type]
        )

    def judged(self, key: str, name: str, found: dict[str, float | int], series: str | None = None) -> None:
        """Add LCC, SRCC and MSE against HAAQI, from the results of `training.card.split_figures` for a group of rows.

        Args:
            key, name: of the group; the names of the statistics are appended.
            found: values and intervals.
            series: key of the predictions if they are stored; the labels are the series `HAAQI`.
        """
        for statistic in ("lcc", "srcc", "mse"):
            self._add(
                Figure(
                    key=f"{self.name}/{key}/{statistic}",
                    name=f"{name}, {statistic.upper()}",
                    value=_finite(found[statistic]),
                    low=_finite(found[f"{statistic}_low"]),
                    high=_finite(found[f"{statistic}_high"]),
                    count=int(found["rows"]),
                    better="lower" if statistic == "mse" else "higher",
                    statistic=statistic,
                    series=series,
                    against="HAAQI" if series else None,
                )
            )

    def target(self, what: str, key: str, rule: Rule, wanted: float) -> None:
        """Compare a result with a target. A result that was not measured neither meets nor misses it."""
        figure = self.figures.get(f"{self.name}/{key}")
        value = figure.value if figure else None
        met = None if value is None else value >= wanted if rule == "at least" else value <= wanted
        unit = figure.unit if figure else ""
        self.targets.append(
            Target(what=what, key=f"{self.name}/{key}", rule=rule, wanted=wanted, value=value, unit=unit, met=met)
        )

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
        """Add a table of text."""
        self.tables.append(Table(title=title, columns=list(columns), rows=[list(row) for row in rows], note=note))

    def lacks(self, what: str, why: str) -> None:
        """Record what was not measured, and why."""
        self.missing.append(Missing(what=what, why=why))

    def section(self) -> Section:
        """Return the section for the report."""
        return Section(
            name=self.name,
            title=self.title,
            said=self.said,
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


def reduce(values: Array, statistic: Statistic, labels: Array | None = None) -> float:
    """Compute a statistic of values [n]; correlations and errors need labels [n]."""
    if statistic in ("lcc", "srcc", "mse"):
        assert labels is not None
        return float(getattr(agreement(values, labels), statistic))
    if statistic == "largest":
        return float(values.max())
    return float(np.median(values) if statistic == "median" else values.mean())


def interval(values: Array, statistic: Statistic, seed: int = 0) -> tuple[float | None, float | None]:
    """Compute the 95% bootstrap interval of a statistic of values.

    Returns:
        lower and upper limit. Both are None for fewer than three values, and for the maximum, which resampling can
        never exceed.
    """
    if len(values) < 3 or statistic == "largest":
        return None, None
    draws = np.random.default_rng(seed).choice(values, (DRAWS, len(values)))
    found = (np.median if statistic == "median" else np.mean)(draws, axis=1)
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rounded(value: float) -> float:
    """Round to six digits, the precision of a measurement."""
    return float(f"{value:.6g}")
