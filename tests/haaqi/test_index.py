"""HAAQI is pyclarity's, on music and where it gets difficult; and who it is that listens."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import oracle
import pytest
from haaqi_edge.haaqi.cochlea import RATE
from haaqi_edge.haaqi.index import HAAQI_FREQUENCIES, MAX_SECONDS, Haaqi, Listener, Reference
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.levels import LEVEL1, nal_r
from haaqi_edge.runtime.errors import AudioError, AudiogramError, OptionError
from numpy.typing import NDArray
from sounds import music

Array = NDArray[np.float64]
TOLERANCE = {"score": 1e-3, "cepstral": 1e-3, "synchrony": 4e-3, "loudness": 1e-4, "spectrum": 1e-4}
"""of each part; the synchrony hangs on the noise, which is another"""


def excerpt(seconds: float, start: float = 2.0, clip: str = "clean", rate: int = RATE) -> Array:
    return music(seconds, rate, start, clip).astype(np.float64)


def led(x: Array, seconds: float) -> Array:
    """After a silence."""
    return np.pad(x, (round(seconds * RATE), 0))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyclarity warns of signals below threshold."""
    for name in ("clarity.evaluator.haspi.eb", "clarity.utils.audiogram"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)


class Case(NamedTuple):
    """A reference, a processed signal, their rate, who listens, and the level of RMS 1.0."""

    clean: Array
    processed: Array
    rate: int = RATE
    listener: str = "N3"
    level1: float = 85.0


def at(rate: int, start: float) -> tuple[Array, Array, int]:
    return excerpt(1.0, start, "clean", rate), excerpt(1.0, start, "degraded", rate), rate


