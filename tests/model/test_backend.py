"""Checkpoints as backends of `Scorer`: the scores of the networks themselves, by files, windows and streams."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
from comparison import assert_scores_equal
from haaqi_edge.model import Nano, NanoConfig, Student, Teacher
from haaqi_edge.model.backend import TorchBackend, load_backend
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.runtime import Audiogram, Backend, Scorer
from haaqi_edge.runtime.errors import AudioError, CheckpointError, CheckpointNotFoundError, HaaqiEdgeError, OptionError
from haaqi_edge.runtime.features import patches as fe
from haaqi_edge.runtime.features.fbank import fbank
from haaqi_edge.runtime.features.texture import textures
from sounds import DEMO, RATE, music, noise

Array = npt.NDArray[np.float32]
Network = Nano | Student | Teacher
SMALL = {"width": 32, "heads": 4, "ffn": 48, "patch_width": 16, "position_kernel": 8, "position_groups": 4}
WINDOW = 62
"""patches in 10 s"""


def create(name: str) -> Network:
    """Return a small network with random weights, or the shipped nano."""
    torch.manual_seed(5)
    if name == "nano":
        return Nano.shipped()
    if name == "texture-2":
        return Nano(NanoConfig(texture_version=2)).eval()
    head = HeadConfig(width=16, hidden=8, heads=4)
    kind = Student if name == "student" else Teacher
    network = kind(BeatsConfig(layers=2, **SMALL), head).eval()
    with torch.no_grad():  # scores that differ from 0.5 and depend on the sound
        network.haaqiframe_score.weight.mul_(20)
    return network


NAMES = ("nano", "texture-2", "student", "teacher")


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    return create(request.param)


def direct(network: Network, samples: Array, listener: str) -> tuple[float, Array]:
    """Score a window by the network's own `forward`: the score, and the frame scores by patch."""
    audiogram = torch.from_numpy(Audiogram.named(listener).array())[None]
    if isinstance(network, Teacher):
        read = samples
    else:
        version = network.config.texture_version if isinstance(network, Nano) else 0
        read = textures(samples, version) if version else fbank(samples)
    with torch.inference_mode():
        scores = network(torch.from_numpy(read)[None], audiogram)
    return float(scores.score), scores.frame_scores[0].reshape(fe.patch_count(len(samples)), -1).mean(dim=1).numpy()


def part(sound: Array, start: int, stop: int) -> Array:
    """Return the samples of the patches from `start` to `stop`."""
    return sound[start * fe.PATCH_SHIFT : (stop - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH]


def test_a_window_gets_the_score_of_the_network(network: Network) -> None:
    sound = part(music(10), 0, 30)
    scorer = Scorer(TorchBackend(network, "mine"))
    for got in scorer.score((sound, RATE), ["NH", "N5"]):
        score, frames = direct(network, sound, got.audiogram.name)
        assert got.score == pytest.approx(score, abs=1e-6)
        np.testing.assert_allclose(got.frame_scores, frames, rtol=0, atol=1e-6)


def test_a_clip_gets_the_mean_of_its_windows(network: Network) -> None:
    sound = np.concatenate([music(13, start=2), np.zeros(20 * RATE, np.float32), music(4, start=6)])
    count = fe.patch_count(len(sound))
    starts = [(at, WINDOW) for at in range(0, count - WINDOW + 1, WINDOW)]
    starts.append((count - WINDOW, count % WINDOW))
    total, weight = 0.0, 0
    for start, added in starts:
        samples = part(sound, start, start + WINDOW)
        if samples.any():
            total, weight = total + added * direct(network, samples, "N3")[0], weight + added
    got = Scorer(TorchBackend(network, "mine")).score((sound, RATE), "N3")
    assert weight < count  # a window is silent
    assert [window.score is None for window in got.windows].count(True) == 1
    assert got.score == pytest.approx(total / weight, abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"nal_r": True}, {"spl": 65.0, "window": 3.0}], ids=str)
def test_many_files_and_their_errors(network: Network, options: dict[str, Any]) -> None:
    scorer = Scorer(TorchBackend(network, "mine"))
    clips: list[Any] = [(music(4), RATE), (noise(100), RATE), "absent.wav", (music(11, 44_100), 44_100)]
    results = list(scorer.score_many(clips, ["N2", "S1"], batch=100, **options))
    assert [isinstance(result, AudioError) for result in results] == [False, True, True, False]
    for clip, result in ((clips[0], results[0]), (clips[3], results[3])):
        assert isinstance(result, list)
        for got, expected in zip(result, scorer.score(clip, ["N2", "S1"], **options), strict=True):
            assert_scores_equal(got, expected)


