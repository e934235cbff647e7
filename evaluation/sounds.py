"""Sounds on which predictors are compared: files of a folder, or rows of a label table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ..runtime.audio.folders import audio_in
from ..runtime.audio.reading import AudioLike, open_audio
from ..runtime.audiogram import Audiogram

STANDARD_LISTENERS: Final = ("N1", "N3", "N5", "S2")
"""default listeners for a folder"""


@dataclass(frozen=True)
class Sound:
    """A sound for one listener.

    Attributes:
        name: name in reports.
        load: returns the audio; called once for consecutive sounds that share it.
        listener: the listener's audiogram.
        spl, nal_r: how the sound is presented, see `Predictor`.
        condition: family of its degradations, if known.
        level: level of the music in dB SPL, if known.
        label: its HAAQI, if known.
    """

    name: str
    load: Callable[[], AudioLike]
    listener: Audiogram
    spl: float | None = None
    nal_r: bool = False
    condition: str | None = None
    level: float | None = None
    label: float | None = None


def list_folder_sounds(
    folder: Path, listeners: Sequence[Audiogram] = (), spl: float | None = None, nal_r: bool = False
) -> list[Sound]:
    """List every audio file of a folder, for every listener.

    Args:
        folder: contains the audio files.
        listeners: audiograms; if empty, `STANDARD_LISTENERS`.
        spl, nal_r: how the files are presented, see `Predictor`.

    Raises:
        AudioFileNotFoundError: the folder contains no audio.
    """
    audiograms = listeners or [Audiogram.named(name) for name in STANDARD_LISTENERS]

    def opener(path: Path) -> Callable[[], AudioLike]:
        return lambda: path

    return [
        Sound(str(path.relative_to(folder)), load, listener, spl, nal_r, level=spl)
        for path in audio_in(folder)
        for load in [opener(path)]
        for listener in audiograms
    ]


def list_table_sounds(
    table: Path, music: Path, split: str = "test", rows: int | None = None, seed: int = 0
) -> list[Sound]:
    """List the rows of a label table, with their labels.

    Args:
        table: folder of the shards.
        music: folder of the clips with their CLIPS.csv.
        split: which rows, or the name of an older table such as `test-2026-11`. If the table of the split was made from
            a larger corpus than `music`, its edition of 2026-11 is read.
        rows: number of rows to select at random; their order does not change. None takes all rows.
        seed: of the selection.

    Raises:
        CorpusError: the table or the music does not exist, or the table was made from another corpus.
    """
    from ..training.corpus.clips import Corpus
    from ..training.data.labels import read_rows, resolve_table
    from ..training.data.rendering import render_row
    from ..training.data.rows import Row
    from ..training.degradations.sampling import family

    corpus = Corpus(music)
    name = resolve_table(table, split, corpus)
    corpus, table_rows = corpus.part(name), read_rows(table, name)
    if rows is not None and rows < len(table_rows):
        chosen = np.sort(np.random.default_rng(seed).choice(len(table_rows), rows, replace=False))
        table_rows = [table_rows[index] for index in chosen]

    def renderer(row: Row) -> Callable[[], AudioLike]:
        def render() -> AudioLike:
            _, presented, rate = render_row(row, corpus)
            return open_audio((presented.astype(np.float32), rate), presented=True)

        return render

    return [
        Sound(
            f"{row.clip} at {row.start:g} s, {row.chain or 'clean'}, aid {row.aid}",
            renderer(row),
            Audiogram(row.audiogram, row.listener),
            condition=family(row.chain),
            level=row.level,
            label=row.score,
        )
        for row in table_rows
    ]


def load_audio(sounds: Sequence[Sound]) -> Iterator[tuple[Sound, AudioLike]]:
    """Yield sounds and their audio, one at a time; audio that consecutive sounds share is loaded once."""
    last: tuple[Callable[[], AudioLike], AudioLike] | None = None
    for sound in sounds:
        if last is None or last[0] is not sound.load:
            last = sound.load, sound.load()
        yield sound, last[1]
