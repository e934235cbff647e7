"""Rendered music: the plan of pieces and its splits, the sound of a piece, and what may go wrong with the programs."""

from __future__ import annotations

import csv
import io
import shutil
import time
import zipfile
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.rendering import pieces as rendering
from haaqi_edge.training.corpus.rendering.arrangements import ENSEMBLES, INSTRUMENTS, arrange, extract_skyline, humanize
from haaqi_edge.training.corpus.rendering.pieces import (
    FONTS,
    RATE,
    SHARES,
    TEST_COMPOSERS,
    VALID_COMPOSERS,
    Piece,
    add_room,
    plan_pieces,
    render_piece,
    split_of,
)
from haaqi_edge.training.corpus.rendering.programs import run_limited
from haaqi_edge.training.corpus.rendering.scores import Note, Part, Score

FLUIDSYNTH = shutil.which("fluidsynth")
needs_fluidsynth = pytest.mark.skipif(FLUIDSYNTH is None, reason="FluidSynth is not installed")
COMPOSERS = ("Brahms, Johannes", "Wolf, Hugo", "Kinkel, Johanna", "Schubert, Franz")


def song(bars: int = 16, tempo: int = 100) -> str:
    """A song in MusicXML: a voice in quarter notes, a piano of two staves in chords."""

    def note(step: str, octave: int, beats: int, chord: bool = False) -> str:
        begin = "<chord/>" if chord else ""
        pitch = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
        return f"<note>{begin}{pitch}<duration>{beats}</duration></note>"

    voice, piano = [], []
    for bar in range(bars):
        voice.append("".join(note("CDEFGAB"[(bar + beat) % 7], 5, 1) for beat in range(4)))
        piano.append(note("CFG"[bar % 3], 3, 4) + note("E", 4, 4, True) + note("G", 4, 4, True))
    parts = "".join(
        f'<score-part id="{key}"><part-name>{name}</part-name></score-part>'
        for key, name in (("A", "Voice"), ("B", "Piano"))
    )
    heads = (
        "<attributes><divisions>1</divisions></attributes>",
        "<attributes><divisions>1</divisions><staves>2</staves></attributes>",
    )
    bodies = ""
    for key, head, measures in zip("AB", heads, (voice, piano), strict=True):
        first = f'{head}<direction><sound tempo="{tempo}"/></direction>'
        text = "".join(f"<measure>{first if not n else ''}{measure}</measure>" for n, measure in enumerate(measures))
        bodies += f'<part id="{key}">{text}</part>'
    return f"<score-partwise><part-list>{parts}</part-list>{bodies}</score-partwise>"


@pytest.fixture(scope="module")
def lieder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compressed songs of four composers, two each."""
    folder = tmp_path_factory.mktemp("lieder")
    for composer in COMPOSERS:
        for title in ("One", "Two"):
            with zipfile.ZipFile(folder / f"{composer.replace(' ', '_')}_____{title}__lc1.mxl", "w") as file:
                file.writestr("score.xml", song())
    return folder


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from sound_fonts import write_sound_font

    font = write_sound_font(tmp_path_factory.mktemp("fonts") / "sine.sf2")
    return {"fluid": font, "musescore": font}


def piece(lieder: Path, ensemble: str = "violin", seed: int = 1) -> Piece:
    (found,) = plan_pieces({"lieder": lieder}, {"train": 1})
    return replace(found, ensemble=ensemble, seed=seed)


def stand_in(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a shell script in the place of FluidSynth."""
    (folder / "bin").mkdir()
    path = folder / "bin" / "fluidsynth"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")


# The plan


