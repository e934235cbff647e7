"""Compare two reports: which results changed by more than the noise.

Measurements of the same items (rows, clips, cases) are paired and resampled together. Timed runs are not the same items
in two reports, so they are resampled independently. If single measurements are not stored, intervals are compared: a
result has changed if its two intervals do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ...runtime.errors import OptionError
from .schema import Figure, Report, Section, Series
from .section_builder import DRAWS, reduce

Array = npt.NDArray[np.float64]
How = Literal["paired", "unpaired", "intervals", "exact"]
TOLERANCE: Final = 1e-9
"""relative difference below which exact results are equal"""


@dataclass(frozen=True)
class Move:
    """A result in two reports.

    Attributes:
        figure, other: the result in the first and in the second report.
        change: second minus first.
        low, high: 95% interval of the change, if single measurements are stored.
        how: how the results are compared.
        moved: whether the change exceeds the noise.
    """

    figure: Figure
    other: Figure
    change: float
    low: float | None
    high: float | None
    how: How
    moved: bool

    @property
    def better(self) -> bool | None:
        """Whether the second result is better; None if it did not change, or if no direction is better."""
        if not self.moved or self.figure.better is None:
            return None
        return (self.change < 0) == (self.figure.better == "lower")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "key": self.figure.key,
            "name": self.figure.name,
            "unit": self.figure.unit,
            "first": self.figure.value,
            "second": self.other.value,
            "change": self.change,
            "low": self.low,
            "high": self.high,
            "share": self.share,
            "how": self.how,
            "moved": self.moved,
            "better": self.better,
        }

    @property
    def share(self) -> float | None:
        """Change relative to the first value; None if that is 0."""
        return self.change / self.figure.value if self.figure.value else None


@dataclass(frozen=True)
class Comparison:
    """Comparison of two reports.

    Attributes:
        moves: all results that both reports contain.
        gone, new: keys that only the first or only the second report contains.
        warnings: what makes the reports less comparable.
    """

    moves: list[Move]
    gone: list[str]
    new: list[str]
    warnings: list[str]

    @property
    def moved(self) -> list[Move]:
        """Results that changed by more than the noise, the largest relative changes first."""
        return sorted((m for m in self.moves if m.moved), key=lambda m: -abs(m.share or np.inf))

    @property
    def sampled(self) -> int:
        """Number of results with an interval for their change."""
        return sum(move.low is not None for move in self.moves)

    @property
    def by_chance(self) -> float:
        """Number of those that 95% intervals are expected to report as changed if nothing changed."""
        return 0.05 * self.sampled

    @property
    def drift(self) -> float | None:
        """Median relative change of times, a sign of another machine or another load; None without times."""
        shares = [m.share for m in self.moves if m.figure.unit == "ms" and m.figure.series and m.share is not None]
        return float(np.median(shares)) if shares else None


def compare(first: Report, second: Report) -> Comparison:
    """Compare two reports, result by result.

    Raises:
        OptionError: the reports have no result in common.
    """
    moves: list[Move] = []
    ones, others = first.figures(), second.figures()
    for name in dict.fromkeys(section.name for section in first.sections):
        a, b = first.section(name), second.section(name)
        if a is not None and b is not None:
            moves += [
                _move(figure, others[figure.key], a, b)
                for figure in a.figures
                if figure.key in others
                if figure.value is not None and others[figure.key].value is not None
            ]
    if not moves:
        raise OptionError("the two reports have no figure in common: give reports of the same sections")
    return Comparison(
        moves, sorted(ones.keys() - others.keys()), sorted(others.keys() - ones.keys()), _warnings(first, second)
    )


def _move(figure: Figure, other: Figure, a: Section, b: Section) -> Move:
    assert figure.value is not None
    assert other.value is not None
    change = other.value - figure.value
    kept = _kept(figure, a), _kept(other, b)
    if figure.statistic is not None and kept[0] and kept[1]:
        (before, labels), (after, other_labels) = kept  # type: ignore[misc]
        paired = before.of == after.of and len(before.values) == len(after.values) and "runs" not in before.of
        draws = _draws(figure, before, labels, after, other_labels, paired)
        if draws is not None:
            low, high = (float(end) for end in np.quantile(draws, [0.025, 0.975]))
            return Move(figure, other, change, low, high, "paired" if paired else "unpaired", low > 0 or high < 0)
    if figure.low is not None and other.low is not None and figure.high is not None and other.high is not None:
        apart = figure.high < other.low or other.high < figure.low
        return Move(figure, other, change, None, None, "intervals", apart)
    if figure.series is None and figure.low is None and "estimate" not in (figure.statistic, other.statistic):
        same = abs(change) <= TOLERANCE * max(abs(figure.value), abs(other.value))
        return Move(figure, other, change, None, None, "exact", not same)
    return Move(figure, other, change, None, None, "intervals", False)


def _kept(figure: Figure, section: Section) -> tuple[Series, Series | None] | None:
    """Return the measurements behind a result, and their labels; None if they are not stored."""
    values = section.series.get(figure.series or "")
    labels = section.series.get(figure.against or "")
    return None if values is None or (figure.against and labels is None) else (values, labels)


def _draws(
    figure: Figure, before: Series, labels: Series | None, after: Series, other_labels: Series | None, paired: bool
) -> Array | None:
    """Return bootstrap draws of the change; None for a maximum, or for fewer than three measurements."""
    assert figure.statistic is not None
    if figure.statistic == "largest" or min(len(before.values), len(after.values)) < 3:
        return None
    rng = np.random.default_rng(0)
    ones, others = np.array(before.values), np.array(after.values)
    known = [None if one is None else np.array(one.values) for one in (labels, other_labels)]
    found = np.empty(DRAWS)
    for draw in range(DRAWS):
        rows = rng.integers(0, len(ones), len(ones))
        theirs = rows if paired else rng.integers(0, len(others), len(others))
        parts = (ones[rows], known[0], rows), (others[theirs], known[1], theirs)
        values = [reduce(v, figure.statistic, None if k is None else k[r]) for v, k, r in parts]
        found[draw] = values[1] - values[0]
    return found


def _warnings(first: Report, second: Report) -> list[str]:
    found = []
    if first.machine != second.machine:
        found.append(f"other machines: {first.machine.processor} and {second.machine.processor}; times don't compare")
    for which, one in (("first", first), ("second", second)):
        if not any(section.series for section in one.sections):
            found.append(f"the {which} keeps no single measurements: intervals are compared, nothing is paired")
    for name in sorted(first.models.keys() & second.models.keys()):
        if first.models[name] != second.models[name]:
            found.append(f"{name} differs: {first.models[name]}; {second.models[name]}")
    for what in ("quick", "seed", "threads"):
        one, other = getattr(first, what), getattr(second, what)
        if one != other:
            found.append(f"{what} differs: {one} and {other}")
    changed = [k for k in first.versions.keys() & second.versions.keys() if first.versions[k] != second.versions[k]]
    found += [f"{name} {first.versions[name]} and {second.versions[name]}" for name in sorted(changed)]
    found += [
        f"the {which} was made on a busy machine" for which, r in (("first", first), ("second", second)) if r.warnings
    ]
    return found
