"""Clean music rendered from scores: plan of the pieces, and their sound.

`plan_pieces` draws the pieces of each split: score, ensemble, sound font and seed. `render_piece` renders one of them:
arranged, played by FluidSynth without its effects (or by a Hydrogen drum kit), mixed, with or without a room, and with
or without the noise floor of a recording. All of it depends only on the piece and its seed.

Splits share no composer, accompaniment style or drum kit. MuseScore's sound font is used for test only.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar, get_args

import numpy as np
import soundfile
import soxr
from scipy import fft, signal

from ....runtime.errors import CorpusError
from ....runtime.files import is_file, is_folder
from ...degradations.chains import Array
from ...degradations.signals import mix, peak_envelope, pole, rms
from ..clips import Split
from . import accompaniment
from .arrangements import ENSEMBLES, INSTRUMENTS, Voice, arrange, change_tempo, draw_excerpt, humanize, repeat_voices
from .programs import run_limited
from .scores import DRUM_CHANNEL, Note, Score, Track, read_musicxml, read_score, write_midi

RATE: Final = 24_000
"""sample rate of `render_piece` in Hz"""
SHORTEST: Final = 15.0
"""minimum duration of a piece in seconds"""
NoiseSource: TypeAlias = Callable[[np.random.Generator, int, int], Array | None]
"""function of (rng, samples, rate) that returns the noise floor of a recording, float64 [samples], or None"""
_T = TypeVar("_T")

NO_FLUIDSYNTH: Final = "FluidSynth is not installed: install it (apt-get install fluidsynth) to render scores"
_SYNTHESIS_RATE: Final = 44_100
"""sample rate of the fonts in Hz, so that tones at their recorded pitch have no aliasing"""

# The plan


@dataclass(frozen=True)
class Piece:
    """Everything that defines a rendered piece.

    Attributes:
        name: unique, and valid as a file name.
        split: train, valid or test.
        collection: lieder, music21, mma or hydrogen.
        score: path below the collection, or a style of MMA for bands and drums.
        composer: of the score, or the author of the style or kit.
        ensemble: one of `arrangements.ENSEMBLES`, `band` or `drums`.
        font: `fluid` or `musescore`, or the name of a drum kit for the collection hydrogen.
        seed: of arrangement, excerpt, performance, mix and room.
        licence: of the score, and of the kit if there is one.
        genre: for the table of clips, such as `rendered solo piano`.
    """

    name: str
    split: Split
    collection: str
    score: str
    composer: str
    ensemble: str
    font: str
    seed: int
    licence: str
    genre: str


SHARES: Final[Mapping[str, float]] = {
    "solo piano": 12,
    "guitar": 10,
    "violin": 7,
    "cello": 6,
    "winds": 11,
    "brass": 10,
    "organ": 7,
    "voice": 8,
    "string ensemble": 9,
    "harp and mallets": 6,
    "band": 9,
    "drums": 6,
}
"""relative numbers of pieces by family"""
FONTS: Final[Mapping[Split, str]] = {"train": "fluid", "valid": "fluid", "test": "musescore"}
TEST_COMPOSERS: Final = frozenset(
    {"Brahms, Johannes", "Chaminade, Cecile", "Debussy, Claude", "Joplin, Scott", "Lusitano, Vicente"}
    | {"Mozart, Wolfgang Amadeus", "Satie, Erik", "Warlock, Peter"}
)
VALID_COMPOSERS: Final = frozenset(
    {
        "Bizet, Georges",
        "Faure, Gabriel",
        "Haydn, Joseph",
        "Stanford, Charles Villiers",
        "Viardot, Pauline",
        "Wolf, Hugo",
    }
)
MUSIC21_COMPOSERS: Final[Mapping[str, str]] = {
    "bach": "Bach, Johann Sebastian",
    "beethoven": "Beethoven, Ludwig van",
    "ciconia": "Ciconia, Johannes",
    "corelli": "Corelli, Arcangelo",
    "cpebach": "Bach, Carl Philipp Emanuel",
    "handel": "Handel, George Frideric",
    "haydn": "Haydn, Joseph",
    "johnson_j_r": "Johnson, John Rosamond",
    "joplin": "Joplin, Scott",
    "liliuokalani": "Liliuokalani, Queen of the Hawaiian Islands",
    "luca": "Luca",
    "lusitano": "Lusitano, Vicente",
    "monteverdi": "Monteverdi, Claudio",
    "mozart": "Mozart, Wolfgang Amadeus",
    "schumann_clara": "Schumann, Clara",
    "schumann_robert": "Schumann, Robert",
    "verdi": "Verdi, Giuseppe",
    "weber": "Weber, Carl Maria von",
}
"""folders of music21's corpus that are used; the others are not MusicXML, not free, or made from protected editions"""
_KIT_SPLITS: Final[Mapping[str, Split]] = {
    "Audiophob": "test",
    "ColomboAcousticDrumkit": "test",
    "circAfrique v4": "test",
    "BJA_Pacific": "valid",
    "ForzeeStereo": "valid",
}
"""splits of Hydrogen's kits by author; all others are in train"""
_SONG_SPLITS: Final[Mapping[str, Split]] = {"GM_kit_Jazzy": "test", "GM_kit_demo3": "valid"}
_FREE: Final = re.compile(r"creative commons|\bcc[- ]?(0|by|sa)|public domain|\bp\.d\.", re.IGNORECASE)
_RESERVED: Final = re.compile(r"©|\(c\)|copyright|permission|reserved|edizioni|non-?commercial|\bnc\b", re.IGNORECASE)
_UNSTATED: Final = "work in the public domain, no terms stated for the encoding"


