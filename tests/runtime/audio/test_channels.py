"""Channels: the mean of all, or one of them; and a warning if they cancel each other."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haaqi_edge.runtime import Scorer
from haaqi_edge.runtime.audio.reading import open_audio
from haaqi_edge.runtime.errors import AudioError, CancellationWarning, OptionError
from haaqi_edge.runtime.streaming.chunk_resampler import ChunkResampler
from sounds import RATE, Sound, music, noise, write

LEFT, RIGHT = music(12), noise(12 * RATE)
STEREO = np.stack([LEFT, RIGHT], axis=1)


def whole(audio: Any, **options: Any) -> Sound:
    return np.concatenate(list(open_audio(audio, **options).blocks()))


@pytest.mark.parametrize(("channel", "expected"), [("left", LEFT), (0, LEFT), ("right", RIGHT), (1, RIGHT)])
def test_one_of_two(channel: Any, expected: Sound, tmp_path: Path) -> None:
    assert np.array_equal(whole((STEREO, RATE), channel=channel), expected)
    path = write(tmp_path / "a", STEREO, RATE, "wavfloat")
    assert np.array_equal(whole(path, channel=channel), expected)
    audio = open_audio(path, channel=channel)
    assert open_audio(audio) is audio
    with pytest.raises(OptionError, match="open it again"):
        open_audio(audio, channel=3)


def test_one_of_several() -> None:
    many = noise(20_000, channels=6)
    for channel in (0, 3, np.int64(5)):
        assert np.array_equal(whole((many, RATE), channel=channel), many[:, channel])
    with pytest.raises(AudioError, match="has 6 channels, of which none is just 'right': give the number"):
        whole((many, RATE), channel="right")
    with pytest.raises(AudioError, match="has no channel 6: it has 6, numbered from 0 to 5"):
        whole((many, RATE), channel=6)


def test_mono_is_left_and_right() -> None:
    for channel in ("left", "right", 0):
        assert np.array_equal(whole((LEFT, RATE), channel=channel), LEFT)
    with pytest.raises(AudioError, match="has no channel 1: it has 1"):
        whole((LEFT, RATE), channel=1)


@pytest.mark.parametrize("channel", ["centre", -1, 1.0, None, True, "0"])
def test_what_is_no_channel(channel: Any) -> None:
    with pytest.raises(OptionError, match="give 'mix', 'left', 'right', or the number of a channel, from 0"):
        open_audio((STEREO, RATE), channel=channel)


def test_a_bad_sample_in_another_channel_does_not_matter() -> None:
    broken = STEREO.copy()
    broken[5, 1] = np.nan
    assert np.array_equal(whole((broken, RATE), channel="left"), LEFT)
    with pytest.raises(AudioError, match="not a finite number"):
        whole((broken, RATE))


CANCEL = {
    "opposite": np.stack([LEFT, -LEFT], axis=1),
    "nearly": np.stack([LEFT, -0.9 * LEFT], axis=1),
    "with a little noise": np.stack([LEFT + 0.003 * RIGHT, -LEFT + 0.003 * RIGHT], axis=1),
    "four": np.stack([LEFT, -LEFT, RIGHT, -RIGHT], axis=1),
}
AGREE = {
    "uncorrelated": STEREO,
    "equal": np.stack([LEFT, LEFT], axis=1),
    "one silent": np.stack([LEFT, 0 * LEFT], axis=1),
    "one of six": np.stack([LEFT, *[0 * LEFT] * 5], axis=1),
    "half as loud, opposite": np.stack([LEFT, -0.5 * LEFT], axis=1),
    "silent": np.zeros((RATE, 2), dtype=np.float32),
    "mono": LEFT,
}


@pytest.mark.parametrize("kind", CANCEL)
def test_cancellation_is_a_warning(kind: str) -> None:
    sound = CANCEL[kind].astype(np.float32)
    audio = open_audio((sound, RATE))
    with pytest.warns(
        CancellationWarning, match=r"the channels of the samples given cancel each other, .* \(--channel\)"
    ):
        list(audio.blocks())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(audio.blocks())  # once
        whole((sound, RATE), channel=0)


@pytest.mark.parametrize("kind", AGREE)
def test_other_channels_are_none(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole((AGREE[kind].astype(np.float32), RATE))


def test_the_time_of_the_cancellation_is_named() -> None:
    sound = np.stack([LEFT, LEFT], axis=1)
    sound[5 * RATE : 10 * RATE, 1] *= -1
    with pytest.warns(CancellationWarning, match=r"cancel each other from 5\.0 to 10\.0 s"):
        whole((sound, RATE))


@pytest.mark.parametrize("size", [1, 7, 160, 2560])
def test_small_chunks_do_not_cancel_by_chance(size: int) -> None:
    sound = noise(2 * RATE, channels=2)
    for opposite in (False, True):
        resampler = ChunkResampler(RATE)
        if opposite:
            sound[:, 1] = -sound[:, 0]
        for start in range(0, len(sound), size):
            list(resampler.push(resampler.check(sound[start : start + size])))
        with warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always")
            resampler.finish()
        assert [warning.category for warning in issued] == [CancellationWarning] * opposite


def test_what_cancels_fully_is_no_silence() -> None:
    scorer = Scorer("nano", threads=1)
    sound = CANCEL["opposite"]
    with (
        pytest.warns(CancellationWarning),
        pytest.raises(AudioError, match=r"silent throughout: its channels cancel"),
    ):
        scorer.score((sound, RATE), "N3")
    with (
        pytest.warns(CancellationWarning),
        pytest.raises(AudioError, match=r"silent throughout: its channels cancel"),
    ):
        scorer.score((sound, RATE), "N3", spl=65)


def test_the_scorer_takes_a_channel() -> None:
    scorer = Scorer("nano", threads=1)
    mono = scorer.score((LEFT, RATE), "N3").score
    assert scorer.score((STEREO, RATE), "N3", channel="left").score == mono
    assert scorer.score(scorer.encode((STEREO, RATE), channel="left"), "N3").score == mono
    ((score,),) = [x for x in scorer.score_many([(STEREO, RATE)], "N3", channel="left") if isinstance(x, list)]
    assert score.score == mono
    stream = scorer.stream("N3", RATE, channel="left", channels=2)
    list(stream.updates([STEREO[:100], STEREO[100:]]))
    assert stream.summary().score == pytest.approx(mono, abs=1e-6)
    with pytest.raises(OptionError, match="channel='both'"):
        scorer.stream("N3", RATE, channel="both")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="act before the encoder"):
        scorer.score(scorer.encode((STEREO, RATE)), "N3", channel="left")
