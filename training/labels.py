"""The label table: rows that recreate a presented signal from a clip, and the HAAQI score of each.

The table is a folder of Parquet shards, written once each. A row holds no audio: clip, start, duration, chain, seed,
aid, level and audiogram recreate it (`present`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..runtime.audiogram import FREQUENCIES, STANDARD, Audiogram
from ..runtime.errors import CorpusError
from ..runtime.levels import LEVEL1, amplitude, nal_r
from .corpus import Clip, Corpus, Split
from .degradations import degrade, random_chain
from .haaqi import Ear, Haaqi, Reference

SHARD_ROWS: Final = 250
LISTENERS: Final = tuple(STANDARD)
PRESENTATION: Final = 65.0
"""dB SPL of half of the rows"""
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One labelled sound.

    Attributes:
        clip, start, duration: what is heard, in seconds.
        chain, seed: what was done to it (`degradations.degrade`).
        aid: how it was amplified; `nal-r`, for the listener.
        level: dB SPL of the music before amplification.
        listener: the audiogram's type, of which `audiogram` (8 levels in dB HL) is a scattered copy.
        score and its parts: see `haaqi.Haaqi`; NaN until labelled.
    """

    split: Split
    clip: str
    start: float
    duration: float
    chain: str
    seed: int
    aid: str
    level: float
    listener: str
    audiogram: tuple[float, ...]
    score: float = float("nan")
    nonlinear: float = float("nan")
    linear: float = float("nan")
    cepstral: float = float("nan")
    synchrony: float = float("nan")
    loudness: float = float("nan")
    spectrum: float = float("nan")


def plan(clips: Sequence[Clip], split: Split, start: int, count: int, duration: float) -> list[Row]:
    """Rows `start` to `start + count` of a split: every clip in turn, the rest drawn from the row's own seed.

    Audiograms are the eleven standard ones scattered by 5 dB; half of the rows are presented at 65 dB SPL, the rest
    at 50 to 80; all are amplified by NAL-R.

    Raises:
        CorpusError: no clips.
    """
    if not clips:
        raise CorpusError(f"no clip of split {split}: name some in CLIPS.csv")
    rows = []
    for index in range(start, start + count):
        seed = index * len(SPLITS) + SPLITS.index(split)
        rng = np.random.default_rng([7, seed])
        cycle, place = divmod(index, len(clips))
        clip = clips[np.random.default_rng([11, cycle]).permutation(len(clips))[place]]
        listener = str(rng.choice(LISTENERS))
        scatter = rng.normal(0, 5, len(FREQUENCIES)).round()
        audiogram = tuple(float(v) for v in np.clip(np.array(STANDARD[listener]) + scatter, -10, 110))
        level = PRESENTATION if rng.random() < 0.5 else float(rng.uniform(50, 80).__round__(1))
        latest = max(clip.duration - duration - 0.05, 0.0)
        rows.append(
            Row(
                split,
                clip.path,
                round(float(rng.uniform(0, latest)), 3),
                duration,
                random_chain(rng),
                seed,
                "nal-r",
                level,
                listener,
                audiogram,
            )
        )
    return rows


def present(row: Row, corpus: Corpus) -> tuple[Array, Array, int]:
    """Recreate a row's sound.

    Returns:
        clean, presented, rate: float64 [samples] both, where RMS 1.0 is `LEVEL1` dB SPL; the clean music is not
        amplified, the presented one is; and Hz.
    """
    clean, rate = corpus.excerpt(row.clip, row.start, row.duration)
    rms = float(np.sqrt(np.mean(clean**2)))
    if rms == 0:
        raise CorpusError(f"{row.clip} is silent from {row.start} s on for {row.duration} s")
    clean = clean * (amplitude(row.level - LEVEL1) / rms)
    degraded = degrade(clean, rate, row.chain, row.seed).astype(np.float32)
    presented = nal_r(degraded, rate, Audiogram(row.audiogram))
    return clean, presented.astype(np.float64), rate


def label(row: Row, corpus: Corpus) -> Row:
    """The row with its HAAQI score and parts."""
    clean, presented, rate = present(row, corpus)
    result: Haaqi = Reference(clean, rate, Ear(Audiogram(row.audiogram))).score(presented, rate)
    return replace(row, **result._asdict())


def make_shard(folder: Path, corpus: Corpus, split: Split, shard: int, duration: float, jobs: int) -> Path:
    """Label a shard's rows in `jobs` processes and write it; a shard that exists is kept."""
    import joblib

    path = folder / f"{split}-{shard:04d}.parquet"
    if not path.exists():
        rows = plan(corpus.of(split), split, shard * SHARD_ROWS, SHARD_ROWS, duration)
        write(path, joblib.Parallel(n_jobs=jobs)(joblib.delayed(label)(row, corpus) for row in rows))
    return path


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to a Parquet file, whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    table = pyarrow.Table.from_pylist([asdict(row) for row in rows])
    pyarrow.parquet.write_table(table, part, compression="zstd")
    part.replace(path)


def read(folder: str | Path, split: Split) -> list[Row]:
    """All rows of a split, in order.

    Raises:
        CorpusError: no shard of that split in the folder, or one that is damaged or no label table.
    """
    import pyarrow
    import pyarrow.parquet

    shards = sorted(Path(folder).glob(f"{split}-*.parquet"))
    if not shards:
        raise CorpusError(f"no label table of split {split} in {folder}: expected {split}-0000.parquet and so on")
    names = {field.name for field in fields(Row)}
    rows: list[Row] = []
    for shard in shards:
        try:
            for values in pyarrow.parquet.read_table(shard).to_pylist():
                kept: dict[str, Any] = {key: value for key, value in values.items() if key in names}
                rows.append(Row(**{**kept, "audiogram": tuple(kept["audiogram"])}))
        except (pyarrow.ArrowException, OSError, KeyError, TypeError) as error:
            raise CorpusError(f"{shard} is damaged or no label table ({error}): make it again") from error
    return rows
