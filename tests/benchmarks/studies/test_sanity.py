"""The study of sanity: predictors with known properties get the expected results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from command import run
from haaqi_edge.benchmarks.studies import sanity
from haaqi_edge.benchmarks.studies.sanity import (
    FORMATS,
    LISTENERS,
    SNRS,
    ListenerChange,
    NoiseScores,
    Trial,
    clean_metrics,
    compare_formats,
    compare_listeners,
    distant_listeners,
    format_metrics,
    listener_metrics,
    measure,
    score_in_noise,
    select_trials,
    snr_metrics,
)
from haaqi_edge.haaqi.index import Listener
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.reading import ArrayAudio, AudioLike
from haaqi_edge.runtime.audiogram import STANDARD
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.degradations import parse_chain
from haaqi_edge.training.degradations.sampling import is_unseen
from numpy.typing import NDArray
from sounds import DEMO

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of split test, one of them silent, and one of train."""
    folder = tmp_path_factory.mktemp("music")
    (folder / "CLIPS.csv").write_text(
        "clip,split,source,genre,duration_s\n"
        "one.flac,test,demo,acoustic,10\ntwo.flac,test,demo,acoustic,6\n"
        "silent.flac,test,none,none,10\nthree.flac,train,demo,acoustic,10\n"
    )
    samples, rate = soundfile.read(DEMO)
    for name, start, seconds in (("one", 0, 10), ("two", 12, 6), ("three", 5, 10)):
        soundfile.write(folder / f"{name}.flac", samples[start * rate : (start + seconds) * rate], rate)
    soundfile.write(folder / "silent.flac", np.zeros(10 * rate), rate)
    return folder


@pytest.fixture(scope="module")
def trials(music: Path) -> list[Trial]:
    return select_trials(Corpus(music), 5, seed=0)


def array(audio: AudioLike) -> Array:
    """Return the samples of a sound, also from a file."""
    if isinstance(audio, ArrayAudio):
        return np.concatenate(list(audio.blocks(audio.rate))).astype(np.float64)
    samples = audio[0] if isinstance(audio, tuple) else soundfile.read(audio)[0]
    return np.asarray(samples, np.float64)


def level(x: Array) -> float:
    """Return the level in dB SPL."""
    return 85 + 20 * float(np.log10(np.sqrt(np.mean(x**2))))


