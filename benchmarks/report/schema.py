"""Data model of the report: what was measured, how, on which machine, and the measurements behind each result.

`report.json` contains this model. Its schema (`docs/report.schema.json`) is generated from the model.
`haaqi-edge bench -o FOLDER` writes report.json, report.md, report.html and the plots.
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


def _field(description: str) -> object:
    return Field(description=description)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Series(_Part):
    """Single measurements behind results."""

    values: Annotated[list[float], _field("the measurements, in the unit of the result")]
    of: Annotated[
        str, _field("what was measured, in order; measurements of two reports with the same text are paired by place")
    ]


class Figure(_Part):
    """One measured number."""

    key: Annotated[str, _field("identifies the result in every report: section/subject/...")]
    name: Annotated[str, _field("description for readers")]
    value: Annotated[float | None, _field("null if undefined, such as the correlation of equal scores")]
    unit: Annotated[str, _field("empty for ratios, scores and correlations")] = ""
    low: Annotated[float | None, _field("lower bound of the 95% interval of the value")] = None
    high: Annotated[float | None, _field("upper bound of the interval")] = None
    p95: Annotated[float | None, _field("95th percentile of the single measurements")] = None
    count: Annotated[
        int | None, _field("number of single measurements; null for exact numbers, such as a parameter count")
    ] = None
    better: Annotated[Literal["lower", "higher"] | None, _field("which direction is better")] = None
    statistic: Annotated[
        Statistic | None,
        _field("how the value is computed from its series; an estimate is computed from other results"),
    ] = None
    series: Annotated[str | None, _field("key of its single measurements in the section")] = None
    against: Annotated[str | None, _field("key of the labels' series, for lcc, srcc and mse")] = None


class Table(_Part):
    """Results side by side, as text."""

    title: Annotated[str, _field("what is compared")]
    columns: Annotated[list[str], _field("headings")]
    rows: Annotated[list[list[str]], _field("cells of each row, as many as there are columns")]
    note: Annotated[str, _field("how to read the table")] = ""


class Target(_Part):
    """A claim with a bound, and the result that meets or misses it."""

    what: Annotated[str, _field("the claim")]
    key: Annotated[str, _field("key of the result")]
    rule: Annotated[Rule, _field("how the value is compared with the bound")]
    wanted: Annotated[float, _field("the bound")]
    value: Annotated[float | None, _field("the result; null if it was not measured")]
    unit: Annotated[str, _field("unit of the bound and the value")] = ""
    met: Annotated[bool | None, _field("whether the value meets the bound; null if it was not measured")]


class Missing(_Part):
    """Something that was not measured."""

    what: Annotated[str, _field("what was not measured")]
    why: Annotated[str, _field("the reason, and what would be needed")]


class Plot(_Part):
    """A plot beside the report."""

    file: Annotated[str, _field("file name in the report's folder")]
    caption: Annotated[str, _field("what the plot shows")]


class Load(_Part):
    """Load of the machine by other processes during a section."""

    average: Annotated[float | None, _field("load average over one minute, at the start of the section")]
    others: Annotated[float | None, _field("mean number of cores that other processes kept busy; Linux only")]


class Section(_Part):
    """Results of one module in `benchmarks/sections`."""

    name: str
    title: str
    said: Annotated[list[str], _field("sentences that summarize the results")]
    seconds: Annotated[float, _field("duration of the section; stored results count with the time they took")] = 0.0
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
    """The machine that ran the benchmarks."""

    processor: str
    architecture: str
    cores: Annotated[int, _field("number of cores that the process may use")]
    memory_gb: float | None
    system: str
    accelerator: str | None = None


class Report(_Part):
    """A complete report."""

    format: Literal[1] = FORMAT
    name: str = "haaqi-edge"
    made: Annotated[str, _field("time in UTC, ISO 8601")]
    command: str
    quick: bool
    seed: int
    threads: list[int]
    commit: Annotated[str | None, _field("commit of the checkout; null without a checkout")]
    changed: Annotated[bool | None, _field("whether the checkout differed from its commit")]
    code: Annotated[str, _field("SHA-256 of the package's modules and models")]
    machine: Machine
    versions: dict[str, str]
    models: Annotated[dict[str, str], _field("the measured models, and where their weights come from")]
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
        text = json.dumps(plain, indent=1, ensure_ascii=False)
        return _NUMBERS.sub(lambda numbers: re.sub(r"\s+", " ", numbers[0]), text) + "\n"


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
            f"{path} is not a report of this version ({where}: {first['msg']}): measure again with `haaqi-edge bench`"
        ) from error