@dataclass(frozen=True)
class _Source:
    """A score from which pieces can be rendered."""

    collection: str
    score: str
    composer: str
    licence: str
    parts: int


def split_of(composer: str) -> Split:
    """Return the split of all scores of a composer."""
    return "test" if composer in TEST_COMPOSERS else "valid" if composer in VALID_COMPOSERS else "train"


def plan_pieces(collections: Mapping[str, Path], counts: Mapping[Split, int], seed: int = 0) -> list[Piece]:
    """Draw pieces. Families of ensembles have the proportions of `SHARES`, and scores are used about equally often.

    Args:
        collections: folders of the available ones: `lieder` (.mxl files), `music21` (its `corpus` folder), `mma` (the
            share folder that contains `lib`), `hydrogen` (a folder with kits and songs below it).
        counts: number of pieces of each split.
        seed: of the plan.

    Returns:
        The requested number of pieces, in the order of splits.

    Raises:
        CorpusError: a folder is missing or empty, or a split has no scores.
    """
    unknown = set(collections) - {"lieder", "music21", "mma", "hydrogen"}
    if unknown:
        raise CorpusError(f"unknown collections {sorted(unknown)}: expected lieder, music21, mma, hydrogen")
    scores = [*_lieder(collections), *_music21(collections)]
    styles = accompaniment.find_styles(collections["mma"]) if "mma" in collections else []
    kits = _kits(collections["hydrogen"]) if "hydrogen" in collections else {}
    songs = accompaniment.find_songs(collections["hydrogen"]) if "hydrogen" in collections else []
    pieces: list[Piece] = []
    for split in get_args(Split):
        number = counts.get(split, 0)
        if number < 1:
            continue
        rng = np.random.default_rng([23, seed, get_args(Split).index(split)])
        mine = [source for source in scores if split_of(source.composer) == split]
        played = [style for style in styles if _style_split(style.file) == split]
        own_songs = [song for song in songs if _SONG_SPLITS.get(song.stem, "train") == split]
        own_kits = {name: kit for name, kit in kits.items() if _KIT_SPLITS.get(name, "train") == split}
        drums = [style for style in played if style.drums]
        patterns = [song.relative_to(collections["hydrogen"]).as_posix() for song in own_songs]
        patterns += [style.name for style in drums]
        families = {family: share for family, share in SHARES.items() if family not in {"band", "drums"} and mine}
        families |= {"band": SHARES["band"]} if played else {}
        families |= {"drums": SHARES["drums"]} if drums or (own_kits and patterns) else {}
        if not families:
            raise CorpusError(f"no scores, styles or drum kits for {split}: give the collection lieder, music21 or mma")
        decks = _Decks(rng)
        for family, count in _apportion(families, number).items():
            for index in range(count):
                name = f"{split}-{family.replace(' ', '-')}-{index:03d}"
                seed_of = int(rng.integers(2**31))
                common = (name, split, seed_of, f"rendered {family}")
                if family == "band":
                    pieces.append(_band_piece(decks.draw("band", played), "band", *common))
                elif family == "drums" and own_kits and (not drums or index % 2 == 0):
                    kit = decks.draw("kits", sorted(own_kits))
                    song = decks.draw("songs", patterns)
                    pieces.append(_kit_piece(kit, own_kits[kit], song, *common))
                elif family == "drums":
                    pieces.append(_band_piece(decks.draw("drums", drums), "drums", *common))
                else:
                    options = sorted(name for name, entry in ENSEMBLES.items() if entry.family == family)
                    ensemble = decks.draw(family, options)
                    pieces.append(_score_piece(_draw_source(decks, ensemble, mine), ensemble, *common))
    return pieces


