"""Comparisons of two predictors whose scores are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from haaqi_edge.evaluation.comparison import LISTED_SOUNDS, Comparison, compare, compare_agreement, summarize_changes
from haaqi_edge.evaluation.plots import save_plot
from haaqi_edge.evaluation.sounds import Sound
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.reading import AudioLike
from haaqi_edge.runtime.errors import AudioError, OptionError
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

LISTENERS = [Audiogram.named(name) for name in ("N2", "S1")]


def sounds(number: int, labels: bool = True) -> list[Sound]:
    rng = np.random.default_rng(7)
    return [
        Sound(
            f"sound {k}",
            lambda k=k: f"{k}",  # type: ignore[misc]
            LISTENERS[k % 2],
            condition=("noise", "clip")[k // 2 % 2],
            level=60.0 + 10 * (k % 3),
            label=float(rng.uniform()) if labels else None,
        )
        for k in range(number)
    ]


def predictor(scores: dict[str, float]) -> Callable[..., float]:
    def score(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:
        assert (spl, nal_r) == (None, False)
        if str(audio) not in scores:
            raise AudioError(f"{audio} is silent for {listener.name}")
        return scores[str(audio)]

    return score


@settings(deadline=None)
@given(changes=st.lists(st.floats(-1, 1), min_size=1, max_size=300))
def test_summaries_equal_those_of_numpy(changes: list[float]) -> None:
    summary = summarize_changes(np.array(changes))
    size = np.abs(changes)
    assert summary["largest"] == size.max() >= summary["p99"] >= np.median(size)
    assert summary["mean"] == pytest.approx(size.mean())
    assert abs(summary["bias"]) <= summary["mean"] + 1e-12


def test_a_predictor_agrees_with_itself() -> None:
    scores = {str(k): k / 40 for k in range(40)}
    results = compare(predictor(scores), predictor(scores), sounds(40)).to_dict()
    assert results["largest"] == results["p99"] == results["mean"] == results["bias"] == 0
    assert results["lcc"] == pytest.approx(1)
    assert all(change["change"] == change["low"] == change["high"] == 0 for change in results["against_haaqi"].values())


def test_results_are_those_of_the_scores() -> None:
    rng = np.random.default_rng(1)
    first = rng.uniform(size=200)
    second = first + rng.normal(0, 0.01, 200)
    second[17] += 0.4
    compared = sounds(200)
    steps: list[None] = []
    found = compare(
        predictor({str(k): float(v) for k, v in enumerate(first)}),
        predictor({str(k): float(v) for k, v in enumerate(second)}),
        compared,
        lambda: steps.append(None),
    )
    assert len(steps) == 200
    results = found.to_dict()
    change = second - first
    assert results["largest"] == np.abs(change).max() == abs(results["worst"][0]["change"])
    assert results["worst"][0]["sound"] == "sound 17"
    assert len(results["worst"]) == LISTED_SOUNDS
    assert results["lcc"] == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert results["srcc"] == pytest.approx(stats.spearmanr(first, second).statistic)
    for kind, names in {
        "audiogram": {"N2", "S1"},
        "condition": {"noise", "clip"},
        "level": {"60 to 70 dB SPL", "70 to 80 dB SPL", "80 to 90 dB SPL"},
    }.items():
        assert results["by"][kind].keys() == names
        assert sum(part["sounds"] for part in results["by"][kind].values()) == 200
        assert max(part["largest"] for part in results["by"][kind].values()) == results["largest"]
    assert results["by"]["audiogram"]["S1"]["mean"] == pytest.approx(np.abs(change[1::2]).mean())


def test_the_change_of_agreement_with_haaqi_has_an_interval() -> None:
    rng = np.random.default_rng(2)
    labels = rng.uniform(size=400)
    good, bad = (np.clip(labels + rng.normal(0, spread, 400), 0, 1) for spread in (0.05, 0.3))
    found = compare_agreement(labels, good, bad)
    assert found["lcc"]["first"] == pytest.approx(np.corrcoef(good, labels)[0, 1])
    assert found["mse"]["second"] == pytest.approx(np.mean((bad - labels) ** 2))
    for name, sign in (("lcc", -1), ("srcc", -1), ("mse", 1)):
        part = found[name]
        assert part["low"] < part["change"] < part["high"]
        assert sign * part["low"] > 0
        assert sign * part["high"] > 0
        back = compare_agreement(labels, bad, good)[name]
        assert back["change"] == pytest.approx(-part["change"])
        assert (back["low"], back["high"]) == pytest.approx((-part["high"], -part["low"]))


def test_sounds_that_cannot_be_scored_are_reported() -> None:
    scores = {str(k): 0.5 for k in range(0, 6, 2)}
    found = compare(predictor(scores), predictor(scores), sounds(6, labels=False))
    assert [sound.name for sound in found.sounds] == ["sound 0", "sound 2", "sound 4"]
    assert [name for name, _ in found.errors] == ["sound 1", "sound 3", "sound 5"]
    results = found.to_dict()
    assert results["lcc"] is None  # all scores are the same
    assert "against_haaqi" not in results
    with pytest.raises(AudioError, match="none of 6 sounds could be scored: 0 is silent for N2"):
        compare(predictor({}), predictor({}), sounds(6))


def test_an_invalid_option_is_an_error() -> None:
    def refuse(*_: object, **__: object) -> float:
        raise OptionError("no")

    with pytest.raises(OptionError):
        compare(refuse, refuse, sounds(2))


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    path = tmp_path / "check.png"
    rng = np.random.default_rng(3)
    first = rng.uniform(size=50)
    save_plot(Comparison(sounds(50), first, first + 0.01, []), "a", "b", 0.005, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000
    assert list(path.parent.iterdir()) == [path]
