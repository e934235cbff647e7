"""Calibration data: short excerpts of music, degraded, amplified and presented like the rows of a label table.

The music comes from a folder. If you give no folder, synthetic music is used. Each excerpt is created when it is
requested, so a set of any length needs the memory of one excerpt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from ..runtime.audio.levels import LEVEL1, amplitude
from ..runtime.audio.reading import audio_in, open_audio
from ..runtime.audiogram import Audiogram
from ..runtime.bundle import file_sha256
from ..runtime.errors import AudioError
from ..training.corpus.clips import read_from
from ..training.corpus.synthetic import RATE, piece
from ..training.data.features import at_front_end
from ..training.data.rendering import presented
from ..training.data.rows import SYNTHETIC, Row
from ..training.degradations.listeners import random_aid, random_listener
from ..training.degradations.sampling import random_chain
from ..training.degradations.signals import rms

SECONDS: Final = 5.0
"""duration of an excerpt"""
CALIBRATION: Final = 120
"""number of excerpts from which activation ranges are collected: 10 minutes"""
ACCURACY: Final = 96
"""number of excerpts on which the loss of accuracy is measured; they differ from the calibration excerpts"""
LISTENERS: Final = 4
"""number of listeners per excerpt: the one it is amplified for, and others"""
PLENTY: Final = 60.0
ENOUGH: Final = 10.0
"""seconds of usable music: less than `PLENTY` gives a warning, less than `ENOUGH` is an error"""
_COMPOSED_FROM: Final = 100_000_000
"""number of the first synthetic piece, far above the numbers in any training table"""
Array = npt.NDArray[np.float32]


class Excerpt(NamedTuple):
    """A presented sound and its listeners.

    Attributes:
        name: name in reports.
        samples: float32 [samples] at 16 kHz.
        listeners: the audiograms it is scored for.
    """

    name: str
    samples: Array
    listeners: tuple[Audiogram, ...]


class Place(NamedTuple):
    """Source of an excerpt's music.

    Attributes:
        path: audio file; None for a synthetic piece.
        start: seconds into the file.
        number: number of the synthetic piece.
    """

    path: Path | None
    start: float
    number: int = 0


@dataclass(frozen=True)
class ExcerptSet:
    """Excerpts that are created when they are requested, identical in each iteration.

    Attributes:
        places: source of each excerpt's music. A source may occur several times, with different degradations.
        seed: of the random degradations, levels and listeners.
        source: name of the music in reports.
    """

    places: tuple[Place, ...]
    seed: int
    source: str

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Excerpt]:
        return (_made(place, self.seed, turn) for turn, place in enumerate(self.places))

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the excerpts depend on, as hexadecimal digits."""
        files = {place.path: file_sha256(place.path) for place in self.places if place.path}
        told = [(place.path and files[place.path], place.start, place.number) for place in self.places]
        return hashlib.sha256(repr((told, self.seed, SECONDS)).encode()).hexdigest()


class Sets(NamedTuple):
    """Excerpts for calibration, excerpts for measuring the loss of accuracy, and warnings for the user."""

    calibration: ExcerptSet
    accuracy: ExcerptSet
    warnings: tuple[str, ...] = ()


def composed(calibration: int = CALIBRATION, accuracy: int = ACCURACY, seed: int = 0) -> Sets:
    """Create excerpt sets from synthetic music, which needs no files.

    Args:
        calibration: number of excerpts for calibration.
        accuracy: number of excerpts for measuring the loss of accuracy.
        seed: selects the pieces and their degradations.
    """
    first = _COMPOSED_FROM + seed * (calibration + accuracy)
    places = [Place(None, 0.0, first + number) for number in range(calibration + accuracy)]
    source = "music composed by chance"
    return Sets(
        ExcerptSet(tuple(places[:calibration]), 2 * seed, source),
        ExcerptSet(tuple(places[calibration:]), 2 * seed + 1, source),
    )


