"""The study of HAAQI covers every degradation, and compares two implementations of one index."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from haaqi_edge.benchmarks.studies import haaqi
from haaqi_edge.benchmarks.studies.haaqi import Case, CaseResult, compare_case, generate_cases, summarize
from haaqi_edge.haaqi.index import Haaqi
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.degradations import EXTENDED, STUDIES

DEMO = Path(__file__).resolve().parents[3] / "demo"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nclean.flac,train,demo,acoustic,20\n")
    (tmp_path / "clean.flac").symlink_to(DEMO / "clean.flac")
    return Corpus(tmp_path)


def test_every_degradation_is_covered() -> None:
    every = list(generate_cases())
    assert len(every) >= 60
    assert {case.family for case in every} >= STUDIES | EXTENDED
    assert [(case.family, case.chain) for case in every] == [(case.family, case.chain) for case in generate_cases()]
    assert len(haaqi._LISTENERS) == len(haaqi._RATES) == 5


@pytest.mark.slow
def test_both_implementations_agree_on_a_case(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("clarity.evaluator.haspi.eb"), "disabled", True)
    result = compare_case(Case("noise", "noise(snr=10)", seconds=0.5), 6, corpus)
    assert (result.clip, result.rate, result.listener) == ("clean.flac", 44_100, "N2")
    assert result.ours != result.theirs
    assert 0 < result.difference < haaqi.TOLERANCE
    with pytest.raises(CorpusError, match=r"no clip of .* has sound for 21 s: add longer"):
        compare_case(Case("noise", seconds=21.0), 0, corpus)


def test_the_summary_is_by_family_and_of_all() -> None:
    def make_result(family: str, difference: float) -> CaseResult:
        score = Haaqi(0.5, 0, 0, 0, 0, 0, 0)
        return CaseResult(family, "", "a.flac", 24_000, "N2", score, score._replace(score=0.5 + difference))

    found = summarize([make_result("a", 0.25), make_result("b", -0.5), make_result("a", 0.0)])
    assert list(found) == ["a", "b", "all"]
    assert found["a"] == {"cases": 2, "worst": 0.25, "mean": 0.125}
    assert found["all"] == {"cases": 3, "worst": 0.5, "mean": 0.25}
