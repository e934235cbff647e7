"""The music: a folder of clips with a table `CLIPS.csv` that says of each clip its split, source and genre."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from ..runtime.errors import CorpusError

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
        try:
            self.clips = [
                Clip(
                    row["clip"],
                    _split(row["split"]),
                    row["source"],
                    row["genre"],
                    float(row["duration_s"]),
                    row.get("licence", ""),
                    row.get("origin_repo", ""),
                )
                for row in rows
            ]
        except KeyError as error:
            raise CorpusError(f"{table} has no column {error}") from error
        except ValueError as error:
            raise CorpusError(f"{table}: {error}; expected a duration in seconds and one of the splits") from error

    def of(self, split: Split) -> list[Clip]:
        """The clips of a split, in the table's order."""
        return [clip for clip in self.clips if clip.split == split]

    def excerpt(self, clip: str, start: float, duration: float) -> tuple[npt.NDArray[np.float64], int]:
        """Samples float64 [n] (mono) of `duration` seconds from `start` seconds on, and their rate in Hz."""
        try:
            with soundfile.SoundFile(self.folder / clip) as file:
                file.seek(round(start * file.samplerate))
                samples = file.read(round(duration * file.samplerate), dtype="float64", always_2d=True)
                rate = int(file.samplerate)
        except (soundfile.LibsndfileError, OSError) as error:
            raise CorpusError(f"cannot read {self.folder / clip}: {error}") from error
        return samples.mean(axis=1), rate


def _split(text: str) -> Split:
    if text not in get_args(Split):
        raise CorpusError(f"{text!r} is not a split: expected one of {', '.join(get_args(Split))}")
    return cast(Split, text)