def test_the_plan_has_what_was_asked_for_and_is_the_same_again(lieder: Path) -> None:
    counts = {"train": 200, "valid": 20, "test": 30}
    pieces = plan_pieces({"lieder": lieder}, counts, seed=4)
    assert Counter(piece.split for piece in pieces) == counts
    assert plan_pieces({"lieder": lieder}, counts, seed=4) == pieces
    assert plan_pieces({"lieder": lieder}, counts, seed=5) != pieces
    assert len({piece.name for piece in pieces}) == len(pieces)
    assert len({piece.seed for piece in pieces}) == len(pieces)
    assert all(piece.licence == "CC0-1.0" for piece in pieces)
    assert all(set(piece.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for piece in pieces)


def test_splits_share_no_composer_and_the_test_has_a_font_of_its_own(lieder: Path) -> None:
    pieces = plan_pieces({"lieder": lieder}, {"train": 100, "valid": 30, "test": 30})
    composers = {split: {p.composer for p in pieces if p.split == split} for split in ("train", "valid", "test")}
    assert composers == {
        "train": {"Kinkel, Johanna", "Schubert, Franz"},
        "valid": {"Wolf, Hugo"},
        "test": {"Brahms, Johannes"},
    }
    assert not TEST_COMPOSERS & VALID_COMPOSERS
    assert {(p.split, p.font) for p in pieces} == set(FONTS.items())
    assert FONTS["test"] not in {FONTS["train"], FONTS["valid"]}
    assert split_of("someone else") == "train"


def test_families_and_scores_are_used_evenly(lieder: Path) -> None:
    pieces = plan_pieces({"lieder": lieder}, {"train": 400})
    scored = {family: share for family, share in SHARES.items() if family not in {"band", "drums"}}
    for family, share in scored.items():
        count = sum(piece.genre == f"rendered {family}" for piece in pieces)
        assert count == pytest.approx(400 * share / sum(scored.values()), abs=1)
    used = Counter(piece.score for piece in pieces)
    assert len(used) == 4
    assert max(used.values()) - min(used.values()) <= 1
    assert {piece.ensemble for piece in pieces} == set(ENSEMBLES)


def test_a_piece_goes_through_a_table_of_text(lieder: Path) -> None:
    (first, *_) = plan_pieces({"lieder": lieder}, {"train": 3})
    table = io.StringIO()
    writer = csv.DictWriter(table, list(asdict(first)))
    writer.writeheader()
    writer.writerow(asdict(first))
    (row,) = csv.DictReader(io.StringIO(table.getvalue()))
    assert Piece(**{**row, "seed": int(row["seed"])}) == first  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rights", "free"),
    [
        ("<rights>OpenScore (CC0)</rights>", True),
        ("<rights>© 2014, Creative Commons License (CC-BY)</rights>", True),
        ("", True),
        ("<encoder>used by permission</encoder>", False),
        ("<rights>Copyright 2003 UT ORPHEUS EDIZIONI</rights>", False),
        ("<rights>CC BY-NC 4.0</rights>", False),
        ("<rights>Creative Commons, non-commercial</rights>", False),
        ("<rights>CC BY-ND 4.0</rights>", False),
        ("<rights>All Rights Reserved</rights>", False),
    ],
)
def test_scores_that_are_not_free_are_left_out(tmp_path: Path, rights: str, free: bool) -> None:
    (tmp_path / "bach").mkdir()
    for name, text in (("other.xml", ""), ("this.xml", rights)):
        (tmp_path / "bach" / name).write_text(song().replace("<part-list>", f"{text}<part-list>"))
    pieces = plan_pieces({"music21": tmp_path}, {"train": 40})
    assert {piece.score for piece in pieces} == ({"bach/other.xml", "bach/this.xml"} if free else {"bach/other.xml"})