class _Decks:
    """Draws from lists without repetition until all items were drawn, then starts again."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._left: dict[str, list[int]] = {}

    def draw(self, name: str, items: Sequence[_T]) -> _T:
        left = self._left.setdefault(name, [])
        if not left:
            left += self._rng.permutation(len(items)).tolist()
        return items[left.pop()]


def _draw_source(decks: _Decks, ensemble: str, sources: list[_Source]) -> _Source:
    """Draw a score for an ensemble: songs, and for choirs, quartets and organs also scores in parts."""
    form, lines = ENSEMBLES[ensemble].form, len(ENSEMBLES[ensemble].instruments)
    written = [source for source in sources if source.collection == "music21" and source.parts >= 3]
    if form == "lines":
        written = [source for source in written if source.parts == lines]
    if form in {"lines", "all"} and written and decks.draw("written", (True, False)):
        return decks.draw(f"written {form} {lines}", written)
    songs = [source for source in sources if source.collection == "lieder"]
    return decks.draw("scores", songs or sources)


def _score_piece(source: _Source, ensemble: str, name: str, split: Split, seed: int, genre: str) -> Piece:
    score = source.collection, source.score, source.composer
    return Piece(name, split, *score, ensemble, FONTS[split], seed, source.licence, genre)


def _band_piece(style: accompaniment.Style, ensemble: str, name: str, split: Split, seed: int, genre: str) -> Piece:
    return Piece(name, split, "mma", style.name, "MMA", ensemble, FONTS[split], seed, "GPL-2+", genre)


def _kit_piece(kit: str, licence: str, pattern: str, name: str, split: Split, seed: int, genre: str) -> Piece:
    licences = f"{licence} (kit), GPL-2+ (patterns)"
    return Piece(name, split, "hydrogen", pattern, "Hydrogen", "drums", kit, seed, licences, genre)


def _apportion(shares: Mapping[str, float], number: int) -> dict[str, int]:
    """Return integers in the proportions of shares with the sum `number` (largest remainders)."""
    exact = {key: number * share / sum(shares.values()) for key, share in shares.items()}
    whole = {key: int(value) for key, value in exact.items()}
    rest = sorted(exact, key=lambda key: whole[key] - exact[key])
    for key in rest[: number - sum(whole.values())]:
        whole[key] += 1
    return whole


def _style_split(file: str) -> Split:
    """Return the split of a file of styles, by the digest of its name: four fifths are in train."""
    place = int.from_bytes(hashlib.sha256(file.encode()).digest()[:4], "big") / 2**32
    return "train" if place < 0.8 else "valid" if place < 0.88 else "test"


def _kits(folder: Path) -> dict[str, str]:
    """Return names and licences of the drum kits below a folder."""
    if not is_folder(folder):
        raise CorpusError(f"no folder {folder}: expected Hydrogen's drum kits, or leave out the collection hydrogen")
    return {name: accompaniment.KIT_LICENCES[name] for name in accompaniment.find_kits(folder)}


def _lieder(collections: Mapping[str, Path]) -> list[_Source]:
    if "lieder" not in collections:
        return []
    folder = collections["lieder"]
    paths = sorted(folder.rglob("*.mxl"), key=lambda path: path.relative_to(folder).as_posix())
    if not paths:
        raise CorpusError(f"no .mxl files in {folder}: give the folder of the OpenScore Lieder, or leave out lieder")
    return [
        _Source("lieder", path.relative_to(folder).as_posix(), path.stem.split("__")[0].replace("_", " "), "CC0-1.0", 2)
        for path in paths
    ]


def _music21(collections: Mapping[str, Path]) -> list[_Source]:
    if "music21" not in collections:
        return []
    folder = collections["music21"]
    found = []
    for name, composer in MUSIC21_COMPOSERS.items():
        paths = [path for path in (folder / name).rglob("*") if path.suffix in {".mxl", ".xml", ".musicxml"}]
        for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix()):
            text = read_musicxml(path).decode("utf-8", "replace")
            licence = _terms(text)
            if licence is not None and "_old" not in path.stem:
                parts = text.count("<score-part ")
                found.append(_Source("music21", path.relative_to(folder).as_posix(), composer, licence, parts))
    if not found:
        raise CorpusError(f"no scores in {folder}: give music21's folder corpus, or leave out the collection music21")
    return found


def _terms(document: str) -> str | None:
    """Return the licence that a MusicXML document states, or None if it reserves rights or restricts the use."""
    texts = re.findall(r"<(?:rights|credit-words|encoder|miscellaneous-field)\b[^>]*>([^<]*)<", document)
    statements = [text for text in texts if _FREE.search(text) or _RESERVED.search(text)]
    if not statements:
        return _UNSTATED
    joined = " ".join(" ".join(statements).split())
    free = next((text for text in statements if _FREE.search(text)), None)
    if free is None or re.search(r"non-?commercial|\bn[cd]\b|reserved", joined, re.IGNORECASE):
        return None
    return " ".join(free.split())[:120]


# The sound


def render_piece(
    piece: Piece,
    collections: Mapping[str, Path],
    fonts: Mapping[str, Path],
    noise: NoiseSource | None,
    work: Path,
    seconds: float = 45.0,
) -> tuple[Array, int]:
    """Render a piece.

    Args:
        piece: to render.
        collections: see `plan_pieces`.
        fonts: files of the sound fonts `fluid` and `musescore`.
        noise: returns noise floors, which are added to about a third of the pieces. None adds none.
        work: folder for temporary files, which are removed.
        seconds: maximum duration. Short scores are repeated.

    Returns:
        float64 [samples] (channels averaged) without silence at the start and with a peak of at most 0.9, and the rate,
        24 kHz.

    Raises:
        CorpusError: FluidSynth, a font or a score is missing; a score cannot be parsed or is too short; a program
            failed, took too long or wrote too much.
    """
    if piece.collection not in collections:
        raise CorpusError(f"{piece.name} is of the collection {piece.collection}: give its folder, or leave it out")
    rng = np.random.default_rng([29, piece.seed])
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        if piece.collection == "hydrogen":
            dry = _kit_drums(piece, collections, Path(folder), seconds, rng)
        else:
            tracks = _tracks(piece, collections, Path(folder), seconds, rng)
            dry = _run_synthesizer(tracks, _font(piece.font, fonts), Path(folder), seconds)
    mixed = _trim(dry, piece.name)
    if piece.genre in {"rendered band", "rendered drums"} and rng.random() < 0.6:
        mixed = _compress(mixed, rng)
    if rng.random() < 0.5:
        mixed = add_room(mixed, RATE, rng)
    if rng.random() < 1 / 3 and noise is not None:
        floor = noise(rng, len(mixed), RATE)
        if floor is not None and rms(floor) > 0:
            mixed = mix(mixed, floor, float(rng.uniform(38, 65)))
    fade = round(0.02 * RATE)
    mixed[-fade:] *= np.linspace(1, 0, fade)
    return mixed * (0.9 * 10 ** (-rng.uniform(0, 8) / 20) / np.abs(mixed).max()), RATE


def _font(name: str, fonts: Mapping[str, Path]) -> Path:
    packages = {"fluid": "fluid-soundfont-gm", "musescore": "musescore-general-soundfont-lossless"}
    if name not in fonts or not is_file(fonts[name]):
        raise CorpusError(
            f"no sound font {name!r} ({fonts.get(name, 'not given')}): expected a .sf2 file; "
            f"it is in Debian's package {packages.get(name, 'of that name')}"
        )
    return fonts[name]


def _tracks(
    piece: Piece, collections: Mapping[str, Path], work: Path, seconds: float, rng: np.random.Generator
) -> list[Track]:
    """Return the content of the synthesizer's channels."""
    folder = collections[piece.collection]
    if piece.collection == "mma":
        score = accompaniment.accompany(piece.score, folder, piece.seed, seconds + 12, work)
        if piece.ensemble == "drums":
            score = accompaniment.keep_drums(score)
        return _band_tracks(score, seconds, rng)
    voices = arrange(read_score(folder / piece.score), piece.ensemble, rng)
    voices = repeat_voices(change_tempo(voices, float(np.exp(rng.uniform(np.log(0.85), np.log(1.3))))), seconds + 1)
    voices = humanize(draw_excerpt(voices, seconds, rng), rng)
    return list(_voice_tracks(voices, rng))


