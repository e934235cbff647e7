"""`haaqi-edge bench`: reports are written, resumed and compared, and bad input is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command import get_output, run
from haaqi_edge.benchmarks.report.schema import Section, read_report
from reports import make_report, make_section

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report with the fastest section."""
    folder = tmp_path_factory.mktemp("bench") / "report"
    outcome = run("bench", "parameters", "--quick", "-o", folder)
    assert outcome.code == 0, outcome.err
    assert "folded student: fewer parameters than the teacher" in outcome.out
    return folder


def test_a_report_is_written(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "report.html", "parameters.png"}
    found = read_report(folder / "report.json")
    assert found.quick
    assert [section.name for section in found.sections] == ["parameters"]
    assert {target.met for target in found.sections[0].targets} == {True}
    assert found.figures()["parameters/claim/extractor-alone"].value == pytest.approx(75.85, abs=0.005)
    assert found.figures()["parameters/student/4"].value == 16_559_041


def test_finished_measurements_are_not_repeated(folder: Path) -> None:
    files = list((folder.with_name("report.work") / "measurements").iterdir())
    before = read_report(folder / "report.json")
    document = json.loads(printed_json("bench", "parameters", "--quick", "-o", folder))
    assert list((folder.with_name("report.work") / "measurements").iterdir()) == files
    again = read_report(folder / "report.json")
    assert again.sections == before.sections
    assert document["sections"][0]["figures"]
    assert "series" not in document["sections"][0]


def test_another_section_joins_a_report_of_the_same_code(folder: Path, tmp_path: Path) -> None:
    old = read_report(folder / "report.json")
    whole = tmp_path / "report"
    shutil.copytree(folder, whole)
    size = Section(name="size", title="Size", said=[])
    (whole / "report.json").write_text(old.model_copy(update={"sections": [size]}).to_json(), encoding="utf-8")
    outcome = run("bench", "parameters", "--quick", "-o", whole)
    assert outcome.code == 0, outcome.err
    assert [section.name for section in read_report(whole / "report.json").sections] == ["parameters", "size"]
    other = old.model_copy(update={"sections": [size], "code": "another"})
    (whole / "report.json").write_text(other.to_json(), encoding="utf-8")
    assert run("bench", "parameters", "--quick", "-o", whole).code == 0
    assert [section.name for section in read_report(whole / "report.json").sections] == ["parameters"]


def test_without_results_there_is_no_report(tmp_path: Path) -> None:
    outcome = run("bench", "accuracy", "--quick", "-o", tmp_path / "report")
    assert outcome.code == 2
    assert "nothing could be measured" in str(outcome.errors[0])
    assert not (tmp_path / "report").exists()


def printed_json(*argv: object) -> str:
    outcome = run(*argv, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.out


def test_reports_are_compared(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path, milliseconds in zip(paths, (5.0, 6.0), strict=True):
        path.write_text(make_report(make_section(milliseconds)).to_json(), encoding="utf-8")
    text = get_output("bench", "compare", *paths)
    assert "worse" in text
    assert "1 of 4 results changed by more than the noise" in text
    assert "median change of all times: +20.0%" in text
    found = json.loads(get_output("bench", "compare", *paths, "--json"))
    assert [change["key"] for change in found["moved"]] == ["latency/nano/whole/10s/1t"]
    assert found["moved"][0]["better"] is False
    assert "0 of 4 results changed" in get_output("bench", "compare", paths[0], paths[0])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("parameters", "--music", "absent"), "--music absent is not a folder"),
        (("parameters", "--threads", "0"), "--threads 0: give 1 or more"),
        (("parameters", "-o", "{taken}"), "contains no report"),
        (("parameters", "--student", "absent.pth", "-o", "{new}"), "absent.pth does not exist"),
        (("compare", "absent.json", "absent.json"), "absent.json does not exist"),
    ],
)
def test_bad_input_is_refused(argv: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "other.txt").touch()
    places = {"taken": tmp_path / "taken", "new": tmp_path / "new"}
    outcome = run("bench", *(part.format(**places) for part in argv))
    assert outcome.code == 2
    assert message in outcome.err.replace("\n", " ")
    assert not (tmp_path / "new").exists()


def test_all_is_the_default_command(tmp_path: Path) -> None:
    (tmp_path / "other.txt").touch()
    outcome = run("bench", "--quick", "-o", tmp_path)
    assert outcome.code == 2
    assert "contains no report" in outcome.err.replace("\n", " ")
    assert "compare" in run("bench", "--help").out
