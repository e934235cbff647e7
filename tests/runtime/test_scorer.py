"""The scorer: whatever the weights, the same sound gets the same score by every road."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import TOLERANCE, assert_scores_equal, slice_tokens
from haaqi_edge.runtime import Audiogram, Bundle, Score, Scorer
from haaqi_edge.runtime.audio.levels import nal_r
from haaqi_edge.runtime.bundle import Scale
from haaqi_edge.runtime.errors import (
    AudioError,
    AudioFileError,
    AudioFileNotFoundError,
    AudiogramError,
    BundleError,
    HaaqiEdgeError,
    OptionError,
)
from sounds import DEMO, PATCH, RATE, READ, Sound, music, noise, samples_for, write

LISTENERS = ["NH", "N3", Audiogram.named("S2"), (20, 30, 40, 50, 60, 70, 70, 70)]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


def gap(sound: float = 6.0, silence: float = 8.0) -> Sound:
    """Music, digital silence, music."""
    return np.concatenate(
        [music(sound, start=2), np.zeros(int(silence * RATE), dtype=np.float32), music(sound, start=9)]
    )


# What comes back


def test_a_song_from_its_file(scorer: Scorer) -> None:
    got = scorer.score(DEMO, "N3")
    assert isinstance(got, Score)
    assert isinstance(got.score, float)
    assert 0 <= got.score <= 1
    count = 1 + (20 * RATE - READ) // PATCH
    assert got.frame_scores.shape == got.times.shape == (count,)
    assert got.frame_scores.dtype == np.float32
    assert ((got.frame_scores >= 0) & (got.frame_scores <= 1)).all()
    np.testing.assert_allclose(got.times, 0.16 * np.arange(count) + 0.0875, rtol=0, atol=1e-9)
    assert got.audiogram == Audiogram.named("N3")
    assert [(w.start, w.end) for w in got.windows] == [
        (pytest.approx(0.16 * start), pytest.approx(0.16 * (start + 62) + 0.015)) for start in (0, 62 - (124 - count))
    ]


def test_a_path_and_its_samples(scorer: Scorer, tmp_path: Path) -> None:
    stereo = np.stack([music(5, 44_100, start=3), music(5, 44_100, start=8)], axis=1)
    expected = scorer.score((stereo, 44_100), "N2")
    path = write(tmp_path / "clip", stereo, 44_100, "wavfloat")
    for audio in (path, str(path), (stereo.astype(np.float64), 44_100), (np.asfortranarray(stereo), 44_100)):
        assert_scores_equal(scorer.score(audio, "N2"), expected, 0)
    assert_scores_equal(scorer.score((stereo.mean(axis=1), 44_100), "N2"), expected)


def test_scoring_again_gives_the_same_to_the_bit(scorer: Scorer) -> None:
    first = scorer.score(DEMO, LISTENERS)
    for a, b in zip(first, scorer.score(DEMO, LISTENERS), strict=True):
        assert_scores_equal(a, b, 0)


def test_many_listeners_are_scored_as_each_alone(scorer: Scorer) -> None:
    sound = (music(13), RATE)
    together = scorer.score(sound, LISTENERS)
    assert isinstance(together, list)
    for listener, got in zip(LISTENERS, together, strict=True):
        assert_scores_equal(got, scorer.score(sound, listener))
    # 124 tokens a listener: more listeners than one run of the head takes
    table = np.random.default_rng(0).uniform(-10, 120, (300, 8))
    many = scorer.score(DEMO, table, window="whole")
    assert len(many) == 300
    for index in (0, 127, 271, 272, 299):
        assert_scores_equal(many[index], scorer.score(DEMO, table[index], window="whole"))
    assert [score.audiogram.levels for score in many] == [tuple(row) for row in table.tolist()]


def test_a_list_of_one_gives_a_list_of_one(scorer: Scorer) -> None:
    sound = (music(2), RATE)
    (got,) = scorer.score(sound, ["N3"])
    assert_scores_equal(got, scorer.score(sound, "N3"), 0)


def test_the_audiogram_matters(scorer: Scorer) -> None:
    healthy, deaf = scorer.score((music(5, start=4), RATE), ["NH", "N7"])
    assert healthy.score != deaf.score


@pytest.mark.parametrize("nal", [False, True])
def test_json_holds_no_nan(scorer: Scorer, nal: bool) -> None:
    got = scorer.score((gap(), RATE), "N3", window=2.0, nal_r=nal)
    assert any(window.score is None for window in got.windows)
    back = json.loads(json.dumps(got.to_dict(), allow_nan=False))
    assert back["score"] == got.score
    assert back["audiogram"] == "N3"
    assert back["levels"] == list(got.audiogram.levels)
    assert [(w["start"], w["end"], w["score"]) for w in back["windows"]] == [
        (w.start, w.end, w.score) for w in got.windows
    ]
    assert len(back["frame_scores"]) == len(back["times"]) == len(got.frame_scores)
    for value, frame in zip(back["frame_scores"], got.frame_scores, strict=True):
        assert (value is None) == math.isnan(frame)
        assert value is None or value == pytest.approx(float(frame), abs=1e-6)


# Windows


@pytest.mark.parametrize("window", [0.16, 1.0, 3.0, 7.5, 19.84, 20.0, "default", "whole"])
def test_a_long_clip_is_the_weighted_mean_of_its_windows(scorer: Scorer, window: Any) -> None:
    tokens = scorer.encode(DEMO)
    total = len(tokens.encoded.silent)
    length = total if window == "whole" else math.floor((10.0 if window == "default" else window) / 0.16 + 1e-9)
    got = scorer.score(DEMO, "S1", window=window)
    frames, weighted, at = [], [], 0
    while at < total:
        added = min(length, total - at)
        start = max(0, at + added - length)
        alone = scorer.score(slice_tokens(tokens, start, at + added), "S1", window="whole")
        mine = got.windows[len(weighted)]
        assert mine.score == pytest.approx(alone.score, abs=TOLERANCE)
        assert mine.start == pytest.approx(0.16 * start)
        assert mine.end == pytest.approx(0.16 * (at + added - 1) + 0.175)
        frames.append(alone.frame_scores[len(alone.frame_scores) - added :])
        weighted.append((alone.score, added))
        at += added
    assert len(got.windows) == len(weighted) == math.ceil(total / length)
    np.testing.assert_allclose(got.frame_scores, np.concatenate(frames), rtol=0, atol=TOLERANCE)
    assert got.score == pytest.approx(sum(score * n for score, n in weighted) / total, abs=TOLERANCE)


def test_the_default_window_is_the_cards(scorer: Scorer) -> None:
    assert_scores_equal(scorer.score(DEMO, "N3"), scorer.score(DEMO, "N3", window=scorer.card.window), 0)


def test_the_whole_clip_up_to_a_minute(scorer: Scorer) -> None:
    minute = np.tile(music(20), 4)
    longest = minute[: samples_for(375)]
    assert len(scorer.score((longest, RATE), "N3", window="whole").windows) == 1
    with pytest.raises(OptionError, match="longer than 60 s, the longest window: score it in consecutive windows"):
        scorer.score((minute[: samples_for(376)], RATE), "N3", window="whole")


@pytest.mark.parametrize("window", [0, -1, 0.1, 60.1, math.nan, math.inf])
def test_windows_that_cannot_be(scorer: Scorer, window: float) -> None:
    with pytest.raises(OptionError, match=r"a window of .* s: give 0\.16 to 60 s"):
        scorer.score(DEMO, "N3", window=window)


# Silence


@pytest.mark.parametrize("options", [{}, {"spl": 65.0}, {"level1": 140.0}, {"nal_r": True}])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_silent_file_is_an_error(scorer: Scorer, options: dict[str, Any], rate: int, tmp_path: Path) -> None:
    silence = np.zeros((rate * 7, 2), dtype=np.float32)
    with pytest.raises(AudioError, match=r"mute\.flac is silent throughout: a quality needs sound"):
        scorer.score(write(tmp_path / "mute", silence, rate, "flac"), "N3", **options)
    with pytest.raises(AudioError, match="silent throughout"):
        scorer.score((silence, rate), "N3", **options)


def test_silent_tokens_are_an_error_too(scorer: Scorer) -> None:
    tokens = scorer.encode((gap(), RATE))
    silent = np.flatnonzero(tokens.encoded.silent)
    assert len(silent) > 40
    with pytest.raises(AudioError, match="silent throughout"):
        scorer.score(slice_tokens(tokens, int(silent[0]), int(silent[-1]) + 1), "N3")


@pytest.mark.parametrize(
    "options", [{}, {"level1": 60.0}, {"level1": 120.0}, {"spl": 65.0}, {"spl": 140.0}, {"nal_r": True}], ids=str
)
def test_a_silent_window_has_no_score_and_no_say(scorer: Scorer, options: dict[str, Any]) -> None:
    sound, length = gap(), 12
    listeners = ["N3", "N6"]
    peaks = np.array([np.abs(sound[at : at + READ]).max() for at in range(0, len(sound) - READ + 1, PATCH)])
    for got in scorer.score((sound, RATE), listeners, window=0.16 * length, **options):
        weights, scores, silent = [], [], 0
        for index, window in enumerate(got.windows):
            first, last = round(window.start / 0.16), round((window.end - 0.015) / 0.16)
            assert last - first == length
            frames = got.frame_scores[index * length : last]
            if not peaks[first:last].any():
                assert window.score is None
                assert np.isnan(frames).all()
                silent += 1
            else:
                assert window.score is not None
                assert np.isfinite(frames).all()
                weights.append(len(frames))
                scores.append(window.score)
        assert silent >= 2
        assert got.score == pytest.approx(np.average(scores, weights=weights), abs=TOLERANCE)
        assert math.isfinite(got.score)


def test_what_a_resampler_rings_around_silence_is_silence(scorer: Scorer) -> None:
    sound = np.concatenate([music(4, 44_100, start=5), np.zeros(44_100 * 9, dtype=np.float32)])
    got = scorer.score((sound, 44_100), "N3", window=2.0)
    assert [window.score is None for window in got.windows[:2]] == [False, False]
    assert [window.score is None for window in got.windows[4:]] == [True] * (len(got.windows) - 4)


@pytest.mark.parametrize("level1", [0.0, 85.0, 140.0])
def test_silence_is_of_the_recording_however_loud_it_is_played(scorer: Scorer, level1: float) -> None:
    sound = music(8, start=3)
    sound[RATE * 4 :] = np.where(noise(RATE * 4) > 0, 2.0**-25, -(2.0**-25))  # less than a step of 24 bits
    got = scorer.score((sound, RATE), "N3", window=2.0, level1=level1)
    assert [window.score is None for window in got.windows] == [False, False, False, True, True]
    faint = noise(RATE * 3) * np.float32(1e-5)  # but more than silence
    assert None not in [window.score for window in scorer.score((faint, RATE), "N3", window=1.0, level1=level1).windows]


def test_a_silent_beginning_does_not_make_a_clip_silent(scorer: Scorer) -> None:
    sound = np.concatenate([np.zeros(RATE * 25, dtype=np.float32), music(10, start=4)])
    got = scorer.score((sound, RATE), "N3")
    assert got.windows[0].score is got.windows[1].score is None
    assert math.isfinite(got.score)


# Levels and amplification


@pytest.mark.parametrize("level1", [0.0, 65.0, 85.0, 100.0, 135.0])
def test_level1_is_the_scale_of_the_samples(scorer: Scorer, level1: float) -> None:
    sound = music(11, start=3)
    scaled = sound * np.float32(10 ** ((level1 - 85) / 20))
    assert_scores_equal(scorer.score((sound, RATE), "N3", level1=level1), scorer.score((scaled, RATE), "N3"))
    got = scorer.score(DEMO, "N3", level1=level1)
    loud = music(20, 24_000).astype(np.float64) * 10 ** ((level1 - 85) / 20)
    assert_scores_equal(
        got, scorer.score((loud, 24_000), "N3"), 1e-3
    )  # scaled before the resampler, it rounds otherwise


@pytest.mark.parametrize("scale", [1.0, 0.01, 3.0])
def test_spl_is_the_rms_of_the_clip(scorer: Scorer, scale: float) -> None:
    sound = music(11, start=3)
    at_65 = sound * np.float32(0.1 / np.sqrt(np.mean(sound.astype(np.float64) ** 2)))
    expected = scorer.score((at_65, RATE), "N3")
    assert_scores_equal(scorer.score((sound * np.float32(scale), RATE), "N3", spl=65), expected, 1e-5)
    assert_scores_equal(scorer.score(scorer.encode((sound, RATE), spl=65), "N3"), expected, 1e-5)


@pytest.mark.parametrize("options", [{}, {"level1": 75.0}])
def test_nal_r_is_amplified_music(scorer: Scorer, options: dict[str, float]) -> None:
    sound = music(11, start=3)
    scale = np.float32(10 ** ((options.get("level1", 85) - 85) / 20))
    scores = scorer.score((sound, RATE), ["NH", "N4", "S3"], nal_r=True, **options)
    for got in scores:
        amplified = nal_r(sound * scale, RATE, got.audiogram)
        assert_scores_equal(got, scorer.score((amplified, RATE), got.audiogram), 1e-5)
        assert_scores_equal(got, scorer.score((sound, RATE), got.audiogram, nal_r=True, **options), 0)
    assert not np.array_equal(scores[1].frame_scores, scorer.score((sound, RATE), "N4").frame_scores)


# Bad input


def test_levels_that_contradict_each_other(scorer: Scorer) -> None:
    with pytest.raises(OptionError, match="level1 and spl both set the level"):
        scorer.score(DEMO, "N3", level1=85, spl=65)
    with pytest.raises(OptionError, match="spl=nan is not a sound pressure level"):
        scorer.encode(DEMO, spl=math.nan)


@pytest.mark.parametrize("length", [1, 159, 400, READ - 1])
def test_less_than_a_patch(scorer: Scorer, length: int) -> None:
    with pytest.raises(AudioError, match=r"shorter than one patch: at least 2800 samples at 16 kHz \(175 ms\)"):
        scorer.score((noise(length), RATE), "N3")


def test_one_patch_is_enough(scorer: Scorer) -> None:
    got = scorer.score((noise(READ), RATE), "N3")
    assert got.frame_scores.shape == (1,)
    assert got.windows[0].end == pytest.approx(0.175)
    assert scorer.score((noise(math.ceil(0.176 * 8_000)), 8_000), "N3").times == pytest.approx([0.0875])


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_bad_samples_at_the_very_end_give_no_score(scorer: Scorer, value: float) -> None:
    sound = music(20)
    sound[-1] = value
    for run in (scorer.score, scorer.encode):
        with pytest.raises(AudioError, match=r"at 20\.000 s|at 19\.999 s"):
            run((sound, RATE), *(["N3"] if run == scorer.score else []))


@pytest.mark.parametrize("audiogram", [None, [], "N9", [1, 2, 3], ["N3", None], {}])
def test_bad_audiograms(scorer: Scorer, audiogram: Any) -> None:
    with pytest.raises(AudiogramError):
        scorer.score((music(1), RATE), audiogram)


def test_bad_files(scorer: Scorer, tmp_path: Path) -> None:
    with pytest.raises(AudioFileNotFoundError):
        scorer.score(tmp_path / "absent.wav", "N3")
    text = tmp_path / "text.wav"
    text.write_text("no sound at all")
    with pytest.raises(AudioFileError):
        scorer.score(text, "N3")


def test_every_error_is_one_of_ours(scorer: Scorer) -> None:
    for arguments in ((None, "N3"), (DEMO, "loud"), ((noise(10), RATE), "N3"), ("", "N3")):
        with pytest.raises(HaaqiEdgeError) as info:
            scorer.score(*arguments)
        assert info.value.exit_code == 2


@pytest.mark.parametrize("nal_r", ["N7", Audiogram.named("N7"), 1, 0, None])
def test_nal_r_is_true_or_false(scorer: Scorer, nal_r: Any) -> None:
    for run in (scorer.score, scorer.score_many):
        with pytest.raises(OptionError, match=r"write nal_r=True or nal_r=False.*encode\(audio, nal_r_for=audiogram\)"):
            run([DEMO] if run == scorer.score_many else DEMO, "N3", nal_r=nal_r)
    with pytest.raises(OptionError, match="write nal_r=True"):
        scorer.score(scorer.encode((music(1), RATE)), "N3", nal_r=nal_r)


@pytest.mark.parametrize("listener", [True, False])
def test_who_it_is_amplified_for_is_a_listener(scorer: Scorer, listener: Any) -> None:
    with pytest.raises(OptionError, match=r"nal_r_for=(True|False): give the audiogram of the listener"):
        scorer.encode((music(1), RATE), nal_r_for=listener)


def test_windows_of_before_are_refused(scorer: Scorer) -> None:
    for window, right in ((None, 'window="whole"'), ("card", 'window="default"')):
        with pytest.raises(OptionError, match=right):
            scorer.score((music(1), RATE), "N3", window=window)  # type: ignore[arg-type]


# Pickles


@pytest.mark.parametrize("model", ["nano", "a folder"])
def test_a_scorer_pickles(model: str, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = scorer
    if model != "nano":
        shutil.copytree(Bundle("nano").folder, tmp_path / "mine")
        monkeypatch.chdir(tmp_path)
        original = Scorer("mine", threads=1)
    text = pickle.dumps(original)
    assert len(text) < 20_000  # the name of the model, not its weights
    monkeypatch.chdir("/")
    again = pickle.loads(text)
    assert (again.card, again.provider, again.threads) == (original.card, original.provider, 1)
    for a, b in zip(again.score(DEMO, LISTENERS), scorer.score(DEMO, LISTENERS), strict=True):
        assert_scores_equal(a, b, 0)
    score = scorer.score(DEMO, "N3")
    assert_scores_equal(pickle.loads(pickle.dumps(score)), score, 0)


def test_a_pickled_scorer_of_another_model(tmp_path: Path) -> None:
    shutil.copytree(Bundle("nano").folder, tmp_path / "mine")
    text = pickle.dumps(Scorer(tmp_path / "mine", threads=1))
    path = tmp_path / "mine" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notes": {"changed": True}}))
    with pytest.raises(BundleError, match="is not the model that it was when this scorer was pickled"):
        pickle.loads(text)


# Its text


def test_a_score_is_a_line_of_text(scorer: Scorer) -> None:
    one = scorer.score(DEMO, "N3")
    assert one.interval is not None
    interval = f"interval=({one.interval[0]:.4f}, {one.interval[1]:.4f})"
    assert repr(one) == f"Score(score={one.score:.4f}, {interval}, audiogram='N3', windows=2, seconds=19.9)"
    long = dataclasses.replace(
        one,
        audiogram=Audiogram(one.audiogram.levels, "left ear of\n" * 20),
        scale=Scale("MOS", 1, 5),
        interval=None,  # a model that was tuned to ratings has none
    )
    assert repr(long).startswith(f"Score(score={one.score:.4f}, value={long.value:.4g} (MOS, 1 to 5), audiogram='left")
    assert len(repr(long).splitlines()) == 1
    assert len(repr(long)) < 140


def test_tokens_are_a_line_of_text(scorer: Scorer) -> None:
    sound = np.concatenate([music(3), np.zeros(RATE, np.float32)])
    tokens = scorer.encode((sound, RATE), nal_r_for="N4")
    silent = int(tokens.encoded.silent.sum())
    assert silent > 0
    origin = scorer.card.source_sha256[:8]
    assert repr(tokens) == (
        f"Tokens(patches=24, silent={silent}, tokens_per_patch=1, width=224, source_sha256='{origin}...', "
        "listener='N4')"
    )
    assert "listener" not in repr(scorer.encode((sound, RATE)))


# Threads


def test_threads_share_a_scorer(scorer: Scorer) -> None:
    clips = [(music(seconds, start=start), RATE) for seconds, start in ((3, 0), (12, 4), (7, 9), (20, 0))]
    jobs = [(clip, listener) for clip in clips for listener in ("N1", "N5", "S3")] * 2
    alone = [scorer.score(*job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda job: scorer.score(*job), jobs))
    for a, b in zip(alone, together, strict=True):
        assert_scores_equal(a, b, 0)


def test_more_threads_score_the_same(scorer: Scorer) -> None:
    assert_scores_equal(Scorer("nano", threads=2).score(DEMO, "N3"), scorer.score(DEMO, "N3"))
