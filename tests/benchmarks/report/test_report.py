"""Reports: reading, writing in three forms, and the README's table, which shows the report in docs/report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from haaqi_edge.benchmarks.report import readme
from haaqi_edge.benchmarks.report.plots import draw_bars
from haaqi_edge.benchmarks.report.rendering import format_number, to_html, to_markdown
from haaqi_edge.benchmarks.report.schema import Plot, Report, read_report
from haaqi_edge.benchmarks.runner import read_existing_report, write_report
from haaqi_edge.runtime import Bundle
from haaqi_edge.runtime.errors import OptionError
from reports import make_report, make_section

ROOT = Path(__file__).resolve().parents[3]


def write_with_plot(whole: Report, folder: Path) -> Report:
    """Add a plot to a report, write it, and return it."""
    section = whole.sections[0].model_copy(update={"plots": [Plot(file="a.png", caption="A picture")]})
    whole = whole.model_copy(update={"sections": [section]})
    write_report(whole, folder, {"a": draw_bars({"one": 1.0, "two": 2.0}, ["red", "blue"], "ms", str)})
    return whole


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = write_with_plot(make_report(make_section()), tmp_path / "new" / "report")
    assert read_report(tmp_path / "new" / "report" / "report.json") == whole
    assert whole.to_json().count("\n") < 250  # lists of numbers are on one line
    figure = whole.figures()["latency/nano/whole/10s/1t"]
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.p95 is not None
    assert figure.low <= figure.value <= figure.high <= figure.p95
    assert figure.count == 40


def test_the_schema_is_the_one_that_is_documented() -> None:
    schema = json.loads((ROOT / readme.SCHEMA).read_text(encoding="utf-8"))
    assert schema == readme.report_schema()


def test_markdown_and_html_show_the_whole_report(tmp_path: Path) -> None:
    whole = write_with_plot(make_report(make_section(), warnings=["a <busy> machine"]), tmp_path)
    markdown, html = ((tmp_path / f"report.{kind}").read_text(encoding="utf-8") for kind in ("md", "html"))
    assert markdown == to_markdown(whole)
    assert html == to_html(whole, tmp_path)
    for text in (
        "Latency",
        "A table",
        "A note.",
        "an absent result",
        "not measured",
        "missed",
        "a GPU",
        "A picture",
    ):
        assert text in markdown
        assert text in html
    assert "a <busy> machine" in markdown
    assert "| what \\| which | how much |" in markdown
    assert "![A picture](a.png)" in markdown
    # The HTML file is self-contained, and texts are escaped.
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,|#)", html)
    assert "a &lt;busy&gt; machine" in html
    assert "<b>&lt;b&gt;" not in html
    assert "<td>&lt;b&gt;</td>" in html
    assert "A &amp; B &lt;chip&gt;" in html


def test_a_report_replaces_a_report_and_nothing_else(tmp_path: Path) -> None:
    old = write_with_plot(make_report(make_section()), tmp_path)
    (tmp_path / "mine.png").write_bytes(b"")
    assert read_existing_report(tmp_path) == old
    write_report(make_report(), tmp_path, {}, old)
    assert [path.name for path in tmp_path.glob("*.png")] == ["mine.png"]  # the plot of the older report was deleted
    assert read_existing_report(tmp_path / "new") is None
    (tmp_path / "report.json").unlink()
    with pytest.raises(OptionError, match="contains no report"):
        read_existing_report(tmp_path)


def test_files_that_are_not_reports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist: give the report"):
        read_report(tmp_path / "absent.json")
    path = tmp_path / "report.json"
    for content, why in (
        ("no", "JSON"),
        ("{}", "made"),
        (make_report().to_json().replace('"format": 1', '"format": 9'), "1"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(OptionError, match=rf"is not a report of this version \(.*{why}.*measure again"):
            read_report(path)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "–"),
        (91_134_781, "parameters", "91,134,781 parameters"),
        (81.83, "%", "81.83%"),
        (4.98765, "ms", "4.988 ms"),
        (1234.5, "ms", "1,234 ms"),
        (2.4e-7, "", "2.4e-07"),
        (0.0, "", "0"),
    ],
)
def test_numbers(value: float | None, unit: str, text: str) -> None:
    assert format_number(value, unit) == text


def test_the_readme_shows_the_report_in_docs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = read_report(ROOT / readme.REPORT_FOLDER / "report.json")
    assert readme.replace_table(text, shown) == text, "run `make figures`"
    assert shown.quick or "not measured" not in readme.results_table(shown)  # a quick run omits some
    assert {key for _, key in readme.ROWS if "pyclarity" not in key} <= shown.figures().keys()
    assert (ROOT / readme.REPORT_FOLDER / "report.md").read_text(encoding="utf-8") == to_markdown(shown)
    assert readme.replace_accuracy(text, [Bundle(name).card for name in readme.MODELS]) == text, "run `make figures`"
    # Another report changes the README. A README without marks is refused.
    assert readme.replace_table(text, make_report(make_section())) != text
    with pytest.raises(OptionError, match="has no lines"):
        readme.replace_table("nothing", shown)


def test_a_copied_report_omits_single_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_with_plot(make_report(make_section()), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    readme.copy_report(tmp_path / "run")
    shown = read_report(tmp_path / readme.REPORT_FOLDER / "report.json")
    assert not shown.sections[0].series
    assert shown.figures() == whole.figures()
    assert (tmp_path / readme.REPORT_FOLDER / "a.png").is_file()
    assert to_markdown(shown) == to_markdown(whole)