def of_folder(folder: Path, calibration: int = CALIBRATION, accuracy: int = ACCURACY, seed: int = 0) -> Sets:
    """Create excerpt sets from a folder of clean music.

    The stretches of `SECONDS` in all files are shuffled and divided between the two sets, which share none. If a set
    has more excerpts than stretches, each stretch is used several times, with different degradations.

    Args:
        folder: contains the audio files.
        calibration: number of excerpts for calibration.
        accuracy: number of excerpts for measuring the loss of accuracy.
        seed: of the division and of the degradations.

    Raises:
        AudioFileNotFoundError: the folder contains no audio.
        AudioError: the folder contains less than `ENOUGH` seconds of usable music.
    """
    pool, warnings = _pool(audio_in(folder))
    seconds = SECONDS * len(pool)
    if seconds < ENOUGH:
        why = f" ({warnings[0]})" if warnings else ""
        raise AudioError(
            f"{folder} holds {seconds:g} s of usable music, {ENOUGH:g} s are the least to calibrate with{why}; whole "
            f"stretches of {SECONDS:g} s count: give more, or no folder at all, to calibrate with composed music"
        )
    if seconds < PLENTY:
        warnings.append(
            f"{folder} holds {seconds:g} s of usable music; less than {PLENTY:g} s may not show the model's ranges"
        )
    rng = np.random.default_rng([19, seed])
    order = [pool[place] for place in rng.permutation(len(pool))]
    split = min(calibration, max(1, len(order) * calibration // (calibration + accuracy)))
    heard = order[:split], order[split:]
    return Sets(
        ExcerptSet(_filled(heard[0], calibration), 2 * seed, str(folder)),
        ExcerptSet(_filled(heard[1], accuracy), 2 * seed + 1, str(folder)),
        tuple(warnings),
    )


def _filled(places: Sequence[Place], number: int) -> tuple[Place, ...]:
    return tuple(places[turn % len(places)] for turn in range(number))


def _pool(paths: Sequence[Path]) -> tuple[list[Place], list[str]]:
    """List all stretches of the files that are not silent, and a warning for each file that was left out."""
    places: list[Place] = []
    warnings: list[str] = []
    for path in paths:
        try:
            open_audio(path)  # rejects empty or truncated files with a clear message
            with soundfile.SoundFile(path) as file:
                count = int(file.frames / file.samplerate / SECONDS)
                starts = [turn * SECONDS for turn in range(count)]
                places += [Place(path, start) for start in starts if rms(read_from(file, start, SECONDS)) > 0]
        except (AudioError, soundfile.LibsndfileError) as error:
            warnings.append(f"{path} was left out: {error}")
    return places, warnings


def _made(place: Place, seed: int, turn: int) -> Excerpt:
    """Create an excerpt with a random level, degradation, hearing aid and listeners."""
    rng = np.random.default_rng([17, seed, turn])
    if place.path is None:
        name, clean, rate = f"{SYNTHETIC}{place.number}", piece(place.number, SECONDS), RATE
    else:
        with soundfile.SoundFile(place.path) as file:
            clean, rate = read_from(file, place.start, SECONDS), int(file.samplerate)
        name = f"{place.path.name} at {place.start:g} s"
    level = 65.0 if rng.random() < 0.5 else float(rng.uniform(45, 85))
    kind, levels = random_listener(rng)
    chain, aid = random_chain(rng, speech=False), random_aid(rng, levels)
    row = Row("train", name, place.start, SECONDS, "", chain, turn, aid, level, kind, levels)
    clean = clean * (amplitude(level - LEVEL1) / rms(clean))
    others = [random_listener(rng) for _ in range(LISTENERS - 1)]
    listeners = tuple(Audiogram(levels, kind) for kind, levels in [(kind, levels), *others])
    samples = at_front_end(presented(row, clean, rate), rate, SECONDS)
    return Excerpt(f"{name}, {chain or 'clean'}", samples, listeners)