def test_missing_collections_are_named(tmp_path: Path, lieder: Path) -> None:
    with pytest.raises(CorpusError, match=r"no \.mxl files in .* leave out lieder"):
        plan_pieces({"lieder": tmp_path}, {"train": 1})
    with pytest.raises(CorpusError, match=r"no scores in .* leave out the collection music21"):
        plan_pieces({"music21": tmp_path}, {"train": 1})
    with pytest.raises(CorpusError, match="unknown collections"):
        plan_pieces({"songs": lieder}, {"train": 1})
    with pytest.raises(CorpusError, match="no scores, styles or drum kits for train"):
        plan_pieces({}, {"train": 1})
    with pytest.raises(CorpusError, match="give its folder"):
        render_piece(piece(lieder), {}, {}, None, tmp_path)


# Arrangements


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_every_ensemble_plays_within_its_range(lieder: Path, ensemble: str) -> None:
    score = rendering.read_score(next(iter(sorted(lieder.iterdir()))))
    voices = arrange(score, ensemble, np.random.default_rng(2))
    assert 1 <= len(voices) <= len(ENSEMBLES[ensemble].instruments)
    for voice in humanize(voices, np.random.default_rng(3)):
        instrument = INSTRUMENTS[voice.instrument]
        assert len(voice.notes) >= 10
        assert all(instrument.low <= note.pitch <= instrument.high for note in voice.notes)
        assert all(0 <= note.start < note.end and 1 <= note.velocity <= 127 for note in voice.notes)


def test_players_are_close_to_the_beat_but_not_on_it(lieder: Path) -> None:
    score = rendering.read_score(next(iter(sorted(lieder.iterdir()))))
    voices = arrange(score, "solo piano with the melody", np.random.default_rng(0))
    played = humanize(voices, np.random.default_rng(1))
    exact, human = (np.sort([note.start for note in group[0].notes]) for group in (voices, played))
    assert len(np.unique(exact)) < len(np.unique(human))
    assert 0.001 < np.std(human - exact) < 0.15
    assert len({note.velocity for note in played[0].notes}) > 5


def test_a_skyline_is_one_note_at_a_time() -> None:
    chords = [Note(0, 0.0, 2.0, 60, 70), Note(0, 0.0, 2.0, 67, 70), Note(0, 1.0, 2.0, 64, 70)]
    assert [(note.start, note.end, note.pitch) for note in extract_skyline(chords)] == [(0.0, 1.0, 67), (1.0, 2.0, 64)]


def test_parts_for_practice_are_not_played() -> None:
    parts = (Part("Soprano"), Part("Piano (for practice only)", 2))
    notes = tuple(Note(part, beat * 0.5, beat * 0.5 + 0.5, 72 - 24 * part, 80) for beat in range(20) for part in (0, 1))
    (voice,) = arrange(Score(parts, notes), "church organ", np.random.default_rng(0))
    assert len(voice.notes) == 20


def test_unknown_ensembles_are_refused() -> None:
    with pytest.raises(CorpusError, match="'kazoo' is not an ensemble"):
        arrange(Score((Part("a"),), (Note(0, 0, 1, 60, 80),)), "kazoo", np.random.default_rng(0))


# The sound


@needs_fluidsynth
def test_a_piece_sounds_as_it_is_described(lieder: Path, fonts: dict[str, Path], tmp_path: Path) -> None:
    samples, rate = render_piece(piece(lieder), {"lieder": lieder}, fonts, None, tmp_path, seconds=16.0)
    assert rate == RATE
    assert samples.dtype == np.float64
    assert samples.ndim == 1
    assert 15 * RATE <= len(samples) <= 16 * RATE
    assert np.all(np.isfinite(samples))
    assert 0.3 < np.abs(samples).max() <= 0.9
    assert np.abs(samples[: RATE // 20]).max() > 0.01 * np.abs(samples).max()
    again, _ = render_piece(piece(lieder), {"lieder": lieder}, fonts, None, tmp_path, seconds=16.0)
    np.testing.assert_array_equal(samples, again)
    other, _ = render_piece(piece(lieder, seed=2), {"lieder": lieder}, fonts, None, tmp_path, seconds=16.0)
    assert not np.array_equal(samples[: 14 * RATE], other[: 14 * RATE])
    assert not list(tmp_path.iterdir())


@needs_fluidsynth
def test_the_pitches_of_the_score_are_heard(fonts: dict[str, Path], tmp_path: Path) -> None:
    tune = [Note(0, number * 0.5, number * 0.5 + 0.45, 69 + number % 5, 100) for number in range(8)]
    tracks = [rendering.Track(0, 0, tune)]
    samples = rendering._run_synthesizer(tracks, fonts["fluid"], tmp_path, 4.0)
    assert len(samples) == pytest.approx(4 * RATE, abs=2)
    for note in tune:
        part = samples[round((note.start + 0.05) * RATE) : round((note.start + 0.4) * RATE)]
        heard = np.fft.rfftfreq(1 << 16, 1 / RATE)[
            np.argmax(np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16)))
        ]
        assert heard == pytest.approx(441 * 2 ** ((note.pitch - 69) / 12), rel=0.005)


