"""Many clips at once: what each gets alone, to the last bit; on a device, windows that pass without the host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import assert_scores_equal
from haaqi_edge.runtime import Bundle, Score, Scorer
from haaqi_edge.runtime.errors import (
    AudioError,
    AudioFileNotFoundError,
    AudiogramError,
    BundleError,
    HaaqiEdgeError,
    OptionError,
)
from haaqi_edge.runtime.gpu.io_binding import BoundModel
from haaqi_edge.runtime.gpu.provider_options import ProviderOptions
from haaqi_edge.runtime.onnx_backend import OnnxBackend
from haaqi_edge.runtime.session import Session
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE, music, noise

CLIPS: list[Any] = [
    (music(13.0), RATE),
    (music(0.2), RATE),
    (np.concatenate([music(10.0), np.zeros(12 * RATE, np.float32), music(3.0, clip="degraded")]), RATE),
    (noise(1000), RATE),
    "nowhere.wav",
    (music(6.0, 44_100), 44_100),
    (np.zeros(RATE, np.float32), RATE),
    (music(20.0, clip="degraded"), RATE),
]
LISTENERS = ["N3", "S2"]
Outcome = list[Score] | HaaqiEdgeError


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=2)


def alone(scorer: Scorer, clips: Sequence[Any], **options: Any) -> Iterator[Outcome]:
    for clip in clips:
        try:
            yield scorer.score(clip, LISTENERS, **options)
        except AudioError as error:
            yield error


def equal(got: Outcome, expected: Outcome) -> None:
    if isinstance(expected, HaaqiEdgeError) or isinstance(got, HaaqiEdgeError):
        assert (type(got), str(got)) == (type(expected), str(expected))
        return
    for one, other in zip(got, expected, strict=True):
        assert (one.score, one.windows, one.audiogram) == (other.score, other.windows, other.audiogram)
        assert np.array_equal(one.frame_scores, other.frame_scores, equal_nan=True)
        assert np.array_equal(one.times, other.times)


@pytest.fixture(scope="module")
def expected(scorer: Scorer) -> list[Outcome]:
    found = list(alone(scorer, CLIPS))
    assert [type(one) for one in found if isinstance(one, HaaqiEdgeError)] == [
        AudioError,
        AudioFileNotFoundError,
        AudioError,
    ]
    return found


@pytest.mark.slow
@given(batch=st.sampled_from([1, 2, 31, 64, 100, 5000]), order=st.permutations(range(len(CLIPS))))
@settings(max_examples=12, deadline=None)
def test_together_as_alone(scorer: Scorer, expected: list[Outcome], batch: int, order: list[int]) -> None:
    got = list(scorer.score_many([CLIPS[i] for i in order], LISTENERS, batch=batch))
    assert len(got) == len(CLIPS)
    for one, place in zip(got, order, strict=True):
        equal(one, expected[place])


@pytest.mark.parametrize("options", [{"nal_r": True}, {"spl": 60.0, "nal_r": True}, {"level1": 75.0, "window": 3.0}])
def test_options(scorer: Scorer, options: dict[str, Any]) -> None:
    for got, one in zip(
        scorer.score_many(CLIPS[:5], LISTENERS, **options), alone(scorer, CLIPS[:5], **options), strict=True
    ):
        equal(got, one)


def test_what_is_wrong_with_all_is_raised(scorer: Scorer) -> None:
    for options in ({"window": 61.0}, {"batch": 0}, {"level1": 80.0, "spl": 65.0}):
        with pytest.raises(OptionError):
            scorer.score_many(CLIPS[:2], LISTENERS, **options)  # type: ignore[arg-type]
    long = (np.tile(music(20.0), 4), RATE)
    with pytest.raises(OptionError, match="longer than 60 s"):
        list(scorer.score_many([CLIPS[0], long], LISTENERS, window="whole"))
    assert list(scorer.score_many([], LISTENERS)) == []


def test_one_listener_and_one_clip(scorer: Scorer) -> None:
    (scores,) = scorer.score_many([CLIPS[0]], "N3")
    assert isinstance(scores, list)
    assert [one.score for one in scores] == [scorer.score(CLIPS[0], "N3").score]
    for clip in ("song.wav", Path("song.wav"), CLIPS[0]):
        with pytest.raises(OptionError, match="give a list"):
            scorer.score_many(clip, "N3")


def test_a_model_that_cannot_be_batched(tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(Bundle("nano").folder, tmp_path / "dynamic")
    card = folder / "card.json"
    card.write_text(card.read_text().replace('"streamable": true', '"streamable": false'))
    with pytest.raises(BundleError, match="cannot be batched"):
        next(Scorer(folder, threads=1).score_many(CLIPS[:1], LISTENERS))


def endless(clip: Any, pulled: list[int]) -> Iterator[Any]:
    """The same clip again and again; notes in `pulled` what is asked for."""
    while True:
        pulled.append(len(pulled))
        assert len(pulled) < 1000
        yield clip


@pytest.mark.parametrize("kind", ["music", "short", "missing"])
@pytest.mark.parametrize("options", [{}, {"nal_r": True}, {"batch": 1}], ids=str)
def test_clips_without_end_are_pulled_as_needed(scorer: Scorer, kind: str, options: dict[str, Any]) -> None:
    clip = {"music": CLIPS[7], "short": CLIPS[1], "missing": CLIPS[4]}[kind]
    pulled: list[int] = []
    (one,) = alone(scorer, [clip], **{k: v for k, v in options.items() if k != "batch"})
    most = 64 + 2 * scorer.threads
    with closing(scorer.score_many(endless(clip, pulled), LISTENERS, **options)) as results:
        assert not pulled
        for count in range(1, 4):
            equal(next(results), one)
            assert count <= len(pulled) <= count + most
        if kind == "music" or options == {"batch": 1}:
            assert len(pulled) <= 12  # long clips, or small batches: only as many as are read ahead


def test_clips_without_end_on_a_device(paired: Callable[[bool], Scorer]) -> None:
    one, pulled = paired(True), list[int]()
    with closing(one.score_many(endless(CLIPS[1], pulled), LISTENERS)) as results:
        assert isinstance(next(results), list)
    assert len(pulled) <= 64 + 2 * one.threads


def test_an_error_of_the_source_comes_after_the_results(scorer: Scorer) -> None:
    def source() -> Iterator[Any]:
        yield from CLIPS[:3]
        raise OSError("the disk is gone")

    results = scorer.score_many(source(), LISTENERS)
    for got, one in zip((next(results) for _ in range(3)), alone(scorer, CLIPS[:3]), strict=True):
        equal(got, one)
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_arguments_are_checked_at_the_call(scorer: Scorer) -> None:
    pulled: list[int] = []
    for options in ({"batch": 0}, {"batch": "8"}, {"window": None}, {"nal_r": "N7"}, {"level1": 80.0, "spl": 65.0}):
        with pytest.raises(OptionError):
            scorer.score_many(endless(CLIPS[1], pulled), LISTENERS, **options)
    with pytest.raises(AudiogramError):
        scorer.score_many(endless(CLIPS[1], pulled), ["N9"])
    for audios in ("song.wav", CLIPS[0], CLIPS[0][0], None):
        with pytest.raises(OptionError, match="give a list"):
            scorer.score_many(audios, LISTENERS)
    assert not pulled


def test_threads_end_with_who_asked(scorer: Scorer) -> None:
    def readers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("haaqi-edge-reader")]

    taken = scorer.score_many([CLIPS[0]] * 20, ["N3"], batch=1)
    next(taken)
    assert readers()
    taken.close()
    assert not readers()


def test_a_fault_of_ours_is_not_taken_for_a_clips(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[object]:
        raise ZeroDivisionError

    monkeypatch.setattr(scorer, "_read", broken)
    with pytest.raises(ZeroDivisionError):
        list(scorer.score_many(CLIPS[:2], LISTENERS))


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Scorer]:
    """A scorer whose encoder and head are bound as on a GPU; its head takes one clip, or several."""

    def make(several: bool) -> Scorer:
        one, onnx = Scorer("nano", threads=1), pytest.importorskip("onnx")
        assert isinstance(one.backend, OnnxBackend)
        head = onnx.load(Bundle("nano").path("head"))
        if several:
            head.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "clips"
        session = Session(head.SerializeToString(), threads=1)
        bound = BoundModel(one.backend.encoder.session, session, one.card, ProviderOptions({}, 375, 8))
        monkeypatch.setattr(one, "_window_model", bound)
        return one

    return make


@pytest.mark.parametrize("several", [False, True])
def test_bound_to_each_other(several: bool, paired: Callable[[bool], Scorer], expected: list[Outcome]) -> None:
    one = paired(several)
    for got in (alone(one, CLIPS), one.score_many(CLIPS, LISTENERS, batch=300)):
        for score, other in zip(got, expected, strict=True):
            if isinstance(score, HaaqiEdgeError) or isinstance(other, HaaqiEdgeError):
                equal(score, other)
            else:
                [assert_scores_equal(a, b) for a, b in zip(score, other, strict=True)]
    many = list(one.score_many(CLIPS[:3], LISTENERS, nal_r=True, batch=300))
    for score, other in zip(many, alone(one, CLIPS[:3], nal_r=True), strict=True):
        assert isinstance(score, list)
        assert isinstance(other, list)
        [assert_scores_equal(a, b) for a, b in zip(score, other, strict=True)]


def test_the_number_of_windows_in_a_run(paired: Callable[[bool], Scorer]) -> None:
    bound = paired(True)._window_model
    assert bound is not None
    assert bound.windows_per_run(62, 300) == 4
    assert bound.windows_per_run(62, 10_000) == 6  # 375 patches
    assert bound.windows_per_run(10, 10_000) == 8  # clips
    assert bound.windows_per_run(375, 1) == 1
    single = paired(False)._window_model
    assert single is not None
    assert single.windows_per_run(62, 10_000) == 1


def test_buffers_that_stay_give_the_same(paired: Callable[[bool], Scorer], expected: list[Outcome]) -> None:
    """What CUDA graphs are captured with; on the CPU the same bindings run without being captured."""
    one = paired(False)
    assert isinstance(one.backend, OnnxBackend)
    assert isinstance(one._window_model, BoundModel)
    one.backend.encoder.session.captures = True
    for _ in range(2):
        for score, other in zip(one.score_many(CLIPS, LISTENERS), expected, strict=True):
            if isinstance(score, list) and isinstance(other, list):
                [assert_scores_equal(a, b) for a, b in zip(score, other, strict=True)]
    graphs = one._window_model._graphs
    assert (62, 16, 32) in graphs  # the whole windows
    assert sorted(number for number, *_ in graphs.values()) == list(range(1, len(graphs) + 1))


def test_sessions_tell_where_operators_run() -> None:
    session = Session(Bundle("nano").path("head"), threads=1)
    assert session.placement.keys() == {"CPUExecutionProvider"}
    assert session.placement["CPUExecutionProvider"]["GRU"] == 1
    assert Scorer("nano", threads=1).placement["head"] == session.placement
    assert (session.device, session.captures) == ("cpu", False)
