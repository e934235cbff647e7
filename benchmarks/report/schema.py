"""Data model of the report: what was measured, how, on which machine, and the measurements behind each result.

`report.json` contains this model. Its schema (`docs/report.schema.json`) is generated from the model.

    haaqi-edge bench -o FOLDER        # writes report.json, report.md, report.html and the plots
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...runtime.errors import OptionError
from ...runtime.files import is_file

FORMAT: Final = 1
"""version of the schema"""
Statistic = Literal["median", "mean", "largest", "lcc", "srcc", "mse", "estimate"]
Rule = Literal["at least", "at most"]
_NUMBERS: Final = re.compile(r"\[\s+-?\d[^\]\"{]*\]")
"""matches lists of numbers, which are written on one line instead of one number per line"""


def _told(what: str) -> object:
    return Field(description=what)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Series(_Part):
    """The single measurements behind figures."""

    values: Annotated[list[float], _told("in the figures' unit")]
    of: Annotated[str, _told("what they are of, in order; series of two reports that say the same pair value by value")]


class Figure(_Part):
    """One measured number."""

    key: Annotated[str, _told("names the figure in every report: section/what/...")]
    name: Annotated[str, _told("what people call it")]
    value: Annotated[float | None, _told("null where it is not defined, such as the correlation of equal scores")]
    unit: Annotated[str, _told("empty for ratios, scores and correlations")] = ""
    low: Annotated[float | None, _told("lower end of the 95% bootstrap interval of the value")] = None
    high: Annotated[float | None, _told("upper end of it")] = None
    p95: Annotated[float | None, _told("95th percentile of the single measurements")] = None
    count: Annotated[int | None, _told("of single measurements; null for what is exact, such as a parameter count")] = (
        None
    )
    better: Annotated[Literal["lower", "higher"] | None, _told("which way is good")] = None
    statistic: Annotated[
        Statistic | None,
        _told("how the value comes from its series; an estimate comes from other figures, without a spread"),
    ] = None
    series: Annotated[str | None, _told("key of its series in the section")] = None
    against: Annotated[str | None, _told("key of the labels' series, for lcc, srcc and mse")] = None


class Table(_Part):
    """Figures side by side, as text."""

    title: Annotated[str, _told("what is compared")]
    columns: Annotated[list[str], _told("headings")]
    rows: Annotated[list[list[str]], _told("as many cells as there are columns")]
    note: Annotated[str, _told("how to read it")] = ""


class Target(_Part):
    """What was promised, and what came of it."""

    what: Annotated[str, _told("what was promised")]
    key: Annotated[str, _told("of the figure")]
    rule: Annotated[Rule, _told("how the value is compared with what is wanted")]
    wanted: Annotated[float, _told("the bound")]
    value: Annotated[float | None, _told("measured; null where it could not be")]
    unit: Annotated[str, _told("of both")] = ""
    met: Annotated[bool | None, _told("null where it was not measured")]


class Missing(_Part):
    """What was not measured, and why."""

    what: Annotated[str, _told("that is not measured")]
    why: Annotated[str, _told("and what would be needed")]


class Plot(_Part):
    """A picture beside the report."""

    file: Annotated[str, _told("its name in the report's folder")]
    caption: Annotated[str, _told("what it shows")]


class Load(_Part):
    """What else the machine did during a section."""

    average: Annotated[float | None, _told("load average over the last minute, when the section began")]
    others: Annotated[float | None, _told("cores that other processes kept busy in the mean; Linux only")]


class Section(_Part):
    """What was measured in one go."""

    name: str
    title: str
    said: Annotated[list[str], _told("what the figures come to, in words")]
    seconds: Annotated[float, _told("that it took; kept results count with the time they took")] = 0.0
    load: Load = Load(average=None, others=None)
    figures: list[Figure] = []
    series: dict[str, Series] = {}
    tables: list[Table] = []
    targets: list[Target] = []
    missing: list[Missing] = []
    plots: list[Plot] = []

    def figure(self, key: str) -> Figure | None:
        """Return the result for a key; None if it was not measured."""
        return next((figure for figure in self.figures if figure.key == key), None)


class Machine(_Part):
    """Where it was measured."""

    processor: str
    architecture: str
    cores: Annotated[int, _told("that the process may use")]
    memory_gb: float | None
    system: str
    accelerator: str | None = None


class Report(_Part):
    """Everything."""

    format: Literal[1] = FORMAT
    name: str = "haaqi-edge"
    made: Annotated[str, _told("UTC, ISO 8601")]
    command: str
    quick: bool
    seed: int
    threads: list[int]
    commit: Annotated[str | None, _told("of the checkout; null outside one")]
    changed: Annotated[bool | None, _told("whether the checkout differed from its commit")]
    code: Annotated[str, _told("SHA-256 of the package's modules and models")]
    machine: Machine
    versions: dict[str, str]
    models: Annotated[dict[str, str], _told("what was measured, and where its weights come from")]
    warnings: list[str]
    sections: list[Section]

    def section(self, name: str) -> Section | None:
        """Return a section by its name; None if it was not run."""
        return next((section for section in self.sections if section.name == name), None)

    def figures(self) -> dict[str, Figure]:
        """Return all results by their keys."""
        return {figure.key: figure for section in self.sections for figure in section.figures}

    def to_json(self) -> str:
        """Return the text of `report.json`."""
        plain = self.model_dump(exclude_defaults=True) | {"format": self.format, "name": self.name}
        return (
            _NUMBERS.sub(lambda run: re.sub(r"\s+", " ", run[0]), json.dumps(plain, indent=1, ensure_ascii=False))
            + "\n"
        )


def read_report(path: Path) -> Report:
    """Read a report from its file or from its folder.

    Raises:
        OptionError: the file does not exist, or is not a report of this version.
    """
    path = path / "report.json" if path.is_dir() else path
    if not is_file(path):
        raise OptionError(f"{path} does not exist: give the report.json that `haaqi-edge bench -o FOLDER` wrote")
    try:
        return Report.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise OptionError(
            f"{path} is no report of this version ({where}: {first['msg']}): measure again with `haaqi-edge bench`"
        ) from error