def snr_of(trial: Trial) -> Callable[..., float]:
    """Return a predictor that measures the SNR in dB from the music without noise."""
    clean = trial.render()[0]

    def predictor(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:
        assert (listener, spl, nal_r) == (trial.listener, None, False)
        music = clean * (array(audio) @ clean / (clean @ clean))
        return 10 * float(np.log10(np.sum(music**2) / np.sum((array(audio) - music) ** 2)))

    return predictor


class RandomPredictor:
    """A predictor with random scores. It records its arguments."""

    def __init__(self) -> None:
        self.rng, self.calls = np.random.default_rng(5), list[tuple[AudioLike, Audiogram, bool]]()

    def __call__(
        self, audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False
    ) -> float:
        assert spl == (65 if nal_r else None)
        self.calls.append((audio, listener, nal_r))
        return float(self.rng.random())


def mean_loss(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:  # noqa: ARG001
    """Predict a higher score for a larger hearing loss, whatever the audio."""
    return sum(listener.levels) / 1000


class FakeReference:
    """Replaces HAAQI: the larger the hearing loss, the lower the score. It records its arguments."""

    compared: ClassVar[list[tuple[Array, Listener, Array]]] = []

    def __init__(self, clean: Array, rate: int, first: Listener) -> None:
        self.clean, self.rate, self.first = clean, rate, first

    def score(self, sound: Array, rate: int) -> SimpleNamespace:
        assert rate == self.rate
        self.compared.append((self.clean, self.first, sound))
        return SimpleNamespace(score=-mean_loss((sound, rate), self.first.audiogram))


def test_clips_are_those_of_split_test_that_are_not_silent(music: Path, trials: list[Trial]) -> None:
    assert {trial.row.clip for trial in trials} == {"one.flac", "two.flac"}
    assert [trial.row.listener for trial in trials] == list(LISTENERS[:2])
    for trial in trials:
        assert level(trial.clean) == pytest.approx(65)
        assert len(trial.clean) == (10 if trial.row.clip == "one.flac" else 6) * trial.rate
        assert trial.listener == Audiogram.named(trial.row.listener)
    assert [str(trial.row) for trial in select_trials(Corpus(music), 1, seed=0)] == [str(trials[0].row)]
    assert {select_trials(Corpus(music), 1, seed)[0].row.clip for seed in range(8)} == {"one.flac", "two.flac"}


def test_music_without_a_test_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\na.flac,train,s,g,10\n")
    with pytest.raises(CorpusError, match="no clip of split test"):
        select_trials(Corpus(tmp_path), 3, seed=0)


def test_the_scores_of_an_snr_meter_fall_with_the_snr(trials: list[Trial]) -> None:
    found = [score_in_noise(trial, snr_of(trial)) for trial in trials]
    for one in found:
        assert np.diff(one.scores) == pytest.approx(-4, abs=0.1)  # the same noise, louder
    metrics = snr_metrics(found)
    assert (metrics["figure"], metrics["met"], metrics["clips"]) == (1.0, True, 2)
    assert metrics["median"] == metrics["worst"]["correlation"] == pytest.approx(1)
    assert metrics["mean_score"].keys() == {f"{snr:g}" for snr in SNRS}
    assert (len(SNRS), SNRS[0], SNRS[-1]) == (12, 40, -4)


def test_random_scores_miss_the_target(trials: list[Trial]) -> None:
    predictor = RandomPredictor()
    metrics = snr_metrics([score_in_noise(trial, predictor) for trial in trials])
    assert (metrics["figure"], metrics["met"]) == (0.0, False)
    assert [listener.name for _, listener, _ in predictor.calls[::12]] == list(LISTENERS[:2])


def test_clips_count_by_their_own_rank_correlation(trials: list[Trial]) -> None:
    falling, swapped = [float(snr) for snr in SNRS], [float(snr) for snr in SNRS]
    swapped[2], swapped[3] = swapped[3], swapped[2]  # 1 - 6 * 2 / (12 * 143)
    assert NoiseScores(trials[0], swapped).correlation == pytest.approx(1 - 12 / 1716)
    assert np.isnan(NoiseScores(trials[0], [0.5] * 12).correlation)
    rising = [-score for score in falling]
    metrics = snr_metrics([NoiseScores(trials[0], scores) for scores in (falling, swapped, falling, rising)])
    assert (metrics["figure"], metrics["met"]) == (0.75, False)
    assert metrics["worst"] == {"clip": trials[0].row.clip, "listener": "N1", "correlation": pytest.approx(-1)}


def test_clean_music_is_averaged_over_clips(trials: list[Trial]) -> None:
    metrics = clean_metrics([(trials[0], 0.9), (trials[1], 0.4), (trials[0], 0.8), (trials[0], 0.7)])
    assert metrics["figure"] == pytest.approx(0.7)
    assert (metrics["met"], metrics["bad"]) == (False, 0.25)
    assert metrics["worst"] == {"clip": trials[1].row.clip, "listener": "N2", "score": 0.4}
    assert metrics["mean_score"] == pytest.approx({"N1": 0.8, "N2": 0.4})
    assert clean_metrics([(trials[0], 0.86)])["met"]


def test_formats_hold_the_same_music(trials: list[Trial]) -> None:
    files: dict[str, tuple[Array, int]] = {}

    def loudness(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:
        assert nal_r
        assert spl == 65
        assert listener.name == "N1"
        if not isinstance(audio, tuple):
            info = soundfile.info(audio)
            files[f"{info.format} {info.subtype} {info.samplerate}"] = array(audio), info.samplerate
        return float(np.sqrt(np.mean(array(audio) ** 2)))

    loud = dataclasses.replace(trials[0], clean=20 * trials[0].clean)
    found = compare_formats(loud, loudness)
    assert found.keys() == FORMATS.keys()
    assert max(found.values()) < 1e-4
    assert files.keys() == {
        "WAV PCM_16 24000", "WAV PCM_24 24000", "WAV FLOAT 24000", "FLAC PCM_16 24000", "WAV FLOAT 48000",
    }  # fmt: skip
    for samples, rate in files.values():
        assert len(samples) == rate * len(loud.clean) // loud.rate
        assert np.abs(samples).max() < 1
    expected = loud.clean * 0.9 / np.abs(loud.clean).max()
    np.testing.assert_allclose(files["FLAC PCM_16 24000"][0], expected, atol=2**-14)
    quiet = dataclasses.replace(trials[0], clean=trials[0].clean / 10)  # its level does not change
    compare_formats(quiet, loudness)
    np.testing.assert_allclose(files["WAV FLOAT 24000"][0], quiet.clean, atol=1e-7)


def test_the_worst_format_counts(trials: list[Trial]) -> None:
    given: list[Path] = []

    def by_suffix(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:  # noqa: ARG001
        if isinstance(audio, tuple):
            return 0.5
        given.append(Path(audio))
        return 0.47 if Path(audio).suffix == ".flac" else 0.5

    metrics = format_metrics([compare_formats(trials[0], by_suffix), dict.fromkeys(FORMATS, 0.005)])
    assert metrics["figure"] == metrics["by_format"]["FLAC"] == pytest.approx(0.03)
    assert metrics["by_format"]["WAV, 16 bits"] == 0.005
    assert not metrics["met"]
    assert not any(path.exists() for path in given)
    assert format_metrics([dict.fromkeys(FORMATS, 0.01)])["met"]


def test_listeners_to_swap_are_far_apart() -> None:
    assert "N7" in distant_listeners("N1")
    for name in LISTENERS:
        assert len(distant_listeners(name)) >= 3
        for other in distant_listeners(name):
            assert np.abs(np.subtract(STANDARD[name], STANDARD[other])).mean() > 15


def test_the_same_sound_is_scored_for_both_listeners(trials: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    compared = list[tuple[Array, Listener, Array]]()
    monkeypatch.setattr(FakeReference, "compared", compared)
    monkeypatch.setattr(sanity, "Reference", FakeReference)
    predictor = RandomPredictor()
    found = [change for trial in trials for change in compare_listeners(trial, predictor)]
    assert len(found) == len(compared) / 2 == len(predictor.calls) / 2 == 2 * sanity.SOUNDS_PER_CLIP
    for i, change in enumerate(found):
        (clean, first, sound), (clean_again, second, sound_again) = compared[2 * i : 2 * i + 2]
        assert clean is clean_again
        assert sound is sound_again
        assert len(clean) == len(sound) == 5 * 24_000
        assert level(clean) == pytest.approx(65)
        assert second.audiogram.name in distant_listeners(first.audiogram.name)
        assert change.haaqi == pytest.approx((sum(first.audiogram.levels) - sum(second.audiogram.levels)) / 1000)
        for (audio, listener, nal_r), own in zip(predictor.calls[2 * i : 2 * i + 2], (first, second), strict=True):
            assert isinstance(audio, ArrayAudio)
            assert audio.presented
            np.testing.assert_allclose(array(audio), sound, atol=1e-6)
            assert listener == own.audiogram
            assert not nal_r
    repeated = [change for trial in trials for change in compare_listeners(trial, mean_loss)]
    assert [change.haaqi for change in repeated] == [change.haaqi for change in found]
    metrics = listener_metrics(repeated)  # the opposite of HAAQI
    assert (metrics["figure"], metrics["correlation"]) == (0.0, pytest.approx(-1))


def test_chains_are_those_of_training(trials: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    chains: list[str] = []
    monkeypatch.setattr(FakeReference, "compared", [])

    def render(trial: Trial, chain: str = "") -> tuple[Array, int]:
        chains.append(chain)
        return trial.clean, trial.rate

    monkeypatch.setattr(sanity, "Reference", FakeReference)
    monkeypatch.setattr(Trial, "render", render)
    for seed in range(20):
        row = dataclasses.replace(trials[0].row, seed=seed)
        compare_listeners(dataclasses.replace(trials[0], row=row), mean_loss)
    assert len(set(chains)) > 50
    assert not any(is_unseen(chain) for chain in chains)
    assert all(parse_chain(chain) for chain in chains if chain)


def test_signs_count_only_where_haaqi_moves() -> None:
    agreeing = [ListenerChange(0.01, 0.05), ListenerChange(-0.3, -0.2), ListenerChange(0.2, 0.5)]
    opposite, too_small, constant = ListenerChange(0.2, -0.06), ListenerChange(-0.4, 0.049), ListenerChange(0.0, 0.3)
    metrics = listener_metrics([*agreeing, opposite, too_small])
    assert (metrics["figure"], metrics["moved"], metrics["pairs"], metrics["met"]) == (0.75, 4, 5, False)
    assert listener_metrics([*agreeing, constant])["figure"] == 0.75
    assert listener_metrics([*agreeing, too_small])["met"]
    assert listener_metrics(agreeing)["correlation"] == pytest.approx(
        np.corrcoef([0.01, -0.3, 0.2], [0.05, -0.2, 0.5])[0, 1]
    )


def test_without_changes_there_is_no_share() -> None:
    metrics = listener_metrics([ListenerChange(0.0, 0.0), ListenerChange(0.0, 0.01)])
    assert metrics["figure"] is metrics["correlation"] is None
    assert (metrics["moved"], metrics["met"]) == (0, False)


@pytest.fixture(scope="module")
def measured(music: Path) -> dict[str, dict[str, Any]]:
    return measure(music, mean_loss, clips=1, seed=3)


@pytest.mark.slow
def test_everything_is_measured_and_the_same_each_time(music: Path, measured: dict[str, dict[str, Any]]) -> None:
    assert list(measured) == ["snr", "clean", "formats", "listeners"]
    for part in measured.values():
        assert {"figure", "target", "met"} <= part.keys()
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    assert measured["snr"]["figure"] == 0  # the same score for any noise
    assert measured["clean"]["figure"] == round(mean_loss("", Audiogram.named("N1")), 6)
    assert (measured["formats"]["figure"], measured["formats"]["met"]) == (0, True)
    assert measured["listeners"]["pairs"] == sanity.SOUNDS_PER_CLIP
    assert measure(music, mean_loss, clips=1, seed=3) == measured


@pytest.mark.slow
def test_results_are_printed_and_written(
    measured: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def measure_again(*arguments: Any) -> dict[str, dict[str, Any]]:
        *options, on_progress = arguments
        on_progress("checking the scores", 0, 1)
        calls.append(tuple(options))
        return measured

    monkeypatch.setattr(sanity, "measure", measure_again)
    options = ("bench", "study", "sanity", tmp_path, "--model", "mine", "--clips", 7)
    table = run(*options)
    assert (table.code, table.err) == (0, "checking the scores\n")
    assert table.out.count("missed") == sum(not part["met"] for part in measured.values()) > 0
    assert table.out.count("│ met") == sum(part["met"] for part in measured.values()) > 0
    assert json.loads(run(*options, "--json").out) == measured
    assert calls == [(tmp_path, "mine", 7, 0)] * 2


def test_undefined_correlations_are_shown(measured: dict[str, dict[str, Any]]) -> None:
    assert measured["snr"]["median"] is None
    assert "median undefined, lowest undefined (N1)" in sanity.result_rows(measured)[0][1]


def test_missing_music_is_an_error(tmp_path: Path) -> None:
    outcome = run("bench", "study", "sanity", tmp_path / "absent")
    assert outcome.code == 2
    assert "no music in" in str(outcome.errors[0])
