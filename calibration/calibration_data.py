"""Calibration data: short excerpts of music, degraded, amplified and presented like the rows of a label table.

The music comes from a folder, or it is synthetic. Each excerpt is created when it is requested, so that a set of any
length needs the memory of one excerpt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from ..runtime.audio.folders import audio_in
from ..runtime.audio.levels import LEVEL1, amplitude
from ..runtime.audio.reading import open_audio
from ..runtime.audiogram import Audiogram
from ..runtime.bundle import file_sha256
from ..runtime.errors import AudioError
from ..runtime.features.front_ends import FEATURE_EXTRACTORS
from ..training.corpus.clips import read_excerpt
from ..training.corpus.synthetic import RATE, synthesize_piece
from ..training.data.features import resample_to_front_end
from ..training.data.rendering import render_presented
from ..training.data.rows import SYNTHETIC, Row
from ..training.degradations.listeners import random_aid, random_listener
from ..training.degradations.sampling import random_chain
from ..training.degradations.signals import rms

EXCERPT_SECONDS: Final = 5.0
"""duration of an excerpt"""
CALIBRATION_EXCERPTS: Final = 120
"""number of excerpts from which activation ranges are collected: 10 minutes"""
ACCURACY_EXCERPTS: Final = 96
"""number of excerpts on which the loss of accuracy is measured; they differ from the calibration excerpts"""
LISTENERS_PER_EXCERPT: Final = 4
"""number of listeners per excerpt: the one it is amplified for, and others"""
RECOMMENDED_SECONDS: Final = 60.0
MIN_SECONDS: Final = 10.0
"""seconds of usable music in a folder: less than `RECOMMENDED_SECONDS` gives a warning, less than `MIN_SECONDS` is an
error"""
_FIRST_PIECE: Final = 100_000_000
"""number of the first synthetic piece, far above the numbers in any training table"""
SYNTHETIC_ORIGIN: Final = "synthetic music"
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


class ModelInputs(NamedTuple):
    """An excerpt prepared for a model.

    Attributes:
        features: float32 [patches, ...], the input of the encoder.
        audiograms: float32 [listeners, 8], dB HL.
    """

    features: Array
    audiograms: Array


def prepare_inputs(excerpts: Iterable[Excerpt], reads: str) -> Iterator[ModelInputs]:
    """Prepare excerpts for a model, one at a time.

    Args:
        excerpts: presented sounds.
        reads: kind of features that the encoder reads, a key of `FEATURE_EXTRACTORS`.
    """
    for excerpt in excerpts:
        yield ModelInputs(
            FEATURE_EXTRACTORS[reads](excerpt.samples), np.stack([one.array() for one in excerpt.listeners])
        )


class MusicSegment(NamedTuple):
    """The music of an excerpt.

    Attributes:
        path: audio file; None for synthetic music.
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
        segments: the music of each excerpt. A segment may occur several times, with different degradations.
        seed: of the random degradations, levels and listeners.
        origin: name of the music in reports.
    """

    segments: tuple[MusicSegment, ...]
    seed: int
    origin: str

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Excerpt]:
        return (_create_excerpt(segment, self.seed, index) for index, segment in enumerate(self.segments))

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the excerpts depend on, as hexadecimal digits."""
        files = {segment.path: file_sha256(segment.path) for segment in self.segments if segment.path}
        music = [(segment.path and files[segment.path], segment.start, segment.number) for segment in self.segments]
        return hashlib.sha256(repr((music, self.seed, EXCERPT_SECONDS)).encode()).hexdigest()


class CalibrationData(NamedTuple):
    """The sounds that a quantization uses.

    Attributes:
        calibration: excerpts from which activation ranges are collected.
        accuracy: other excerpts, on which the loss of accuracy is measured.
        warnings: for the user, about the music.
    """

    calibration: ExcerptSet
    accuracy: ExcerptSet
    warnings: tuple[str, ...] = ()


def create_synthetic_data(
    calibration: int = CALIBRATION_EXCERPTS, accuracy: int = ACCURACY_EXCERPTS, seed: int = 0
) -> CalibrationData:
    """Create calibration data from synthetic music, which needs no files.

    Args:
        calibration: number of excerpts for calibration.
        accuracy: number of excerpts for measuring the loss of accuracy.
        seed: selects the pieces and their degradations.
    """
    first = _FIRST_PIECE + seed * (calibration + accuracy)
    segments = [MusicSegment(None, 0.0, first + number) for number in range(calibration + accuracy)]
    return CalibrationData(
        ExcerptSet(tuple(segments[:calibration]), 2 * seed, SYNTHETIC_ORIGIN),
        ExcerptSet(tuple(segments[calibration:]), 2 * seed + 1, SYNTHETIC_ORIGIN),
    )


