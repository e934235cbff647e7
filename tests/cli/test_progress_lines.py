"""Progress as lines of text: the number of a step, the time left, and a log that is appended to."""

from __future__ import annotations

from pathlib import Path

import pytest
from haaqi_edge.cli.console import phases
from haaqi_edge.cli.progress_lines import INTERVAL, ProgressLines, format_seconds, open_log
from haaqi_edge.runtime.errors import OptionError


def test_a_step_has_its_number_and_then_the_time_left() -> None:
    now = [0.0]
    lines = ProgressLines(["preparing", "measuring"], lambda: now[0])
    assert lines.update("preparing", 0, 0) == "step 1 of 2: preparing"
    now[0] = 5.0
    assert lines.update("measuring", 0, 400) == "step 2 of 2: measuring"
    now[0] = 5.0 + INTERVAL - 1
    assert lines.update("measuring", 50, 400) is None
    now[0] = 5.0 + INTERVAL
    assert lines.update("measuring", 100, 400) == "step 2 of 2: measuring, 100 of 400, 1:30 left"
    assert lines.update("measuring", 101, 400) is None
    assert lines.update("another", 0, 0) == "another"


def test_a_step_that_resumes_counts_what_it_did_itself() -> None:
    now = [0.0]
    lines = ProgressLines((), lambda: now[0])
    assert lines.update("measuring", 300, 400) == "measuring"
    now[0] = 2 * INTERVAL
    assert lines.update("measuring", 350, 400) == "measuring, 350 of 400, 1:00 left"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (3_725, "1:02:05")])
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_log_is_appended_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.txt"
    log.write_text("before\n", encoding="utf-8")
    with phases(["one", "two"], log) as report:
        report("one", 0, 3)
        report("one", 1, 3)
        report("two", 0, 0)
    texts = [line.split(" ", 2)[-1] for line in log.read_text(encoding="utf-8").splitlines()]
    assert texts == ["before", "step 1 of 2: one", "step 2 of 2: two", "finished"]
    capsys.readouterr()


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(OptionError, match=r"--log: cannot write .*give a file in a folder that exists"),
        open_log(tmp_path / "absent" / "log.txt"),
    ):
        pass
