"""`haaqi-edge score --plot`: a PNG file with the spectrogram, and a panel per listener."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import run
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.bundle import HAAQI, Scale
from haaqi_edge.runtime.errors import DependencyError, HaaqiEdgeError, OptionError
from haaqi_edge.runtime.scores import Score, Window
from sounds import RATE, music

pytest.importorskip("librosa")
matplotlib = pytest.importorskip("matplotlib")
from haaqi_edge.cli.score_plot import compute_spectrogram, save_score_plot  # noqa: E402


def size(path: Path) -> tuple[int, int]:
    """Return the width and the height of a PNG file, from its header."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "$a_1$ 音楽.wav"
    soundfile.write(path, music(3, start=3), RATE)
    return path


@pytest.mark.slow
def test_a_plot_has_a_panel_per_listener(clip: Path, tmp_path: Path) -> None:
    heights = []
    for listeners in (["N3"], ["N3", "S1", "N5"]):
        path = tmp_path / f"{len(listeners)}.png"
        outcome = run("score", clip, *(word for name in listeners for word in ("-a", name)), "--plot", path)
        assert (outcome.code, outcome.err) == (0, "")
        heights.append(size(path)[1])
    assert heights[1] > 1.5 * heights[0]


def test_intervals_and_other_scales_are_drawn(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    bands: list[tuple[float, float]] = []
    lines: list[float] = []
    monkeypatch.setattr(Axes, "fill_between", lambda _, __, low, high, **___: bands.append((low, high)))
    monkeypatch.setattr(Axes, "hlines", lambda _, y, *__, **___: lines.append(float(y)))
    monkeypatch.setattr(Axes, "legend", lambda *_, **__: None)
    windows = (Window(0.0, 1.0, 0.5, (0.25, 0.75)), Window(1.0, 2.0, None), Window(2.0, 3.0, 0.75, (0.5, 1.0)))
    curve, times = np.array([0.5, np.nan, 0.75], np.float32), np.array([0.5, 1.5, 2.5])
    for scale in (HAAQI, Scale("stars", 1.0, 5.0)):
        score = Score(0.625, curve, times, windows, Audiogram.named("N3"), scale, (0.375, 0.875))
        save_score_plot(clip, [score], "mix", tmp_path / "a.png")
    assert bands == [(0.25, 0.75), (0.5, 1.0), (2.0, 4.0), (3.0, 5.0)]
    assert lines == [0.5, 0.75, 3.0, 4.0]


def test_a_spectrogram_shows_the_tone(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    seconds = np.arange(4 * RATE) / RATE
    frequency = np.where(seconds < 2, 1_000, 3_000)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency * seconds), RATE)
    for length in (4.0, 100.0):  # a length of 100 s gives fewer frames
        levels, hop = compute_spectrogram(path, "mix", length)
        frames = levels.shape[1]
        assert frames == pytest.approx(4 * RATE / hop, abs=4)
        peaks = np.argmax(levels, axis=0) * RATE / 1024
        assert peaks[frames // 4] == pytest.approx(1_000, abs=16)
        assert peaks[3 * frames // 4] == pytest.approx(3_000, abs=16)
        assert levels.max() == 0.0
        assert levels.min() == pytest.approx(-80.0)


@pytest.mark.parametrize(
    ("argv", "error", "words"),
    [
        (["a.wav", "--plot", "a.pdf"], OptionError, "give the path of a PNG file"),
        (["a.wav", "b.wav", "--plot", "a.png"], OptionError, "--plot shows one file, and there are 2"),
        (["-", "--plot", "a.png"], OptionError, "--plot reads the file a second time"),
        (["a.wav", "--plot", "absent/a.png"], OptionError, "in a folder that exists"),
    ],
)
def test_what_cannot_be_plotted(
    argv: list[str], error: type[HaaqiEdgeError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav"):
        soundfile.write(name, music(1, start=3), RATE)
    outcome = run("score", *argv, "-a", "N3")
    assert (outcome.code, [type(one) for one in outcome.errors]) == (2, [error])
    assert words in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wav"]


def test_what_a_plot_needs(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "librosa" else find(name))
    outcome = run("score", clip, "-a", "N3", "--plot", tmp_path / "a.png")
    assert [type(one) for one in outcome.errors] == [DependencyError]
    assert "run pip install 'haaqi-edge[plot]'" in outcome.err
