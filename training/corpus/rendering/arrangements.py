"""Arrangements of scores for ensembles: which instrument plays which notes, within its range, as people play.

An arrangement is a list of `Voice`s: an instrument and its notes. Scores give exact pitches and beats. An arrangement
adds the small deviations of time and loudness that players have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np

from ....runtime.errors import CorpusError
from .scores import Note, Part, Score

Rng = np.random.Generator


class Instrument(NamedTuple):
    """General MIDI program (0 to 127), lowest and highest MIDI pitch, and whether tones are sustained (bowed, blown,
    sung).
    """

    program: int
    low: int
    high: int
    sustained: bool = False


INSTRUMENTS: Final[dict[str, Instrument]] = {
    "piano": Instrument(0, 21, 108),
    "bright piano": Instrument(1, 21, 108),
    "electric piano": Instrument(4, 28, 103),
    "harpsichord": Instrument(6, 29, 89),
    "celesta": Instrument(8, 60, 108),
    "vibraphone": Instrument(11, 53, 89),
    "marimba": Instrument(12, 45, 96),
    "drawbar organ": Instrument(16, 36, 96, True),
    "church organ": Instrument(19, 36, 96, True),
    "reed organ": Instrument(20, 29, 89, True),
    "accordion": Instrument(21, 41, 93, True),
    "nylon guitar": Instrument(24, 40, 83),
    "steel guitar": Instrument(25, 40, 83),
    "jazz guitar": Instrument(26, 40, 83),
    "clean electric guitar": Instrument(27, 40, 86),
    "overdriven guitar": Instrument(29, 40, 86, True),
    "distorted guitar": Instrument(30, 40, 86, True),
    "bass guitar": Instrument(33, 28, 60),
    "violin": Instrument(40, 55, 100, True),
    "viola": Instrument(41, 48, 88, True),
    "cello": Instrument(42, 36, 79, True),
    "double bass": Instrument(43, 28, 60, True),
    "pizzicato strings": Instrument(45, 36, 96),
    "harp": Instrument(46, 24, 103),
    "strings": Instrument(48, 36, 96, True),
    "slow strings": Instrument(49, 36, 96, True),
    "choir": Instrument(52, 41, 81, True),
    "voice": Instrument(53, 45, 84, True),
    "trumpet": Instrument(56, 54, 86, True),
    "trombone": Instrument(57, 36, 74, True),
    "tuba": Instrument(58, 26, 58, True),
    "muted trumpet": Instrument(59, 54, 84, True),
    "horn": Instrument(60, 38, 77, True),
    "brass section": Instrument(61, 40, 84, True),
    "soprano saxophone": Instrument(64, 56, 88, True),
    "alto saxophone": Instrument(65, 49, 81, True),
    "tenor saxophone": Instrument(66, 44, 76, True),
    "baritone saxophone": Instrument(67, 36, 69, True),
    "oboe": Instrument(68, 58, 91, True),
    "english horn": Instrument(69, 52, 81, True),
    "bassoon": Instrument(70, 34, 75, True),
    "clarinet": Instrument(71, 50, 91, True),
    "piccolo": Instrument(72, 74, 104, True),
    "flute": Instrument(73, 60, 96, True),
    "recorder": Instrument(74, 60, 91, True),
    "pan flute": Instrument(75, 60, 91, True),
}


class Voice(NamedTuple):
    """The part of a player or section: instrument, and notes in order of their start."""

    instrument: str
    notes: list[Note]


class Ensemble(NamedTuple):
    """Family (for summaries), form (the kind of arrangement), and instruments."""

    family: str
    form: str
    instruments: tuple[str, ...]


def _solo(family: str, *instruments: str) -> dict[str, Ensemble]:
    return {name: Ensemble(family, "melody", (name,)) for name in instruments}


def _with_accompaniment(family: str, *instruments: str) -> dict[str, Ensemble]:
    return {f"{name} and piano": Ensemble(family, "accompanied", (name, "piano")) for name in instruments}


ENSEMBLES: Final[dict[str, Ensemble]] = {
    "solo piano": Ensemble("solo piano", "keys", ("piano",)),
    "bright solo piano": Ensemble("solo piano", "keys", ("bright piano",)),
    "solo piano with the melody": Ensemble("solo piano", "all", ("piano",)),
    "electric piano": Ensemble("solo piano", "keys", ("electric piano",)),
    "nylon guitar": Ensemble("guitar", "plucked", ("nylon guitar",)),
    "steel guitar": Ensemble("guitar", "plucked", ("steel guitar",)),
    "jazz guitar": Ensemble("guitar", "plucked", ("jazz guitar",)),
    "clean electric guitar": Ensemble("guitar", "plucked", ("clean electric guitar",)),
    "overdriven guitar and bass": Ensemble("guitar", "lines", ("overdriven guitar", "bass guitar")),
    "distorted guitar": Ensemble("guitar", "melody", ("distorted guitar",)),
    "guitar duo": Ensemble("guitar", "lines", ("nylon guitar", "steel guitar", "bass guitar")),
    **_solo("violin", "violin", "viola"),
    **_with_accompaniment("violin", "violin"),
    "violin duo": Ensemble("violin", "lines", ("violin", "violin")),
    **_solo("cello", "cello", "double bass"),
    **_with_accompaniment("cello", "cello"),
    **_solo("winds", "flute", "clarinet", "oboe", "bassoon", "recorder", "alto saxophone", "tenor saxophone"),
    **_solo("winds", "english horn", "soprano saxophone", "pan flute", "piccolo"),
    **_with_accompaniment("winds", "flute", "clarinet", "oboe", "alto saxophone"),
    "wind quartet": Ensemble("winds", "lines", ("flute", "oboe", "clarinet", "bassoon")),
    "saxophone quartet": Ensemble(
        "winds", "lines", ("soprano saxophone", "alto saxophone", "tenor saxophone", "baritone saxophone")
    ),
    **_solo("brass", "trumpet", "horn", "trombone", "tuba", "muted trumpet"),
    **_with_accompaniment("brass", "trumpet", "horn"),
    "brass quartet": Ensemble("brass", "lines", ("trumpet", "trumpet", "horn", "trombone")),
    "brass section": Ensemble("brass", "all", ("brass section",)),
    "church organ": Ensemble("organ", "all", ("church organ",)),
    "drawbar organ": Ensemble("organ", "all", ("drawbar organ",)),
    "reed organ": Ensemble("organ", "all", ("reed organ",)),
    "accordion": Ensemble("organ", "all", ("accordion",)),
    "voice and piano": Ensemble("voice", "accompanied", ("voice", "piano")),
    "choir": Ensemble("voice", "lines", ("choir",) * 4),
    "voice": Ensemble("voice", "melody", ("voice",)),
    "choir and organ": Ensemble("voice", "accompanied", ("choir", "church organ")),
    "string quartet": Ensemble("string ensemble", "lines", ("violin", "violin", "viola", "cello")),
    "string orchestra": Ensemble(
        "string ensemble", "lines", ("strings", "strings", "strings", "strings", "double bass")
    ),
    "slow strings": Ensemble("string ensemble", "all", ("slow strings",)),
    "pizzicato strings": Ensemble("string ensemble", "lines", ("pizzicato strings",) * 4),
    "harp": Ensemble("harp and mallets", "plucked", ("harp",)),
    "harpsichord": Ensemble("harp and mallets", "keys", ("harpsichord",)),
    "vibraphone": Ensemble("harp and mallets", "plucked", ("vibraphone",)),
    "marimba": Ensemble("harp and mallets", "plucked", ("marimba",)),
    "celesta": Ensemble("harp and mallets", "plucked", ("celesta",)),
    "flute and harp": Ensemble("harp and mallets", "accompanied", ("flute", "harp")),
}
"""ensembles that scores are arranged for; bands and drums have their own instruments"""

_LEFT_OUT: Final = re.compile(r"practice|cutaway", re.IGNORECASE)
"""parts that double others or belong to further verses"""
_KEYBOARDS: Final = re.compile(r"piano|klavier|cembalo|harpsichord|organ|orgel|orgue|harp|pfte", re.IGNORECASE)


def arrange(score: Score, ensemble: str, rng: Rng) -> list[Voice]:
    """Distribute a score over an ensemble's instruments.

    Args:
        score: to arrange.
        ensemble: one of `ENSEMBLES`.
        rng: for the transposition and the choice of a soloist's line.

    Returns:
        Voices with at least one note, in the range of their instruments.

    Raises:
        CorpusError: the ensemble is unknown, or the score has no notes for it.
    """
    if ensemble not in ENSEMBLES:
        raise CorpusError(f"{ensemble!r} is not an ensemble: expected one of {', '.join(ENSEMBLES)}")
    form, instruments = ENSEMBLES[ensemble][1:]
    shift = int(rng.integers(-4, 5))
    notes = [note._replace(pitch=min(max(note.pitch + shift, 0), 127)) for note in score.notes]
    lines = _FORMS[form](score.parts, notes, len(instruments), rng)
    voices = [
        Voice(name, fit_to_range(line, INSTRUMENTS[name]))
        for name, line in zip(instruments, lines, strict=False)
        if line
    ]
    if not voices:
        raise CorpusError(f"the score has no notes for {ensemble}: leave the piece out")
    return voices


Lines = list[list[Note]]


def _roles(parts: Sequence[Part], notes: Sequence[Note]) -> tuple[list[Note], list[Note]]:
    """Return the notes of the melody's part and of the accompaniment. If a score has one part, or many similar ones,
    both are all notes.
    """
    heard = {note.part for note in notes if not _LEFT_OUT.search(parts[note.part].name)}
    keys = {index for index in heard if parts[index].staves > 1 or _KEYBOARDS.search(parts[index].name)}
    singers = heard - keys
    kept = [note for note in notes if note.part in heard]
    if not singers or not keys:
        first = min(heard, default=0)
        return [note for note in kept if note.part == first], kept
    counts = {index: sum(note.part == index for note in kept) for index in singers}
    lead = max(counts, key=lambda index: (counts[index] > 0.6 * max(counts.values()), -index))
    return [note for note in kept if note.part == lead], [note for note in kept if note.part in keys]


def _melody(parts: Sequence[Part], notes: Sequence[Note], _count: int, rng: Rng) -> Lines:
    """Return the singer's melody, or in two of five pieces the upper line of the accompaniment, which moves faster."""
    lead, accompaniment = _roles(parts, notes)
    return shorten_rests([extract_skyline(accompaniment if rng.random() < 0.4 else lead)])


