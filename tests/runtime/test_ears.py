"""Two ears: each channel is scored with the audiogram of its ear."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from haaqi_edge.runtime import EarScores, Scorer
from haaqi_edge.runtime.audio.reading import open_audio
from haaqi_edge.runtime.audiogram import EarPair
from haaqi_edge.runtime.batch.requests import ScoreRequest, score_files
from haaqi_edge.runtime.errors import AudioError, AudiogramError, ChannelWarning, HaaqiEdgeError, OptionError
from sounds import RATE, Sound, music, noise

OPTIONS: list[dict[str, Any]] = [{}, {"spl": 60.0}, {"nal_r": True, "level1": 80.0}, {"window": 2.0}]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


@pytest.fixture(scope="module")
def stereo() -> Sound:
    return np.stack([music(4, start=2), 0.4 * music(4, start=2, clip="degraded")], axis=1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_ear_is_its_channel_with_its_audiogram(scorer: Scorer, stereo: Sound, options: dict[str, Any]) -> None:
    got = scorer.score((stereo, RATE), ears=("N2", "N4"), **options)
    assert isinstance(got, EarScores)
    for ear, column, listener in ((got.left, 0, "N2"), (got.right, 1, "N4")):
        alone = scorer.score((stereo[:, column], RATE), listener, **options)
        assert ear.score == alone.score
        np.testing.assert_array_equal(ear.frame_scores, alone.frame_scores)
        assert ear.audiogram.name == listener
    assert got.score == (got.left.score + got.right.score) / 2
    assert got.better.score == max(got.left.score, got.right.score) == getattr(got, got.better_ear).score
    assert abs(got.left.score - got.right.score) > 0.01
    document = got.to_dict()
    assert document["better"] == {"ear": got.better_ear, "score": got.better.score}
    assert (document["left"], document["right"], document["listener"]) == (got.left.score, got.right.score, "N2, N4")
    assert f"score={got.score:.4f}" in repr(got)


def test_several_listeners_and_swapped_ears(scorer: Scorer, stereo: Sound) -> None:
    pairs = [("N2", "N4"), EarPair(*[scorer.score((stereo, RATE), n).audiogram for n in ("S1", "NH")], "me")]
    both = scorer.score((stereo, RATE), ears=pairs)
    assert [one.name for one in both] == ["N2, N4", "me"]
    assert both[0].left.score == pytest.approx(scorer.score((stereo, RATE), ears=("N2", "N4")).left.score, abs=1e-6)
    swapped = scorer.score((stereo[:, ::-1].copy(), RATE), ears=("N4", "N2"))
    assert (swapped.left.score, swapped.right.score) == pytest.approx(
        (both[0].right.score, both[0].left.score), abs=1e-6
    )


def test_files_and_pipes(scorer: Scorer, stereo: Sound, tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, stereo, RATE, subtype="FLOAT")
    expected = scorer.score((stereo, RATE), ears=("N2", "N4"))

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    for audio in (path, io.BytesIO(path.read_bytes()), Pipe(path.read_bytes()), open_audio(path)):
        got = scorer.score(audio, ears=("N2", "N4"))
        assert (got.left.score, got.right.score) == (expected.left.score, expected.right.score)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_many_clips(scorer: Scorer, stereo: Sound, tmp_path: Path, options: dict[str, Any]) -> None:
    clips = [(stereo, RATE), str(tmp_path / "missing.wav"), (stereo[:30_000], RATE)]
    pairs: list[Any] = [("N2", "N4"), ("S1", "NH")]
    got = list(scorer.score_many(clips, ears=pairs, **options))
    assert isinstance(got[1], HaaqiEdgeError)
    for clip, scores in ((clips[0], got[0]), (clips[2], got[2])):
        assert isinstance(scores, list)
        expected = scorer.score(clip, ears=pairs, **options)
        assert [one.score for one in scores] == [ear.score for one in expected for ear in (one.left, one.right)]
    path = tmp_path / "stereo.wav"
    soundfile.write(path, stereo, RATE, subtype="FLOAT")
    ears = tuple(EarPair(*pair) for pair in [[got[0][i].audiogram for i in (0, 1)]])  # type: ignore[index]
    for batch in (None, 64):
        request = ScoreRequest("nano", (), ears=ears, batch=batch, threads=1, **options)
        (result,) = score_files(request, [(0, path)])
        assert [one.score for one in result.outcome] == [one.score for one in got[0][:2]]  # type: ignore[union-attr,index]


def test_one_channel_reaches_both_ears_with_a_warning(scorer: Scorer) -> None:
    sound = music(2)
    with pytest.warns(ChannelWarning, match="one channel: both ears hear the same signal") as issued:
        got = scorer.score((sound, RATE), ears=("N2", "N4"))
    assert len(issued) == 1
    assert got.left.score == scorer.score((sound, RATE), "N2").score


def test_what_cannot_be_scored_with_two_ears(scorer: Scorer, stereo: Sound) -> None:
    clip = (stereo, RATE)
    with pytest.raises(OptionError, match="audiogram and ears are both given"):
        scorer.score(clip, "N3", ears=("N2", "N4"))  # type: ignore[call-overload]
    with pytest.raises(AudiogramError, match=r"no audiogram was given.*ears=\(left, right\)"):
        scorer.score(clip)  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="channel='left' with ears"):
        scorer.score(clip, ears=("N2", "N4"), channel="left")  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="encode with channel='left'"):
        scorer.score(scorer.encode(clip), ears=("N2", "N4"))  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="opened with channel='left'"):
        scorer.score(open_audio(clip, channel="left"), ears=("N2", "N4"))
    with pytest.raises(AudioError, match="has 3 channels: two ears need a stereo recording"):
        scorer.score((noise(RATE, channels=3), RATE), ears=("N2", "N4"))
    with pytest.raises(AudiogramError, match="an audiogram for each ear"):
        scorer.score(clip, ears=(20, 30, 40, 50, 60, 70, 70, 70))  # type: ignore[call-overload]
    silent = stereo.copy()
    silent[:, 1] = 0
    with pytest.raises(AudioError, match=r"\(right ear\) is silent throughout"):
        scorer.score((silent, RATE), ears=("N2", "N4"))
