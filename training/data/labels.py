"""The label table: rows that recreate a presented signal from a clip, and the HAAQI score of each.

The table is a folder of Parquet shards, written once each. A row holds no audio: clip, start, duration, variation,
chain, seed, aid, level and audiogram recreate it (`present`). Labelling goes chunk by chunk in a working folder, so
that it can be stopped and gone on with; whole shards are put together from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...haaqi.index import Ear, Haaqi, Reference
from ...runtime.audiogram import Audiogram
from ...runtime.errors import CorpusError
from ...runtime.writing import putting
from ..corpus.clips import Corpus, Split
from .features import Features, clean_level, digest, load_all, patches_in, row_texture, stored_digest
from .rendering import presented, reference_of
from .rows import GROUP, Row, plan
from .targets import profile, to_bytes

CHUNK: Final = 200
"""rows that one process labels before it saves"""
SHARD_ROWS: Final = 2_000
SECONDS: Final[dict[Split, float]] = {"train": 5.2, "valid": 10.0, "test": 10.0}
"""length of a row's sound"""
_SCORES: Final = Haaqi._fields


def label(rows: Sequence[Row], corpus: Corpus) -> tuple[list[Row], Features]:
    """Rows of whole groups and one duration with their HAAQI scores and parts, and their features."""
    done: list[Row] = []
    texture: list[npt.NDArray[np.float16]] = []
    cleans: list[npt.NDArray[np.float16]] = []
    profiles: list[npt.NDArray[np.uint8]] = []
    for start in range(0, len(rows), GROUP):
        group = rows[start : start + GROUP]
        clean, rate = reference_of(group[0], corpus)
        reference = Reference(clean, rate, Ear(Audiogram(group[0].audiogram)))
        cleans.append(clean_level(group[0], clean, rate))
        for row in group:
            signal = presented(row, clean, rate)
            scores, tiles = reference.compare(signal, rate)
            done.append(replace(row, **scores._asdict()))
            texture.append(row_texture(row, signal, rate))
            profiles.append(to_bytes(profile(tiles, patches_in(row.duration))))
    return done, Features(np.stack(texture), np.stack(cleans), np.stack(profiles), digest(rows))


