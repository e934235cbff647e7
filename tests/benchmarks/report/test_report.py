"""Reports: what is written is what was measured, in three forms; the README tells what the kept one tells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from haaqi_edge.benchmarks.report import readme
from haaqi_edge.benchmarks.report.plots import bars
from haaqi_edge.benchmarks.report.rendering import number, to_html, to_markdown
from haaqi_edge.benchmarks.report.schema import Plot, Report, read_report
from haaqi_edge.benchmarks.runner import check_output, write
from haaqi_edge.runtime.errors import OptionError
from reports import measured, report

ROOT = Path(__file__).resolve().parents[3]


def drawn(whole: Report, folder: Path) -> Report:
    """The report with a plot, written."""
    section = whole.sections[0].model_copy(update={"plots": [Plot(file="a.png", caption="A picture")]})
    whole = whole.model_copy(update={"sections": [section]})
    write(whole, folder, {"a": bars({"one": 1.0, "two": 2.0}, ["red", "blue"], "ms", str)})
    return whole


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = drawn(report(measured()), tmp_path / "new" / "report")
    assert read_report(tmp_path / "new" / "report" / "report.json") == whole
    assert whole.to_json().count("\n") < 250  # numbers in a line, not a line each
    figure = whole.figures()["latency/nano/whole/10s/1t"]
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.p95 is not None
    assert figure.low <= figure.value <= figure.high <= figure.p95
    assert figure.count == 40


def test_the_schema_is_the_one_that_is_documented() -> None:
    schema = json.loads((ROOT / readme.SCHEMA).read_text(encoding="utf-8"))
    assert schema == readme.schema()


def test_all_that_a_report_holds_is_shown(tmp_path: Path) -> None:
    whole = drawn(report(measured(), warnings=["a <busy> machine"]), tmp_path)
    markdown, html = ((tmp_path / f"report.{kind}").read_text(encoding="utf-8") for kind in ("md", "html"))
    assert markdown == to_markdown(whole)
    assert html == to_html(whole, tmp_path)
    for told in (
        "Latency",
        "A table",
        "A note.",
        "what nobody measured",
        "not measured",
        "missed",
        "a GPU",
        "A picture",
    ):
        assert told in markdown
        assert told in html
    assert "a <busy> machine" in markdown
    assert "| what \\| which | how much |" in markdown
    assert "![A picture](a.png)" in markdown
    # One file: nothing is fetched, and what was measured cannot become markup.
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,|#)", html)
    assert "a &lt;busy&gt; machine" in html
    assert "<b>&lt;b&gt;" not in html
    assert "<td>&lt;b&gt;</td>" in html
    assert "A &amp; B &lt;chip&gt;" in html


def test_a_report_replaces_a_report_and_nothing_else(tmp_path: Path) -> None:
    old = drawn(report(measured()), tmp_path)
    (tmp_path / "mine.png").write_bytes(b"")
    assert check_output(tmp_path) == old
    write(report(), tmp_path, {}, old)
    assert [path.name for path in tmp_path.glob("*.png")] == ["mine.png"]  # the older report's is gone
    assert check_output(tmp_path / "new") is None
    (tmp_path / "report.json").unlink()
    with pytest.raises(OptionError, match="holds no report"):
        check_output(tmp_path)


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist: give the report"):
        read_report(tmp_path / "absent.json")
    path = tmp_path / "report.json"
    for content, why in (
        ("no", "JSON"),
        ("{}", "made"),
        (report().to_json().replace('"format": 1', '"format": 9'), "1"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(OptionError, match=rf"is no report of this version \(.*{why}.*measure again"):
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
    assert number(value, unit) == text


def test_the_readme_tells_what_the_kept_report_tells() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    kept = read_report(ROOT / readme.KEPT / "report.json")
    assert readme.rewritten(text, kept) == text, "run `make figures`"
    assert kept.quick or "not measured" not in readme.table(kept)  # a quick one leaves some out, and says so
    assert {key for _, key in readme.ROWS if "pyclarity" not in key} <= kept.figures().keys()
    assert (ROOT / readme.KEPT / "report.md").read_text(encoding="utf-8") == to_markdown(kept)
    # Another report changes the README, and one without marks is refused.
    assert readme.rewritten(text, report(measured())) != text
    with pytest.raises(OptionError, match="has no lines"):
        readme.rewritten("nothing", kept)


def test_a_kept_report_leaves_out_single_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(report(measured()), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    readme.keep(tmp_path / "run")
    kept = read_report(tmp_path / readme.KEPT / "report.json")
    assert not kept.sections[0].series
    assert kept.figures() == whole.figures()
    assert (tmp_path / readme.KEPT / "a.png").is_file()
    assert to_markdown(kept) == to_markdown(whole)
