"""The corpus: a folder of clips with a table `CLIPS.csv` of their splits, sources and genres; and its speech bank."""

from __future__ import annotations

import csv
import hashlib
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
    from .speech import SpeechVoices

Split = Literal["train", "valid", "test"]
MUSIC: Final = "music"
"""folder, inside a built corpus, of a corpus that it includes"""
SPEECH: Final = "speech"
"""folder, inside a built corpus, of its speech bank"""


@dataclass(frozen=True)
class Clip:
    """A clip of clean music.

    Attributes:
        path: below the corpus's folder.
        split, source, genre: from the table.
        duration: seconds.
        licence: empty if the table has no such column.
        origin: the repository, page or package that it comes from; empty if the table has no such column.
        checksum: SHA-256 of what the clip was cut or rendered from; empty if the table has no such column.
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
    """A folder of music with its `CLIPS.csv`, and a speech bank in its folder `speech` if there is one.

    The table has the columns clip, split, source, genre and duration_s. It may have licence and origin_repo, for
    attribution, and origin_sha256; other columns are ignored.

    Raises:
        CorpusError: no such table, or one without these columns.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        table = self.folder / "CLIPS.csv"
        if not table.is_file():
            raise CorpusError(f"no music in {self.folder}: expected CLIPS.csv and the clips that it names")
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.clips = [_clip(row, f"{table}, line {line}") for line, row in enumerate(rows, start=2)]

    def of(self, split: Split) -> list[Clip]:
        """The clips of a split, in the table's order."""
        return [clip for clip in self.clips if clip.split == split]

    @cached_property
    def digest(self) -> str:
        """Fingerprint of what the corpus consists of: its clips, what they were made from, and the voices."""
        parts = [f"{c.path}\t{c.split}\t{c.source}\t{c.duration:.3f}\t{c.checksum}" for c in self.clips]
        bank = self.folder / SPEECH
        if bank.is_dir():
            from .speech import SpeechBank

            parts.append(SpeechBank(bank).digest)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def voices(self, split: Split) -> SpeechVoices | None:
        """The voices of a split; None if the corpus has no speech bank."""
        return _voices(self.folder / SPEECH, split)

    def part(self, table: str) -> Corpus:
        """The corpus that a table's rows are made from: this one, or for tables of 2026-11 the music it includes."""
        inner = self.folder / MUSIC
        return Corpus(inner) if table.endswith("-2026-11") and (inner / "CLIPS.csv").is_file() else self

    def excerpt(self, clip: str, start: float, duration: float) -> tuple[npt.NDArray[np.float64], int]:
        """Samples float64 [n] (mono) of `duration` seconds from `start` seconds on, and their rate in Hz."""
        path = self.folder / clip
        if not is_file(path):
            raise CorpusError(f"{path} does not exist: expected a clip there; check CLIPS.csv and the folder of music")
        try:
            with soundfile.SoundFile(path) as file:
                if round(start * file.samplerate) >= file.frames:
                    seconds = file.frames / file.samplerate
                    raise CorpusError(f"{path} lasts {seconds:g} s, not {start:g}: check its duration_s in CLIPS.csv")
                return read_from(file, start, duration), int(file.samplerate)
        except (soundfile.LibsndfileError, OSError) as error:
            raise CorpusError(f"cannot read {path}: {error}") from error


def read_from(file: soundfile.SoundFile, start: float, duration: float) -> npt.NDArray[np.float64]:
    """Samples float64 [n] (channels averaged) of `duration` seconds of an open file from `start` seconds on."""
    file.seek(round(start * file.samplerate))
    samples = file.read(round(duration * file.samplerate), dtype="float64", always_2d=True)
    return np.asarray(samples.mean(axis=1))


@lru_cache(maxsize=8)
def _voices(folder: Path, split: Split) -> SpeechVoices | None:
    if not folder.is_dir():
        return None
    from .speech import SpeechBank

    return SpeechBank(folder).of(split)


def _clip(row: dict[str, str], place: str) -> Clip:
    """A line of the table; `place` is what messages call it."""
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
    origin = row.get("licence", ""), row.get("origin_repo", ""), row.get("origin_sha256", "")
    return Clip(clip, cast(Split, split), source, genre, seconds, *origin)
