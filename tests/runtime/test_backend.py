"""Backends other than a bundle: what `Scorer` asks of them, and what it refuses."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from comparison import assert_scores_equal
from haaqi_edge.runtime import Backend, Bundle, Card, HeadOutput, Scorer, Stream
from haaqi_edge.runtime.errors import AudioError, BundleNotFoundError, HaaqiEdgeError, OptionError
from haaqi_edge.runtime.features import patches as fe
from haaqi_edge.runtime.onnx_backend import OnnxBackend
from sounds import DEMO, RATE, music, noise

Array = npt.NDArray[np.float32]


class MeanBackend:
    """A model in numpy: a token is a mean of samples, a frame score a logistic function of token and audiogram.

    Args:
        encodes_windows: whether tokens are relative to the mean of the window.
    """

    provider = "numpy"
    threads = 1

    def __init__(self, encodes_windows: bool = False) -> None:
        self.encodes_windows = encodes_windows
        card = dataclasses.replace(Bundle("nano").card, name="mean", encoder_input="samples", files={})
        self.card: Card = dataclasses.replace(card, tokens_per_patch=2, width=3, source_sha256="a" * 64, window=2.0)
        self.runs: list[int] = []

    def encode(self, features: Array) -> Array:
        assert features.shape[1:] == (fe.PATCH_LENGTH,)
        self.runs.append(len(features))
        power = np.log10(np.square(features).reshape(len(features), 2, -1).mean(axis=2) + 1e-9)
        if self.encodes_windows:
            power = power - power.mean()
        return np.repeat(power[:, :, None], 3, axis=2).astype(np.float32)

    def run_head(self, tokens: Array, audiograms: Array) -> HeadOutput:
        assert tokens.shape[1:] == (2, 3)
        curve = tokens.mean(axis=(1, 2))[None] - audiograms.mean(axis=1)[:, None] / 100
        frames = (1 / (1 + np.exp(-curve))).astype(np.float32)
        return HeadOutput(frames, frames.mean(axis=1))


def test_the_protocol() -> None:
    assert isinstance(MeanBackend(), Backend)
    assert isinstance(Scorer("nano", threads=1).backend, OnnxBackend)
    assert isinstance(Scorer("nano", threads=1).backend, Backend)


def test_a_bundle_by_name_by_path_and_by_object() -> None:
    bundle = Bundle("nano")
    expected = Scorer("nano", threads=1).score(DEMO, "N3")
    for model in (bundle, bundle.folder, str(bundle.folder)):
        scorer = Scorer(model, threads=1)
        assert_scores_equal(scorer.score(DEMO, "N3"), expected, 0)
        assert_scores_equal(pickle.loads(pickle.dumps(scorer)).score(DEMO, "N3"), expected, 0)


def test_scores_of_a_backend() -> None:
    backend = MeanBackend()
    scorer = Scorer(backend)
    assert (scorer.card, scorer.provider, scorer.threads, scorer.placement) == (backend.card, "numpy", 1, {})
    sound = music(5, start=3)
    one, other = scorer.score((sound, RATE), ["NH", "N4"])
    assert len(one.windows) == 3
    assert one.score > other.score
    samples = np.stack([sound[k * fe.PATCH_SHIFT :][: fe.PATCH_LENGTH] for k in range(fe.patch_count(len(sound)))])
    expected = MeanBackend().run_head(MeanBackend().encode(samples), np.zeros((1, 8), np.float32))
    np.testing.assert_allclose(one.frame_scores, expected.frame_scores[0], rtol=0, atol=1e-6)
    tokens = scorer.encode((sound, RATE))
    assert_scores_equal(scorer.score(tokens, "N4"), other)


def test_many_clips_and_streams_of_a_backend() -> None:
    backend = MeanBackend()
    scorer = Scorer(backend)
    clips = [(music(seconds, start=3), RATE) for seconds in (3, 1, 6)]
    backend.runs.clear()
    results = list(scorer.score_many([*clips, (noise(10), RATE)], ["N1", "N4"], batch=1000))
    assert backend.runs == [sum(fe.patch_count(len(samples)) for samples, _ in clips)]  # encoded together
    assert isinstance(results[3], AudioError)
    for clip, result in zip(clips, results, strict=False):
        assert isinstance(result, list)
        for got, expected in zip(result, scorer.score(clip, ["N1", "N4"]), strict=True):
            assert_scores_equal(got, expected)
    stream = scorer.stream("N4", RATE)
    assert isinstance(stream, Stream)
    list(stream.updates([clips[2][0]]))
    assert stream.summary().score == pytest.approx(scorer.score(clips[2], "N4").score, abs=1e-6)


def test_a_backend_that_encodes_windows() -> None:
    backend = MeanBackend(encodes_windows=True)
    scorer = Scorer(backend)
    sound = np.concatenate([music(5, start=3), np.zeros(5 * RATE, np.float32)])
    score = scorer.score((sound, RATE), "N2")
    assert backend.runs == [12] * 3  # whole windows with sound; silent ones are not encoded
    assert [window.score is None for window in score.windows] == [False] * 3 + [True] * 3
    first = scorer.score((sound[: 11 * fe.PATCH_SHIFT + fe.PATCH_LENGTH], RATE), "N2")
    assert score.windows[0].score == pytest.approx(first.score, abs=1e-6)
    (many, error) = scorer.score_many([(sound, RATE), (noise(10), RATE)], ["N2"], batch=1000)
    assert isinstance(many, list)
    assert_scores_equal(many[0], score, 0)
    assert isinstance(error, AudioError)
    for refused in (lambda: scorer.encode((sound, RATE)), lambda: scorer.stream("N2", RATE)):
        with pytest.raises(OptionError, match=r"its tokens depend on the whole window.*use score or score_many"):
            refused()


def test_results_of_whole_windows_come_as_they_are_ready() -> None:
    pulled: list[int] = []

    def clips() -> Any:
        for number in range(100):
            pulled.append(number)
            yield music(2, start=3), RATE

    results = Scorer(MeanBackend(encodes_windows=True)).score_many(clips(), "N2")
    assert isinstance(next(results), list)
    assert len(pulled) < 10
    results.close()


@pytest.mark.parametrize("options", [{"threads": 1}, {"provider": "cpu"}, {"cuda_graphs": True}], ids=str)
def test_options_of_a_bundle_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="options of a bundle: leave them out"):
        Scorer(MeanBackend(), **options)


@pytest.mark.parametrize("model", [None, 3, object()])
def test_what_is_no_model(model: Any) -> None:
    with pytest.raises(OptionError, match="is not a model: give a shipped name"):
        Scorer(model)


def test_a_checkpoint_needs_a_backend(tmp_path: Any) -> None:
    path = tmp_path / "student.pth"
    path.write_bytes(b"weights")
    with pytest.raises(BundleNotFoundError, match=r"it is a checkpoint \(load it with .*load_backend"):
        Scorer(path)
    text = tmp_path / "notes.txt"
    text.write_text("no model")
    with pytest.raises(HaaqiEdgeError, match="it is a file, and a bundle is a folder"):
        Scorer(text)


def test_a_scorer_with_a_backend_pickles_if_the_backend_does() -> None:
    scorer = Scorer(MeanBackend())
    again = pickle.loads(pickle.dumps(scorer))
    assert_scores_equal(again.score((music(2), RATE), "N3"), scorer.score((music(2), RATE), "N3"), 0)
