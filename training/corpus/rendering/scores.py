"""Scores: reading of MusicXML and Standard MIDI files, and writing of Standard MIDI files.

Only what a synthesizer needs is read: pitches, onsets, durations, dynamics, tempo and articulation. Repeats are not
unfolded. Cue notes and unpitched notes are left out.
"""

from __future__ import annotations

import struct
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

import numpy as np

from ....runtime.errors import CorpusError
from ....runtime.files import is_file

DRUM_CHANNEL: Final = 9
"""General MIDI's channel for percussion, counted from 0"""
LARGEST_SCORE: Final = 64 * 2**20
"""bytes of a score after unpacking; larger ones are damaged or hostile"""

_STEPS: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_DYNAMICS: Final = {
    "pppp": 22,
    "ppp": 30,
    "pp": 40,
    "p": 52,
    "mp": 64,
    "mf": 76,
    "f": 90,
    "ff": 104,
    "fff": 116,
    "ffff": 122,
    "fp": 60,
}
"""MIDI velocities of dynamic marks"""
_BEAT_UNITS: Final = {"whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25, "32nd": 0.125}
_SLOWEST, _FASTEST, _USUAL_TEMPO = 24.0, 280.0, 96.0
_MOST_TICKS: Final = 0x0FFFFFFF
"""the largest variable-length number of a Standard MIDI file"""


class Note(NamedTuple):
    """A note: index of its part, start and end in seconds, MIDI pitch and velocity."""

    part: int
    start: float
    end: float
    pitch: int
    velocity: int


class Part(NamedTuple):
    """A part: its name, the number of its staves, General MIDI program (0 to 127), whether it is percussion."""

    name: str
    staves: int = 1
    program: int = 0
    drums: bool = False


@dataclass(frozen=True)
class Score:
    """Notes in order of their start.

    Attributes:
        parts: the parts that notes refer to.
        notes: all notes.
        bars: start of each bar in seconds. Empty if it is unknown.
        tempo: of the first bar, in quarter notes per minute.
    """

    parts: tuple[Part, ...]
    notes: tuple[Note, ...]
    bars: tuple[float, ...] = ()
    tempo: float = _USUAL_TEMPO

    @property
    def seconds(self) -> float:
        """End of the last note in seconds."""
        return max((note.end for note in self.notes), default=0.0)


@dataclass(frozen=True)
class Track:
    """The content of a MIDI channel.

    Attributes:
        channel: 0 to 15; `DRUM_CHANNEL` is percussion.
        program: General MIDI program, 0 to 127.
        notes: their `part` is ignored.
        controls: control changes as (seconds, controller, value), such as volume (7), pan (10), sustain pedal (64).
    """

    channel: int
    program: int
    notes: Sequence[Note]
    controls: Sequence[tuple[float, int, int]] = field(default=())


def read_score(path: Path) -> Score:
    """Read MusicXML (.mxl, .xml, .musicxml) or a Standard MIDI file (.mid).

    Raises:
        CorpusError: the file does not exist, has an unknown format, cannot be parsed, or has no notes.
    """
    if not is_file(path):
        raise CorpusError(f"no score at {path}: expected a MusicXML or MIDI file")
    kind = path.suffix.lower()
    if kind in {".mid", ".midi"}:
        return read_midi(path)
    if kind not in {".mxl", ".xml", ".musicxml"}:
        raise CorpusError(f"{path}: scores of the kind {kind!r} cannot be read: expected .mxl, .xml, .musicxml or .mid")
    return _from_musicxml(read_musicxml(path), path)


def read_musicxml(path: Path) -> bytes:
    """Return the bytes of a MusicXML document, unpacked if it is compressed (.mxl).

    Raises:
        CorpusError: the file cannot be read.
    """
    try:
        if path.suffix.lower() != ".mxl":
            if path.stat().st_size > LARGEST_SCORE:
                raise CorpusError(f"{path} is larger than {LARGEST_SCORE >> 20} MiB: leave it out")
            return path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(_root_file(archive))
            if member.file_size > LARGEST_SCORE:
                raise CorpusError(f"{path} unpacks to more than {LARGEST_SCORE >> 20} MiB: leave it out")
            return archive.read(member)
    except (OSError, zipfile.BadZipFile, KeyError, StopIteration, ElementTree.ParseError, RuntimeError) as error:
        raise CorpusError(f"{path} is not a compressed MusicXML file ({error}): leave it out") from error


def _root_file(archive: zipfile.ZipFile) -> str:
    """Return the score in a compressed MusicXML file: the one that the container names, or the first XML file."""
    names = archive.namelist()
    if "META-INF/container.xml" in names:
        for entry in ElementTree.fromstring(archive.read("META-INF/container.xml")).iter():
            full = entry.get("full-path", "")
            if entry.tag.endswith("rootfile") and full in names:
                return full
    return next(name for name in names if name.endswith((".xml", ".musicxml")) and not name.startswith("META-INF"))


# MusicXML. Positions are in quarter notes until tempi are known.


class _Event(NamedTuple):
    """A note within its bar: start and length in quarter notes, pitch, velocity, ties."""

    start: float
    length: float
    pitch: int
    velocity: int
    tied_from: bool
    tied_on: bool


@dataclass
class _PartReader:
    """Reads a part bar by bar. Its attributes are the state that bars share."""

    divisions: float = 1.0
    transposition: int = 0
    velocity: int = _DYNAMICS["mf"]
    staves: int = 1
    tempi: list[tuple[int, float, float]] = field(default_factory=list)
    """(bar, quarter notes into it, quarter notes per minute)"""

    def bar(self, number: int, element: ElementTree.Element) -> tuple[list[_Event], float]:
        """Read a bar, and return its notes and its length in quarter notes."""
        events: list[_Event] = []
        position = farthest = onset = 0.0
        for child in element:
            tag = child.tag
            if tag == "note":
                length = _number(child.findtext("duration"), 0.0) / self.divisions
                chord = child.find("chord") is not None
                if not chord:
                    onset = position
                event = self._note(child, onset, length)
                if event is not None:
                    events.append(event)
                if not chord:
                    position += length
            elif tag == "backup":
                position = max(position - _number(child.findtext("duration"), 0.0) / self.divisions, 0.0)
            elif tag == "forward":
                position += _number(child.findtext("duration"), 0.0) / self.divisions
            elif tag == "attributes":
                self._attributes(child)
            elif tag in {"direction", "sound"}:
                self._direction(child, number, position)
            farthest = max(farthest, position)
        return events, farthest

    def _attributes(self, element: ElementTree.Element) -> None:
        self.divisions = max(_number(element.findtext("divisions"), self.divisions), 1e-3)
        self.staves = max(int(_number(element.findtext("staves"), self.staves)), 1)
        shift = element.find("transpose")
        if shift is not None:
            octaves = _number(shift.findtext("octave-change"), 0.0)
            self.transposition = round(_number(shift.findtext("chromatic"), 0.0) + 12 * octaves)

    def _direction(self, element: ElementTree.Element, bar: int, position: float) -> None:
        for entry in element.iter():
            if entry.tag == "sound" and entry.get("tempo"):
                self._tempo(bar, position, _number(entry.get("tempo"), 0.0))
            elif entry.tag == "metronome" and element.find("sound[@tempo]") is None:
                unit = _BEAT_UNITS.get(entry.findtext("beat-unit", "quarter"), 1.0)
                unit *= 1.5 if entry.find("beat-unit-dot") is not None else 1.0
                self._tempo(bar, position, _number(entry.findtext("per-minute"), 0.0) * unit)
            elif entry.tag == "dynamics":
                self.velocity = next((_DYNAMICS[mark.tag] for mark in entry if mark.tag in _DYNAMICS), self.velocity)

    def _tempo(self, bar: int, position: float, tempo: float) -> None:
        if tempo > 0:
            self.tempi.append((bar, position, min(max(tempo, _SLOWEST), _FASTEST)))

    def _note(self, element: ElementTree.Element, onset: float, length: float) -> _Event | None:
        pitch = element.find("pitch")
        if pitch is None or element.find("cue") is not None:
            return None
        step = _STEPS.get(pitch.findtext("step", "").strip().upper())
        if step is None:
            raise CorpusError(f"a note of the step {pitch.findtext('step')!r}: expected one of A to G")
        octave = _number(pitch.findtext("octave"), 4.0)
        midi = round(step + _number(pitch.findtext("alter"), 0.0) + 12 * (octave + 1)) + self.transposition
        velocity = self.velocity
        if element.find("grace") is not None:  # played just before the beat
            length = 0.12
            onset = max(onset - length, 0.0)
        marks = {mark.tag for mark in element.iterfind("notations/articulations/*")}
        if marks & {"staccato", "staccatissimo"}:
            length *= 0.5
        if marks & {"accent", "strong-accent"}:
            velocity += 14
        ties = {tie.get("type") for tie in element.iterfind("tie")}
        if not 0 <= midi <= 127 or length <= 0:
            return None
        return _Event(onset, length, midi, min(velocity, 127), "stop" in ties, "start" in ties)


def _number(text: str | None, default: float) -> float:
    """Convert text of a document to a number, or return `default` if there is none or it is not finite."""
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        return default
    return value if np.isfinite(value) else default


def _from_musicxml(document: bytes, path: Path) -> Score:
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError as error:
        raise CorpusError(f"{path} is not well-formed XML ({error}): leave it out") from error
    if root.tag != "score-partwise":
        raise CorpusError(f"{path} is {root.tag!r}: expected MusicXML's score-partwise")
    names = {entry.get("id", ""): entry for entry in root.iterfind("part-list/score-part")}
    parts: list[Part] = []
    bars: list[list[list[_Event]]] = []
    lengths: dict[int, float] = defaultdict(float)
    tempi: list[tuple[int, float, float]] = []
    for element in root.iterfind("part"):
        reader = _PartReader()
        events: list[list[_Event]] = []
        for number, bar in enumerate(element.iterfind("measure")):
            try:
                found, length = reader.bar(number, bar)
            except CorpusError as error:
                raise CorpusError(f"{path}, bar {number + 1}: {error}") from error
            events.append(found)
            # Bars of a part may be written incompletely; the longest part tells how long a bar is.
            lengths[number] = max(lengths[number], length)
        entry = names.get(element.get("id", ""))
        parts.append(_part(entry, reader.staves))
        bars.append(events)
        tempi += reader.tempi
    starts = np.concatenate([[0.0], np.cumsum([lengths[number] for number in range(len(lengths))])])
    clock = _Clock([(float(starts[bar]) + position, tempo) for bar, position, tempo in tempi])
    notes = [note for part, written in enumerate(bars) for note in _assign_times(part, written, starts.tolist(), clock)]
    if not notes:
        raise CorpusError(f"{path} has no notes: leave it out")
    notes.sort(key=lambda note: (note.start, note.part, note.pitch))
    return Score(tuple(parts), tuple(notes), tuple(clock.seconds(q) for q in starts.tolist()), clock.first)


def _part(entry: ElementTree.Element | None, staves: int) -> Part:
    if entry is None:
        return Part("", staves)
    name = " ".join(entry.findtext("part-name", "").split())
    program = _number(entry.findtext("midi-instrument/midi-program"), 1.0)
    return Part(name, staves, int(min(max(program - 1, 0), 127)))


class _Clock:
    """Converts quarter notes to seconds, given tempi at positions."""

    def __init__(self, tempi: Iterable[tuple[float, float]]) -> None:
        known = sorted(dict(tempi).items())
        self.first = known[0][1] if known else _USUAL_TEMPO
        places = [0.0, *(place for place, _ in known)]
        paces = [60 / self.first, *(60 / tempo for _, tempo in known)]
        self._places, self._paces = np.array(places), np.array(paces)
        self._seconds = np.concatenate([[0.0], np.cumsum(np.diff(self._places) * self._paces[:-1])])

    def seconds(self, quarters: float) -> float:
        index = max(int(np.searchsorted(self._places, quarters, "right")) - 1, 0)
        return float(self._seconds[index] + (quarters - self._places[index]) * self._paces[index])


def _assign_times(part: int, bars: list[list[_Event]], starts: list[float], clock: _Clock) -> Iterator[Note]:
    """Yield the notes of a part with times in seconds. Tied notes are joined."""
    held: dict[int, tuple[float, float, int]] = {}
    for start, events in zip(starts, bars, strict=False):
        for event in events:
            begin, end, velocity = start + event.start, start + event.start + event.length, event.velocity
            before = held.pop(event.pitch, None)
            if before is not None:
                if event.tied_from and abs(before[1] - begin) < 0.05:
                    begin, velocity = before[0], before[2]
                else:  # the other end of the tie is missing
                    yield Note(part, clock.seconds(before[0]), clock.seconds(before[1]), event.pitch, before[2])
            if event.tied_on:
                held[event.pitch] = begin, end, velocity
            else:
                yield Note(part, clock.seconds(begin), clock.seconds(end), event.pitch, velocity)
    for pitch, (begin, end, velocity) in held.items():
        yield Note(part, clock.seconds(begin), clock.seconds(end), pitch, velocity)


# Standard MIDI files


def read_midi(path: Path) -> Score:
    """Read a Standard MIDI file of format 0 or 1. Each combination of channel and program becomes a part.

    Raises:
        CorpusError: the file does not exist, is truncated, has another format, or has no notes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error}") from error
    try:
        events, ticks = _midi_events(data)
    except (IndexError, struct.error, ValueError) as error:
        raise CorpusError(f"{path} is not a Standard MIDI file of format 0 or 1 ({error}): leave it out") from error
    clock = _Clock([(at / ticks, 60e6 / max(value, 1)) for at, kind, value, _ in events if kind == 0x51])
    programs: dict[int, int] = defaultdict(int)
    parts: dict[tuple[int, int], int] = {}
    sounding: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
    notes: list[Note] = []
    for at, status, first, second in events:
        kind, channel = status & 0xF0, status & 0x0F
        if status == 0x51:
            continue
        if kind == 0xC0:
            programs[channel] = first
        elif kind == 0x90 and second:
            part = parts.setdefault((channel, programs[channel]), len(parts))
            sounding[channel, first].append((at, part, second))
        elif kind in {0x80, 0x90} and sounding[channel, first]:
            begin, part, velocity = sounding[channel, first].pop(0)
            notes.append(Note(part, clock.seconds(begin / ticks), clock.seconds(at / ticks), first, velocity))
    if not notes:
        raise CorpusError(f"{path} has no notes: leave it out")
    notes.sort(key=lambda note: (note.start, note.part, note.pitch))
    named = tuple(Part(f"channel {channel}", 1, program, channel == DRUM_CHANNEL) for channel, program in parts)
    return Score(named, tuple(notes), (), clock.first)


def _midi_events(data: bytes) -> tuple[list[tuple[int, int, int, int]], int]:
    """Return the events (tick, status, first and second byte) of all tracks in order, and the ticks per quarter note.

    Changes of tempo have the status 0x51, and microseconds per quarter note instead of the first byte.
    """
    magic, length, form, tracks, ticks = struct.unpack(">4sIHHH", data[:14])
    if magic != b"MThd" or form > 1 or ticks & 0x8000 or not ticks:
        raise ValueError(f"header {magic!r}, format {form}, division {ticks}")
    events: list[tuple[int, int, int, int]] = []
    at = 8 + length
    for _ in range(tracks):
        magic, length = struct.unpack(">4sI", data[at : at + 8])
        at += 8
        if at + length > len(data):
            raise ValueError("truncated")
        if magic == b"MTrk":
            events += _track_events(data[at : at + length])
        at += length
    # Ends come before beginnings, so that a repeated note is not cut.
    events.sort(key=lambda event: (event[0], event[1] & 0xF0 == 0x90 and event[3] > 0))
    return events, ticks


def _track_events(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    at = tick = status = 0
    while at < len(data):
        delta, at = _variable(data, at)
        tick += delta
        if data[at] & 0x80:
            status, at = data[at], at + 1
        if status in {0xF0, 0xF7, 0xFF}:
            kind = data[at] if status == 0xFF else 0
            length, at = _variable(data, at + (status == 0xFF))
            if kind == 0x51 and status == 0xFF:
                yield tick, 0x51, int.from_bytes(data[at : at + length], "big"), 0
            at += length
        elif status & 0xF0 in {0xC0, 0xD0}:
            yield tick, status, data[at], 0
            at += 1
        elif status & 0x80:
            yield tick, status, data[at], data[at + 1]
            at += 2
        else:
            raise ValueError("data without a status")


def _variable(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        byte = data[at]
        value, at = value << 7 | byte & 0x7F, at + 1
        if not byte & 0x80:
            return value, at


def write_midi(path: Path, tracks: Sequence[Track], seconds: float) -> None:
    """Write a Standard MIDI file of format 1 with ticks of 1 ms.

    Args:
        path: of the file.
        tracks: to write. Notes and controls after `seconds` are left out.
        seconds: end of the file, where all notes end.
    """
    last = round(seconds * 1000)
    chunks = [_chunk([(0, b"\xff\x51\x03" + (500_000).to_bytes(3, "big"))], last)]
    for track in tracks:
        events: list[tuple[int, bytes]] = [(0, bytes([0xC0 | track.channel, track.program & 0x7F]))]
        for at, controller, value in track.controls:
            events.append((round(at * 1000), bytes([0xB0 | track.channel, controller & 0x7F, min(max(value, 0), 127)])))
        for note in track.notes:
            start, end = round(note.start * 1000), round(note.end * 1000)
            if 0 <= start < last:
                velocity = min(max(note.velocity, 1), 127)
                events.append((start, bytes([0x90 | track.channel, note.pitch & 0x7F, velocity])))
                events.append((min(max(end, start + 1), last), bytes([0x80 | track.channel, note.pitch & 0x7F, 0])))
        chunks.append(_chunk([event for event in events if event[0] <= last], last))
    header = struct.pack(">4sIHHH", b"MThd", 6, 1, len(chunks), 500)
    path.write_bytes(header + b"".join(chunks))


def _chunk(events: list[tuple[int, bytes]], last: int) -> bytes:
    """Return a track of (tick, message) that ends at the tick `last`."""
    body, before = bytearray(), 0
    for tick, message in sorted(events, key=_when):
        body += _delta(tick - before) + message
        before = tick
    body += _delta(max(last - before, 0)) + b"\xff\x2f\x00"
    return struct.pack(">4sI", b"MTrk", len(body)) + bytes(body)


def _when(event: tuple[int, bytes]) -> tuple[int, int]:
    """Sort key of messages: tick, then programs, controls, ends of notes, notes."""
    kind = event[1][0] & 0xF0
    return event[0], {0xB0: 1, 0x80: 2, 0x90: 3}.get(kind, 0)


def _delta(ticks: int) -> bytes:
    """Return a variable-length number."""
    out = [ticks & 0x7F]
    rest = min(ticks, _MOST_TICKS) >> 7
    while rest:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes(reversed(out))
