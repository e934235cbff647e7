"""Prediction intervals of the shipped models: files, windows, many clips and streams give the same numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from haaqi_edge.runtime import Audiogram, Scorer, shipped_models
from haaqi_edge.runtime.bundle import Bundle
from sounds import music

MODELS = [name for name in shipped_models() if Bundle(name).card.interval is not None]
LISTENERS = ["NH", "N3", "S2"]


@pytest.fixture(scope="module", params=MODELS)
def scorer(request: pytest.FixtureRequest) -> Scorer:
    return Scorer(request.param, threads=1)


def test_the_shipped_networks_predict_intervals() -> None:
    assert "nano" in MODELS


def test_an_interval_contains_its_score(scorer: Scorer) -> None:
    for score in scorer.score((music(11.0), 16_000), LISTENERS, nal_r=True):
        assert score.interval is not None
        assert 0 <= score.interval[0] <= score.score <= score.interval[1] <= 1
        for window in score.windows:
            assert window.interval is not None
            assert window.score is not None
            assert window.interval[0] <= window.score <= window.interval[1]
        assert f"interval=({score.interval[0]:.4f}, {score.interval[1]:.4f})" in repr(score)
        assert json.loads(json.dumps(score.to_dict()))["interval"] == list(score.interval)


def test_windows_are_combined_by_their_weights(scorer: Scorer) -> None:
    score = scorer.score((music(11.0), 16_000), "N3", window=4)
    weights = np.array([25, 25, 18])  # patches that each window adds: 68 in all
    ends = np.array([window.interval for window in score.windows])
    assert score.interval == pytest.approx((weights @ ends / weights.sum()).tolist())


def test_a_silent_window_has_no_interval(scorer: Scorer) -> None:
    sound = music(8.0).copy()
    sound[: 4 * 16_000] = 0
    score = scorer.score((sound, 16_000), "N3", window=1.6)
    assert [window.interval is None for window in score.windows] == [window.score is None for window in score.windows]
    assert score.windows[0].interval is None
    assert score.interval is not None


def test_many_clips_and_streams_give_the_same_intervals(scorer: Scorer) -> None:
    sound = music(12.0)
    expected = scorer.score((sound, 16_000), LISTENERS, window=5)
    (many,) = scorer.score_many([(sound, 16_000)], LISTENERS, window=5)
    assert not isinstance(many, Exception)
    assert [score.interval for score in many] == [score.interval for score in expected]
    with scorer.stream(LISTENERS, 16_000, window=5) as stream:
        updates = list(stream.updates(np.split(sound, range(3000, len(sound), 3000))))
        summary = stream.summary()
    for total, score in zip(summary.totals, expected, strict=True):
        assert total.interval == pytest.approx(score.interval, abs=1e-6)
    last = updates[-1].readings[0]
    assert last.interval == pytest.approx(expected[0].windows[-1].interval, abs=1e-6)
    assert updates[-1].to_dict()["readings"][0]["interval"] == list(last.interval or ())
    assert summary.to_dict()["totals"][0]["interval"] == list(summary.totals[0].interval or ())


def test_tokens_give_the_same_interval(scorer: Scorer) -> None:
    sound = (music(9.0), 16_000)
    assert scorer.score(scorer.encode(sound), "N4").interval == scorer.score(sound, "N4").interval


def test_intervals_depend_on_the_listener(scorer: Scorer) -> None:
    found = scorer.score((music(9.0), 16_000), [Audiogram([loss] * 8) for loss in (0, 30, 60)])
    assert len({score.interval for score in found}) == 3
