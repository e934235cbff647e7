"""Bands and drums: MMA's styles and chords, Hydrogen's patterns and kits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.rendering import accompaniment
from haaqi_edge.training.corpus.rendering.accompaniment import (
    Chord,
    Style,
    find_kits,
    find_styles,
    pattern_score,
    percussion_note,
    play_kit,
    read_kit,
)
from haaqi_edge.training.corpus.rendering.scores import Note, Part, Score

RATE = 24_000
MMA = Path("/usr/share/mma")
needs_mma = pytest.mark.skipif(
    shutil.which("mma") is None or not (MMA / "lib").is_dir(), reason="MMA is not installed (apt-get install mma)"
)

NAMES = ("Kick", "Snare", "Closed HH", "Open HH")


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit of four drums at 48 kHz, each a tone of its own of 0.2 s; cymbals last 1 s and cut each other off."""
    folder = tmp_path / "drumkits" / "TR808EmulationKit"
    folder.mkdir(parents=True)
    entries = []
    for number, name in enumerate(NAMES):
        seconds = 1.0 if "HH" in name else 0.2
        t = np.arange(round(48_000 * seconds)) / 48_000
        soundfile.write(folder / f"{number}.wav", 0.5 * np.sin(2 * np.pi * 500 * (number + 1) * t), 48_000)
        group = 0 if "HH" in name else -1
        layer = (
            f"<layer><filename>{number}.wav</filename><min>0</min><max>1</max><gain>1</gain><pitch>0</pitch></layer>"
        )
        entries.append(
            f"<instrument><id>{number}</id><name>{name}</name><volume>1</volume><muteGroup>{group}</muteGroup>{layer}</instrument>"
        )
    listed = f"<instrumentList>{''.join(entries)}</instrumentList>"
    space = 'xmlns="http://www.hydrogen-music.org/drumkit"'
    (folder / "drumkit.xml").write_text(f"<drumkit_info {space}><name>808</name>{listed}</drumkit_info>")
    return folder


def song(notes: list[tuple[int, int, float]], form: str = "<noteList>{}</noteList>") -> str:
    drums = "".join(f"<instrument><id>{i}</id><name>{name}</name></instrument>" for i, name in enumerate(NAMES))
    hits = "".join(
        f"<note><position>{p}</position><velocity>{v}</velocity><instrument>{i}</instrument></note>"
        for p, i, v in notes
    )
    pattern = f"<pattern><size>192</size>{form.format(hits)}</pattern>"
    return f"<song><bpm>120</bpm><instrumentList>{drums}</instrumentList><patternList>{pattern}</patternList></song>"


@pytest.mark.parametrize(
    ("name", "pitch"),
    [
        ("Kick Long", 36),
        ("c3 - bass drum 1", 36),
        ("Snare Rimshot", 37),
        ("Hand Clap", 39),
        ("Hat Semi-Open", 46),
        ("Pedal HH", 44),
        ("VariBreaks Hat 1 Op", 46),
        ("Sabian Hat Choke", 42),
        ("Floor Tom", 41),
        ("Tom Mid (Tama Superstar 13)", 45),
        ("Ride (Custom, Zagrebin 22)", 51),
        ("Bell", 53),
        ("Cowbell", 56),
        ("Tambourine Pedal", 54),
        ("Whistle", None),
    ],
)
def test_drums_are_known_by_their_names(name: str, pitch: int | None) -> None:
    assert percussion_note(name) == pitch


def test_patterns_are_repeated_at_the_songs_tempo(tmp_path: Path) -> None:
    path = tmp_path / "a.h2song"
    for form in (
        "<noteList>{}</noteList>",
        "<sequenceList><sequence><noteList>{}</noteList></sequence></sequenceList>",
    ):
        path.write_text(song([(0, 0, 0.8), (48, 1, 0.4), (96, 2, 1.0)], form))
        score = pattern_score(path, 3, 20.0)
        assert [note.pitch for note in score.notes[:6]] == [36, 38, 42] * 2
        assert score.notes[1].velocity == pytest.approx(score.notes[0].velocity / 2, abs=1)
        bar = 4 * 60 / score.tempo
        assert score.notes[3].start == pytest.approx(bar)
        assert score.notes[1].start == pytest.approx(bar / 4)
        assert 20 - bar <= score.notes[-1].start < 20 + bar
        assert 0.75 * 120 <= score.tempo <= 1.35 * 120


def test_songs_without_notes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h2song"
    path.write_text(song([]))
    with pytest.raises(CorpusError, match="no patterns with notes"):
        pattern_score(path, 0, 10.0)
    path.write_text("<song>")
    with pytest.raises(CorpusError, match="not a Hydrogen song"):
        pattern_score(path, 0, 10.0)


def test_a_kit_plays_its_recordings_when_the_score_says(kit: Path) -> None:
    assert find_kits(kit.parent.parent) == {"TR808EmulationKit": kit}
    score = Score((Part("drums", drums=True),), (Note(0, 0.5, 0.6, 36, 100), Note(0, 1.5, 1.6, 38, 100)))
    out = play_kit(read_kit(kit), score, 3.0, RATE, np.random.default_rng(0))
    assert len(out) == 3 * RATE
    loud = np.flatnonzero(np.abs(out) > 0.01) / RATE
    assert loud[0] == pytest.approx(0.5, abs=0.01)
    assert not np.any((loud > 0.75) & (loud < 1.49))
    for start, hz in ((0.5, 500), (1.5, 1000)):
        part = out[round(start * RATE) : round((start + 0.18) * RATE)]
        heard = np.fft.rfftfreq(len(part), 1 / RATE)[np.argmax(np.abs(np.fft.rfft(part)))]
        assert abs(np.log2(heard / hz)) < 0.2  # kits are tuned by up to 1.5 semitones


