"""The corpus: a folder of clips, its table `CLIPS.csv` of their splits, sources and genres, and its speech bank."""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from ...runtime.errors import CorpusError
from ...runtime.files import is_file

if TYPE_CHECKING:
    from .speech.bank import SpeechVoices

Split = Literal["train", "valid", "test"]
MUSIC: Final = "music"
"""Folder of another corpus that a built corpus includes."""
SPEECH: Final = "speech"
"""Folder of the speech bank in a built corpus."""


@dataclass(frozen=True)
class Clip:
    """A clip of clean music.

    Attributes:
        path: relative to the folder of the corpus.
        split, source, genre: from the table.
        duration: in seconds.
        licence: empty if the table has no such column.
        origin: the repository, page or package that the clip comes from. Empty if the table has no such column.
        checksum: SHA-256 of the source that the clip was cut or rendered from. Empty if the table has no such column.
    """

    path: str
    split: Split
    source: str
    genre: str
    duration: float
    licence: str = ""
    origin: str = ""
    checksum: str = ""


class Corpus:
    """A folder of music with its `CLIPS.csv`, and optionally a speech bank in its folder `speech`.

    The table has the columns clip, split, source, genre and duration_s. Optional columns are licence and origin_repo
    (for attribution) and origin_sha256. Other columns are ignored.

    Raises:
        CorpusError: there is no such table, or columns are missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        table = self.folder / "CLIPS.csv"
        if not table.is_file():
            raise CorpusError(f"no music in {self.folder}: expected CLIPS.csv and the clips that it names")
        try:
            with table.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CorpusError(f"cannot read {table}: {error}; expected a table in CSV, encoded as UTF-8") from error
        self.clips = [_clip(row, f"{table}, line {line}") for line, row in enumerate(rows, start=2)]

    def of(self, split: Split) -> list[Clip]:
        """Return the clips of a split, in the order of the table."""
        return [clip for clip in self.clips if clip.split == split]

    @cached_property
    def digest(self) -> str:
        """Fingerprint of the content of the corpus: its clips, their sources, and the voices."""
        parts = [f"{c.path}\t{c.split}\t{c.source}\t{c.duration:.3f}\t{c.checksum}" for c in self.clips]
        bank = self.folder / SPEECH
        if bank.is_dir():
            from .speech.bank import SpeechBank

            parts.append(SpeechBank(bank).digest)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def voices(self, split: Split) -> SpeechVoices | None:
        """Return the voices of a split, or None if the corpus has no speech bank."""
        folder = self.folder / SPEECH
        return _voices(folder, split) if folder.is_dir() else None

    def part(self, table: str) -> Corpus:
        """Return the corpus of a table's rows: this one, or the included music for tables of 2026-11."""
        inner = self.folder / MUSIC
        return Corpus(inner) if table.endswith("-2026-11") and (inner / "CLIPS.csv").is_file() else self

    def excerpt(self, clip: str, start: float, duration: float) -> tuple[npt.NDArray[np.float64], int]:
        """Return `duration` seconds from `start` seconds on, as float64 [n] (mono), and the rate in Hz.

        Raises:
            CorpusError: the clip is missing, unreadable, or shorter than `start`.
        """
        path = self.folder / clip
        if not is_file(path):
            raise CorpusError(f"{path} does not exist: expected a clip there; check CLIPS.csv and the folder of music")
        try:
            with soundfile.SoundFile(path) as file:
                if round(start * file.samplerate) >= file.frames:
                    seconds = file.frames / file.samplerate
                    raise CorpusError(f"{path} lasts {seconds:g} s, not {start:g}: check its duration_s in CLIPS.csv")
                return read_excerpt(file, start, duration), int(file.samplerate)
        except (soundfile.LibsndfileError, OSError) as error:
            raise CorpusError(f"cannot read {path}: {error}") from error


def read_excerpt(file: soundfile.SoundFile, start: float, duration: float) -> npt.NDArray[np.float64]:
    """Read `duration` seconds of an open file from `start` seconds on, float64 [n] (channels averaged)."""
    file.seek(round(start * file.samplerate))
    samples = file.read(round(duration * file.samplerate), dtype="float64", always_2d=True)
    return np.asarray(samples.mean(axis=1))


@lru_cache(maxsize=8)
def _voices(folder: Path, split: Split) -> SpeechVoices:
    from .speech.bank import SpeechBank

    return SpeechBank(folder).of(split)


def _clip(row: dict[str, str], place: str) -> Clip:
    """Convert a line of the table to a clip. `place` is the name of the line in messages."""
    try:
        split, duration = row["split"], row["duration_s"]
        clip, source, genre = row["clip"], row["source"], row["genre"]
    except KeyError as error:
        raise CorpusError(f"{place}: the table has no column {error}") from error
    if split not in get_args(Split):
        raise CorpusError(f"{place}: {split!r} is not a split: expected one of {', '.join(get_args(Split))}")
    try:
        seconds = float(duration)
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{place}: the duration {duration!r} is not a number of seconds") from error
    if not 0 < seconds < math.inf:
        raise CorpusError(f"{place}: the duration {duration} is not a number of seconds above 0")
    if not clip or Path(clip).is_absolute() or ".." in Path(clip).parts:
        raise CorpusError(f"{place}: {clip!r} is not the path of a clip below the folder of the table")
    origin = row.get("licence", ""), row.get("origin_repo", ""), row.get("origin_sha256", "")
    return Clip(clip, cast(Split, split), source, genre, seconds, *origin)