def _accompanied_melody(parts: Sequence[Part], notes: Sequence[Note], _count: int, _rng: Rng) -> Lines:
    lead, accompaniment = _roles(parts, notes)
    melody = extract_skyline(lead)
    if {note.part for note in lead} & {note.part for note in accompaniment}:
        taken = set(melody)
        accompaniment = [note for note in accompaniment if note not in taken]
    return [melody, accompaniment]


def _keys(parts: Sequence[Part], notes: Sequence[Note], _count: int, _rng: Rng) -> Lines:
    return shorten_rests([_roles(parts, notes)[1]])


def _plucked_lines(parts: Sequence[Part], notes: Sequence[Note], _count: int, _rng: Rng) -> Lines:
    return shorten_rests([thin_chords(_roles(parts, notes)[1], 4)])


def _all(parts: Sequence[Part], notes: Sequence[Note], _count: int, _rng: Rng) -> Lines:
    return shorten_rests([[note for note in notes if not _LEFT_OUT.search(parts[note.part].name)]])


def _lines(parts: Sequence[Part], notes: Sequence[Note], count: int, _rng: Rng) -> Lines:
    """Return one line per instrument: the parts if there are as many, otherwise chords split from high to low."""
    kept = [note for note in notes if not _LEFT_OUT.search(parts[note.part].name)]
    by_part = [list(group) for _, group in groupby(sorted(kept, key=lambda n: n.part), key=lambda n: n.part)]
    if len(by_part) == count and all(parts[line[0].part].staves == 1 for line in by_part):
        return shorten_rests([extract_skyline(line) for line in by_part])
    lines: Lines = [[] for _ in range(count)]
    for _, group in groupby(kept, key=lambda note: round(note.start, 3)):
        chord = sorted({note.pitch: note for note in group}.values(), key=lambda note: -note.pitch)
        if len(chord) < count:  # a single note goes to the line whose notes are nearest
            for note in chord:
                _nearest(lines, note).append(note)
        else:  # the outer notes to the outer lines
            for index in range(count):
                lines[index].append(chord[round(index * (len(chord) - 1) / max(count - 1, 1))])
    return shorten_rests([extract_skyline(line) for line in lines])


