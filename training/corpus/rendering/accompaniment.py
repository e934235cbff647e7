"""Bands and drums as sources of pieces: MMA's styles with random chords, and Hydrogen's drum patterns and kits.

MMA (Musical MIDI Accompaniment, van der Poel) is a program that makes a MIDI file from chords and the name of a style.
Hydrogen is a drum machine. Only its files are read: songs (.h2song, XML) for their patterns, and kits (drumkit.xml and
recorded hits).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

import numpy as np
import soundfile
import soxr

from ....runtime.errors import CorpusError
from ....runtime.files import is_file, is_folder
from ...degradations.chains import Array
from .programs import run_limited
from .scores import Note, Part, Score, read_midi

NO_MMA: Final = "MMA is not installed: install it (apt-get install mma), or leave out the collection mma"

# MMA: styles over chords


class Style(NamedTuple):
    """A groove of MMA's libraries: file below `lib` without suffix, name of the groove, and whether it has drums."""

    file: str
    groove: str
    drums: bool

    @property
    def name(self) -> str:
        """Name in a plan, such as `stdlib/swing:Swing1`."""
        return f"{self.file}:{self.groove}"


_NO_MUSIC: Final = re.compile(r"metronome|^none$|^\d?stdpats|count", re.IGNORECASE)
_MAJOR: Final = ("I vi IV V", "I V vi IV", "I IV I V", "I iii IV V", "ii7 V7 IM7 IM7", "IM7 vi7 ii7 V7", "I bVII IV I")
_MINOR: Final = ("i VI III VII", "i iv V7 i", "i VII VI V7", "iiø V7 i i", "i i iv7 VII7", "i9 IV7 i9 IV7")
_BLUES: Final = ("I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7", "i7 i7 i7 i7 iv7 iv7 i7 i7 VI7 V7 i7 V7")
_JAZZ: Final = (
    "IM7 VI7 ii7 V7 iii7 VI7 ii7 V7",
    "iii7 VI7 ii7 V7 IM7 IVM7 VIIø III7 vi6 vi6 ii9 V7",
    "IM7 bIIIo ii7 V7 I6 IVM7 iii7 VI7",
)
_DEGREES: Final = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
_MINOR_DEGREES: Final = {**_DEGREES, "III": 3, "VI": 8, "VII": 10}
_ROOTS: Final = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_CHORD: Final = re.compile(r"(b?)([ivIV]+)(ø|o|M7|6|7|9)?")
_THIRDS: Final = {"m": (0, 3, 7), "": (0, 4, 7), "m7b5": (0, 3, 6), "dim7": (0, 3, 6)}


class Chord(NamedTuple):
    """Pitch class of a chord's root, and the kind of chord in MMA's notation, such as `m7` or `M7`."""

    root: int
    kind: str

    @property
    def name(self) -> str:
        """Name in MMA's notation."""
        return _ROOTS[self.root] + self.kind

    @property
    def tones(self) -> tuple[int, ...]:
        """Pitch classes of the triad."""
        minor = self.kind.startswith("m")
        steps = _THIRDS.get(self.kind, _THIRDS["m" if minor else ""])
        return tuple((self.root + step) % 12 for step in steps)


def find_styles(share: Path) -> list[Style]:
    """Return all styles of MMA's libraries, sorted. Metronomes and files with patterns only are left out.

    Args:
        share: the folder that contains `lib`, such as /usr/share/mma in Debian.

    Raises:
        CorpusError: there are no such libraries.
    """
    library = share / "lib"
    if not is_folder(library):
        raise CorpusError(f"no MMA libraries in {library}: give MMA's share folder, which has lib in it")
    found = []
    for path in sorted(library.glob("*/*.mma")):
        text = path.read_text(encoding="latin-1")
        drums = re.search(r"^\s*(Begin\s+)?Drum", text, re.MULTILINE | re.IGNORECASE) is not None
        file = path.relative_to(library).with_suffix("").as_posix()
        for match in re.finditer(r"^\s*DefGroove\s+(\S+)", text, re.MULTILINE | re.IGNORECASE):
            # Endings and introductions last a bar or two and are not made to be repeated.
            if not _NO_MUSIC.search(path.stem) and not re.search(r"end|intro|break|fill", match[1], re.IGNORECASE):
                found.append(Style(file, match[1], drums))
    return sorted(set(found))