@dataclass(frozen=True)
class Labelling:
    """Labels a split chunk by chunk.

    Attributes:
        corpus: the music.
        split: which of its splits.
        table: folder of the shards.
        work: folder of the chunks that are no shard yet, and of the features.
        keep_features: whether features are kept there for training, 36 KB a row of 5 s.
    """

    corpus: Corpus
    split: Split
    table: Path
    work: Path
    keep_features: bool = True

    def shard(self, number: int) -> Path:
        """Where a shard is or will be."""
        return self.table / f"{self.split}-{number:04d}.parquet"

    def chunk(self, number: int) -> Path:
        """Where a chunk's rows are or will be."""
        return self.work / f"{self.split}-{number:06d}.parquet"

    def missing(self, first: int, last: int) -> list[int]:
        """The chunks that hold rows `first` to `last`, without those that are done.

        Raises:
            CorpusError: what is done is of other music, or damaged.
        """
        numbers = range(first // CHUNK, -(-last // CHUNK))
        for shard in sorted({n * CHUNK // SHARD_ROWS for n in numbers}):
            if self.shard(shard).exists():
                self._check(self.shard(shard), shard * SHARD_ROWS, SHARD_ROWS)
        undone = [n for n in numbers if not self.shard(n * CHUNK // SHARD_ROWS).exists()]
        for n in undone:
            if self.chunk(n).exists():
                self._check(self.chunk(n), n * CHUNK, CHUNK)
        return [n for n in undone if not self.chunk(n).exists()]

    def _check(self, path: Path, start: int, count: int) -> None:
        """Whether a file's rows, from `start` on, are those that this music is planned to give; a few of them."""
        rows = _read_file(path)
        planned = plan(self.corpus.of(self.split), self.split, start, GROUP, SECONDS[self.split])
        if len(rows) != count or digest(rows[:GROUP]) != digest(planned):
            raise CorpusError(
                f"{path} holds rows of other music than {self.corpus.folder}, or of another plan: give a table and a "
                "working folder of their own to this music"
            )

    def make_chunk(self, number: int) -> int:
        """Label a chunk and write it; returns its number."""
        clips = self.corpus.of(self.split)
        rows = plan(clips, self.split, number * CHUNK, CHUNK, SECONDS[self.split])
        done, features = label(rows, self.corpus)
        if self.keep_features:
            features.save(feature_file(self.work, self.split, number))
        write(self.chunk(number), done)
        return number

    def run(self, first: int, last: int, jobs: int, done: Callable[[int], None] | None = None) -> None:
        """Label rows `first` to `last` in `jobs` processes, calling `done` after every chunk, and collect shards."""
        import joblib

        missing = self.missing(first, last)
        if missing:
            with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
                work = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
                for number in work(joblib.delayed(self.make_chunk)(n) for n in missing):
                    self.collect()
                    if done:
                        done(number)
        self.collect()

    def collect(self) -> None:
        """Put whole shards together from chunks, and remove those chunks."""
        per_shard = SHARD_ROWS // CHUNK
        numbers = {int(path.stem.rsplit("-", 1)[1]) for path in self.work.glob(f"{self.split}-{'[0-9]' * 6}.parquet")}
        for number in sorted({n // per_shard for n in numbers}):
            chunks = range(number * per_shard, (number + 1) * per_shard)
            if not self.shard(number).exists():
                if not numbers.issuperset(chunks):
                    continue
                write(self.shard(number), [row for n in chunks for row in _read_file(self.chunk(n))])
            for n in numbers.intersection(chunks):
                self.chunk(n).unlink()


def feature_file(folder: Path, split: Split, chunk: int) -> Path:
    """Where a chunk's features are or will be."""
    return folder / f"{split}-{chunk:06d}.npz"


def features_of(
    rows: Sequence[Row], split: Split, corpus: Corpus, work: Path, jobs: int, done: Callable[[int, int], None]
) -> Features:
    """The features of a table's rows, from the files in `work` where they are there, else made again.

    Args:
        rows: all rows of the split, in order.
        split, corpus: whose they are.
        work: folder of the files; takes those that are made.
        jobs: processes.
        done: called with the number of chunks that are there, and of all.
    """
    import joblib

    chunks = [list(rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK)]
    paths = [feature_file(work, split, number) for number in range(len(chunks))]
    stale = [(c, p) for c, p in zip(chunks, paths, strict=True) if stored_digest(p) != digest(c)]
    finished = len(chunks) - len(stale)
    done(finished, len(chunks))
    if stale:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            work_on = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
            for _ in work_on(joblib.delayed(_make_features)(c, corpus, p) for c, p in stale):
                finished += 1
                done(finished, len(chunks))
    return load_all(paths)


def _make_features(rows: Sequence[Row], corpus: Corpus, path: Path) -> None:
    label(rows, corpus)[1].save(path)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to a Parquet file, whole or not at all; scores as float32."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {
        field.name: pyarrow.array([getattr(row, field.name) for row in rows], _arrow_type(field.name))
        for field in fields(Row)
    }
    with putting(path) as part:
        pyarrow.parquet.write_table(pyarrow.table(columns), part, compression="zstd", compression_level=9)


def _arrow_type(name: str) -> Any:
    import pyarrow

    if name in _SCORES:
        return pyarrow.float32()
    if name == "audiogram":
        return pyarrow.list_(pyarrow.float32(), 8)
    if name == "seed":
        return pyarrow.int64()
    return pyarrow.float64() if name in {"start", "duration", "level"} else pyarrow.string()


def read(folder: str | Path, split: Split) -> list[Row]:
    """All rows of a split, in order.

    Raises:
        CorpusError: no shard of that split in the folder, or one that is damaged or no label table.
    """
    shards = sorted(Path(folder).glob(f"{split}-*.parquet"))
    if not shards:
        raise CorpusError(f"no label table of split {split} in {folder}: expected {split}-0000.parquet and so on")
    return [row for shard in shards for row in _read_file(shard)]


def _read_file(path: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    names = {field.name for field in fields(Row)}
    try:
        rows = []
        for values in pyarrow.parquet.read_table(path).to_pylist():
            kept: dict[str, Any] = {key: value for key, value in values.items() if key in names}
            rows.append(Row(**{**kept, "audiogram": tuple(kept["audiogram"])}))
        return rows
    except (pyarrow.ArrowException, OSError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} is damaged or no label table ({error}): make it again") from error
