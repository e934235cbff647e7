"""The study of accuracy: its 100 conditions, its goals, and results from scores that are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from haaqi_edge.benchmarks.studies import accuracy
from haaqi_edge.benchmarks.studies.accuracy import GOALS, Goal, fixed_conditions, plan_fixed_rows, result_rows
from haaqi_edge.training.corpus.clips import Clip
from haaqi_edge.training.data.rows import Row, plan_rows
from haaqi_edge.training.degradations import parse_chain
from haaqi_edge.training.degradations.sampling import family, is_unseen

CLIPS = [Clip(f"{number}.flac", "test", "s", "solo piano" if number % 2 else "rock", 12.0) for number in range(20)]


class Music:
    """A corpus without files."""

    def of(self, split: str) -> list[Clip]:
        assert split == "test"
        return CLIPS


def test_there_are_100_conditions_that_training_knows() -> None:
    conditions = fixed_conditions()
    assert len(set(conditions)) == len(conditions) == 100
    assert not any(is_unseen(condition) for condition in conditions)
    assert Counter(len(list(parse_chain(condition))) for condition in conditions) == {1: 70, 2: 30}
    assert {"noise", "babble", "clip", "tilt up", "tilt down", "resonances"} <= {family(one) for one in conditions}


def test_fixed_rows_use_every_condition_and_listener() -> None:
    rows = plan_fixed_rows(Music(), 1000)  # type: ignore[arg-type]
    assert set(Counter(row.chain for row in rows).values()) == {10}
    assert len({row.listener for row in rows}) == 10
    assert {(row.aid, row.level, row.split) for row in rows} == {("nal-r", 65.0, "test")}
    assert len({row.clip for row in rows}) == len(CLIPS)
    assert rows[:50] == plan_fixed_rows(Music(), 50)  # type: ignore[arg-type]


def scored(rows: list[Row], error: float) -> list[Any]:
    """Scores that are off by `error`, in turn above and below, with intervals of twice that width."""
    found = []
    for number, row in enumerate(rows):
        score = row.score + (error if number % 2 else -error)
        found.append(
            accuracy._Scored(row.score, np.array([[score, score - 0.1, score + 0.1, score - 0.04, score + 0.04]]))
        )
    return found


def test_results_of_known_scores() -> None:
    rng = np.random.default_rng(0)
    rows = [replace(row, score=float(rng.uniform(0.1, 0.9))) for row in plan_rows(CLIPS, "test", 0, 400, 10.0)]
    fixed = [replace(row, score=float(rng.random())) for row in plan_fixed_rows(Music(), 200)]  # type: ignore[arg-type]
    checks = [
        {"clean": np.array([0.9]), "correlation": np.array([1.0]), "change": np.array([0.002])},
        {"clean": np.array([0.8]), "correlation": np.array([0.5]), "change": np.array([0.004])},
    ]
    genres = {clip.path: clip.genre for clip in CLIPS}
    found = accuracy._results(0, rows, scored(rows, 0.05), scored(fixed, 0.0), checks, genres)["goals"]
    assert found["MSE"] == pytest.approx(0.0025)
    assert found["LCC"] > 0.95
    assert found["100 fixed conditions: LCC"] == pytest.approx(1)
    assert found["clean music with NAL-R: mean score"] == pytest.approx(0.85)
    assert found["clean music with NAL-R: standard deviation over music"] == pytest.approx(0.05)
    assert found["score falls with the SNR: share of clips"] == 0.5
    assert found["largest change by offset, resampling or file format"] == 0.004
    assert found["intervals: coverage"] == 1
    assert found["intervals: coverage of clips in two windows"] == 0
    assert found["solo piano: LCC"] > 0.9
    assert "rock: LCC" not in found
    table = {name: rest for name, *rest in result_rows({"a": {"goals": found}, "b": {"goals": {"LCC": 0.5}}})}
    assert table["LCC"][1:] == ["0.500", "0.84", "0.9"]
    assert table["LCC"][0].endswith(" *")
    assert table["MSE"][1] == "-"


def test_goals() -> None:
    assert Goal(0.8, 0.9).is_met(0.8)
    assert not Goal(0.8, 0.9).is_met(None)
    assert Goal(0.01, 0.005, most=True).is_met(0.01)
    assert not Goal(0.01, 0.005, most=True).is_met(0.011)
    assert all(goal.is_met(goal.goal) for goal in GOALS.values())
