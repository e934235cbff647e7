"""`haaqi-edge bench study`: every study is listed, runs with its own options, and is refused with a reason."""

from __future__ import annotations

import pytest
from command import printed, run
from haaqi_edge.cli.bench import STUDIES


def test_all_studies_are_listed() -> None:
    listed = printed("bench", "study", "--help")
    assert all(name in listed for name in STUDIES)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_a_study_has_options_of_its_own(name: str) -> None:
    helped = printed("bench", "study", name, "--help")
    assert helped.startswith(f"usage: haaqi-edge bench study {name}")


def test_another_study_is_refused() -> None:
    done = run("bench", "study", "abacus")
    assert done.code == 2
    assert "there is no study 'abacus'" in done.err


def test_a_study_that_cannot_run_says_why() -> None:
    done = run("bench", "study", "sanity", "absent")
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "absent" in done.err