def _voice_tracks(voices: Sequence[Voice], rng: np.random.Generator) -> Iterator[Track]:
    """Yield channels with volume, pan, and the actions of players besides notes: pedal, swell, vibrato."""
    channels = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    spread = rng.uniform(0, 50) * np.linspace(-1, 1, len(voices)) if len(voices) > 1 else np.zeros(1)
    for index, (channel, voice) in enumerate(zip(channels, voices, strict=False)):
        instrument = INSTRUMENTS[voice.instrument]
        level = rng.uniform(88, 116) if index == 0 else rng.uniform(70, 108)
        controls = [(0.0, 7, round(level)), (0.0, 10, round(64 + spread[index] + rng.uniform(-6, 6)))]
        if instrument.sustained:
            controls.append((0.0, 1, int(rng.choice([0, 0, 15, 30]))))
            if rng.random() < 0.6:
                controls += _swells(voice.notes, rng)
        elif rng.random() < 0.7:
            controls += _pedal(voice.notes)
        yield Track(channel, instrument.program, voice.notes, controls)


def _swells(notes: Sequence[Note], rng: np.random.Generator) -> list[tuple[float, int, int]]:
    """Return expression (controller 11) that rises and falls slowly and within long notes, 10 times per second."""
    at = np.arange(0, notes[-1].end, 0.1)
    slow = 104 + 14 * np.interp(at, np.arange(200) * 2.3, rng.normal(0, 0.6, 200))
    within = np.zeros(len(at))
    for note in notes:
        if note.end - note.start > 0.8:
            inside = (at >= note.start) & (at < note.end)
            within[inside] = 12 * np.sin(np.pi * (at[inside] - note.start) / (note.end - note.start)) - 4
    values = np.clip(slow + within, 60, 127).astype(int).tolist()
    return [(second, 11, value) for second, value in zip(at.tolist(), values, strict=True)]


