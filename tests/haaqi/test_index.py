"""HAAQI is pyclarity's, on music and where it gets difficult; and who it is that listens."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import pytest
from haaqi_edge.benchmarks.studies.haaqi import oracle
from haaqi_edge.haaqi.cochlea import RATE
from haaqi_edge.haaqi.index import HAAQI_FREQUENCIES, MOST_SECONDS, Ear, Haaqi, Reference
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.levels import nal_r
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


@pytest.mark.parametrize("name", CASES)
def test_the_index_is_pyclaritys(name: str) -> None:
    case = CASES[name]
    ear = Ear(case.listener, case.level1)
    got = Reference(case.clean, case.rate, ear).score(case.processed, case.rate)
    wanted = oracle(case.clean, case.processed, case.rate, ear)
    for part, tolerance in TOLERANCE.items():
        assert getattr(got, part) == pytest.approx(getattr(wanted, part), abs=tolerance), part
    assert 0 <= got.score <= 1
    assert got.nonlinear == pytest.approx(0.754 * got.cepstral**3 + 0.246 * got.synchrony)
    assert got.linear == pytest.approx(0.329 * got.loudness + 0.671 * got.spectrum)


def test_what_is_only_amplified_is_good_and_each_degradation_worse() -> None:
    ear, reference = Ear("N3"), Reference(CLEAN, RATE, Ear("N3"))
    scores = []
    for noise in (0.0, 0.003, 0.03, 0.3):
        y = CLEAN + noise * np.random.default_rng(0).standard_normal(len(CLEAN))
        amplified = nal_r(y.astype(np.float32), RATE, ear.audiogram)
        scores.append(reference.score(amplified, RATE).score)
    assert scores[0] > 0.95
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.3


def test_comparisons_leave_the_reference_as_it_is() -> None:
    reference = Reference(CLEAN, RATE, Ear("N3"))
    first = reference.score(DEGRADED, RATE)
    lengths = [reference.score(DEGRADED[:count], RATE) for count in (15_000, 18_000, 15_000)]
    reference.score(np.roll(DEGRADED, 700), RATE)
    assert reference.score(DEGRADED, RATE) == first
    assert lengths[0] == lengths[2] != lengths[1]
    assert lengths[0] == Reference(CLEAN[:15_000], RATE, Ear("N3")).score(DEGRADED[:15_000], RATE)
    assert reference.score(np.append(DEGRADED, DEGRADED), RATE) == first  # what comes after its end


def test_signals_are_left_as_they_are() -> None:
    clean, processed = CLEAN.copy(), DEGRADED.copy()
    Reference(clean, RATE, Ear("N3")).score(processed, RATE)
    np.testing.assert_array_equal(clean, CLEAN)
    np.testing.assert_array_equal(processed, DEGRADED)


def test_chance_is_a_seed_and_numpys_state_is_left_alone() -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    first = Reference(CLEAN, RATE, Ear("N3")).score(DEGRADED, RATE)
    assert Reference(CLEAN, RATE, Ear("N3")).score(DEGRADED, RATE) == first
    other = Reference(CLEAN, RATE, Ear("N3"), seed=1).score(DEGRADED, RATE)
    assert other != first
    assert other.score == pytest.approx(first.score, abs=2e-3)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]  # noqa: NPY002


def test_only_six_levels_count() -> None:
    scores: set[Haaqi] = {
        Reference(CLEAN[:9_000], RATE, Ear((20, 30, 40, 50, at_3_khz, 60, 70, at_8_khz))).score(DEGRADED, RATE)
        for at_3_khz, at_8_khz in ((55, 70), (0, 120))
    }
    assert len(scores) == 1


def test_tiles() -> None:
    silence = 6_000
    reference = Reference(led(CLEAN, silence / RATE), RATE, Ear("N2"))
    score, tiles = reference.compare(led(DEGRADED, silence / RATE), RATE)
    assert silence <= tiles.start < silence + 100
    heard = len(CLEAN) - (tiles.start - silence)
    assert tiles.synchrony.shape == (32, heard // 192)
    assert tiles.reference.shape == tiles.processed.shape == (32, heard // 96)
    assert (tiles.reference >= 0).all()
    audible = np.isfinite(tiles.synchrony)
    assert audible.any()
    assert 0 <= np.nanmin(tiles.synchrony) <= score.synchrony <= np.nanmax(tiles.synchrony) <= 1
    inaudible = Reference(1e-4 * CLEAN, RATE, Ear("N6")).compare(DEGRADED, RATE)[1]
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
def test_an_ear_is_anything_that_says_one(given: Any) -> None:
    ear = Ear(given, 65)
    assert ear.level1 == 65.0
    np.testing.assert_allclose(ear.audiogram.at(HAAQI_FREQUENCIES), [20, 30, 40, 50, 60, 70])
    assert ear == Ear(given, 65)
    assert ear != Ear(given)
    np.testing.assert_array_equal(ear.loss.inner, Ear(LEVELS).loss.inner)


def test_an_ear_by_name() -> None:
    assert Ear("n3").audiogram == Audiogram.named("N3")
    assert Ear("N3").level1 == 85.0


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
def test_nonsense_is_no_ear(given: Any) -> None:
    with pytest.raises(AudiogramError):
        Ear(given)


@pytest.mark.parametrize("level1", [-1, 141, np.nan, np.inf])
def test_levels_that_cannot_be(level1: float) -> None:
    with pytest.raises(OptionError, match=r"level1=.* is not a sound pressure level"):
        Ear("N3", level1)


# What cannot be compared

LONG = np.broadcast_to(np.float64(0.1), round(MOST_SECONDS * 8_000) + 1)


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
        Reference(bad, rate, Ear("N1"))
    with pytest.raises(AudioError, match=f"the (sample rate of the )?processed signal .*{words}"):
        Reference(CLEAN[:6_000], RATE, Ear("N1")).score(bad, rate)


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
        Reference(reference, RATE, Ear("N1"))


def test_a_processed_signal_that_ends_too_early() -> None:
    reference = Reference(led(CLEAN, 0.5), RATE, Ear("N1"))
    with pytest.raises(AudioError, match=r"processed signal ends after 416\.67 ms: until there, .* is silent"):
        reference.score(DEGRADED[:10_000], RATE)
    with pytest.raises(
        AudioError, match=r"processed signal ends after 583\.33 ms: until there, .*sounds for 8\d\.\d\d ms"
    ):
        reference.score(DEGRADED[:14_000], RATE)
    assert 0 < reference.score(led(DEGRADED, 0.5)[:17_000], RATE).score < 1


@pytest.mark.parametrize("count", [4_800, 4_801, 4_895, 4_896])
def test_the_shortest_clips(count: int) -> None:
    assert 0 < Reference(CLEAN[:count], RATE, Ear("N3")).score(DEGRADED[:count], RATE).score < 1


def test_music_amplified_for_a_profound_loss_is_not_too_loud() -> None:
    loud = CLEAN / np.sqrt(np.mean(CLEAN**2))
    ear = Ear("N7")
    amplified = nal_r(loud.astype(np.float32), RATE, ear.audiogram)
    assert np.abs(amplified).max() > 1_000
    assert Reference(loud, RATE, ear).score(2 * amplified, RATE).score > 0.5