def _nearest(lines: Lines, note: Note) -> list[Note]:
    """Return the line that fits a note best, by the middle of the line and its last pitch."""
    count = len(lines)

    def distance(index: int) -> float:
        line = lines[index]
        middle = 76 - index * (36 / max(count - 1, 1))
        near = abs(line[-1].pitch - note.pitch) if line else 0.0
        busy = 30.0 if line and line[-1].start == note.start else 0.0
        return abs(middle - note.pitch) + 0.7 * near + busy

    return lines[min(range(count), key=distance)]


_FORMS: Final[dict[str, Callable[[Sequence[Part], Sequence[Note], int, Rng], Lines]]] = {
    "melody": _melody,
    "accompanied": _accompanied_melody,
    "keys": _keys,
    "plucked": _plucked_lines,
    "all": _all,
    "lines": _lines,
}


def extract_skyline(notes: Sequence[Note]) -> list[Note]:
    """Return one note at a time: the highest of those that start together. Each ends when the next one starts."""
    line: list[Note] = []
    for _, group in groupby(sorted(notes, key=lambda note: note.start), key=lambda note: round(note.start, 3)):
        top = max(group, key=lambda note: note.pitch)
        if line and line[-1].end > top.start:
            line[-1] = line[-1]._replace(end=top.start)
        line.append(top)
    return [note for note in line if note.end - note.start > 0.02]


