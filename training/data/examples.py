"""Examples for training: a sound, its listener, and its label, from label tables or from HAAQI-Net's train.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...runtime.audio.reading import open_audio
from ...runtime.audiogram import Audiogram
from ...runtime.errors import CorpusError, HaaqiEdgeError
from ...runtime.files import is_file
from ..corpus.clips import Corpus
from ..degradations.chains import Array
from .features import music_digest, resample_to_front_end, rows_digest
from .labels import read_corpus_digest, read_rows, shard_paths
from .rendering import render_presented, render_reference
from .rows import Row

Single = npt.NDArray[np.float32]
FILES: Final = "files"
"""Table name of examples that are audio files."""
KEY_LENGTH: Final = 20


@dataclass(frozen=True)
class Example:
    """One labelled sound.

    Attributes:
        sound_key: key of the sound, independent of the listener.
        audiogram: 8 levels in dB HL.
        score: label, 0 to 1; NaN if there is none.
        source: origin of the sound: a row of a label table, or an audio file of the signal at the ear.
        group: examples of one group stay together when data are split: the piece of music.
        table: name of the label table, such as `train` or `train-2026-11`; `files` for audio files.
        corpus: digest of the corpus from which the table was made. None if it is unknown, or for audio files.
    """

    sound_key: str
    audiogram: tuple[float, ...]
    score: float
    source: Row | Path
    group: str = ""
    table: str = FILES
    corpus: str | None = None

    @cached_property
    def listening_key(self) -> str:
        """Key of the sound and its listener."""
        levels = hashlib.sha256(repr(self.audiogram).encode()).hexdigest()[:8]
        return f"{self.sound_key}-{levels}"

    @cached_property
    def music_key(self) -> str:
        """Key of a row's amplified clean music, the same for all rows of a group."""
        assert isinstance(self.source, Row), "only rows of a label table have a clean reference"
        return _table_key(music_digest(self.source), self.corpus)


def load_table_examples(folder: Path, name: str, rows: int | None = None) -> list[Example]:
    """Read a label table.

    Args:
        folder: of the shards.
        name: `train`, `valid`, `test`, or an older table such as `train-2026-11`.
        rows: use the first rows only.

    Raises:
        CorpusError: there is no such table.
    """
    made_of = read_corpus_digest(shard_paths(folder, name)[0])
    return [
        Example(_table_key(rows_digest([row]), made_of), row.audiogram, row.score, row, row.clip, name, made_of)
        for row in read_rows(folder, name)[:rows]
    ]


def _table_key(row: str, corpus: str | None) -> str:
    """Return the key of a row. With another corpus, the same row may have another sound."""
    return f"{row}-{corpus}" if corpus else row


def load_json_examples(path: Path) -> list[Example]:
    """Read HAAQI-Net's `{"data": [{"file_path", "audiogram", "haaqi_score"}]}`. Paths are relative to this file.

    Raises:
        CorpusError: the file has another form, an audio file does not exist, or an audiogram or score is invalid.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        entries = [(str(e["file_path"]), e["audiogram"], float(e["haaqi_score"])) for e in data]
    except (OSError, ValueError, KeyError, TypeError) as error:
        form = '{"data": [{"file_path": ..., "audiogram": [8 levels], "haaqi_score": ...}]}'
        raise CorpusError(f"{path} cannot be read ({error!r}); expected {form}") from error
    if not entries:
        raise CorpusError(f"{path} holds no examples: its `data` is empty")
    return [example_from_file(path.parent / name, levels, score, f"{path}, {name}") for name, levels, score in entries]


def example_from_file(path: Path, levels: Any, score: float, place: str) -> Example:
    """Create an example from an audio file. `place` is its name in messages.

    Raises:
        CorpusError: the file does not exist, or the audiogram or score is invalid.
    """
    if not is_file(path):
        raise CorpusError(f"{place}: {path} does not exist; paths are relative to the folder of the table")
    try:
        audiogram = Audiogram.parse(levels) if isinstance(levels, str) else Audiogram(tuple(map(float, levels)))
    except (HaaqiEdgeError, TypeError, ValueError) as error:
        raise CorpusError(f"{place}: {error}") from error
    if not 0 <= score <= 1:
        raise CorpusError(f"{place}: the score {score:g} is not within 0 to 1")
    with path.open("rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()[:KEY_LENGTH]
    return Example(key + "f", tuple(audiogram.array().tolist()), score, path, path.name)


def corpora_by_table(examples: Sequence[Example], corpus: Corpus | None) -> dict[str, Corpus]:
    """Return the corpus of each label table that the examples come from. Audio files have none.

    Raises:
        CorpusError: there are rows of a label table, but no corpus.
    """
    names = sorted({example.table for example in examples} - {FILES})
    if names and corpus is None:
        raise CorpusError("sounds of a label table are made from its corpus: give the folder with --corpus")
    return {name: corpus.part(name) for name in names} if corpus else {}


class SoundRenderer:
    """Renders the sounds of examples. Consecutive rows of a group share their clean music.

    Args:
        corpora: corpus of each label table, see `corpora_by_table`.
    """

    def __init__(self, corpora: Mapping[str, Corpus]) -> None:
        self.corpora = corpora
        self._current: tuple[Any, ...] = ()
        self._music: tuple[Array, int] = np.zeros(0), 0

    def clean_music(self, example: Example) -> tuple[Array, int]:
        """Return a row's clean music, float64 [samples], and its rate in Hz. See `rendering.render_reference`."""
        row = example.source
        assert isinstance(row, Row), "only rows of a label table have a clean reference"
        group = (example.table, row.clip, row.start, row.duration, row.variation, row.level)
        if group != self._current:
            self._current, self._music = group, render_reference(row, self.corpora[example.table])
        return self._music

    def render(self, example: Example) -> Single:
        """Return the signal at the ear, float32 [samples] at 16 kHz.

        Raises:
            AudioError: a file cannot be read.
            CorpusError: a clip is missing or silent.
        """
        row = example.source
        if isinstance(row, Path):
            return np.concatenate(list(open_audio(row).blocks()))
        clean, rate = self.clean_music(example)
        voices = self.corpora[example.table].voices(row.split)
        return resample_to_front_end(render_presented(row, clean, rate, voices), rate, row.duration)


def render_waveforms(examples: Sequence[Example], corpus: Corpus | None) -> Iterator[Single]:
    """Yield the sounds of examples, float32 [samples] at 16 kHz.

    Raises:
        CorpusError: there are rows of a label table, but no corpus.
        AudioError: a file cannot be read.
    """
    yield from map(SoundRenderer(corpora_by_table(examples, corpus)).render, examples)


def split_by_group(examples: Sequence[Example], share: float, seed: int = 0) -> tuple[list[Example], list[Example]]:
    """Split examples into two parts, with about `share` of the groups in the second. No group is in both.

    Raises:
        CorpusError: there are fewer than two groups.
    """
    groups = sorted({example.group for example in examples})
    if len(groups) < 2:
        raise CorpusError("all examples are of one piece of music: add examples of another one, which select the epoch")
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    held = {groups[place] for place in np.random.default_rng([29, seed]).permutation(len(groups))[:count]}
    return [e for e in examples if e.group not in held], [e for e in examples if e.group in held]