def _pedal(notes: Sequence[Note]) -> list[tuple[float, int, int]]:
    """Return the sustain pedal (controller 64), changed with the bass: at most every 0.5 s, at least every 2.5 s."""
    controls, last, bass = [], -10.0, -1
    for note in notes:
        if note.start - last > 2.5 or (note.start - last > 0.5 and note.pitch <= 55 and note.pitch != bass):
            controls += [(max(note.start - 0.02, 0.0), 64, 0), (note.start + 0.06, 64, 127)]
            last, bass = note.start, note.pitch
    return controls


_DRUM_PROGRAMS: Final = (0, 0, 8, 16, 24, 25, 32, 40)
"""General MIDI's kits: standard, room, power, electronic, TR-808, jazz, brush"""


def _band_tracks(score: Score, seconds: float, rng: np.random.Generator) -> list[Track]:
    """Return the parts of a band on separate channels with levels and pans. The excerpt starts with a note."""
    starts = [note.start for note in score.notes]
    latest = max(score.seconds - seconds, 0.0)
    begin = float(rng.choice([start for start in starts if start <= latest] or starts[:1]))
    channels = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    tracks = []
    looseness = rng.uniform(0, 0.006)
    for index, part in enumerate(score.parts):
        played = [note for note in score.notes if note.part == index and begin <= note.start < begin + seconds]
        if not played or (not part.drums and not channels):
            continue
        notes = [
            note._replace(start=max(start, 0.0), end=note.end - begin)
            for note in played
            for start in [note.start - begin + float(rng.normal(0, looseness))]
        ]
        controls = [(0.0, 7, round(rng.uniform(75, 115)))]
        if part.drums:
            tracks.append(Track(DRUM_CHANNEL, int(rng.choice(_DRUM_PROGRAMS)), notes, controls))
        else:
            controls.append((0.0, 10, round(rng.uniform(24, 104))))
            tracks.append(Track(channels.pop(0), part.program, notes, controls))
    return tracks


