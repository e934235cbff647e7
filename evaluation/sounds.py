"""Sounds on which models are compared: files of a folder, or rows of a label table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ..runtime.audio.reading import AudioLike, audio_in
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
        spl, nal_r: how the sound is presented, see `Judge`.
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


def of_folder(
    folder: Path, listeners: Sequence[Audiogram] = (), spl: float | None = None, nal_r: bool = False
) -> list[Sound]:
    """List every audio file of a folder, for every listener.

    Args:
        folder: contains the audio files.
        listeners: audiograms; if empty, `STANDARD_LISTENERS`.
        spl, nal_r: how the files are presented, see `Judge`.

    Raises:
        AudioFileNotFoundError: the folder contains no audio.
    """
    heard = listeners or [Audiogram.named(name) for name in STANDARD_LISTENERS]

    def opener(path: Path) -> Callable[[], AudioLike]:
        return lambda: path

    return [
        Sound(str(path.relative_to(folder)), load, listener, spl, nal_r, level=spl)
        for path in audio_in(folder)
        for load in [opener(path)]
        for listener in heard
    ]


def of_table(table: Path, music: Path, split: str = "test", rows: int | None = None, seed: int = 0) -> list[Sound]:
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
    from ..training.data.labels import read, table_for
    from ..training.data.rendering import present
    from ..training.data.rows import Row
    from ..training.degradations.sampling import family

    corpus = Corpus(music)
    name = table_for(table, split, corpus)
    corpus, every = corpus.part(name), read(table, name)
    if rows is not None and rows < len(every):
        chosen = np.sort(np.random.default_rng(seed).choice(len(every), rows, replace=False))
        every = [every[place] for place in chosen]

    def maker(row: Row) -> Callable[[], AudioLike]:
        def make() -> AudioLike:
            _, heard, rate = present(row, corpus)
            return heard.astype(np.float32), rate

        return make

    return [
        Sound(
            f"{row.clip} at {row.start:g} s, {row.chain or 'clean'}, aid {row.aid}",
            maker(row),
            Audiogram(row.audiogram, row.listener),
            condition=family(row.chain),
            level=row.level,
            label=row.score,
        )
        for row in every
    ]


def loaded(sounds: Sequence[Sound]) -> Iterator[tuple[Sound, AudioLike]]:
    """Yield sounds and their audio, one at a time; audio that consecutive sounds share is loaded once."""
    before: tuple[Callable[[], AudioLike], AudioLike] | None = None
    for sound in sounds:
        if before is None or before[0] is not sound.load:
            before = sound.load, sound.load()
        yield sound, before[1]
