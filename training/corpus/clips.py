"""The music: a folder of clips with a table `CLIPS.csv` that says of each clip its split, source and genre."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from ...runtime.errors import CorpusError
from ...runtime.files import is_file

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Clip:
    """A clip of clean music: path below the corpus, split, source, genre, duration in seconds, licence, and origin (the
    repository or page that it comes from); the last two are empty where the table does not tell."""

    path: str
    split: Split
    source: str
    genre: str
    duration: float
    licence: str = ""
    origin: str = ""


class Corpus:
    """A folder of music with its `CLIPS.csv` (columns clip, split, source, genre, duration_s, and,
    for attribution, licence and origin_repo; others are ignored).

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
    origin = row.get("licence", ""), row.get("origin_repo", "")
    return Clip(clip, cast(Split, split), source, genre, seconds, *origin)