def draw_progression(rng: np.random.Generator) -> list[Chord]:
    """Draw 4 to 36 chords of common progressions in a random key, one per bar."""
    minor = rng.random() < 0.35
    pool = (*_MAJOR, *_JAZZ, _BLUES[0]) if not minor else (*_MINOR, _BLUES[1])
    key = int(rng.integers(12))
    sections = [pool[int(rng.integers(len(pool)))] for _ in range(int(rng.integers(1, 4)))]
    return [_chord(text, key, minor) for section in sections for text in section.split()]


def _chord(text: str, key: int, minor: bool) -> Chord:
    match = _CHORD.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a degree with a quality")
    flat, degree, quality = match[1], match[2], match[3] or ""
    degrees = _MINOR_DEGREES if minor else _DEGREES
    root = (key + degrees[degree.upper()] - bool(flat)) % 12
    if quality in {"ø", "o"}:
        return Chord(root, "m7b5" if quality == "ø" else "dim7")
    return Chord(root, ("m" if degree.islower() else "") + quality)


def accompany(style: str, share: Path, seed: int, seconds: float, work: Path) -> Score:
    """Generate a band's accompaniment of random chords, in some of the pieces with a melody.

    Args:
        style: a style's name, as in `stdlib/swing:Swing1`.
        share: MMA's share folder.
        seed: of chords, tempo, melody and MMA's random choices.
        seconds: minimum duration.
        work: folder for temporary files.

    Raises:
        CorpusError: MMA is not installed, or produces nothing from the style.
    """
    rng = np.random.default_rng([17, seed])
    file, _, groove = style.partition(":")
    chords = draw_progression(rng)
    tempo = int(rng.integers(72, 168))
    # Few styles have bars of less than three beats; a piece in one of these is shorter.
    count = int(np.ceil(seconds * tempo / 60 / 3)) + 1
    lines = [f"{bar + 1} {chords[bar % len(chords)].name}" for bar in range(count)]
    heading = [
        f"RndSeed {seed % 1_000_000}",
        f"SetLibPath {share / 'lib'}",
        f"SetIncPath {share / 'includes'}",
        f"Use {file}",
        f"Tempo {tempo}",
        f"Groove {groove}",
    ]
    script, out = work / "band.mma", work / "band.mid"
    script.write_text("\n".join([*heading, *lines]) + "\n", encoding="ascii")
    out.unlink(missing_ok=True)
    run_limited(
        [*_mma_command(share), "-f", str(out), str(script)], f"MMA, style {style}", env={"MMA_HOME": str(share)}
    )
    score = read_midi(out)
    bar = round(max(score.seconds * tempo / 60 / count, 2)) * 60 / tempo
    if rng.random() < 0.5:
        score = _add_melody(score, chords, bar, 60 / tempo, rng)
    return score


def _mma_command(share: Path) -> list[str]:
    """Return the command that starts MMA: the installed one, or that of an unpacked package."""
    installed = shutil.which("mma")
    if installed is not None:
        return [installed]
    unpacked = share.parent.parent / "bin" / "mma"
    if is_file(unpacked) and is_folder(share / "MMA"):
        return ["python3", str(unpacked)]
    raise CorpusError(NO_MMA)


_LEADS: Final = (0, 4, 11, 22, 24, 26, 27, 40, 56, 57, 59, 60, 64, 65, 66, 68, 71, 73, 75, 80, 81, 105)
"""General MIDI programs that play melodies in bands"""


