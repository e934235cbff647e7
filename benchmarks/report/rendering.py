"""Render a report as Markdown, and as one self-contained HTML file."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .schema import Report, Target

_DASH: Final = "–"


def to_markdown(report: Report) -> str:
    """Return the text of `report.md`; its plots are separate files in the same folder."""
    return _environment().get_template("report.md.j2").render(report=report)


def to_html(report: Report, folder: Path) -> str:
    """Return the text of `report.html`, which includes the plots of the folder."""

    def data_uri(file: str) -> Markup:
        return Markup(f"data:image/png;base64,{base64.b64encode((folder / file).read_bytes()).decode()}")

    return _environment().get_template("report.html.j2").render(report=report, data_uri=data_uri)


def format_number(value: float | None, unit: str = "") -> str:
    """Format a value with its unit for readers: four digits, counts in full."""
    if value is None:
        return _DASH
    if unit == "parameters" or (value == int(value) and abs(value) >= 1000) or (abs(value) >= 100 and unit != "%"):
        text = f"{value:,.0f}"
    elif unit == "%":
        text = f"{value:.2f}"
    else:
        text = f"{value:.4g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
    return f"{text}{'' if unit == '%' or not unit else ' '}{unit}"


def format_verdict(target: Target) -> str:
    """Return whether a target is met, missed or not measured, as text."""
    return "not measured" if target.met is None else "met" if target.met else "missed"


def _escape_cell(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": format_number, "verdict": format_verdict, "cell": _escape_cell}
    return environment
