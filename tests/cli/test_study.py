"""`haaqi-edge bench study`: every study is listed, has its own options, and reports errors as other commands do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import get_output, run
from haaqi_edge.benchmarks import studies
from haaqi_edge.cli import study

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"
NAMES = sorted(command.callback.__name__ for command in study.app.registered_commands if command.callback)


def test_every_study_has_a_command() -> None:
    assert set(NAMES) == {name for name in studies.__all__ if name != "boards"} | {"gpu"}
    listed = get_output("bench", "study", "--help")
    assert all(name in listed for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_study_has_help_and_json(name: str) -> None:
    text = get_output("bench", "study", name, "--help")
    assert f"haaqi-edge bench study {name}" in text
    assert "--json" in text


def test_unknown_studies_are_refused() -> None:
    outcome = run("bench", "study", "abacus")
    assert outcome.code == 2
    assert "abacus" in outcome.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("sanity", "absent"), "absent"),
        (("library", "absent"), "no audio in absent"),
        (("c", "--checkpoint", "absent.pth"), "absent.pth"),
        (("soak", "--model", "absent"), "absent"),
        (("soak", "--hours", "0"), "--hours 0: give 0.05 or more"),
        (("gpu", "--provider", "cpu", "--cuda-graphs"), "--cuda-graphs needs"),
    ],
)
def test_bad_input_is_one_line(argv: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    outcome = run("bench", "study", *argv)
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert message in str(outcome.errors[0])
    assert outcome.err.startswith("error:")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("argv", [("library", "demo", "--jobs", "0"), ("sanity", "demo", "--seed", "-1")])
def test_options_out_of_range_are_refused(argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run("bench", "study", *argv).code == 2


def test_a_folder_is_scored_in_each_way() -> None:
    outcome = run("bench", "study", "library", DEMO, "--clips", 2, "--runs", 1, "--json")
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)
    assert results["files"] == 2
    assert list(results["methods"]) == [
        "one after another",
        "--batch-size 256",
        "--jobs 2",
        "--jobs 2 --batch-size 256",
    ]
    assert all(one["largest_difference"] < 1e-6 for one in results["methods"].values())


def test_without_qemu_the_arm64_study_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert printed_lines("bench", "study", "arm64", "--work", tmp_path / "work")[0].startswith("skipped: apt-get")


def printed_lines(*argv: object) -> list[str]:
    outcome = run(*argv)
    assert outcome.code == 0, outcome.err
    return outcome.out.splitlines()