def _add_melody(score: Score, chords: Sequence[Chord], bar: float, beat: float, rng: np.random.Generator) -> Score:
    """Add a melody of chord tones and passing notes, in a rhythm that repeats every bar or two."""
    part = len(score.parts)
    program = int(rng.choice(_LEADS))
    rhythms = []
    for _ in range(2):
        steps = max(round(bar / beat * 2), 2)
        hits = np.flatnonzero(rng.random(steps) < rng.uniform(0.3, 0.7))
        rhythms.append(hits if len(hits) else np.array([0]))
    notes, pitch = [], int(rng.integers(60, 76))
    for number in range(int(score.seconds / bar)):
        chord = chords[number % len(chords)]
        hits = rhythms[number % 2]
        if rng.random() < 0.12:
            continue
        for index, hit in enumerate(hits):
            pitch += int(rng.integers(-4, 5))
            pitch = min(max(pitch, 55), 84)
            if index == 0 or rng.random() < 0.6:
                pitch = min(
                    (12 * octave + tone for octave in range(4, 8) for tone in chord.tones), key=_DistanceTo(pitch)
                )
            end = hits[index + 1] if index + 1 < len(hits) else hits[0] + round(bar / beat * 2)
            start = number * bar + hit * beat / 2
            length = min((end - hit) * beat / 2, 2 * beat)
            notes.append(Note(part, start, start + length * 0.92, pitch, int(rng.integers(80, 112))))
    parts = (*score.parts, Part("melody", 1, program))
    return Score(parts, tuple(sorted((*score.notes, *notes), key=lambda note: note.start)), (), score.tempo)


class _DistanceTo:
    """Sort key: the distance of a pitch from a given pitch."""

    def __init__(self, pitch: int) -> None:
        self.pitch = pitch

    def __call__(self, other: int) -> int:
        return abs(other - self.pitch)


# Hydrogen: songs

_KEYWORDS: Final[tuple[tuple[str, int], ...]] = (
    (r"cow ?bell", 56),
    (r"tamb", 54),
    (r"pedal", 44),
    (r"hat.*\b(semi|half)|(semi|half).*hat", 46),
    (r"hat.*\bop|hh.*\bop|\bop.*(hat|hh)|\bohh", 46),
    (r"hat|hh\b", 42),
    (r"kick|bass ?drum|\bbd|\bbass\b|thump", 36),
    (r"rim|stick", 37),
    (r"clap|snap", 39),
    (r"snare|\bsd", 38),
    (r"floor|\btom.*(3|lo|l\b)|low.*tom", 41),
    (r"\btom.*(2|mid|m\b)|mid.*tom", 45),
    (r"\btom", 48),
    (r"splash", 55),
    (r"china", 52),
    (r"crash|cymbal", 49),
    (r"bell", 53),
    (r"ride", 51),
    (r"bongo.*hi", 60),
    (r"bongo", 61),
    (r"conga.*1", 63),
    (r"conga", 64),
    (r"timbale", 65),
    (r"agogo", 67),
    (r"shaker|maraca|cabasa", 70),
    (r"clave", 75),
    (r"wood|block", 76),
    (r"slap", 62),
    (r"\btone\b|head", 63),
)
"""General MIDI percussion notes by the name of an instrument"""
_ALIKE: Final = (
    (36, 35, 41, 43, 64, 61, 66),
    (38, 40, 37, 39, 62, 60, 65),
    (42, 44, 46, 70, 54, 69, 82, 75, 73),
    (49, 57, 52, 55, 51, 59, 53, 56),
    (48, 50, 45, 47, 41, 43, 63, 64, 60, 61),
)
"""percussion notes that may replace each other if a kit lacks one"""


def percussion_note(name: str) -> int | None:
    """Return General MIDI's percussion note for the name of a drum, or None if the name is unknown."""
    name = re.sub(r"\(.*?\)", "", name)  # makers and sizes
    return next((pitch for words, pitch in _KEYWORDS if re.search(words, name, re.IGNORECASE)), None)


UNLICENSED_SONGS: Final = ("tutorial_georgyporgy",)
"""songs that imitate a recording that is not free"""


def find_songs(folder: Path) -> list[Path]:
    """Return Hydrogen's songs below a folder, sorted by name."""
    return sorted(
        (path for path in folder.rglob("*.h2song") if path.stem not in UNLICENSED_SONGS), key=lambda p: p.name
    )