CLEAN, DEGRADED = excerpt(0.9), excerpt(0.9, clip="degraded")
CASES = {
    "degraded": Case(CLEAN, DEGRADED, RATE, "N2"),
    "44.1 kHz, another level": Case(*at(44_100, 5.0), "S3", 78.5),
    "16 kHz, profound loss": Case(*at(16_000, 8.0), "N7"),
    "48 kHz, loud": Case(*at(48_000, 11.0), "NH", 100.0),
    "32 kHz": Case(*at(32_000, 14.0), "N5"),
    "amplified and nothing else": Case(
        CLEAN, nal_r(CLEAN.astype(np.float32), RATE, Audiogram.named("N4")).astype(np.float64), RATE, "N4"
    ),
    "identical": Case(CLEAN[:14_000], CLEAN[:14_000], RATE, "NH"),
    "silence": Case(CLEAN[:12_000], np.zeros(12_000)),
    "leading silence, late": Case(led(CLEAN[:16_000], 0.3), led(DEGRADED[:16_000], 0.4)),
    "100 ms early": Case(CLEAN, np.roll(DEGRADED, -2_400)),
    "upside down": Case(CLEAN[:14_000], -DEGRADED[:14_000]),
    "half a second": Case(excerpt(0.5, 16.0), excerpt(0.5, 16.0, "degraded"), RATE, "S1"),
    "a quarter of a second": Case(excerpt(0.25, 7.0), excerpt(0.25, 7.0, "degraded")),
    "shorter": Case(CLEAN, DEGRADED[:15_001]),
    "longer": Case(CLEAN[:15_001], DEGRADED),
    "inaudible": Case(1e-4 * CLEAN[:12_000], 1e-4 * DEGRADED[:12_000], RATE, "N6"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_index_is_pyclaritys(name: str) -> None:
    case = CASES[name]
    listener = Listener(case.listener, level1=case.level1)
    got = Reference(case.clean, case.rate, listener).score(case.processed, case.rate)
    pytest.importorskip("clarity")
    from haaqi_edge.benchmarks.studies.haaqi import pyclarity_haaqi

    wanted = pyclarity_haaqi(case.clean, case.processed, case.rate, listener)
    for part, tolerance in TOLERANCE.items():
        assert getattr(got, part) == pytest.approx(getattr(wanted, part), abs=tolerance), part
    assert 0 <= got.score <= 1
    assert got.nonlinear == pytest.approx(0.754 * got.cepstral**3 + 0.246 * got.synchrony)
    assert got.linear == pytest.approx(0.329 * got.loudness + 0.671 * got.spectrum)


@pytest.mark.slow
def test_what_is_only_amplified_is_good_and_each_degradation_worse() -> None:
    listener, reference = Listener("N3", level1=LEVEL1), Reference(CLEAN, RATE, Listener("N3", level1=LEVEL1))
    scores = []
    for noise in (0.0, 0.003, 0.03, 0.3):
        y = CLEAN + noise * np.random.default_rng(0).standard_normal(len(CLEAN))
        amplified = nal_r(y.astype(np.float32), RATE, listener.audiogram)
        scores.append(reference.score(amplified, RATE).score)
    assert scores[0] > 0.95
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.3


def test_comparisons_leave_the_reference_as_it_is() -> None:
    reference = Reference(CLEAN, RATE, Listener("N3", level1=LEVEL1))
    first = reference.score(DEGRADED, RATE)
    lengths = [reference.score(DEGRADED[:count], RATE) for count in (15_000, 18_000, 15_000)]
    reference.score(np.roll(DEGRADED, 700), RATE)
    assert reference.score(DEGRADED, RATE) == first
    assert lengths[0] == lengths[2] != lengths[1]
    assert lengths[0] == Reference(CLEAN[:15_000], RATE, Listener("N3", level1=LEVEL1)).score(DEGRADED[:15_000], RATE)
    assert reference.score(np.append(DEGRADED, DEGRADED), RATE) == first  # what comes after its end


def test_signals_are_left_as_they_are() -> None:
    clean, processed = CLEAN.copy(), DEGRADED.copy()
    Reference(clean, RATE, Listener("N3", level1=LEVEL1)).score(processed, RATE)
    np.testing.assert_array_equal(clean, CLEAN)
    np.testing.assert_array_equal(processed, DEGRADED)


def test_chance_is_a_seed_and_numpys_state_is_left_alone() -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    first = Reference(CLEAN, RATE, Listener("N3", level1=LEVEL1)).score(DEGRADED, RATE)
    assert Reference(CLEAN, RATE, Listener("N3", level1=LEVEL1)).score(DEGRADED, RATE) == first
    other = Reference(CLEAN, RATE, Listener("N3", level1=LEVEL1), seed=1).score(DEGRADED, RATE)
    assert other != first
    assert other.score == pytest.approx(first.score, abs=2e-3)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]  # noqa: NPY002


def test_only_six_levels_count() -> None:
    scores: set[Haaqi] = {
        Reference(CLEAN[:9_000], RATE, Listener((20, 30, 40, 50, at_3_khz, 60, 70, at_8_khz), level1=LEVEL1)).score(
            DEGRADED, RATE
        )
        for at_3_khz, at_8_khz in ((55, 70), (0, 120))
    }
    assert len(scores) == 1


def test_tiles() -> None:
    silence = 6_000
    reference = Reference(led(CLEAN, silence / RATE), RATE, Listener("N2", level1=LEVEL1))
    score, tiles = reference.compare(led(DEGRADED, silence / RATE), RATE)
    assert silence <= tiles.start < silence + 100
    heard = len(CLEAN) - (tiles.start - silence)
    assert tiles.synchrony.shape == (32, heard // 192)
    assert tiles.reference.shape == tiles.processed.shape == (32, heard // 96)
    assert (tiles.reference >= 0).all()
    audible = np.isfinite(tiles.synchrony)
    assert audible.any()
    assert 0 <= np.nanmin(tiles.synchrony) <= score.synchrony <= np.nanmax(tiles.synchrony) <= 1
    inaudible = Reference(1e-4 * CLEAN, RATE, Listener("N6", level1=LEVEL1)).compare(DEGRADED, RATE)[1]
    assert inaudible.synchrony.shape[0] == 32
    assert np.isnan(inaudible.synchrony).all()


# Who listens

LEVELS = (20.0, 30.0, 40.0, 50.0, 55.0, 60.0, 70.0, 70.0)


@pytest.mark.parametrize(
    "given",
    [
        Audiogram(LEVELS),
        LEVELS,
        list(LEVELS),
        np.array(LEVELS, np.float32),
        "20,30,40,50,55,60,70,70",
        {250: 20, 500: 30, 1000: 40, 2000: 50, 3000: 55, 4000: 60, 6000: 70},
        {"frequencies": [250, 500, 1000, 2000, 3000, 4000, 6000], "levels": [20, 30, 40, 50, 55, 60, 70]},
        (20, 30, 40, 50, 60, 70),
        np.array([20, 30, 40, 50, 60, 70]),
    ],
    ids=repr,
)
def test_a_listener_is_anything_that_describes_an_audiogram(given: Any) -> None:
    listener = Listener(given, level1=65)
    assert listener.level1 == 65.0
    np.testing.assert_allclose(listener.audiogram.at(HAAQI_FREQUENCIES), [20, 30, 40, 50, 60, 70])
    assert listener == Listener(given, level1=65)
    assert listener != Listener(given, level1=LEVEL1)
    np.testing.assert_array_equal(listener.loss.inner, Listener(LEVELS, level1=LEVEL1).loss.inner)


def test_a_listener_by_name() -> None:
    assert Listener("n3", level1=LEVEL1).audiogram == Audiogram.named("N3")
    assert Listener("N3", level1=LEVEL1).level1 == 85.0


def test_the_level_must_be_given_by_name() -> None:
    with pytest.raises(TypeError, match="level1"):
        Listener("N3")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Listener("N3", 65.0)  # type: ignore[call-arg]


@pytest.mark.slow
@pytest.mark.parametrize("level1", [None, 65.0, 85.0])
def test_the_same_level_gives_pyclaritys_number(level1: float | None) -> None:
    """pyclarity's default is 65 dB SPL."""
    levels = Audiogram.named("N3").at(HAAQI_FREQUENCIES)
    theirs = oracle.haaqi.compute_haaqi(
        DEGRADED,
        CLEAN,
        RATE,
        RATE,
        oracle.audiogram.Audiogram(levels=levels, frequencies=np.array(HAAQI_FREQUENCIES)),
        **({} if level1 is None else {"level1": level1}),
    )
    ours = Reference(CLEAN, RATE, Listener("N3", level1=level1 or 65.0)).score(DEGRADED, RATE)
    assert ours.score == pytest.approx(theirs, abs=TOLERANCE["score"])


def test_the_former_name_still_works() -> None:
    for module in ("haaqi_edge.haaqi", "haaqi_edge.haaqi.index"):
        with pytest.warns(DeprecationWarning, match="Ear is now called Listener"):
            ear = importlib.import_module(module).Ear
        assert ear("N3") == Listener("N3", level1=85.0)
        assert ear("N3", 65.0) == ear("N3", level1=65.0) == Listener("N3", level1=65.0)
    sys.modules.pop("haaqi_edge.training.haaqi", None)
    with pytest.warns(DeprecationWarning, match="training.haaqi has moved"):
        alias = importlib.import_module("haaqi_edge.training.haaqi")
    assert alias.Ear("N3") == Listener("N3", level1=85.0)
    assert {getattr(alias, name) for name in alias.__all__ if name != "Ear"} >= {Haaqi, Reference}


@pytest.mark.slow
def test_importing_the_package_does_not_compile() -> None:
    code = "import haaqi_edge.haaqi, sys; assert 'numba' not in sys.modules; haaqi_edge.haaqi.Haaqi"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "given",
    [
        "N9",
        "",
        (),
        (20,) * 7,
        (20,) * 9,
        (20, 20, 20, 20, 20, "loud"),
        (20, 20, 20, 20, 20, 130),
        {},
        {250: 20},
        {"a": 1, "b": 2},
        None,
        3,
        np.array(3),
        np.zeros((8, 1)),
        (np.nan,) * 8,
        (True,) * 6,
        [[20] * 8],
    ],
    ids=repr,
)
def test_nonsense_is_no_listener(given: Any) -> None:
    with pytest.raises(AudiogramError):
        Listener(given, level1=LEVEL1)


@pytest.mark.parametrize("level1", [-1, 201, np.nan, np.inf])
def test_levels_that_cannot_be(level1: float) -> None:
    with pytest.raises(OptionError, match=r"level1=.* is not a sound pressure level"):
        Listener("N3", level1=level1)


# What cannot be compared

LONG = np.broadcast_to(np.float64(0.1), round(MAX_SECONDS * 8_000) + 1)


@pytest.mark.parametrize(
    ("bad", "rate", "words"),
    [
        (np.zeros(0), RATE, r"must be samples of one channel, floating point .*, got shape \(0,\)"),
        (np.zeros((2, RATE)), RATE, r"got shape \(2, 24000\)"),
        (np.zeros(RATE, np.int16), RATE, "type int16"),
        (np.zeros(RATE, complex), RATE, "type complex128"),
        ("song.wav", RATE, r"got shape \(\)"),
        (np.array([0.1] * 6_000 + [np.nan]), RATE, r"holds a sample of nan at 0\.250 s: expected finite numbers"),
        (np.array([-np.inf] * RATE), RATE, r"sample of -inf at 0\.000 s"),
        (np.full(RATE, 1e7), RATE, r"sample of 1e\+07 at"),
        (CLEAN, 7_999, "is 7999 Hz; give audio from 8000"),
        (CLEAN, 44_100.5, "must be a whole number of Hz"),
        (CLEAN, "24 kHz", "must be a whole number of Hz"),
        (LONG, 8_000, r"lasts 120\.0 s: HAAQI takes up to 120 s as a whole; give excerpts of it"),
    ],
)
def test_bad_signals_are_refused(bad: Any, rate: Any, words: str) -> None:
    with pytest.raises(AudioError, match=f"the (sample rate of the )?reference signal .*{words}"):
        Reference(bad, rate, Listener("N1", level1=LEVEL1))
    with pytest.raises(AudioError, match=f"the (sample rate of the )?processed signal .*{words}"):
        Reference(CLEAN[:6_000], RATE, Listener("N1", level1=LEVEL1)).score(bad, rate)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (np.zeros(RATE), "the reference signal is silent: HAAQI compares with music"),
        (CLEAN[:4_799], r"the reference signal sounds for 199\.96 ms only: HAAQI needs 200 ms or more"),
        (led(CLEAN[:4_000], 2.0), r"sounds for 166\.\d\d ms only"),
        (np.eye(1, RATE)[0], r"sounds for 0\.04 ms only"),
    ],
)
def test_there_must_be_something_to_compare_with(reference: Array, words: str) -> None:
    with pytest.raises(AudioError, match=words):
        Reference(reference, RATE, Listener("N1", level1=LEVEL1))