def test_cymbals_of_a_group_cut_each_other_off(kit: Path) -> None:
    part = (Part("drums", drums=True),)
    alone = Score(part, (Note(0, 0.0, 0.1, 46, 100),))
    choked = Score(part, (Note(0, 0.0, 0.1, 46, 100), Note(0, 0.3, 0.4, 42, 1)))
    out, cut = (play_kit(read_kit(kit), s, 1.0, RATE, np.random.default_rng(1)) for s in (alone, choked))
    late = slice(round(0.4 * RATE), round(0.8 * RATE))
    assert np.abs(out[late]).max() > 0.1
    assert np.abs(cut[late]).max() < 0.05


def test_louder_notes_choose_louder_layers(kit: Path) -> None:
    layers = ""
    for number, (low, high) in enumerate(((0.0, 0.5), (0.5, 1.0))):
        soundfile.write(kit / f"layer{number}.wav", np.full(4800, 0.2 + 0.6 * number), 48_000)
        layers += f"<layer><filename>layer{number}.wav</filename><min>{low}</min><max>{high}</max></layer>"
    entry = f"<instrument><name>Kick</name>{layers}</instrument>"
    (kit / "drumkit.xml").write_text(f"<drumkit_info><instrumentList>{entry}</instrumentList></drumkit_info>")
    heard = []
    for velocity in (60, 70):
        score = Score((Part("drums", drums=True),), (Note(0, 0.0, 0.1, 36, velocity),))
        out = play_kit(read_kit(kit), score, 0.2, RATE, np.random.default_rng(0))
        heard.append(float(np.median(np.abs(out[200:1000]))))
    assert heard[1] / heard[0] == pytest.approx(4 * 70 / 60, rel=0.05)


def test_kits_that_cannot_be_used_are_refused(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "drumkits" / "unknown").mkdir()
    (tmp_path / "drumkits" / "unknown" / "drumkit.xml").write_text("<drumkit_info/>")
    assert list(find_kits(tmp_path)) == ["TR808EmulationKit"]
    with pytest.raises(CorpusError, match="has no recordings"):
        read_kit(tmp_path / "drumkits" / "unknown")
    (kit / "0.wav").write_text("no audio")
    score = Score((Part("drums", drums=True),), (Note(0, 0.0, 0.1, 36, 100),))
    with pytest.raises(CorpusError, match=r"cannot read .*0\.wav"):
        play_kit(read_kit(kit), score, 1.0, RATE, np.random.default_rng(0))
    (kit / "drumkit.xml").write_text("<drumkit")
    with pytest.raises(CorpusError, match="not a Hydrogen drum kit"):
        read_kit(kit)


def test_chords_are_mmas() -> None:
    assert Chord(10, "m7b5").name == "Bbm7b5"
    assert Chord(0, "M7").tones == (0, 4, 7)
    assert Chord(9, "m7").tones == (9, 0, 4)
    kinds = set()
    for seed in range(60):
        chords = accompaniment.draw_progression(np.random.default_rng(seed))
        assert 4 <= len(chords) <= 36
        kinds |= {chord.kind for chord in chords}
    assert (
        {"", "m", "7", "m7", "M7", "m7b5"} <= kinds <= {"", "m", "6", "7", "9", "M7", "m6", "m7", "m9", "m7b5", "dim7"}
    )


def test_styles_are_listed_without_endings_and_metronomes(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "stdlib"
    library.mkdir(parents=True)
    (library / "swing.mma").write_text("Begin Drum-Kick\nEnd\nDefGroove Swing1 A style\nDefGroove SwingEnd\n")
    (library / "choral.mma").write_text("  DefGroove Choral\n")
    (library / "metronome.mma").write_text("Drum Tone Kick\nDefGroove Metro\n")
    assert find_styles(tmp_path) == [Style("stdlib/choral", "Choral", False), Style("stdlib/swing", "Swing1", True)]
    with pytest.raises(CorpusError, match="give MMA's share folder"):
        find_styles(tmp_path / "lib")


def test_without_mma_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="apt-get install mma"):
        accompaniment.accompany("stdlib/swing:Swing1", tmp_path / "share" / "mma", 0, 10.0, tmp_path)


@needs_mma
def test_a_band_plays_in_the_style(tmp_path: Path) -> None:
    found = {style.name: style for style in find_styles(MMA)}
    assert len(found) > 500
    assert found["stdlib/swing:Swing1"].drums
    first, again, other = (
        accompaniment.accompany("stdlib/swing:Swing1", MMA, seed, 20.0, tmp_path) for seed in (5, 5, 6)
    )
    assert first == again
    assert first.notes != other.notes
    assert first.seconds > 20
    drums = accompaniment.keep_drums(first)
    assert 0 < len(drums.notes) < len(first.notes)
    assert all(first.parts[note.part].drums for note in drums.notes)


@needs_mma
def test_unknown_styles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="MMA, style stdlib/nothing:Nothing failed"):
        accompaniment.accompany("stdlib/nothing:Nothing", MMA, 0, 10.0, tmp_path)
