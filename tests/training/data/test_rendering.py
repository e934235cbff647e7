"""A row recreates its sounds: the same samples each time, at its level, as long as it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.runtime.audio.levels import nal_r
from haaqi_edge.runtime.audiogram import Audiogram
from haaqi_edge.runtime.errors import CorpusError, OptionError
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.data.rendering import render_presented, render_reference, render_row
from haaqi_edge.training.data.rows import GROUP, SYNTHETIC, Row, plan_rows
from haaqi_edge.training.degradations import degrade, parse_chain
from numpy.typing import NDArray
from scipy import signal
from voices import write_bank

DEMO = Path(__file__).resolve().parents[3] / "demo"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of ten seconds of music, a few samples short, and one of silence; with a speech bank."""
    folder = tmp_path_factory.mktemp("music")
    (folder / "CLIPS.csv").write_text(
        "clip,split,source,genre,duration_s\nclean.ogg,train,demo,acoustic,10\nsilent.flac,test,none,none,3\n"
    )
    samples, rate = soundfile.read(DEMO / "clean.flac", frames=239_990)
    soundfile.write(folder / "clean.ogg", samples, rate)
    soundfile.write(folder / "silent.flac", np.zeros(72_000), 24_000)
    write_bank(folder / "speech")
    return Corpus(folder)


@pytest.fixture(scope="module")
def rows(small: Corpus) -> list[Row]:
    """Rows of which some hear synthetic music and some hear people talking."""
    return plan_rows(small.of("train"), "train", 304, 48, 2.0)


def spoken(row: Row) -> bool:
    return any(entry.needs_speech for entry, _ in parse_chain(row.chain))


def level(x: NDArray[np.float64]) -> float:
    """dB SPL."""
    return 85 + 20 * float(np.log10(np.sqrt(np.mean(x**2))))


@pytest.mark.slow
def test_a_row_recreates_its_sounds(small: Corpus, rows: list[Row]) -> None:
    assert {bool(row.variation) for row in rows} == {True, False}
    assert {row.clip.startswith(SYNTHETIC) for row in rows} == {True, False}
    assert set(map(spoken, rows)) == {True, False}
    for row in rows:
        clean, heard, rate = render_row(row, small)
        assert rate == 24_000
        assert clean.shape == heard.shape == (48_000,)
        assert clean.dtype == heard.dtype == np.float64
        assert level(clean) == pytest.approx(row.level, abs=1e-9)
        assert np.isfinite(heard).all()
        again = render_row(row, small)
        assert (again[0] == clean).all()
        assert (again[1] == heard).all()


@pytest.mark.slow
def test_a_group_has_one_reference(small: Corpus, rows: list[Row]) -> None:
    for start in range(0, len(rows), GROUP):
        clean, rate = render_reference(rows[start], small)
        for row in rows[start : start + GROUP]:
            whole = render_row(row, small)
            assert (whole[0] == clean).all()
            assert (whole[1] == render_presented(row, clean, rate, small.voices("train"))).all()


def test_nothing_done_is_nothing_changed(small: Corpus, rows: list[Row]) -> None:
    row = dataclasses.replace(rows[0], chain="", aid="none", variation="")
    clean, heard, rate = render_row(row, small)
    assert (heard == clean.astype(np.float32)).all()
    excerpt, _ = small.excerpt(row.clip, row.start, row.duration)
    np.testing.assert_allclose(clean / np.abs(clean).max(), excerpt / np.abs(excerpt).max(), atol=1e-12)
    aided = render_row(dataclasses.replace(row, aid="nal-r"), small)[1]
    assert (aided == nal_r(clean.astype(np.float32), rate, Audiogram(row.audiogram))).all()


def test_every_part_of_a_row_is_heard(small: Corpus, rows: list[Row]) -> None:
    row = dataclasses.replace(
        rows[0], start=1.0, variation="", chain="noise(snr=10)", aid="nal-r", audiogram=(40.0,) * 8, level=65.0
    )
    clean, heard, rate = render_row(row, small)
    expected = nal_r(degrade(clean, rate, row.chain, row.seed).astype(np.float32), rate, Audiogram(row.audiogram))
    assert (heard == expected).all()
    for change in (
        {"start": 1.5},
        {"variation": "speed(ratio=1.1)"},
        {"chain": "noise(snr=9)"},
        {"seed": row.seed + 1},
        {"aid": "nal-r(gain=1,tilt=0)"},
        {"audiogram": (40.0,) * 7 + (80.0,)},
        {"level": 66.0},
    ):
        other = render_row(dataclasses.replace(row, **change), small)
        changes_reference = bool(change.keys() & {"start", "variation", "level"})
        assert (other[0] == clean).all() == (not changes_reference)
        if "audiogram" not in change:
            assert not (other[1] == heard).all()
    worse = render_row(dataclasses.replace(row, audiogram=(70.0,) * 8), small)
    assert level(worse[1]) > level(heard) + 5