def create_folder_data(
    folder: Path, calibration: int = CALIBRATION_EXCERPTS, accuracy: int = ACCURACY_EXCERPTS, seed: int = 0
) -> CalibrationData:
    """Create calibration data from a folder of clean music.

    All files are divided into segments of `EXCERPT_SECONDS`. The segments are shuffled and divided between the two
    sets, which share none. If a set has more excerpts than segments, each segment is used several times, with different
    degradations.

    Args:
        folder: contains the audio files.
        calibration: number of excerpts for calibration.
        accuracy: number of excerpts for measuring the loss of accuracy.
        seed: of the division and of the degradations.

    Raises:
        AudioFileNotFoundError: the folder contains no audio.
        AudioError: the folder contains less than `MIN_SECONDS` of usable music.
    """
    segments, warnings = _list_segments(audio_in(folder))
    seconds = EXCERPT_SECONDS * len(segments)
    if seconds < MIN_SECONDS:
        reason = f" ({warnings[0]})" if warnings else ""
        raise AudioError(
            f"{folder} contains {seconds:g} s of usable music; calibration needs at least {MIN_SECONDS:g} s{reason}. "
            f"Only complete segments of {EXCERPT_SECONDS:g} s count. Give more music, or no folder: then synthetic "
            "music is used"
        )
    if seconds < RECOMMENDED_SECONDS:
        warnings.append(
            f"{folder} contains {seconds:g} s of usable music; less than {RECOMMENDED_SECONDS:g} s may not cover the "
            "ranges of the model's activations"
        )
    rng = np.random.default_rng([19, seed])
    order = [segments[index] for index in rng.permutation(len(segments))]
    split = min(calibration, max(1, len(order) * calibration // (calibration + accuracy)))
    return CalibrationData(
        ExcerptSet(_repeat_segments(order[:split], calibration), 2 * seed, str(folder)),
        ExcerptSet(_repeat_segments(order[split:], accuracy), 2 * seed + 1, str(folder)),
        tuple(warnings),
    )


def _repeat_segments(segments: Sequence[MusicSegment], number: int) -> tuple[MusicSegment, ...]:
    return tuple(segments[index % len(segments)] for index in range(number))


def _list_segments(paths: Sequence[Path]) -> tuple[list[MusicSegment], list[str]]:
    """List all segments of the files that are not silent, and a warning for each file that is skipped."""
    segments: list[MusicSegment] = []
    warnings: list[str] = []
    for path in paths:
        try:
            open_audio(path)  # rejects empty or truncated files with a clear message
            with soundfile.SoundFile(path) as file:
                count = int(file.frames / file.samplerate / EXCERPT_SECONDS)
                starts = [index * EXCERPT_SECONDS for index in range(count)]
                segments += [
                    MusicSegment(path, start) for start in starts if rms(read_excerpt(file, start, EXCERPT_SECONDS)) > 0
                ]
        except (AudioError, soundfile.LibsndfileError) as error:
            warnings.append(f"{path} was skipped: {error}")
    return segments, warnings


def _create_excerpt(segment: MusicSegment, seed: int, index: int) -> Excerpt:
    """Create an excerpt with a random level, degradation, hearing aid and listeners."""
    rng = np.random.default_rng([17, seed, index])
    if segment.path is None:
        name, rate = f"{SYNTHETIC}{segment.number}", RATE
        clean = synthesize_piece(segment.number, EXCERPT_SECONDS)
    else:
        with soundfile.SoundFile(segment.path) as file:
            clean, rate = read_excerpt(file, segment.start, EXCERPT_SECONDS), int(file.samplerate)
        name = f"{segment.path.name} at {segment.start:g} s"
    level = 65.0 if rng.random() < 0.5 else float(rng.uniform(45, 85))
    kind, levels = random_listener(rng)
    chain, aid = random_chain(rng, speech=False), random_aid(rng, levels)
    row = Row("train", name, segment.start, EXCERPT_SECONDS, "", chain, index, aid, level, kind, levels)
    clean = clean * (amplitude(level - LEVEL1) / rms(clean))
    others = [random_listener(rng) for _ in range(LISTENERS_PER_EXCERPT - 1)]
    listeners = tuple(Audiogram(levels, kind) for kind, levels in [(kind, levels), *others])
    samples = resample_to_front_end(render_presented(row, clean, rate), rate, EXCERPT_SECONDS)
    return Excerpt(f"{name}, {chain or 'clean'}", samples, listeners)