def _run_synthesizer(tracks: Sequence[Track], font: Path, work: Path, seconds: float) -> Array:
    """Play tracks with FluidSynth without reverberation and chorus: float64 [samples] at `RATE`, channels averaged."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise CorpusError(NO_FLUIDSYNTH)
    midi, wave = work / "piece.mid", work / "piece.wav"
    write_midi(midi, tracks, seconds)
    # Only the samples that are played are read from the font; polyphony bounds the time that dense pieces take.
    options = ["-f", os.devnull, "-n", "-i", "-q", "-R", "0", "-C", "0", "-g", "0.3", "-r", str(_SYNTHESIS_RATE)]
    options += ["-o", "synth.dynamic-sample-loading=1", "-o", "synth.polyphony=128", "-z", "1024"]
    command = [program, *options, "-O", "float", "-T", "wav", "-F", str(wave), str(font), str(midi)]
    report = run_limited(command, "FluidSynth")
    if "fluidsynth: error" in report:  # its exit status is 0 all the same
        raise CorpusError(f"FluidSynth failed with the sound font {font}: {' '.join(report.split())[-300:]}")
    try:
        samples, rate = soundfile.read(wave, dtype="float64", always_2d=True, frames=round(seconds * _SYNTHESIS_RATE))
    except (soundfile.LibsndfileError, OSError) as error:
        raise CorpusError(
            f"FluidSynth wrote nothing that can be read ({error}): check the sound font {font}"
        ) from error
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, RATE, quality="HQ"))


def _kit_drums(
    piece: Piece, collections: Mapping[str, Path], work: Path, seconds: float, rng: np.random.Generator
) -> Array:
    """Return drums of a Hydrogen kit, which plays the patterns of a song or of an MMA style."""
    folder = collections["hydrogen"]
    kits = accompaniment.find_kits(folder)
    if piece.font not in kits:
        raise CorpusError(f"no drum kit {piece.font!r} below {folder}: expected one of {', '.join(kits) or 'none'}")
    if piece.score.endswith(".h2song"):
        score = accompaniment.pattern_score(folder / piece.score, piece.seed, seconds)
    elif "mma" in collections:
        whole = accompaniment.accompany(piece.score, collections["mma"], piece.seed, seconds, work)
        score = accompaniment.keep_drums(whole)
    else:
        raise CorpusError(f"{piece.name} needs the collection mma for its patterns: give its folder, or leave it out")
    return accompaniment.play_kit(accompaniment.read_kit(kits[piece.font]), score, seconds, RATE, rng)


def _trim(samples: Array, name: str) -> Array:
    """Remove silence at both ends of samples.

    Raises:
        CorpusError: all is silent, or the rest is too short.
    """
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    if not np.isfinite(peak) or peak < 1e-6:
        raise CorpusError(f"{name} is silent: leave it out")
    loud = np.flatnonzero(np.abs(samples) > 3e-3 * peak)
    kept = samples[max(loud[0] - round(0.002 * RATE), 0) : loud[-1] + round(0.3 * RATE)]
    if len(kept) < SHORTEST * RATE:
        raise CorpusError(f"{name} lasts {len(kept) / RATE:.1f} s, less than {SHORTEST:g}: leave it out")
    return np.array(kept)


def _compress(x: Array, rng: np.random.Generator) -> Array:
    """Apply the gentle compression of a mix: ratio 1.5 to 3, threshold from the RMS to 10 dB above it."""
    ratio = rng.uniform(1.5, 3)
    knee = rms(x) * 10 ** (rng.uniform(0, 10) / 20)
    level = peak_envelope(x, pole(float(rng.uniform(2, 15)), RATE), pole(float(rng.uniform(80, 300)), RATE))
    return np.asarray(x * np.maximum(level / knee, 1) ** (1 / ratio - 1))


_ROOM_BANDS: Final = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)


def add_room(x: Array, rate: int, rng: np.random.Generator) -> Array:
    """Add a room with moderate reverberation: early reflections, and a tail in which high frequencies decay faster.

    The reverberation time at 500 Hz is 0.25 to 1.8 s. The reverberant energy is 14 to 2 dB below the direct
    energy.

    Args:
        x: samples float64 [n].
        rate: Hz.
        rng: for the room.
    """
    t60 = float(np.exp(rng.uniform(np.log(0.25), np.log(1.8))))
    high, low = rng.uniform(0.3, 0.8), rng.uniform(0.9, 1.4)
    samples = round(1.2 * t60 * max(low, 1) * rate)
    t = np.arange(samples) / rate
    spectrum = fft.rfft(rng.standard_normal(samples))
    hz = fft.rfftfreq(samples, 1 / rate)
    octave = np.log2(np.maximum(hz, 20.0) / 1000)
    tail = np.zeros(samples)
    centres = np.log2(np.array(_ROOM_BANDS) / 1000)
    for index, centre in enumerate(centres):
        # Triangles over log frequency that add up to one; the outer bands go on to the ends.
        points = [centre - 1, centre, centre + 1]
        heights = [1.0 if index == 0 else 0.0, 1.0, 1.0 if index == len(centres) - 1 else 0.0]
        band = fft.irfft(spectrum * np.interp(octave, points, heights), samples)
        decay = t60 * float(np.interp(centre, [-3, -1, 3], [low, 1.0, high]))
        tail += band * 10 ** (-3 * t / decay)
    first = rng.uniform(0.004, 0.025)
    tail *= np.clip((t - first) / 0.02, 0, 1)
    early = np.zeros(samples)
    times = first + np.sort(rng.uniform(0, 0.06, int(rng.integers(5, 14))))
    for delay in times:
        place = round(delay * rate)
        if place < samples:
            early[place] += rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.0) * first / delay
    early = np.asarray(signal.lfilter([1 - 0.4], [1, -0.4], early))  # walls absorb high tones
    wet = 10 ** (rng.uniform(-14, -2) / 10)
    share = rng.uniform(0.2, 0.5)
    response = early * np.sqrt(share / np.sum(early**2)) + tail * np.sqrt((1 - share) / np.sum(tail**2))
    response *= np.sqrt(wet)
    response[0] += 1.0
    return np.asarray(signal.oaconvolve(x, response)[: len(x)])
