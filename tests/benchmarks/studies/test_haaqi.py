"""The benchmark of HAAQI meets every condition, and compares two computations of one index."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from haaqi_edge.benchmarks.studies import haaqi
from haaqi_edge.benchmarks.studies.haaqi import Case, Outcome, cases, meet, summary
from haaqi_edge.haaqi.index import Haaqi
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.degradations import BEYOND, STUDIES

DEMO = Path(__file__).resolve().parents[3] / "demo"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nclean.flac,train,demo,acoustic,20\n")
    (tmp_path / "clean.flac").symlink_to(DEMO / "clean.flac")
    return Corpus(tmp_path)


def test_every_condition_is_met() -> None:
    every = list(cases())
    assert len(every) >= 60
    assert {case.family for case in every} >= STUDIES | BEYOND
    assert [(case.family, case.chain) for case in every] == [(case.family, case.chain) for case in cases()]
    assert len(haaqi.LISTENERS) == len(haaqi.RATES) == 5


def test_a_case_is_computed_twice(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("clarity.evaluator.haspi.eb"), "disabled", True)
    outcome = meet(Case("noise", "noise(snr=10)", seconds=0.5), 6, corpus)
    assert (outcome.clip, outcome.rate, outcome.listener) == ("clean.flac", 44_100, "N2")
    assert outcome.ours != outcome.theirs
    assert 0 < outcome.difference < haaqi.TOLERANCE
    with pytest.raises(CorpusError, match=r"no clip of .* sounds for 21 s: give longer"):
        meet(Case("noise", seconds=21.0), 0, corpus)


def test_the_summary_is_by_family_and_of_all() -> None:
    def outcome(family: str, difference: float) -> Outcome:
        score = Haaqi(0.5, 0, 0, 0, 0, 0, 0)
        return Outcome(family, "", "a.flac", 24_000, "N2", score, score._replace(score=0.5 + difference))

    found = summary([outcome("a", 0.25), outcome("b", -0.5), outcome("a", 0.0)])
    assert list(found) == ["a", "b", "all"]
    assert found["a"] == {"cases": 2, "worst": 0.25, "mean": 0.125}
    assert found["all"] == {"cases": 3, "worst": 0.5, "mean": 0.25}