def thin_chords(notes: Sequence[Note], most: int) -> list[Note]:
    """Return at most `most` notes of each chord: the outer ones, and inner ones that are not octaves of them."""
    kept: list[Note] = []
    for _, group in groupby(sorted(notes, key=lambda note: note.start), key=lambda note: round(note.start, 3)):
        chord = sorted({note.pitch: note for note in group}.values(), key=lambda note: note.pitch)
        if len(chord) > most:
            outer = [chord[0], chord[-1]]
            classes = {note.pitch % 12 for note in outer}
            inner = sorted(chord[1:-1], key=lambda note: note.pitch % 12 in classes)
            chord = [*outer, *inner[: most - 2]]
        kept += chord
    return kept


def fit_to_range(notes: Sequence[Note], instrument: Instrument) -> list[Note]:
    """Transpose notes by octaves into the range of an instrument: all together as far as possible, then one by one."""
    if not notes:
        return []
    pitches = np.array([note.pitch for note in notes])
    middle = (instrument.low + instrument.high) / 2

    def misfit(octave: int) -> tuple[float, float]:
        moved = pitches + 12 * octave
        out = float(np.mean((moved < instrument.low) | (moved > instrument.high)))
        return round(out, 2), abs(float(np.median(moved)) - middle) if out > 0.02 else abs(octave)

    octave = min(range(-4, 5), key=misfit)
    fitted = []
    for note in notes:
        pitch = note.pitch + 12 * octave
        while pitch < instrument.low:
            pitch += 12
        while pitch > instrument.high:
            pitch -= 12
        fitted.append(note._replace(pitch=pitch))
    return fitted


