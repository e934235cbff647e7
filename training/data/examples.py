"""What networks are trained on: a sound, who hears it, and its score. From a label table, or HAAQI-Net's train.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...runtime.audio import open_audio
from ...runtime.audiogram import Audiogram
from ...runtime.errors import CorpusError, HaaqiEdgeError
from ...runtime.files import is_file
from ..corpus.clips import Corpus, Split
from .features import at_front_end, digest
from .labels import read
from .rendering import presented, reference_of
from .rows import Row

Single = npt.NDArray[np.float32]
KEY_LENGTH: Final = 20


@dataclass(frozen=True)
class Example:
    """One labelled sound.

    Attributes:
        sound: a key that tells the sound, whoever hears it.
        audiogram: 8 levels in dB HL.
        score: its label, 0 to 1; NaN where there is none.
        source: what makes the sound: a row of a table, or an audio file that holds what reaches the ear.
        group: what it must not be parted from when data are split: the piece of music.
    """

    sound: str
    audiogram: tuple[float, ...]
    score: float
    source: Row | Path
    group: str = ""

    @property
    def heard(self) -> str:
        """A key that tells the sound and who hears it."""
        levels = hashlib.sha256(repr(self.audiogram).encode()).hexdigest()[:8]
        return f"{self.sound}-{levels}"


def of_table(folder: Path, split: Split, rows: int | None = None) -> list[Example]:
    """The first `rows` rows of a label table's split, or all.

    Raises:
        CorpusError: no such table.
    """
    found = read(folder, split)[:rows]
    return [Example(digest([row]) + "t", row.audiogram, row.score, row, row.clip) for row in found]


def of_json(path: Path) -> list[Example]:
    """HAAQI-Net's `{"data": [{"file_path", "audiogram", "haaqi_score"}]}`; paths are taken from the file's folder.

    Raises:
        CorpusError: another form, a file that isn't there, an audiogram or a score that cannot be.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        entries = [(str(e["file_path"]), e["audiogram"], float(e["haaqi_score"])) for e in data]
    except (OSError, ValueError, KeyError, TypeError) as error:
        form = '{"data": [{"file_path": ..., "audiogram": [8 levels], "haaqi_score": ...}]}'
        raise CorpusError(f"{path} cannot be read ({error!r}); expected {form}") from error
    if not entries:
        raise CorpusError(f"{path} holds no examples: its `data` is empty")
    return [file_example(path.parent / name, levels, score, f"{path}, {name}") for name, levels, score in entries]


def file_example(path: Path, levels: Any, score: float, place: str) -> Example:
    """An audio file heard by somebody; `place` is what messages call it.

    Raises:
        CorpusError: no such file, or an audiogram or a score that cannot be.
    """
    if not is_file(path):
        raise CorpusError(f"{place}: {path} is not there; paths are taken from the table's own folder")
    try:
        audiogram = Audiogram.parse(levels) if isinstance(levels, str) else Audiogram(tuple(map(float, levels)))
    except (HaaqiEdgeError, TypeError, ValueError) as error:
        raise CorpusError(f"{place}: {error}") from error
    if not 0 <= score <= 1:
        raise CorpusError(f"{place}: the score {score:g} is not one from 0 to 1")
    with path.open("rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()[:KEY_LENGTH]
    return Example(key + "f", tuple(audiogram.array().tolist()), score, path, path.name)


def waveforms(examples: Sequence[Example], corpus: Corpus | None) -> Iterator[Single]:
    """The sounds of examples, float32 [samples] at 16 kHz; rows of a group, in a row, share their clean music.

    Raises:
        CorpusError: rows, and no corpus.
        AudioError: a file that cannot be read.
    """
    known: tuple[Any, ...] | None = None
    clean, rate = np.zeros(0), 0
    for example in examples:
        row = example.source
        if isinstance(row, Path):
            yield np.concatenate(list(open_audio(row).blocks()))
            continue
        if corpus is None:
            raise CorpusError("a label table's sounds are made from its music: give the folder with --music")
        group = (row.clip, row.start, row.duration, row.variation, row.level)
        if group != known:
            known, (clean, rate) = group, reference_of(row, corpus)
        yield at_front_end(presented(row, clean, rate), rate, row.duration)


def parted(examples: Sequence[Example], share: float, seed: int = 0) -> tuple[list[Example], list[Example]]:
    """The examples in two parts, about `share` of the groups in the second; no group is in both.

    Raises:
        CorpusError: fewer than two groups.
    """
    groups = sorted({example.group for example in examples})
    if len(groups) < 2:
        raise CorpusError("all examples are of one piece: give others to choose the epoch on")
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    held = {groups[place] for place in np.random.default_rng([29, seed]).permutation(len(groups))[:count]}
    return [e for e in examples if e.group not in held], [e for e in examples if e.group in held]