def pattern_score(song: Path, seed: int, seconds: float) -> Score:
    """Create drums that repeat and vary the patterns of a Hydrogen song, as General MIDI percussion.

    Raises:
        CorpusError: the song cannot be parsed or has no notes.
    """
    rng = np.random.default_rng([19, seed])
    try:
        root = ElementTree.fromstring(song.read_bytes())
    except (OSError, ElementTree.ParseError) as error:
        raise CorpusError(f"{song} is not a Hydrogen song ({error}): leave it out") from error
    for element in root.iter():  # some versions have a namespace
        element.tag = element.tag.rpartition("}")[2]
    pitches = {}
    for number, entry in enumerate(root.iterfind("instrumentList/instrument")):
        pitches[entry.findtext("id", str(number))] = percussion_note(entry.findtext("name", ""))
    patterns = []
    for entry in root.iterfind("patternList/pattern"):
        hits = [
            (float(note.findtext("position", "0")), pitch, float(note.findtext("velocity", "0.8")))
            for note in entry.iter("note")  # within a noteList, in old versions of a sequence
            if (pitch := pitches.get(note.findtext("instrument", ""))) is not None
        ]
        if hits:
            patterns.append((max(float(entry.findtext("size", "192")), 48.0), hits))
    if not patterns:
        raise CorpusError(f"{song} has no patterns with notes: leave it out")
    tempo = float(root.findtext("bpm", "120")) * rng.uniform(0.75, 1.35)
    tick = 60 / tempo / 48
    notes, at = [], 0.0
    current = int(rng.integers(len(patterns)))
    while at < seconds:
        if rng.random() < 0.35:
            current = int(rng.integers(len(patterns)))
        size, hits = patterns[current]
        for position, pitch, velocity in hits:
            start = at + position * tick
            notes.append(Note(0, start, start + 0.2, pitch, int(np.clip(velocity * 110, 1, 127))))
        at += size * tick
    notes.sort(key=lambda note: note.start)
    return Score((Part("drums", 1, 0, True),), tuple(notes), (), tempo)


def keep_drums(score: Score) -> Score:
    """Return the percussion of a score.

    Raises:
        CorpusError: there is none.
    """
    kept = tuple(note for note in score.notes if score.parts[note.part].drums)
    if not kept:
        raise CorpusError("the style has no drums: leave it out")
    return Score(score.parts, kept, score.bars, score.tempo)


# Hydrogen: kits


@dataclass(frozen=True)
class Layer:
    """A recording of a hit: file, range of velocities (0 to 1), gain, and transposition in semitones."""

    file: Path
    low: float
    high: float
    gain: float
    pitch: float


@dataclass(frozen=True)
class Drum:
    """A drum of a kit: name, gain, mute group (-1: none), and layers. Drums of a mute group end each other's sound."""

    name: str
    gain: float
    group: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Kit:
    """A drum kit and its licence."""

    name: str
    licence: str
    drums: tuple[Drum, ...]


KIT_LICENCES: Final[Mapping[str, str]] = {
    "Audiophob": "CC0-1.0",
    "BJA_Pacific": "CC-BY-SA-3.0-US",
    "ColomboAcousticDrumkit": "GPL-2+ with exception",
    "ElectricEmpireKit": "GPL-2+",
    "ForzeeStereo": "GPL-2",
    "GMRockKit": "GPL-2+",
    "Gimme A Hand 1.0": "GPL-2",
    "HardElectro1": "GPL-2+",
    "Millo-Drums_v.1": "GPL-2",
    "Millo_MultiLayered2": "GPL-2",
    "Millo_MultiLayered3": "GPL-2",
    "TR808EmulationKit": "GPL-2+",
    "The Black Pearl 1.0": "GPL-2",
    "VariBreaks": "GPL-2+",
    "circAfrique v4": "CC-BY-SA-3.0",
    "rumpf_kit_z01_h2": "CC-BY-3.0",
}
"""by folder, from debian/copyright of hydrogen-drumkits and hydrogen-data; other kits are not used"""


def find_kits(folder: Path) -> dict[str, Path]:
    """Return the folders of the kits below a folder whose licence is known, by name."""
    found = {path.parent.name: path.parent for path in sorted(folder.rglob("drumkit.xml"))}
    return {name: found[name] for name in sorted(found) if name in KIT_LICENCES}


