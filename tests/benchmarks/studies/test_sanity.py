"""Whether a model is sane is measured rightly: judges that stand in for a model get the figures that they should."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from haaqi_edge.benchmarks.studies import sanity
from haaqi_edge.benchmarks.studies.sanity import (
    FORMATS,
    LISTENERS,
    SNRS,
    Change,
    Ranked,
    Trial,
    changes,
    clean_figures,
    far_from,
    format_figures,
    formats,
    listener_figures,
    measure,
    ranked,
    snr_figures,
    trials,
)
from haaqi_edge.haaqi.index import Ear
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.reading import AudioLike
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
def heard(music: Path) -> list[Trial]:
    return trials(Corpus(music), 5, seed=0)


def array(audio: AudioLike) -> Array:
    """The samples of a sound, from a file too."""
    samples = audio[0] if isinstance(audio, tuple) else soundfile.read(audio)[0]
    return np.asarray(samples, np.float64)


def level(x: Array) -> float:
    """dB SPL."""
    return 85 + 20 * float(np.log10(np.sqrt(np.mean(x**2))))


def snr_of(trial: Trial) -> Callable[..., float]:
    """A judge that measures the SNR in dB; it knows the music without noise."""
    clean = trial.heard()[0]

    def judge(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:
        assert (listener, spl, nal_r) == (trial.listener, None, False)
        music = clean * (array(audio) @ clean / (clean @ clean))
        return 10 * float(np.log10(np.sum(music**2) / np.sum((array(audio) - music) ** 2)))

    return judge


class Chance:
    """A judge without ears; remembers what it was given."""

    def __init__(self) -> None:
        self.rng, self.calls = np.random.default_rng(5), list[tuple[AudioLike, Audiogram, bool]]()

    def __call__(
        self, audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False
    ) -> float:
        assert spl == (65 if nal_r else None)
        self.calls.append((audio, listener, nal_r))
        return float(self.rng.random())


def average(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:  # noqa: ARG001
    """A judge for whom the worse the hearing, the better the music."""
    return sum(listener.levels) / 1000


class Hearsay:
    """HAAQI without listening: the worse the hearing, the worse the music; remembers what was compared."""

    compared: ClassVar[list[tuple[Array, Ear, Array]]] = []

    def __init__(self, clean: Array, rate: int, ear: Ear) -> None:
        self.clean, self.rate, self.ear = clean, rate, ear

    def score(self, sound: Array, rate: int) -> SimpleNamespace:
        assert rate == self.rate
        self.compared.append((self.clean, self.ear, sound))
        return SimpleNamespace(score=-average((sound, rate), self.ear.audiogram))


def test_the_clips_are_those_of_split_test_that_sound(music: Path, heard: list[Trial]) -> None:
    assert {trial.row.clip for trial in heard} == {"one.flac", "two.flac"}
    assert [trial.row.listener for trial in heard] == list(LISTENERS[:2])
    for trial in heard:
        assert level(trial.clean) == pytest.approx(65)
        assert len(trial.clean) == (10 if trial.row.clip == "one.flac" else 6) * trial.rate
        assert trial.listener == Audiogram.named(trial.row.listener)
    assert [str(trial.row) for trial in trials(Corpus(music), 1, seed=0)] == [str(heard[0].row)]
    assert {trials(Corpus(music), 1, seed)[0].row.clip for seed in range(8)} == {"one.flac", "two.flac"}


def test_music_without_a_sounding_test_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\na.flac,train,s,g,10\n")
    with pytest.raises(CorpusError, match="no clip of split test"):
        trials(Corpus(tmp_path), 3, seed=0)


def test_a_judge_that_knows_the_snr_falls_with_it(heard: list[Trial]) -> None:
    found = [ranked(trial, snr_of(trial)) for trial in heard]
    for one in found:
        assert np.diff(one.scores) == pytest.approx(-4, abs=0.1)  # the same noise, louder
    figures = snr_figures(found)
    assert (figures["figure"], figures["met"], figures["clips"]) == (1.0, True, 2)
    assert figures["median"] == figures["worst"]["correlation"] == pytest.approx(1)
    assert figures["mean_score"].keys() == {f"{snr:g}" for snr in SNRS}
    assert (len(SNRS), SNRS[0], SNRS[-1]) == (12, 40, -4)


def test_a_judge_without_ears_fails(heard: list[Trial]) -> None:
    judge = Chance()
    figures = snr_figures([ranked(trial, judge) for trial in heard])
    assert (figures["figure"], figures["met"]) == (0.0, False)
    assert [listener.name for _, listener, _ in judge.calls[::12]] == list(LISTENERS[:2])


def test_clips_count_as_falling_by_their_own_rank_correlation(heard: list[Trial]) -> None:
    falling, swapped = [float(snr) for snr in SNRS], [float(snr) for snr in SNRS]
    swapped[2], swapped[3] = swapped[3], swapped[2]  # 1 - 6 * 2 / (12 * 143)
    assert Ranked(heard[0], swapped).correlation == pytest.approx(1 - 12 / 1716)
    assert Ranked(heard[0], [0.5] * 12).correlation == 0
    rising = [-score for score in falling]
    figures = snr_figures([Ranked(heard[0], scores) for scores in (falling, swapped, falling, rising)])
    assert (figures["figure"], figures["met"]) == (0.75, False)
    assert figures["worst"] == {"clip": heard[0].row.clip, "listener": "N1", "correlation": pytest.approx(-1)}


def test_clean_music_is_averaged_over_clips(heard: list[Trial]) -> None:
    figures = clean_figures([(heard[0], 0.9), (heard[1], 0.4), (heard[0], 0.8), (heard[0], 0.7)])
    assert figures["figure"] == pytest.approx(0.7)
    assert (figures["met"], figures["bad"]) == (False, 0.25)
    assert figures["worst"] == {"clip": heard[1].row.clip, "listener": "N2", "score": 0.4}
    assert figures["mean_score"] == pytest.approx({"N1": 0.8, "N2": 0.4})
    assert clean_figures([(heard[0], 0.86)])["met"]


def test_formats_hold_the_same_music(heard: list[Trial]) -> None:
    kept: dict[str, tuple[Array, int]] = {}

    def loudness(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:
        assert nal_r
        assert spl == 65
        assert listener.name == "N1"
        if not isinstance(audio, tuple):
            info = soundfile.info(audio)
            kept[f"{info.format} {info.subtype} {info.samplerate}"] = array(audio), info.samplerate
        return float(np.sqrt(np.mean(array(audio) ** 2)))

    loud = dataclasses.replace(heard[0], clean=20 * heard[0].clean)
    found = formats(loud, loudness)
    assert found.keys() == FORMATS.keys()
    assert max(found.values()) < 1e-4
    assert kept.keys() == {
        "WAV PCM_16 24000", "WAV PCM_24 24000", "WAV FLOAT 24000", "FLAC PCM_16 24000", "WAV FLOAT 48000",
    }  # fmt: skip
    for samples, rate in kept.values():
        assert len(samples) == rate * len(loud.clean) // loud.rate
        assert np.abs(samples).max() < 1
    expected = loud.clean * 0.9 / np.abs(loud.clean).max()
    np.testing.assert_allclose(kept["FLAC PCM_16 24000"][0], expected, atol=2**-14)
    quiet = dataclasses.replace(heard[0], clean=heard[0].clean / 10)  # keeps its level, and is not turned up
    formats(quiet, loudness)
    np.testing.assert_allclose(kept["WAV FLOAT 24000"][0], quiet.clean, atol=1e-7)


def test_the_worst_format_counts(heard: list[Trial]) -> None:
    given: list[Path] = []

    def by_suffix(audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False) -> float:  # noqa: ARG001
        if isinstance(audio, tuple):
            return 0.5
        given.append(Path(audio))
        return 0.47 if Path(audio).suffix == ".flac" else 0.5

    figures = format_figures([formats(heard[0], by_suffix), dict.fromkeys(FORMATS, 0.005)])
    assert figures["figure"] == figures["by_format"]["FLAC"] == pytest.approx(0.03)
    assert figures["by_format"]["WAV, 16 bits"] == 0.005
    assert not figures["met"]
    assert not any(path.exists() for path in given)
    assert format_figures([dict.fromkeys(FORMATS, 0.01)])["met"]


def test_listeners_to_swap_are_far_apart() -> None:
    assert "N7" in far_from("N1")
    for name in LISTENERS:
        assert len(far_from(name)) >= 3
        for other in far_from(name):
            assert np.abs(np.subtract(STANDARD[name], STANDARD[other])).mean() > 15


def test_the_same_sound_is_judged_for_both_listeners(heard: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    compared = list[tuple[Array, Ear, Array]]()
    monkeypatch.setattr(Hearsay, "compared", compared)
    monkeypatch.setattr(sanity, "Reference", Hearsay)
    judge = Chance()
    found = [change for trial in heard for change in changes(trial, judge)]
    assert len(found) == len(compared) / 2 == len(judge.calls) / 2 == 2 * sanity.SOUNDS
    for i, change in enumerate(found):
        (clean, ear, sound), (clean_again, other, sound_again) = compared[2 * i : 2 * i + 2]
        assert clean is clean_again
        assert sound is sound_again
        assert len(clean) == len(sound) == 5 * 24_000
        assert level(clean) == pytest.approx(65)
        assert other.audiogram.name in far_from(ear.audiogram.name)
        assert change.haaqi == pytest.approx((sum(ear.audiogram.levels) - sum(other.audiogram.levels)) / 1000)
        for (audio, listener, nal_r), own in zip(judge.calls[2 * i : 2 * i + 2], (ear, other), strict=True):
            assert isinstance(audio, tuple)
            assert audio[0] is sound
            assert listener == own.audiogram
            assert not nal_r
    again = [change for trial in heard for change in changes(trial, average)]
    assert [change.haaqi for change in again] == [change.haaqi for change in found]
    figures = listener_figures(again)  # as wrong as can be
    assert (figures["figure"], figures["correlation"]) == (0.0, pytest.approx(-1))


def test_chains_are_of_kinds_that_training_holds(heard: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    chains: list[str] = []
    monkeypatch.setattr(Hearsay, "compared", [])

    def heard_after(trial: Trial, chain: str = "") -> tuple[Array, int]:
        chains.append(chain)
        return trial.clean, trial.rate

    monkeypatch.setattr(sanity, "Reference", Hearsay)
    monkeypatch.setattr(Trial, "heard", heard_after)
    for seed in range(20):
        row = dataclasses.replace(heard[0].row, seed=seed)
        changes(dataclasses.replace(heard[0], row=row), average)
    assert len(set(chains)) > 50
    assert not any(is_unseen(chain) for chain in chains)
    assert all(parse_chain(chain) for chain in chains if chain)


def test_signs_count_only_where_haaqi_moves() -> None:
    agreeing = [Change(0.01, 0.05), Change(-0.3, -0.2), Change(0.2, 0.5)]
    opposite, unmoved, still = Change(0.2, -0.06), Change(-0.4, 0.049), Change(0.0, 0.3)
    figures = listener_figures([*agreeing, opposite, unmoved])
    assert (figures["figure"], figures["moved"], figures["pairs"], figures["met"]) == (0.75, 4, 5, False)
    assert listener_figures([*agreeing, still])["figure"] == 0.75
    assert listener_figures([*agreeing, unmoved])["met"]
    assert listener_figures(agreeing)["correlation"] == pytest.approx(
        np.corrcoef([0.01, -0.3, 0.2], [0.05, -0.2, 0.5])[0, 1]
    )


def test_nothing_moved_is_no_figure() -> None:
    figures = listener_figures([Change(0.0, 0.0), Change(0.0, 0.01)])
    assert figures["figure"] is figures["correlation"] is None
    assert (figures["moved"], figures["met"]) == (0, False)


@pytest.fixture(scope="module")
def measured(music: Path) -> dict[str, dict[str, Any]]:
    return measure(music, average, clips=1, seed=3)


def test_everything_is_measured_and_the_same_each_time(music: Path, measured: dict[str, dict[str, Any]]) -> None:
    assert list(measured) == ["snr", "clean", "formats", "listeners"]
    for part in measured.values():
        assert {"figure", "target", "met"} <= part.keys()
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    assert measured["snr"]["figure"] == 0  # the same score for any noise
    assert measured["clean"]["figure"] == round(average("", Audiogram.named("N1")), 6)
    assert (measured["formats"]["figure"], measured["formats"]["met"]) == (0, True)
    assert measured["listeners"]["pairs"] == sanity.SOUNDS
    assert measure(music, average, clips=1, seed=3) == measured


def run(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[object]) -> None:
    monkeypatch.setattr("sys.argv", ["sanity", *map(str, arguments)])
    sanity.main()


def test_the_figures_are_printed_and_written(
    measured: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[Any, ...]] = []

    def remembered(*arguments: Any) -> dict[str, dict[str, Any]]:
        asked.append(arguments)
        return measured

    monkeypatch.setattr(sanity, "measure", remembered)
    monkeypatch.setenv("COLUMNS", "200")
    run(monkeypatch, ["music", "--model", "mine", "--clips", 7, "--json", tmp_path / "found.json"])
    assert asked == [("music", "mine", 7, 0)]
    assert json.loads((tmp_path / "found.json").read_text()) == measured
    printed = capsys.readouterr().out
    assert printed.count("missed") == sum(not part["met"] for part in measured.values()) > 0
    assert printed.count("│ met") == sum(part["met"] for part in measured.values()) > 0


@pytest.mark.parametrize("arguments", [["--clips", 0], ["--seed", -1], ["--json", "absent/found.json"]])
def test_wrong_arguments_are_refused(arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, ["music", *arguments])
    assert stopped.value.code == 2


def test_absent_music_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sanity, "judge_of", lambda *_, **__: average)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, [tmp_path / "absent"])
    assert stopped.value.code == 2
    assert "no music in" in capsys.readouterr().err