TALK = "babble(snr=0,talkers=5,room=0.5)"


def test_people_talk_with_the_voices_of_the_rows_split(small: Corpus, rows: list[Row]) -> None:
    row = dataclasses.replace(rows[0], start=1.0, variation="", chain=TALK, aid="none")
    clean, heard, rate = render_row(row, small)
    voices = {split: small.voices(split) for split in ("train", "valid", "test")}
    for split, speech in voices.items():
        expected = degrade(clean, rate, TALK, row.seed, speech=speech).astype(np.float32)
        assert (render_row(dataclasses.replace(row, split=split), small)[1] == expected).all()
        assert (render_presented(row, clean, rate, speech) == expected).all()
        assert (expected == heard).all() == (split == "train")
    added = heard - clean * (np.dot(heard, clean) / np.dot(clean, clean))
    assert level(added) == pytest.approx(level(clean) - 3, abs=2)  # both are as loud, then the sum is brought to level


def test_without_voices_nobody_talks(small: Corpus, rows: list[Row]) -> None:
    row = dataclasses.replace(rows[0], chain=TALK)
    clean, rate = render_reference(row, small)
    with pytest.raises(OptionError, match="babble needs the voices of a speech bank and got none"):
        render_presented(row, clean, rate)


@pytest.mark.parametrize("chain", ["dc(offset=5)", "rumble(snr=-10)", "dc(offset=-5)|rumble(snr=-10)"])
def test_music_keeps_its_level_under_what_is_not_heard(chain: str, small: Corpus, rows: list[Row]) -> None:
    row = dataclasses.replace(rows[0], start=1.0, variation="", chain=chain, aid="none", level=65.0)
    clean, heard, rate = render_row(row, small)
    assert level(clean) == pytest.approx(65, abs=1e-9)
    assert level(heard) > 74
    audible = signal.butter(8, 150, "high", fs=rate, output="sos")
    music, rest = (signal.sosfiltfilt(audible, x)[rate // 10 : -rate // 10] for x in (clean, heard - clean))
    assert level(rest) < level(music) - 50


def test_another_speed_reads_more_of_the_clip(small: Corpus, rows: list[Row]) -> None:
    row = dataclasses.replace(rows[0], start=1.0, duration=4.0)
    for ratio in ("0.8", "0.873", "1.11", "1.25"):
        clean, rate = render_reference(dataclasses.replace(row, variation=f"speed(ratio={ratio})"), small)
        assert clean.shape == (4 * rate,)
        plain, _ = render_reference(dataclasses.replace(row, variation="", duration=4.0 * float(ratio)), small)
        envelope, stretched = (np.array([np.std(p) for p in np.array_split(x, 80)]) for x in (clean, plain))
        assert np.corrcoef(envelope, stretched)[0, 1] > 0.99


def test_the_end_of_a_clip_may_be_short(small: Corpus) -> None:
    row = plan_rows(small.of("train"), "valid", 0, 1, 10.0)[0]
    clean, heard, _ = render_row(row, small)
    assert len(clean) == len(heard) == 239_990


def test_silence_cannot_be_presented(small: Corpus) -> None:
    row = plan_rows(small.of("test"), "test", 0, 1, 2.0)[0]
    with pytest.raises(CorpusError, match=r"silent\.flac is silent from .* s on for 2 s"):
        render_row(row, small)


@pytest.mark.parametrize("change", [{"aid": "loud"}, {"chain": "loud(db=3)"}, {"variation": "noise(snr=3)"}])
def test_rows_of_other_words_are_refused(change: dict[str, str], small: Corpus, rows: list[Row]) -> None:
    with pytest.raises(OptionError):
        render_row(dataclasses.replace(rows[0], **change), small)  # type: ignore[arg-type]


def test_a_missing_clip_is_named(small: Corpus, rows: list[Row]) -> None:
    with pytest.raises(CorpusError, match=r"absent\.ogg does not exist"):
        render_row(dataclasses.replace(rows[0], clip="absent.ogg"), small)