def shorten_rests(lines: Lines, longest: float = 1.5) -> Lines:
    """Shorten common rests of all lines to `longest` seconds, so that solos have no long gaps."""
    edges = sorted((note.start, note.end) for line in lines for note in line)
    places, cuts, sounding, removed = [0.0], [0.0], 0.0, 0.0
    for start, end in edges:
        if start - sounding > longest:
            removed += start - sounding - longest
            places.append(start)
            cuts.append(removed)
        sounding = max(sounding, end)
    moved = np.array(cuts)
    return [
        [
            note._replace(start=note.start - cut, end=note.end - cut)
            for note in line
            for cut in [float(moved[np.searchsorted(places, note.start, "right") - 1])]
        ]
        for line in lines
    ]


def repeat_voices(voices: Sequence[Voice], seconds: float, most: int = 4) -> list[Voice]:
    """Repeat voices until they last `seconds` or were played `most` times."""
    length = max(note.end for voice in voices for note in voice.notes) + 0.8
    times = min(max(int(np.ceil(seconds / length)), 1), most)
    return [
        Voice(
            voice.instrument,
            [
                note._replace(start=note.start + time * length, end=note.end + time * length)
                for time in range(times)
                for note in voice.notes
            ],
        )
        for voice in voices
    ]


def change_tempo(voices: Sequence[Voice], ratio: float) -> list[Voice]:
    """Multiply the tempo by `ratio`."""
    return [
        Voice(voice.instrument, [note._replace(start=note.start / ratio, end=note.end / ratio) for note in voice.notes])
        for voice in voices
    ]


def draw_excerpt(voices: Sequence[Voice], seconds: float, rng: Rng) -> list[Voice]:
    """Draw `seconds` of a piece that start with a note, without notes that started before.

    A shorter piece is returned as a whole, from its first note on.
    """
    starts = np.array(sorted(note.start for voice in voices for note in voice.notes))
    end = max(note.end for voice in voices for note in voice.notes)
    possible = starts[starts <= max(end - seconds, starts[0])]
    begin = float(rng.choice(possible))
    moved = [
        Voice(
            voice.instrument,
            [
                note._replace(start=note.start - begin, end=note.end - begin)
                for note in voice.notes
                if begin <= note.start < begin + seconds
            ],
        )
        for voice in voices
    ]
    return [voice for voice in moved if voice.notes]


def humanize(voices: Sequence[Voice], rng: Rng) -> list[Voice]:
    """Add the deviations of human players: changes of tempo, asynchrony of chords, and changes of loudness.

    The tempo changes slowly by a few percent, for all voices together. The starts of notes have a standard deviation of
    about 10 ms, or less in some pieces. Velocities vary with the phrase and from note to note.
    """
    looseness = float(rng.uniform(0.2, 1.0))
    knots = np.cumsum(rng.normal(0, 0.03 * looseness, 200))
    knots -= np.linspace(0, knots[-1], len(knots))  # what is gained is lost again
    warp_at = np.arange(len(knots)) * 1.7
    phrase = rng.normal(0, 1, 200)
    scale, offset = float(rng.uniform(0.75, 1.15)), float(rng.uniform(-8, 8))
    out = []
    for voice in voices:
        sustained = INSTRUMENTS[voice.instrument].sustained if voice.instrument in INSTRUMENTS else False
        lag, articulation = (
            rng.normal(0, 0.006),
            float(rng.uniform(0.82, 1.02) if sustained else rng.uniform(0.75, 1.1)),
        )
        notes = []
        for note in voice.notes:
            shift = float(np.interp(note.start, warp_at, knots)) + rng.normal(lag, 0.009 * looseness)
            start = max(note.start + shift, 0.0)
            swell = 7 * looseness * float(np.interp(note.start, warp_at * 1.3, phrase))
            velocity = round(64 + (note.velocity - 64) * scale + offset + swell + rng.normal(0, 4.5 * looseness))
            end = start + max((note.end - note.start) * articulation, 0.04)
            notes.append(Note(note.part, start, end, note.pitch, min(max(velocity, 18), 127)))
        out.append(Voice(voice.instrument, sorted(notes, key=lambda note: note.start)))
    return out