@pytest.mark.slow
def test_a_third_of_the_pieces_get_a_noise_floor(
    lieder: Path, fonts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16 * RATE) / RATE)
    monkeypatch.setattr(rendering, "_run_synthesizer", lambda *_: tone)
    asked: list[int] = []

    def noise(rng: np.random.Generator, samples: int, rate: int) -> rendering.Array:
        asked.append(rate)
        return rng.standard_normal(samples)

    different = 0
    for seed in range(24):
        chosen = piece(lieder, seed=seed)
        before = len(asked)
        noisy, _ = render_piece(chosen, {"lieder": lieder}, fonts, noise, tmp_path, seconds=16.0)
        clean, _ = render_piece(chosen, {"lieder": lieder}, fonts, None, tmp_path, seconds=16.0)
        level = 20 * np.log10(np.std(noisy / np.std(noisy) - clean / np.std(clean)) + 1e-12)
        if len(asked) > before:
            different += 1
            assert -66 < level < -37
        else:
            assert level < -200
    assert 3 <= different <= 14
    assert set(asked) == {RATE}


def test_a_room_adds_a_tail_and_keeps_the_beginning() -> None:
    click = np.zeros(3 * RATE)
    click[1000] = 1.0
    for seed in range(8):
        wet = add_room(click, RATE, np.random.default_rng(seed))
        assert len(wet) == len(click)
        assert np.abs(wet[:1000]).max() < 1e-9
        assert wet[1000] == pytest.approx(1.0)
        energy = float(np.sum(wet[1001:] ** 2))
        assert 10**-1.45 < energy < 10**-0.15
        assert np.sum(wet[1000 + RATE // 2 :] ** 2) < np.sum(wet[1001 : 1001 + RATE // 2] ** 2)


def test_high_tones_die_first_in_a_room() -> None:
    click = np.zeros(2 * RATE)
    click[0] = 1.0
    low, high = 0.0, 0.0
    for seed in range(12):
        tail = add_room(click, RATE, np.random.default_rng(seed))
        late, early = (np.abs(np.fft.rfft(tail[s])) ** 2 for s in (slice(7200, 9600), slice(2400, 4800)))
        hz = np.fft.rfftfreq(2400, 1 / RATE)
        falls = [10 * np.log10(early[band].sum() / late[band].sum()) for band in ((hz > 200) & (hz < 800), hz > 6000)]
        low, high = low + falls[0], high + falls[1]
    assert high > low + 12 * 3


def test_drum_kits_play_patterns(tmp_path: Path) -> None:
    kit = tmp_path / "drumkits" / "VariBreaks"
    kit.mkdir(parents=True)
    hit = np.random.default_rng(0).standard_normal(4_000) * np.exp(-np.arange(4_000) / 800)
    soundfile.write(kit / "a.wav", 0.2 * hit, 44_100)
    layer = "<layer><filename>a.wav</filename><min>0</min><max>1</max></layer>"
    (kit / "drumkit.xml").write_text(f"<drumkit_info><instrument><name>Kick</name>{layer}</instrument></drumkit_info>")
    notes = "<note><position>0</position><velocity>1</velocity><instrument>0</instrument></note>"
    pattern = f"<patternList><pattern><size>48</size><noteList>{notes}</noteList></pattern></patternList>"
    drums = "<instrumentList><instrument><id>0</id><name>Kick</name></instrument></instrumentList>"
    (tmp_path / "a.h2song").write_text(f"<song><bpm>120</bpm>{drums}{pattern}</song>")
    (planned,) = plan_pieces({"hydrogen": tmp_path}, {"train": 1})
    assert planned.font == "VariBreaks"
    assert planned.licence.startswith("GPL-2+ (kit)")
    samples, rate = render_piece(planned, {"hydrogen": tmp_path}, {}, None, tmp_path / "work", seconds=16.0)
    assert len(samples) >= 15 * rate
    assert np.abs(samples).max() <= 0.9
    with pytest.raises(CorpusError, match="no drum kit 'other'"):
        render_piece(replace(planned, font="other"), {"hydrogen": tmp_path}, {}, None, tmp_path, seconds=16.0)


# What goes wrong


def test_missing_programs_fonts_and_scores_say_what_to_install(
    lieder: Path, fonts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = piece(lieder)
    with pytest.raises(CorpusError, match=r"no sound font 'fluid' .* fluid-soundfont-gm"):
        render_piece(chosen, {"lieder": lieder}, {}, None, tmp_path)
    with pytest.raises(CorpusError, match="no score at"):
        render_piece(replace(chosen, score="absent.mxl"), {"lieder": lieder}, fonts, None, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="apt-get install fluidsynth"):
        render_piece(chosen, {"lieder": lieder}, fonts, None, tmp_path)


def test_a_synthesizer_that_fails_is_reported(
    lieder: Path, fonts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "echo 'fluidsynth: error: Failed to load SoundFont'", monkeypatch)
    with pytest.raises(CorpusError, match="Failed to load SoundFont"):
        render_piece(piece(lieder), {"lieder": lieder}, fonts, None, tmp_path)


@needs_fluidsynth
def test_a_broken_sound_font_is_reported(lieder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.sf2").write_text("no font")
    with pytest.raises(CorpusError, match=r"FluidSynth failed with the sound font .*bad\.sf2"):
        render_piece(piece(lieder), {"lieder": lieder}, {"fluid": tmp_path / "bad.sf2"}, None, tmp_path)


def test_silence_and_short_pieces_are_refused() -> None:
    with pytest.raises(CorpusError, match="x is silent"):
        rendering._trim(np.zeros(20 * RATE), "x")
    with pytest.raises(CorpusError, match=r"x lasts 5\.\d s, less than 15"):
        rendering._trim(np.sin(np.arange(5 * RATE) * 0.1), "x")


@pytest.mark.slow
def test_programs_that_hang_or_write_without_end_are_stopped(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(CorpusError, match=r"it was stopped after 0\.3 s"):
        run_limited(["sleep", "20"], "it", seconds=0.3)
    assert time.monotonic() - begin < 15
    with pytest.raises(CorpusError, match="it was stopped after 1 s of CPU time"):
        run_limited(["sh", "-c", "while :; do :; done"], "it", cpu=1)
    target = tmp_path / "endless"
    with pytest.raises(CorpusError, match="wrote more than 1 MiB"):
        run_limited(["dd", "if=/dev/zero", f"of={target}", "bs=64k"], "dd", size=2**20)
    assert target.stat().st_size <= 2**21
    with pytest.raises(CorpusError, match=r"it failed \(exit status 3\): oh"):
        run_limited(["sh", "-c", "echo oh; exit 3"], "it")
    assert run_limited(["sh", "-c", "echo $COLOUR"], "it", env={"COLOUR": "red"}).strip() == "red"
