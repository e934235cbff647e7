"""Scores: notes, times, ties and dynamics of MusicXML; MIDI files written and read; what is wrong with a file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.rendering.scores import (
    DRUM_CHANNEL,
    Note,
    Part,
    Track,
    read_midi,
    read_score,
    write_midi,
)
from hypothesis import given, settings
from hypothesis import strategies as st

HEAD = '<score-partwise version="4.0"><part-list>{list}</part-list>'
PART = '<score-part id="{id}"><part-name>{name}</part-name></score-part>'
START = "<attributes><divisions>{divisions}</divisions></attributes>"


def note(pitch: str, duration: int, *extra: str) -> str:
    step, alter, octave = pitch[0], pitch.count("#") - pitch.count("b"), pitch[-1]
    inner = f"<step>{step}</step><alter>{alter}</alter><octave>{octave}</octave>"
    before = [text for text in extra if text.startswith(("<chord", "<cue", "<grace"))]
    after = [text for text in extra if text not in before]
    return f"<note>{''.join(before)}<pitch>{inner}</pitch><duration>{duration}</duration>{''.join(after)}</note>"


def rest(duration: int) -> str:
    return f"<note><rest/><duration>{duration}</duration></note>"


def score(**parts: list[str]) -> str:
    """A document of parts by name, each a list of bars; a quarter note has 4 divisions."""
    entries = "".join(PART.format(id=f"P{n}", name=name) for n, name in enumerate(parts))
    bodies = []
    for n, bars in enumerate(parts.values()):
        text = "".join(
            f'<measure number="{i}">{START.format(divisions=4) if not i else ""}{bar}</measure>'
            for i, bar in enumerate(bars)
        )
        bodies.append(f'<part id="P{n}">{text}</part>')
    return HEAD.format(list=entries) + "".join(bodies) + "</score-partwise>"


TEMPO = '<direction><sound tempo="{}"/></direction>'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "score.xml"


def times(found: tuple[Note, ...]) -> list[tuple[float, float, int]]:
    return [(round(n.start, 6), round(n.end, 6), n.pitch) for n in found]


def test_notes_chords_rests_and_voices_are_where_they_are_written(path: Path) -> None:
    bar = note("C4", 4) + note("E4", 4, "<chord/>") + rest(4) + note("F#4", 8)
    second = "<backup><duration>16</duration></backup><forward><duration>4</duration></forward>" + note("Bb2", 12)
    path.write_text(score(piano=[TEMPO.format(120) + bar + second, note("C5", 16)]))
    read = read_score(path)
    assert times(read.notes) == [(0, 0.5, 60), (0, 0.5, 64), (0.5, 2.0, 46), (1.0, 2.0, 66), (2.0, 4.0, 72)]
    assert read.parts == (Part("piano"),)
    assert read.bars == (0.0, 2.0, 4.0)
    assert read.tempo == 120
    assert read.seconds == 4.0


def test_tempo_changes_where_it_is_marked(path: Path) -> None:
    metronome = (
        "<direction><direction-type><metronome><beat-unit>half</beat-unit><per-minute>30</per-minute></metronome>"
        "</direction-type></direction>"
    )
    path.write_text(score(a=[TEMPO.format(60) + note("C4", 8) + metronome + note("D4", 4), note("E4", 4)]))
    assert times(read_score(path).notes) == [(0, 2, 60), (2, 3, 62), (3, 4, 64)]
    path.write_text(score(a=[TEMPO.format(60) + note("C4", 8) + TEMPO.format(120) + note("D4", 4), note("E4", 4)]))
    assert times(read_score(path).notes) == [(0, 2, 60), (2, 2.5, 62), (2.5, 3, 64)]


def test_ties_join_notes_across_bars(path: Path) -> None:
    start, stop = '<tie type="start"/>', '<tie type="stop"/>'
    bars = [TEMPO.format(60) + note("C4", 4, start), note("C4", 4, stop + start), note("C4", 4, stop) + note("C4", 4)]
    path.write_text(score(a=bars))
    assert times(read_score(path).notes) == [(0, 3, 60), (3, 4, 60)]


def test_a_tie_without_an_end_keeps_its_note(path: Path) -> None:
    path.write_text(score(a=[TEMPO.format(60) + note("C4", 4, '<tie type="start"/>') + rest(4) + note("C4", 4)]))
    assert times(read_score(path).notes) == [(0, 1, 60), (2, 3, 60)]


def test_parts_stay_together_where_a_bar_is_incomplete(path: Path) -> None:
    path.write_text(score(voice=[TEMPO.format(60) + note("C5", 4), note("D5", 16)], piano=[note("C3", 16)] * 2))
    assert times(read_score(path).notes) == [(0, 1, 72), (0, 4, 48), (4, 8, 74), (4, 8, 48)]


def test_dynamics_and_articulation_are_heard(path: Path) -> None:
    soft, loud = (f"<direction><direction-type><dynamics><{m}/></dynamics></direction-type></direction>" for m in "pf")
    mark = "<notations><articulations><{}/></articulations></notations>"
    bar = soft + note("C4", 4) + loud + note("D4", 4) + note("E4", 4, mark.format("accent"))
    path.write_text(score(a=[TEMPO.format(60) + bar + note("F4", 4, mark.format("staccato"))]))
    first, second, third, fourth = read_score(path).notes
    assert first.velocity < second.velocity < third.velocity
    assert fourth.end - fourth.start == pytest.approx(0.5)


def test_transposing_instruments_sound_as_they_do(path: Path) -> None:
    shift = "<attributes><transpose><chromatic>-2</chromatic><octave-change>-1</octave-change></transpose></attributes>"
    path.write_text(score(clarinet=[shift + note("D4", 4)]))
    assert read_score(path).notes[0].pitch == 48


def test_cue_and_unpitched_notes_are_left_out(path: Path) -> None:
    drum = "<note><unpitched/><duration>4</duration></note>"
    path.write_text(score(a=[TEMPO.format(60) + drum + note("C4", 4, "<cue/>") + note("D4", 4)]))
    assert times(read_score(path).notes) == [(2, 3, 62)]


def test_compressed_scores_are_found_by_their_container(tmp_path: Path) -> None:
    archive = tmp_path / "score.mxl"
    container = '<container><rootfiles><rootfile full-path="a/b.xml"/></rootfiles></container>'
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("META-INF/container.xml", container)
        file.writestr("0.xml", score(wrong=[note("C4", 4)]))
        file.writestr("a/b.xml", score(right=[note("C4", 4)]))
    assert read_score(archive).parts[0].name == "right"


def test_files_that_are_no_scores_are_refused(tmp_path: Path) -> None:
    cases = {
        "a.xml": (b"<score-partwise><part", "not well-formed XML"),
        "b.xml": (b"<html/>", "expected MusicXML's score-partwise"),
        "c.xml": (score(a=[rest(16)]).encode(), "has no notes"),
        "d.mxl": (b"PK but no archive", "not a compressed MusicXML file"),
        "e.mid": (b"RIFF....", "not a Standard MIDI file"),
        "f.pdf": (b"%PDF", r"'\.pdf' cannot be read"),
        "g.xml": (score(a=[note("H4", 4)]).encode(), "bar 1: a note of the step 'H'"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorpusError, match=words):
            read_score(tmp_path / name)
    with pytest.raises(CorpusError, match="no score at"):
        read_score(tmp_path / "absent.mxl")


notes_of_a_track = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 40), st.integers(0, 127), st.integers(1, 127)),
    min_size=1,
    max_size=40,
    unique_by=lambda note: (note[0] // 50, note[2]),  # a pitch does not sound twice at once
)


@given(notes_of_a_track, notes_of_a_track)
@settings(max_examples=40, deadline=None)
def test_midi_files_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    tune: list[tuple[int, int, int, int]],
    drums: list[tuple[int, int, int, int]],
) -> None:
    path = tmp_path_factory.mktemp("midi") / "a.mid"
    written = [
        [
            Note(part, at / 50, (at // 50 * 50 + 49) / 50 if length > 45 else (at + 0.5) / 50, pitch, velocity)
            for at, length, pitch, velocity in notes
        ]
        for part, notes in enumerate((tune, drums))
    ]
    tracks = [Track(3, 40, written[0], [(0.0, 7, 100)]), Track(DRUM_CHANNEL, 8, written[1])]
    write_midi(path, tracks, 20.0)
    read = read_midi(path)
    for part in range(2):
        index = next(i for i, entry in enumerate(read.parts) if entry.drums == bool(part))
        assert read.parts[index].program == (40, 8)[part]
        back = sorted((round(n.start, 3), round(n.end, 3), n.pitch, n.velocity) for n in read.notes if n.part == index)
        assert back == sorted((round(n.start, 3), round(n.end, 3), n.pitch, n.velocity) for n in written[part])


def test_midi_ends_when_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    write_midi(path, [Track(0, 0, [Note(0, 0.0, 9.0, 60, 80), Note(0, 2.5, 3.0, 62, 80)])], 2.0)
    assert times(read_midi(path).notes) == [(0.0, 2.0, 60)]


def test_truncated_midi_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    write_midi(path, [Track(0, 0, [Note(0, 0.0, 1.0, 60, 80)])], 2.0)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorpusError, match="Standard MIDI file"):
            read_midi(path)


def test_running_status_and_tempo_changes_of_other_programs(tmp_path: Path) -> None:
    # Two notes under one status byte, the second's end as a note of velocity 0; 60 beats per minute after one beat.
    events = b"\x00\xff\x51\x03\x07\xa1\x20" + b"\x00\xc2\x18" + b"\x00\x92\x3c\x50" + b"\x60\x3c\x00"
    events += b"\x00\xff\x51\x03\x0f\x42\x40" + b"\x00\x92\x3e\x50" + b"\x60\x3e\x00" + b"\x00\xff\x2f\x00"
    header = b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x60"
    (tmp_path / "a.mid").write_bytes(header + b"MTrk" + len(events).to_bytes(4, "big") + events)
    read = read_score(tmp_path / "a.mid")
    assert times(read.notes) == [(0.0, 0.5, 60), (0.5, 1.5, 62)]
    assert read.parts == (Part("channel 2", 1, 24),)


@pytest.mark.slow
def test_songs_of_the_shared_collection(shared: Path) -> None:
    folder = shared / "corpus" / "lieder"
    songs = sorted(folder.glob("*.mxl"))[::150]
    assert songs, f"no songs in {folder}"
    for song in songs:
        read = read_score(song)
        assert any(part.staves == 2 for part in read.parts), song.name
        assert len(read.notes) > 50
        assert read.seconds > 10
        assert all(note.end > note.start >= 0 for note in read.notes)
