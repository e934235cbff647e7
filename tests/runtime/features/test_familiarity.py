"""A sound that is unlike the training data is recognized by its tokens, in a file, in many files and in a stream."""

from __future__ import annotations

import base64
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haaqi_edge.runtime import Bundle, Card, Score, Scorer
from haaqi_edge.runtime.bundle import CARD
from haaqi_edge.runtime.errors import BundleError
from haaqi_edge.runtime.features.familiarity import Familiarity, describe_tokens
from numpy.typing import NDArray
from sounds import RATE, music

MIN_PATCHES = 6
SHIPPED = Path(str(Bundle("nano").folder))


def tone(seconds: float) -> NDArray[np.float32]:
    return (0.1 * np.sin(2 * np.pi * 1000 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nano with a measure of familiarity that was fitted to two seconds of the demo at many places."""
    folder = tmp_path_factory.mktemp("models") / "nano"
    shutil.copytree(SHIPPED, folder)
    scorer = Scorer(SHIPPED, threads=1)
    tokens = [scorer.encode((music(18.0, clip=clip), RATE)).encoded.tokens for clip in ("clean", "degraded")]
    windows = [part[at : at + 12] for part in tokens for at in range(0, len(part) - 12, 2)]
    described = np.array([describe_tokens(window) for window in windows])
    variances, axes = np.linalg.eigh(np.cov(described.T))
    projection = (axes[:, -8:] / np.sqrt(variances[-8:])).T
    found = Familiarity.create(described.mean(axis=0), projection, share=0.02, min_patches=MIN_PATCHES)
    found = replace(found, threshold=1.2 * float(found.distances(described).max()))
    (folder / CARD).write_text(replace(scorer.card, familiarity=found).to_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer(bundle, threads=1)


def test_music_is_familiar_and_a_tone_is_not(scorer: Scorer) -> None:
    known, strange = (scorer.score((sound, RATE), "N3") for sound in (music(6.0, start=3.0), tone(6.0)))
    assert (known.unfamiliar, strange.unfamiliar) == (False, True)
    assert known.unfamiliarity is not None
    assert strange.unfamiliarity is not None
    assert known.unfamiliarity < 1 < strange.unfamiliarity
    assert "unfamiliar" not in repr(known)
    assert "unfamiliar=True" in repr(strange)
    document = strange.to_dict()
    assert (document["unfamiliar"], document["unfamiliarity"]) == (True, round(strange.unfamiliarity, 4))


def test_it_is_unknown_for_short_sounds_and_other_models(scorer: Scorer) -> None:
    short = scorer.score((tone(0.9), RATE), "N3")
    assert (short.unfamiliar, short.unfamiliarity) == (None, None)
    assert "unfamiliar" not in short.to_dict()
    without = Score(0.5, np.zeros(1, np.float32), np.zeros(1), (), short.audiogram)
    assert without.unfamiliar is None


def test_the_distance_is_that_of_the_mean_and_spread_of_the_patches_with_sound(scorer: Scorer) -> None:
    familiarity = scorer.card.familiarity
    assert familiarity is not None
    tokens = scorer.encode((music(4.0, start=3.0), RATE)).encoded.tokens
    silent = np.zeros(len(tokens), dtype=np.bool_)
    silent[5:9] = True
    flat = tokens[~silent].reshape(-1, tokens.shape[-1])
    projection = np.frombuffer(base64.b64decode(familiarity.projection), "<f2").reshape(8, -1).astype(np.float64)
    center = np.frombuffer(base64.b64decode(familiarity.center), "<f4")
    described = np.concatenate([flat.mean(axis=0), flat.std(axis=0)])
    expected = np.linalg.norm(projection @ described - center) / familiarity.threshold
    assert familiarity.unfamiliarity(tokens, silent) == pytest.approx(expected, rel=1e-4)
    silent[:] = True
    silent[: MIN_PATCHES - 1] = False
    assert familiarity.unfamiliarity(tokens, silent) is None


def test_windows_count_with_their_new_patches(scorer: Scorer) -> None:
    sound = np.concatenate([music(3.2, start=3.0), tone(4.0)])
    score = scorer.score((sound, RATE), "N3", window=3.2)
    parts = [window.unfamiliarity for window in score.windows]
    assert len(parts) == 3
    assert None not in parts
    weights = np.diff([0, *(round((window.end - 0.015) / 0.16) for window in score.windows)])
    assert score.unfamiliarity == pytest.approx(np.average(np.array(parts, float), weights=weights))
    assert parts[0] is not None
    assert parts[0] < 1 < max(part for part in parts if part is not None)


@pytest.mark.parametrize("window", [3.2, 10.0])
def test_a_stream_a_batch_and_tokens_give_the_same(scorer: Scorer, window: float) -> None:
    silence = np.zeros(RATE * 4, np.float32)
    sound = np.concatenate([music(5.0, start=3.0), silence, tone(3.0)])
    alone = scorer.score((sound, RATE), "N3", window=window)
    (many,) = scorer.score_many([(sound, RATE)], ["N3", "N5"], window=window)
    assert isinstance(many, list)
    assert [score.unfamiliarity for score in many] == [alone.unfamiliarity] * 2
    of_tokens = scorer.score(scorer.encode((sound, RATE)), "N3", window=window)
    assert of_tokens.unfamiliarity == alone.unfamiliarity
    with scorer.stream("N3", RATE, window=window) as stream:
        updates = list(stream.updates([sound[:7777], sound[7777:]]))
        total = stream.summary().totals[0]
    assert total.unfamiliarity == pytest.approx(alone.unfamiliarity, abs=1e-5)
    assert total.unfamiliar is (alone.unfamiliarity is not None and alone.unfamiliarity > 1)
    first, *_, last = (update.readings[0] for update in updates)
    assert first.unfamiliarity is None  # too short
    assert last.unfamiliarity is not None
    entries: dict[str, Any] = updates[-1].to_dict()["readings"][0]
    assert (entries["unfamiliar"], entries["unfamiliarity"]) == (last.unfamiliar, round(last.unfamiliarity, 4))


def test_two_ears(scorer: Scorer) -> None:
    sound = np.stack([music(4.0, start=3.0), tone(4.0)], axis=1)
    both = scorer.score((sound, RATE), ears=("N2", "N4"))
    assert (both.left.unfamiliar, both.right.unfamiliar, both.unfamiliar) == (False, True, True)


def test_the_card_keeps_it(bundle: Path, scorer: Scorer) -> None:
    card = Bundle(bundle).card
    assert card.familiarity == scorer.card.familiarity
    assert Card.from_json(card.to_json(), "card") == card
    assert pickle.loads(pickle.dumps(card)) == card
    plain = replace(card, familiarity=None)
    assert "familiarity" not in json.loads(plain.to_json())
    assert Card.from_json(plain.to_json(), "card") == plain


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"projection": "AAAA"}, r"familiarity: .*export the bundle again"),
        ({"projection": "***"}, "familiarity: center and projection cannot be read"),
        ({"center": ""}, "familiarity: center and projection cannot be read"),
        ({"threshold": 0.0}, "familiarity: threshold and min_patches must be above 0"),
        ({"share": 1.0}, "share between 0 and 1"),
        ({"more": 1}, r"familiarity: missing \[\], unknown \['more'\]"),
        ({"threshold": "high"}, "familiarity: threshold is 'high', expected float"),
    ],
)
def test_cards_that_are_damaged(bundle: Path, changes: dict[str, Any], message: str) -> None:
    card = json.loads((bundle / CARD).read_text(encoding="utf-8"))
    card["familiarity"] |= changes
    with pytest.raises(BundleError, match=message):
        Card.from_json(json.dumps(card), "card.json")