def test_a_processed_signal_that_ends_too_early() -> None:
    reference = Reference(led(CLEAN, 0.5), RATE, Listener("N1", level1=LEVEL1))
    with pytest.raises(AudioError, match=r"processed signal ends after 416\.67 ms: until there, .* is silent"):
        reference.score(DEGRADED[:10_000], RATE)
    with pytest.raises(
        AudioError, match=r"processed signal ends after 583\.33 ms: until there, .*sounds for 8\d\.\d\d ms"
    ):
        reference.score(DEGRADED[:14_000], RATE)
    assert 0 < reference.score(led(DEGRADED, 0.5)[:17_000], RATE).score < 1


@pytest.mark.parametrize("count", [4_800, 4_801, 4_895, 4_896])
def test_the_shortest_clips(count: int) -> None:
    assert 0 < Reference(CLEAN[:count], RATE, Listener("N3", level1=LEVEL1)).score(DEGRADED[:count], RATE).score < 1


def test_music_amplified_for_a_profound_loss_is_not_too_loud() -> None:
    loud = CLEAN / np.sqrt(np.mean(CLEAN**2))
    listener = Listener("N7", level1=LEVEL1)
    amplified = nal_r(loud.astype(np.float32), RATE, listener.audiogram)
    assert np.abs(amplified).max() > 1_000
    assert Reference(loud, RATE, listener).score(2 * amplified, RATE).score > 0.5
