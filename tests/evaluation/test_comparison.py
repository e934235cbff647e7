"""Comparisons: figures of two judges whose scores are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from haaqi_edge.evaluation.comparison import WORST, Comparison, against, compare, summary
from haaqi_edge.evaluation.plots import draw
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


def judge(scores: dict[str, float]) -> Callable[..., float]:
    def score(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:
        assert (spl, nal_r) == (None, False)
        if str(audio) not in scores:
            raise AudioError(f"{audio} is silent for {listener.name}")
        return scores[str(audio)]

    return score


@settings(deadline=None)
@given(changes=st.lists(st.floats(-1, 1), min_size=1, max_size=300))
def test_summaries_are_numpys(changes: list[float]) -> None:
    found = summary(np.array(changes))
    size = np.abs(changes)
    assert found["largest"] == size.max() >= found["p99"] >= np.median(size)
    assert found["mean"] == pytest.approx(size.mean())
    assert abs(found["bias"]) <= found["mean"] + 1e-12


def test_a_judge_agrees_with_itself() -> None:
    scores = {str(k): k / 40 for k in range(40)}
    figures = compare(judge(scores), judge(scores), sounds(40)).figures()
    assert figures["largest"] == figures["p99"] == figures["mean"] == figures["bias"] == 0
    assert figures["lcc"] == pytest.approx(1)
    assert all(change["change"] == change["low"] == change["high"] == 0 for change in figures["against_haaqi"].values())


def test_figures_are_those_of_the_scores() -> None:
    rng = np.random.default_rng(1)
    first = rng.uniform(size=200)
    second = first + rng.normal(0, 0.01, 200)
    second[17] += 0.4
    heard = sounds(200)
    steps: list[None] = []
    found = compare(
        judge({str(k): float(v) for k, v in enumerate(first)}),
        judge({str(k): float(v) for k, v in enumerate(second)}),
        heard,
        lambda: steps.append(None),
    )
    assert len(steps) == 200
    figures = found.figures()
    change = second - first
    assert figures["largest"] == np.abs(change).max() == abs(figures["worst"][0]["change"])
    assert figures["worst"][0]["sound"] == "sound 17"
    assert len(figures["worst"]) == WORST
    assert figures["lcc"] == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert figures["srcc"] == pytest.approx(stats.spearmanr(first, second).statistic)
    for kind, names in {
        "audiogram": {"N2", "S1"},
        "condition": {"noise", "clip"},
        "level": {"60 to 70 dB SPL", "70 to 80 dB SPL", "80 to 90 dB SPL"},
    }.items():
        assert figures["by"][kind].keys() == names
        assert sum(part["sounds"] for part in figures["by"][kind].values()) == 200
        assert max(part["largest"] for part in figures["by"][kind].values()) == figures["largest"]
    assert figures["by"]["audiogram"]["S1"]["mean"] == pytest.approx(np.abs(change[1::2]).mean())


def test_what_it_costs_against_haaqi_comes_with_an_interval() -> None:
    rng = np.random.default_rng(2)
    labels = rng.uniform(size=400)
    good, bad = (np.clip(labels + rng.normal(0, spread, 400), 0, 1) for spread in (0.05, 0.3))
    found = against(labels, good, bad)
    assert found["lcc"]["first"] == pytest.approx(np.corrcoef(good, labels)[0, 1])
    assert found["mse"]["second"] == pytest.approx(np.mean((bad - labels) ** 2))
    for name, sign in (("lcc", -1), ("srcc", -1), ("mse", 1)):
        part = found[name]
        assert part["low"] < part["change"] < part["high"]
        assert sign * part["low"] > 0
        assert sign * part["high"] > 0
        back = against(labels, bad, good)[name]
        assert back["change"] == pytest.approx(-part["change"])
        assert (back["low"], back["high"]) == pytest.approx((-part["high"], -part["low"]))


def test_what_cannot_be_scored_is_told_and_left_out() -> None:
    scores = {str(k): 0.5 for k in range(0, 6, 2)}
    found = compare(judge(scores), judge(scores), sounds(6, labels=False))
    assert [sound.name for sound in found.sounds] == ["sound 0", "sound 2", "sound 4"]
    assert [name for name, _ in found.failed] == ["sound 1", "sound 3", "sound 5"]
    figures = found.figures()
    assert figures["lcc"] is None  # all scores are the same
    assert "against_haaqi" not in figures
    with pytest.raises(AudioError, match="none of 6 sounds could be scored: 0 is silent for N2"):
        compare(judge({}), judge({}), sounds(6))


def test_wrong_options_end_it() -> None:
    def refuse(*_: object, **__: object) -> float:
        raise OptionError("no")

    with pytest.raises(OptionError):
        compare(refuse, refuse, sounds(2))


def test_the_picture_shows_what_there_is(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "check.png"
    heard = sounds(50)
    rng = np.random.default_rng(3)
    first = rng.uniform(size=50)
    draw(Comparison(heard, first, first + 0.01, []), "a", "b", 0.005, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000
    assert list(path.parent.iterdir()) == [path]