@pytest.mark.parametrize("name", ["nano", "student"])
def test_streams_and_tokens(name: str) -> None:
    scorer = Scorer(TorchBackend(create(name), name))
    sound = music(6, start=3)
    expected = scorer.score((sound, RATE), "N3", window=2.0)
    stream = scorer.stream("N3", RATE, window=2.0)
    updates = list(stream.updates([sound[:5_000], sound[5_000:]]))
    assert len(updates) == fe.patch_count(len(sound))
    assert stream.summary().score == pytest.approx(expected.score, abs=1e-6)
    assert_scores_equal(scorer.score(scorer.encode((sound, RATE)), "N3", window=2.0), expected)


def test_the_teacher_encodes_whole_windows() -> None:
    scorer = Scorer(TorchBackend(create("teacher"), "haaqi_net.pth"))
    assert scorer.backend.encodes_windows
    for refused in (lambda: scorer.stream("N3", RATE), lambda: scorer.encode(DEMO)):
        with pytest.raises(OptionError, match=r"haaqi_net\.pth \(teacher\): its tokens depend on the whole window"):
            refused()


def test_the_shipped_bundle_and_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "nano.safetensors"
    safetensors.torch.save_file(Nano.shipped().state_dict(), path)
    scorer = Scorer(load_backend(path))
    assert (scorer.card.name, scorer.card.family, scorer.card.files) == ("nano.safetensors", "nano", {})
    bundle = Scorer("nano", threads=1)
    for field in ("level1", "window", "tokens_per_patch", "width", "encoder_input", "front_end", "predicts"):
        assert getattr(scorer.card, field) == getattr(bundle.card, field)
    for options in ({}, {"nal_r": True}, {"spl": 60.0}, {"window": "whole"}):
        assert_scores_equal(scorer.score(DEMO, "N3", **options), bundle.score(DEMO, "N3", **options), 5e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_the_card(name: str) -> None:
    backend = TorchBackend(create(name), name)
    assert isinstance(backend, Backend)
    card = backend.card
    assert card.front_end_name == {"nano": "texture-2", "student": "fbank", "teacher": "samples"}.get(name, name)
    assert card.tokens_per_patch == (8 if name in ("student", "teacher") else 1)
    assert card.parameters == sum(parameter.numel() for parameter in backend.network.parameters())
    assert len(card.source_sha256) == 64
    assert card.source_sha256 == TorchBackend(create(name), name).card.source_sha256
    assert backend.provider == f"PyTorch {torch.__version__} (cpu)"


def test_more_listeners_than_one_run_takes() -> None:
    scorer = Scorer(TorchBackend(create("student"), "student"))
    table = np.random.default_rng(0).uniform(-10, 120, (20, 8))
    many = scorer.score((music(10), RATE), table)  # 496 tokens: 17 listeners per run
    for place in (0, 16, 17, 19):
        assert_scores_equal(many[place], scorer.score((music(10), RATE), table[place]))


def test_a_loaded_checkpoint_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file(Nano.shipped().state_dict(), "nano.safetensors")
    scorer = Scorer(load_backend("nano.safetensors"))
    text = pickle.dumps(scorer)
    assert len(text) < 20_000  # the path, not the weights
    monkeypatch.chdir("/")
    again = pickle.loads(text)
    assert again.backend is pickle.loads(text).backend  # loaded once in a process
    assert_scores_equal(again.score((music(2), RATE), "N3"), scorer.score((music(2), RATE), "N3"), 0)
    whole = pickle.loads(pickle.dumps(Scorer(TorchBackend(create("student"), "student"))))
    assert 0 < whole.score((music(2), RATE), "N3").score < 1


def test_a_pickled_checkpoint_that_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "nano.safetensors"
    safetensors.torch.save_file(Nano.shipped().state_dict(), path)
    text = pickle.dumps(load_backend(path))
    safetensors.torch.save_file(Nano().state_dict(), path)
    with pytest.raises(CheckpointError, match="is not the checkpoint that it was when this backend was pickled"):
        pickle.loads(text)


def test_threads_and_device(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert Scorer(load_backend("nano", threads=1)).threads == 1
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    for threads in (0, 2_000):
        with pytest.raises(OptionError, match="give a number from 1 to 1024"):
            load_backend("nano", threads=threads)
    for device in ("moon", "cuda:99"):
        with pytest.raises(OptionError, match=f"cannot use the device '{device}'"):
            load_backend("nano", device=device)
    with pytest.raises(CheckpointNotFoundError):
        load_backend(tmp_path / "absent.pth")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(HaaqiEdgeError):
        load_backend(tmp_path / "broken.pth")
