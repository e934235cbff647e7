"""A stream in use: listeners that change, ends, errors, threads, iterators, asyncio."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import TOLERANCE, slice_tokens
from haaqi_edge.runtime import Audiogram, Bundle, Scorer, Stream, Update
from haaqi_edge.runtime.audiogram import STANDARD
from haaqi_edge.runtime.errors import AudioError, AudiogramError, BundleError, HaaqiEdgeError, OptionError, StreamError
from haaqi_edge.runtime.features import patches as fe
from haaqi_edge.runtime.onnx_backend import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import PATCH, RATE, READ, Sound, music, noise, samples_for
from streaming import check_against_tokens, same_updates, split


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


def streamed(stream: Stream, samples: Sound, size: int = 1_000) -> list[Update]:
    return list(stream.updates(split(samples, [size])))


# Listeners


def test_several_listeners_hear_what_each_alone_hears(scorer: Scorer) -> None:
    sound, listeners = music(6, start=3), ["NH", Audiogram.named("N4"), (20, 30, 40, 50, 60, 70, 70, 70)]
    for options in ({}, {"nal_r": True}):
        together = streamed(scorer.stream(listeners, RATE, window=2.0, **options), sound)
        for i, listener in enumerate(listeners):
            alone = streamed(scorer.stream(listener, RATE, window=2.0, **options), sound)
            for update, own in zip(together, alone, strict=True):
                reading = update.readings[i]
                assert reading.score == pytest.approx(own.score, abs=TOLERANCE)
                assert reading.mean == (None if own.mean is None else pytest.approx(own.mean, abs=TOLERANCE))
                assert reading.level == own.level


def test_the_encoder_runs_once_a_patch_and_signal(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = Encoder.encode

    def counting(self: Encoder, features: Sound) -> Sound:
        encoded.append(len(features))
        return encode(self, features)

    sound, count = music(5, start=3), fe.patch_count(5 * RATE)
    for options, signals in (({}, 1), ({"nal_r": True}, 3)):
        stream = scorer.stream(["N1", "N3", "S2"], RATE, window=1.0, **options)
        monkeypatch.setattr(Encoder, "encode", counting)
        encoded.clear()
        streamed(stream, sound)
        monkeypatch.undo()
        assert sum(encoded) == count * signals


@pytest.mark.slow
@given(at=st.integers(0, 30), more=st.integers(0, PATCH - 1), window=st.sampled_from([0.5, 2.0]))
@settings(max_examples=20, deadline=None)
def test_another_listener_hears_the_same_window_at_once(scorer: Scorer, at: int, more: int, window: float) -> None:
    sound, before = music(6, start=3), at * PATCH + more
    stream = scorer.stream("N1", RATE, window=window)
    stream.accept_waveform(sound[:before])
    count, length = fe.patch_count(before), int(window / 0.16)
    now = stream.set_audiogram("N5")
    assert (now is None) == (count == 0)
    assert stream.audiograms == (Audiogram.named("N5"),)
    tokens = scorer.encode((sound, RATE))
    if now is not None:
        own = scorer.score(slice_tokens(tokens, max(0, count - length), count), "N5", window="whole")
        assert now.time == fe.patch_end(count)
        assert now.score == pytest.approx(own.score, abs=TOLERANCE)
        assert now.mean is None
        assert now.level is not None
    later = [*stream.accept_waveform(sound[before:]), *stream.input_finished()]
    alone = streamed(scorer.stream("N5", RATE, window=window), sound)[count:]
    for mine, theirs in zip(later, alone, strict=True):
        assert mine.time == theirs.time
        assert mine.score == pytest.approx(theirs.score, abs=TOLERANCE)
        np.testing.assert_allclose(mine.frame_scores, theirs.frame_scores, rtol=0, atol=TOLERANCE)


def test_one_listener_becomes_several(scorer: Scorer) -> None:
    stream = scorer.stream("N1", RATE)
    stream.accept_waveform(music(2, start=3))
    now = stream.set_audiogram(["N2", "S3"])
    assert now is not None
    assert [reading.audiogram.name for reading in now.readings] == ["N2", "S3"]
    assert len({reading.score for reading in now.readings}) == 2
    with pytest.raises(OptionError, match="there are 2 listeners: read the value of each one"):
        _ = now.score
    with pytest.raises(OptionError, match="2 listeners"):
        _ = stream.summary().score


@pytest.mark.parametrize("before", [1_000, 5 * PATCH + 1_400, 9 * PATCH + 250, 9 * PATCH + 239, 9 * PATCH])
def test_amplified_for_another_the_window_starts_anew_and_no_sample_is_lost(scorer: Scorer, before: int) -> None:
    sound, window = music(6, start=3), 1.0
    stream = scorer.stream("N1", RATE, window=window, nal_r=True)
    first = stream.accept_waveform(sound[:before])
    done = len(first)
    assert stream.set_audiogram("N5") is None
    later = [*stream.accept_waveform(sound[before:]), *stream.input_finished()]
    rest = sound[done * PATCH :]  # from the next patch on
    tokens = scorer.encode((rest, RATE), nal_r_for="N5")
    shift = fe.patch_end(done) - fe.patch_end(0)
    assert [update.time for update in later] == pytest.approx(
        [shift + fe.patch_end(n) for n in range(1, fe.patch_count(len(rest)) + 1)]
    )
    anew = streamed(scorer.stream("N5", RATE, window=window, nal_r=True), rest)
    for mine, theirs in zip(later, anew, strict=True):
        assert (mine.score, mine.mean, mine.full) == (
            pytest.approx(theirs.score, abs=TOLERANCE),
            theirs.mean if theirs.mean is None else pytest.approx(theirs.mean, abs=TOLERANCE),
            theirs.full,
        )
    check_against_tokens(anew, scorer, tokens, ["N5"], 6)


def test_a_bad_audiogram_leaves_the_listeners(scorer: Scorer) -> None:
    stream = scorer.stream("N1", RATE)
    stream.accept_waveform(music(2, start=3))
    with pytest.raises(AudiogramError):
        stream.set_audiogram("N9")
    assert stream.audiograms == (Audiogram.named("N1"),)
    assert stream.accept_waveform(noise(PATCH))[0].readings[0].audiogram.name == "N1"


# Ends and beginnings


def test_after_the_end_no_more_until_reset(scorer: Scorer) -> None:
    sound, stream = music(2, start=3), scorer.stream("N3", 44_100)
    first = streamed(stream, sound)
    for call in (lambda: stream.accept_waveform(sound), stream.input_finished, lambda: stream.set_audiogram("N1")):
        with pytest.raises(StreamError, match=r"has ended \(input_finished\): call reset\(\) to restart it"):
            call()
    assert stream.summary().time == first[-1].time
    stream.reset()
    assert stream.summary().time == 0.0
    same_updates(streamed(stream, sound), first, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e6])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_bad_sample_in_mid_stream(scorer: Scorer, rate: int, value: float) -> None:
    sound, stream = music(3, rate, start=3), scorer.stream("N3", rate)
    expected = streamed(scorer.stream("N3", rate), sound)
    stream.accept_waveform(sound[:rate])
    bad = sound[rate : 2 * rate].copy()
    bad[rate // 2] = value
    with pytest.raises(AudioError, match=r"the stream holds a sample .* at 1\.500 s"):
        stream.accept_waveform(bad)
    for call in (lambda: stream.accept_waveform(sound), stream.input_finished, stream.summary):
        with pytest.raises(StreamError, match=r"was stopped by an error: call reset\(\)"):
            call()
    stream.reset()
    same_updates(streamed(stream, sound), expected, 0)


def test_a_rate_or_channels_that_change(scorer: Scorer) -> None:
    sound = music(2, 44_100, start=3)
    expected, stream = streamed(scorer.stream("N3", 44_100), sound), scorer.stream("N3", 44_100)
    got = stream.accept_waveform(sound[:30_000], sample_rate=44_100)
    with pytest.raises(AudioError, match="a chunk at 48000 Hz in a stream of 44100 Hz: the rate cannot change"):
        stream.accept_waveform(sound[30_000:], sample_rate=48_000)
    with pytest.raises(AudioError, match=r"a chunk with 2 channel.* in the stream of 1: channels cannot change"):
        stream.accept_waveform(np.zeros((100, 2)))
    got += stream.accept_waveform(sound[30_000:])  # what was refused has left no trace
    same_updates(got + stream.input_finished(), expected, 0)
    stream.reset()
    stream.accept_waveform(np.zeros((100, 2)))


def test_the_rate_by_position_is_refused(scorer: Scorer) -> None:
    sound = music(2, RATE, start=3)
    expected, stream = streamed(scorer.stream("N3", RATE), sound), scorer.stream("N3", RATE)
    accept: Any = stream.accept_waveform
    right = r"write accept_waveform\(samples, sample_rate=rate\)"
    with pytest.raises(OptionError, match=rf"is the call of sherpa-onnx: here {right}"):
        accept(RATE, sound)
    with pytest.raises(OptionError, match=f"give the rate by its name: {right}"):
        accept(sound, RATE)
    same_updates(streamed(stream, sound), expected, 0)  # what was refused has left no trace


def test_with_and_close(scorer: Scorer) -> None:
    with scorer.stream("N3", RATE) as stream:
        assert stream.accept_waveform(music(1, start=3))
    stream.close()
    for call in (lambda: stream.accept_waveform(noise(10)), stream.reset, stream.summary, stream.input_finished):
        with pytest.raises(StreamError, match="is closed: create another one"):
            call()


def test_what_a_stream_is(scorer: Scorer) -> None:
    stream = scorer.stream(["N3", "S1"], 48_000, hop=0.48)
    assert (stream.sample_rate, stream.window, stream.hop) == (48_000, pytest.approx(9.92), pytest.approx(0.48))
    assert scorer.stream("N3", RATE).hop == pytest.approx(0.16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spl": 65.0}, r"spl=65 is the level of a whole clip, which a stream never has: set level1"),
        ({"spl": 65.0, "level1": 85.0}, "level1 and spl both set the level"),
        ({"level1": 200.0}, "level1=200.0 is not a sound pressure level"),
        ({"window": "whole"}, "a stream has no end; give seconds"),
        ({"window": None}, 'write window="whole" for the whole clip'),
        ({"window": "card"}, 'write window="default"'),
        ({"nal_r": "N3"}, "nal_r='N3': write nal_r=True or nal_r=False"),
        ({"nal_r": 1}, "nal_r=1: write nal_r=True or nal_r=False"),
        ({"window": 0.1}, "a window of 0.1 s"),
        ({"window": 61.0}, "a window of 61 s"),
        ({"window": math.nan}, "a window of nan s"),
        ({"hop": 0.0}, r"a hop of 0 s: give a multiple of 0\.16 s"),
        ({"hop": 0.1}, r"a hop of 0\.1 s"),
        ({"hop": 0.2}, r"a hop of 0\.2 s"),
        ({"hop": -0.16}, r"a hop of -0\.16 s"),
        ({"hop": math.inf}, "a hop of inf s"),
        ({"hop": math.nan}, "a hop of nan s"),
    ],
    ids=str,
)
def test_options_that_cannot_be(scorer: Scorer, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        scorer.stream("N3", RATE, **options)


def test_a_model_that_cannot_stream(tmp_path: Path) -> None:
    source = Bundle("nano").folder
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = json.loads((source / "card.json").read_text(encoding="utf-8")) | {"streamable": False}
    (tmp_path / "card.json").write_text(json.dumps(card), encoding="utf-8")
    scorer = Scorer(tmp_path, threads=1)
    with pytest.raises(BundleError, match=r"cannot stream: its card says `streamable: false`"):
        scorer.stream("N3", RATE)
    assert 0 < scorer.score((music(1, start=3), RATE), "N3").score < 1


def test_every_error_is_one_of_ours(scorer: Scorer) -> None:
    for arguments in (("N9", RATE), ("N3", 100), ([], RATE), ("N3", "16k")):
        with pytest.raises(HaaqiEdgeError) as info:
            scorer.stream(*arguments)
        assert info.value.exit_code == 2


# Threads and event loops


def test_two_streams_in_two_threads(scorer: Scorer) -> None:
    jobs = [(music(8, 44_100, start=2), 44_100, "N2"), (music(8, start=9), RATE, "S3")]

    def run(sound: Sound, rate: int, listener: str) -> list[Update]:
        return streamed(scorer.stream(listener, rate, window=2.0), sound, 700)

    alone = [run(*job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda job: run(*job), jobs))
    for a, b in zip(alone, together, strict=True):
        same_updates(a, b, 0)


def test_one_stream_in_two_threads_is_refused(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, stream = music(3, start=3), scorer.stream("N3", RATE)
    expected = streamed(scorer.stream("N3", RATE), sound, 2 * RATE)
    at_work, go_on = threading.Event(), threading.Event()
    encode = Encoder.encode

    def waiting(self: Encoder, features: Sound) -> Sound:
        at_work.set()
        assert go_on.wait(60)
        return encode(self, features)

    monkeypatch.setattr(Encoder, "encode", waiting)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(stream.accept_waveform, sound[: 2 * RATE])
        assert at_work.wait(60)
        calls = (lambda: stream.accept_waveform(sound), stream.input_finished, stream.reset, stream.summary)
        for call in (*calls, lambda: stream.set_audiogram("N1")):
            with pytest.raises(StreamError, match="another thread is using this stream: only one thread at a time"):
                call()
        go_on.set()
        got = first.result()
    got += [*stream.accept_waveform(sound[2 * RATE :]), *stream.input_finished()]
    same_updates(got, expected, 0)


def test_updates_of_a_generator(scorer: Scorer) -> None:
    sound, taken = music(3, start=3), 0

    def chunks() -> Any:
        nonlocal taken
        for chunk in split(sound, [PATCH]):
            taken += 1
            yield chunk

    updates = scorer.stream("N3", RATE).updates(chunks())
    next(updates)
    assert taken == 2  # no more than it takes
    assert len([*updates]) == fe.patch_count(len(sound)) - 1


def test_updates_with_asyncio(scorer: Scorer) -> None:
    sound = music(4, start=3)
    expected = streamed(scorer.stream("N3", RATE), sound, 3_000)
    turns = 0

    async def chunks() -> AsyncIterator[Sound]:
        for chunk in split(sound, [3_000]):
            await asyncio.sleep(0)
            yield chunk

    async def other(done: asyncio.Event) -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0.001)

    async def main() -> list[Update]:
        done = asyncio.Event()
        beside = asyncio.create_task(other(done))
        got = [update async for update in scorer.stream("N3", RATE).updates_async(chunks())]
        done.set()
        await beside
        return got

    same_updates(asyncio.run(main()), expected, 0)
    assert turns > 3


def test_a_cancelled_task_closes_its_stream(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, encode = threading.Event(), Encoder.encode

    def slow(self: Encoder, features: Sound) -> Sound:
        at_work.set()
        threading.Event().wait(0.2)
        return encode(self, features)

    async def chunks() -> AsyncIterator[Sound]:
        yield music(1, start=3)

    stream = scorer.stream("N3", RATE)
    monkeypatch.setattr(Encoder, "encode", slow)

    async def use() -> None:
        with stream:
            async for _ in stream.updates_async(chunks()):
                pass

    async def main() -> None:
        task = asyncio.create_task(use())
        await asyncio.to_thread(at_work.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    with pytest.raises(StreamError, match="is closed"):
        stream.accept_waveform(noise(10))


def test_asyncio_gets_the_same_errors(scorer: Scorer) -> None:
    async def chunks() -> AsyncIterator[Sound]:
        yield np.full(READ, np.nan, np.float32)

    async def main() -> list[Update]:
        return [update async for update in scorer.stream("N3", RATE).updates_async(chunks())]

    with pytest.raises(AudioError, match="not a finite number"):
        asyncio.run(main())


# What updates say


def test_json_of_updates_and_summary(scorer: Scorer) -> None:
    stream = scorer.stream(["N3", "NH"], RATE, window=0.5)
    sound = np.concatenate([np.zeros(RATE, np.float32), music(2, start=3)])
    for update in streamed(stream, sound):
        back = json.loads(json.dumps(update.to_dict(frames=True), allow_nan=False))
        assert back.keys() == {"time", "full", "readings"}
        for one, reading in zip(back["readings"], update.readings, strict=True):
            assert (one["audiogram"], one["score"], one["mean"]) == (
                reading.audiogram.name,
                reading.score,
                reading.mean,
            )
            assert len(one["frame_scores"]) == len(reading.frame_scores)
            assert (one["level"] is None) == (reading.level is None)
        assert "frame_scores" not in update.to_dict()["readings"][0]
    back = json.loads(json.dumps(stream.summary().to_dict(), allow_nan=False))
    assert [one["score"] for one in back["totals"]] == [total.score for total in stream.summary().totals]


def test_updates_and_summary_are_a_line_of_text(scorer: Scorer) -> None:
    stream = scorer.stream(["N3", Audiogram.named("N5")], RATE, window=0.5)
    update = streamed(stream, np.concatenate([music(1, start=3), np.zeros(RATE, np.float32)]))[4]
    one = update.readings[0]
    assert repr(one) == (
        f"ListenerUpdate(audiogram='N3', score={one.score:.4f}, mean={one.mean:.4f}, level={one.level:.1f}, patches=3)"
    )
    assert repr(update) == (
        f"Update(time={update.time:.3f}, full=True, "
        f"scores={{'N3': {one.score:.4f}, 'N5': {update.readings[1].score:.4f}}})"
    )
    summary = stream.summary()
    assert repr(summary.totals[0]) == f"ListenerSummary(audiogram='N3', score={summary.totals[0].score:.4f})"
    assert repr(summary).startswith(f"Summary(time={summary.time:.3f}, scores={{'N3': {summary.totals[0].score:.4f}, ")
    silent = streamed(scorer.stream("N3", RATE), np.zeros(RATE, np.float32))[0]
    assert "score=None, mean=None, level=None" in repr(silent.readings[0])
    many = streamed(scorer.stream([*STANDARD], RATE), music(1, start=3))[0]
    assert repr(many) == f"Update(time={many.time:.3f}, full=False, listeners={len(STANDARD)})"
    assert max(len(repr(value)) for value in (one, update, summary, many)) < 120


def test_a_fresh_stream_has_been_warmed_up(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    encode = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda self, read: (sizes.append(len(read)), encode(self, read))[1])
    stream = scorer.stream("N3", RATE)
    assert sizes == [1]
    assert stream.summary().time == 0.0
    monkeypatch.undo()
    sound = music(1, start=3)
    same_updates(streamed(stream, sound), streamed(scorer.stream("N3", RATE), sound), 0)


def test_a_window_of_one_patch_and_a_hop_longer_than_the_window(scorer: Scorer) -> None:
    sound = music(4, start=3)[: samples_for(24)]
    stream = scorer.stream("N3", RATE, window=0.16, hop=0.8)
    got = streamed(stream, sound)
    check_against_tokens(got, scorer, scorer.encode((sound, RATE)), ["N3"], 1, 5)
    assert stream.summary().score == pytest.approx(scorer.score((sound, RATE), "N3", window=0.16).score, abs=TOLERANCE)
