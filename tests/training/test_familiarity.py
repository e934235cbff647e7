"""The familiarity of sounds is fitted to training rows, set by test rows, and written into cards."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.audiogram import Audiogram
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.runtime.features.familiarity import describe_tokens
from haaqi_edge.training.card import describe_model
from haaqi_edge.training.corpus.clips import Clip, Corpus
from haaqi_edge.training.data.rows import plan_rows
from haaqi_edge.training.familiarity import (
    Encodings,
    _spread,
    area_under_curve,
    encode_rows,
    fit_familiarity,
    measure_familiarity,
    other_sounds,
    write_familiarity,
)
from sounds import RATE, music

WIDTH = Bundle("nano").card.width


def encodings(seed: int, rows: int = 600, scale: float = 1.0) -> Encodings:
    """Random encodings whose errors grow with the distance of their tokens."""
    rng = np.random.default_rng(seed)
    far = scale * rng.uniform(0.5, 1.5, rows)
    described = (rng.normal(size=(rows, 2 * WIDTH)) * far[:, np.newaxis]).astype(np.float32)
    labels = rng.random(rows)
    scores = labels + 0.2 * far * rng.normal(size=rows)
    intervals = np.stack([scores - 0.3, scores + 0.3], axis=1)
    return Encodings(labels, scores, intervals, described, described)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("music")
    lines = ["clip,split,source,genre,duration_s"]
    for number, split in enumerate(("train", "test")):
        soundfile.write(folder / f"{split}.flac", music(10.0, start=9.0 * number), RATE)
        lines.append(f"{split}.flac,{split},{split},g,10")
    (folder / "CLIPS.csv").write_text("\n".join(lines), encoding="utf-8")
    return Corpus(folder)


def test_the_threshold_is_exceeded_by_the_stated_share_of_test_rows() -> None:
    train, test = encodings(0), encodings(1)
    found = fit_familiarity(train, test, directions=16, share=0.05)
    distances = found.distances(test.whole)
    assert (distances > found.threshold).mean() == pytest.approx(0.05, abs=1 / len(distances))
    of_train = found.distances(train.whole)
    assert np.mean(of_train**2) == pytest.approx(16, rel=0.02)  # each direction has a variance of 1
    assert found.results == measure_familiarity(found, test)
    found.check(WIDTH)


def test_results_compare_the_rows_above_the_threshold_with_the_others() -> None:
    test = encodings(1)
    found = fit_familiarity(encodings(0), test, directions=64, share=0.1)
    flagged = found.distances(test.whole) > found.threshold
    errors = test.scores - test.labels
    results = found.results
    assert (results["rows"], results["flagged"]) == (600, int(flagged.sum()))
    assert results["rmse"] == pytest.approx(np.sqrt(np.mean(errors[flagged] ** 2)), abs=1e-4)
    assert results["rmse_others"] == pytest.approx(np.sqrt(np.mean(errors[~flagged] ** 2)), abs=1e-4)
    assert results["coverage"] == pytest.approx(np.mean(np.abs(errors[flagged]) <= 0.3), abs=1e-4)
    assert results["auc_errors"] > 0.6  # errors grow with the distance
    without = fit_familiarity(encodings(0), test._replace(intervals=np.full((600, 2), np.nan)))
    assert {"coverage", "width", "auc_errors_by_width"}.isdisjoint(without.results)


def test_few_rows_are_not_enough() -> None:
    with pytest.raises(CorpusError, match="499 training rows and 600 test rows: the familiarity of sounds needs 500"):
        fit_familiarity(encodings(0, 499), encodings(1))


def test_area_under_curve() -> None:
    assert area_under_curve([2, 3], [0, 1]) == 1.0
    assert area_under_curve([0, 1], [0, 1]) == 0.5
    assert area_under_curve([1], [0, 1, 2, 3]) == 0.375
    assert np.isnan(area_under_curve([], [1]))


def test_rows_are_taken_evenly() -> None:
    rows = plan_rows([Clip("a.flac", "test", "s", "g", 10.0)], "test", 0, 10, 4.0)
    assert _spread(rows, 4) == [rows[place] for place in (0, 3, 6, 9)]
    assert _spread(rows, 99) == rows


def test_rows_are_encoded_as_the_scorer_does(corpus: Corpus) -> None:
    rows = [
        replace(row, chain="", aid="none", variation="", level=65.0, start=0.0, score=0.5)
        for row in plan_rows(corpus.of("test"), "test", 0, 2, 4.0, speech=False)
    ]
    (found,) = encode_rows(rows, corpus, [Bundle("nano").folder])
    scorer = Scorer("nano", threads=1)
    sound, rate = corpus.excerpt(rows[0].clip, 0.0, 4.0)
    sound *= 10 ** ((65 - 85) / 20) / np.sqrt(np.mean(sound**2))
    listener = Audiogram(rows[0].audiogram)
    expected = scorer.score((sound, rate), listener)
    assert found.scores[0] == pytest.approx(expected.score, abs=1e-3)
    assert found.intervals[0] == pytest.approx(expected.interval, abs=2e-3)
    tokens = scorer.encode((sound, rate)).encoded.tokens
    np.testing.assert_allclose(found.whole[0], describe_tokens(tokens), atol=0.02)
    assert found.labels.tolist() == [0.5, 0.5]


def test_other_sounds_are_of_their_kinds(corpus: Corpus) -> None:
    kinds: dict[str, int] = {}
    for kind, samples in other_sounds(corpus, 2):
        kinds[kind] = kinds.get(kind, 0) + 1
        assert samples.shape == (10 * RATE,)
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
    assert kinds == dict.fromkeys(
        ("music", "music up to 4 kHz", "tones", "sweep", "mains hum", "engine", "clicks", "white noise"), 2
    )


@pytest.mark.slow
def test_a_card_and_its_page_get_the_measure(corpus: Corpus, tmp_path: Path) -> None:
    bundle = tmp_path / "nano"
    shutil.copytree(str(Bundle("nano").folder), bundle)
    (found,) = write_familiarity([bundle], [encodings(0)], [encodings(1)], corpus, 2)
    card = Bundle(bundle).card
    assert card.familiarity == found
    assert set(found.results["sounds"]) >= {"tones", "white noise"}
    page = (bundle / "README.md").read_text(encoding="utf-8")
    assert page == describe_model(card)
    assert "## Unfamiliar sounds" in page
    assert f"| above the threshold | {found.results['flagged']} | {found.results['rmse']:.3f} |" in page
    assert f"| tones | {found.results['sounds']['tones']:.0%} |" in page
    assert "## Unfamiliar sounds" not in describe_model(replace(card, familiarity=None))