def read_kit(folder: Path) -> Kit:
    """Read the drumkit.xml of a kit. Recordings are read when they are played.

    Raises:
        CorpusError: the file cannot be parsed or has no recordings.
    """
    try:
        root = ElementTree.fromstring((folder / "drumkit.xml").read_bytes())
    except (OSError, ElementTree.ParseError) as error:
        raise CorpusError(f"{folder} is not a Hydrogen drum kit ({error}): leave it out") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    drums = []
    for entry in root.iter("instrument"):
        layers = [
            Layer(file, *(float(layer.findtext(key, default)) for key, default in _LAYER_DEFAULTS))
            for layer in entry.iter("layer")
            if is_file(file := folder / layer.findtext("filename", "?"))
        ]
        single = entry.findtext("filename")
        if not layers and single and is_file(folder / single):
            layers = [Layer(folder / single, 0.0, 1.0, 1.0, 0.0)]
        if layers:
            gain = float(entry.findtext("volume", "1")) * float(entry.findtext("gain", "1"))
            group = int(float(entry.findtext("muteGroup", "-1")))
            drums.append(Drum(entry.findtext("name", ""), gain, group, tuple(layers)))
    if not drums:
        raise CorpusError(f"the kit {folder} has no recordings: leave it out")
    return Kit(folder.name, KIT_LICENCES.get(folder.name, ""), tuple(drums))


_LAYER_DEFAULTS: Final = (("min", "0"), ("max", "1"), ("gain", "1"), ("pitch", "0"))


def assign_drums(kit: Kit, pitches: Sequence[int], rng: np.random.Generator) -> dict[int, Drum]:
    """Assign a drum of a kit to each General MIDI percussion note: the one of that name, a similar one, or any."""
    named: dict[int, list[Drum]] = {}
    for drum in kit.drums:
        pitch = percussion_note(drum.name)
        if pitch is not None:
            named.setdefault(pitch, []).append(drum)
    chosen: dict[int, Drum] = {}
    for pitch in sorted(set(pitches)):
        alike = next((group for group in _ALIKE if pitch in group), ())
        options = next((named[other] for other in (pitch, *alike) if other in named), list(kit.drums))
        chosen[pitch] = options[int(rng.integers(len(options)))]
    return chosen


def play_kit(kit: Kit, score: Score, seconds: float, rate: int, rng: np.random.Generator) -> Array:
    """Play the notes of a score with the recordings of a kit.

    Returns:
        float64 [samples], channels averaged.

    Raises:
        CorpusError: a recording cannot be read.
    """
    out = np.zeros(round(seconds * rate))
    drums = assign_drums(kit, [note.pitch for note in score.notes], rng)
    tuning = float(rng.uniform(-1.5, 1.5))
    levels = {pitch: 10 ** (rng.uniform(-5, 3) / 20) for pitch in drums}
    recordings: dict[Layer, Array] = {}
    ends = _cut_offs(score.notes, drums)
    for note, end in zip(score.notes, ends, strict=True):
        drum = drums[note.pitch]
        velocity = note.velocity / 127
        fitting = [layer for layer in drum.layers if layer.low <= velocity <= layer.high]
        layer = fitting[0] if fitting else min(drum.layers, key=lambda layer: abs(layer.low - velocity))
        if layer not in recordings:
            recordings[layer] = _load_recording(layer, rate, tuning)
        start = round(note.start * rate)
        hit = recordings[layer][: max(round(min(seconds, end) * rate) - start, 0)]
        if start < 0 or not len(hit):
            continue
        gain = drum.gain * layer.gain * levels[note.pitch] * (velocity**1.5 if len(drum.layers) == 1 else velocity)
        out[start : start + len(hit)] += gain * hit * np.minimum(1, np.arange(len(hit), 0, -1) / (0.015 * rate))
    return out


def _cut_offs(notes: Sequence[Note], drums: Mapping[int, Drum]) -> list[float]:
    """Return the latest end of each hit: the next hit of its mute group."""
    ends, following = [float("inf")] * len(notes), dict[int, float]()
    for index in range(len(notes) - 1, -1, -1):
        group = drums[notes[index].pitch].group
        if group >= 0:
            ends[index] = following.get(group, float("inf"))
            following[group] = min(notes[index].start, ends[index])
    return ends


def _load_recording(layer: Layer, rate: int, tuning: float) -> Array:
    """Load the samples [n] of a layer at a rate, at most 4 s, with channels averaged and transposition applied."""
    try:
        samples, own = soundfile.read(layer.file, dtype="float64", always_2d=True, frames=4 * 96_000)
    except (soundfile.LibsndfileError, OSError) as error:
        raise CorpusError(f"cannot read {layer.file}: {error}") from error
    mono = samples.mean(axis=1)[: 4 * own]
    played = own * 2 ** ((layer.pitch + tuning) / 12)
    return np.asarray(soxr.resample(mono, played, rate, quality="HQ"))
