"""The label table: rows that define a presented signal, and the HAAQI score of each.

A table is a set of Parquet shards, each of which is written once. A row holds no audio: clip, start, duration,
variation, chain, seed, aid, level and audiogram recreate it (`rendering.present`). Labelling saves chunks in a work
folder, so that it can be interrupted and resumed. Complete shards are collected from the chunks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ...haaqi.index import Ear, Haaqi, Reference
from ...runtime.audiogram import Audiogram
from ...runtime.batch.parallel import spread
from ...runtime.errors import CorpusError, OptionError
from ...runtime.writing import putting
from ..corpus.clips import Corpus, Split
from .features import digest, patches_in
from .rendering import presented, reference_of
from .rows import GROUP, Row, plan
from .targets import profile, to_bytes

CHUNK: Final = 200
"""Number of rows that a process labels before it saves them."""
SHARD_ROWS: Final = 2_000
SECONDS: Final[dict[Split, float]] = {"train": 5.2, "valid": 10.0, "test": 10.0}
"""Duration of a row's sound, in seconds."""
CORPUS_KEY: Final = b"corpus"
"""Key of the corpus digest in a shard's Parquet metadata."""
RECREATED: Final = 5e-4
"""Maximum difference of a score that is recomputed on another processor or with another version of numpy."""
SHORTFALL: Final = 0.2
"""Seconds that an excerpt may be shorter than its row."""
_SCORES: Final = Haaqi._fields


class Labelled(NamedTuple):
    """Rows with their scores, and their dense targets uint8 [rows, 3, patches, 32] if requested."""

    rows: list[Row]
    targets: npt.NDArray[np.uint8] | None


def label(rows: Sequence[Row], corpus: Corpus, targets: bool = False) -> Labelled:
    """Score rows with HAAQI.

    Args:
        rows: complete groups, all of the same duration.
        corpus: the clips and voices.
        targets: also compute the dense targets per patch and band (`targets.profile`).

    Raises:
        CorpusError: a clip is missing, silent or shorter than its row.
    """
    done: list[Row] = []
    dense: list[npt.NDArray[np.uint8]] = []
    for start in range(0, len(rows), GROUP):
        group = rows[start : start + GROUP]
        clean, rate = reference_of(group[0], corpus)
        if len(clean) < round((group[0].duration - SHORTFALL) * rate):
            raise CorpusError(
                f"{group[0].clip} has {len(clean) / rate:.2f} s from {group[0].start:g} s on, expected "
                f"{group[0].duration:g}: check its duration_s in CLIPS.csv, and leave out clips that are shorter"
            )
        reference = Reference(clean, rate, Ear(Audiogram(group[0].audiogram)))
        for row in group:
            signal = presented(row, clean, rate, corpus.voices(row.split))
            if targets:
                scores, tiles = reference.compare(signal, rate)
                dense.append(to_bytes(profile(tiles, patches_in(row.duration))))
            else:
                scores = reference.score(signal, rate)
            done.append(replace(row, **scores._asdict()))
    return Labelled(done, np.stack(dense) if targets else None)


@dataclass(frozen=True)
class Labelling:
    """Labels a split in chunks.

    Attributes:
        corpus: the clips and voices.
        split: the split to label.
        table: folder of the shards.
        work: folder of the chunks that are not part of a shard yet, and of the dense targets.
        targets: number of rows, from the first, whose dense targets are saved; 3 KB per row of 5 s.
    """

    corpus: Corpus
    split: Split
    table: Path
    work: Path
    targets: int = 0

    def shard(self, number: int) -> Path:
        """Return the path of a shard, which need not exist."""
        return self.table / f"{self.split}-{number:04d}.parquet"

    def chunk(self, number: int) -> Path:
        """Return the path of a chunk's rows, which need not exist."""
        return self.work / f"{self.split}-{number:06d}.parquet"

    def missing(self, first: int, last: int) -> list[int]:
        """List the chunks of rows `first` to `last` that are not done.

        Raises:
            CorpusError: finished rows belong to another corpus, or are damaged.
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

    def _plan(self, start: int, count: int) -> list[Row]:
        """Plan rows; a corpus without a speech bank has no conditions that need one."""
        speech = self.corpus.voices(self.split) is not None
        return plan(self.corpus.of(self.split), self.split, start, count, SECONDS[self.split], speech)

    def _check(self, path: Path, start: int, count: int) -> None:
        """Raise CorpusError unless a file holds the planned rows from `start` on. Only the first group is compared."""
        rows = _read_file(path)
        planned = self._plan(start, GROUP)
        made_of = corpus_of(path)
        if len(rows) != count or digest(rows[:GROUP]) != digest(planned) or made_of != self.corpus.digest:
            raise CorpusError(
                f"{path} has rows of another corpus or plan (corpus {made_of}, expected {self.corpus.digest} as in "
                f"{self.corpus.folder}): give this corpus a table and a working folder of its own"
            )

    def make_chunk(self, number: int) -> int:
        """Label a chunk, write it, and return its number."""
        rows = self._plan(number * CHUNK, CHUNK)
        done = label(rows, self.corpus, number * CHUNK < self.targets)
        if done.targets is not None:
            path = targets_file(self.work, self.split, number)
            with _writing(path) as part, part.open("wb") as file:
                np.savez_compressed(file, targets=done.targets, digest=np.array(digest(rows)))
        write(self.chunk(number), done.rows, self.corpus.digest)
        return number

    def run(self, first: int, last: int, jobs: int, done: Callable[[int], None] | None = None) -> None:
        """Label rows `first` to `last` in `jobs` processes, and collect shards.

        Args:
            first, last: rows. Complete chunks are labelled.
            jobs: number of processes.
            done: called with the number of each finished chunk.

        Raises:
            CorpusError: see `missing` and `label`.
            OptionError: a file cannot be written. Finished chunks are kept.
            WorkerError: a process was killed. Finished chunks are kept.
        """
        for number in spread(self.make_chunk, self.missing(first, last), jobs, advice="use fewer --jobs, then resume"):
            self.collect()
            if done:
                done(number)
        self.collect()

    def collect(self) -> None:
        """Write the shards whose chunks are complete, and remove those chunks."""
        per_shard = SHARD_ROWS // CHUNK
        numbers = {int(path.stem.rsplit("-", 1)[1]) for path in self.work.glob(f"{self.split}-{'[0-9]' * 6}.parquet")}
        for number in sorted({n // per_shard for n in numbers}):
            chunks = range(number * per_shard, (number + 1) * per_shard)
            if not self.shard(number).exists():
                if not numbers.issuperset(chunks):
                    continue
                rows = [row for n in chunks for row in _read_file(self.chunk(n))]
                write(self.shard(number), rows, self.corpus.digest)
            for n in numbers.intersection(chunks):
                self.chunk(n).unlink()


def targets_file(work: Path, split: Split, chunk: int) -> Path:
    """Return the path of a chunk's dense targets, which need not exist."""
    return work / "targets" / f"{split}-{chunk:06d}.npz"


class Recreated(NamedTuple):
    """A row of a table, and the score of its sound when rendered and scored again."""

    row: Row
    score: float

    @property
    def difference(self) -> float:
        """Absolute difference of the two scores."""
        return abs(self.score - self.row.score)


def verify(
    table: str | Path, name: str, corpus: Corpus, count: int, jobs: int = 1, seed: int = 20
) -> Iterator[Recreated]:
    """Render and score random rows of a table again.

    Args:
        table: folder of the shards.
        name: `train`, `valid`, `test`, or one of the older tables (`tables`).
        corpus: the corpus from which the table was made.
        count: number of rows.
        jobs: number of processes.
        seed: for the choice of rows.

    Yields:
        One result per row, in order of completion. See `RECREATED`.

    Raises:
        CorpusError: there is no such table, or the corpus lacks a clip.
    """
    rows, corpus = read(table, name), corpus.part(name)
    places = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    yield from spread(_Recreate(corpus), [rows[place] for place in places], jobs)


@dataclass(frozen=True)
class _Recreate:
    corpus: Corpus

    def __call__(self, row: Row) -> Recreated:
        blank = replace(row, **dict.fromkeys(_SCORES, float("nan")))  # type: ignore[arg-type]
        return Recreated(row, label([blank], self.corpus).rows[0].score)


def write(path: Path, rows: Sequence[Row], corpus: str | None = None) -> None:
    """Write rows to a Parquet file, with scores as float32. `corpus` is the digest of their corpus.

    Raises:
        OptionError: the disk is full, or the folder is not writable.
    """
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {
        field.name: pyarrow.array([getattr(row, field.name) for row in rows], _arrow_type(field.name))
        for field in fields(Row)
    }
    table = pyarrow.table(columns)
    if corpus is not None:
        table = table.replace_schema_metadata({CORPUS_KEY: corpus.encode()})
    with _writing(path) as part:
        pyarrow.parquet.write_table(table, part, compression="zstd", compression_level=9)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """Create a file's folder and yield the path to write to, as `putting` does. Raise OptionError on failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with putting(path) as part:
            yield part
    except OSError as error:
        raise OptionError(
            f"cannot write {path} ({error.strerror or error}): free some space or make the folder writable, then run "
            "the same command to resume; or give another folder"
        ) from error


def _arrow_type(name: str) -> Any:
    import pyarrow

    if name in _SCORES:
        return pyarrow.float32()
    if name == "audiogram":
        return pyarrow.list_(pyarrow.float32(), 8)
    if name == "seed":
        return pyarrow.int64()
    return pyarrow.float64() if name in {"start", "duration", "level"} else pyarrow.string()


def shards(folder: str | Path, name: str) -> list[Path]:
    """List the shards of a table, in order.

    Raises:
        CorpusError: there are none.
    """
    found = sorted(Path(folder).glob(f"{name}-{'[0-9]' * 4}.parquet"))
    if not found:
        there = ", ".join(tables(folder)) or "none"
        raise CorpusError(f"no table {name} in {folder}: expected {name}-0000.parquet and so on; there is {there}")
    return found


def tables(folder: str | Path) -> list[str]:
    """List the tables in a folder: splits, and older tables such as `test-2026-11`."""
    return sorted({path.stem.rsplit("-", 1)[0] for path in Path(folder).glob(f"*-{'[0-9]' * 4}.parquet")})


def read(folder: str | Path, name: str) -> list[Row]:
    """Read all rows of a table, in order.

    Args:
        folder: of the shards.
        name: a split, or an older table such as `test-2026-11`.

    Raises:
        CorpusError: the folder has no shard of that table, or a shard is damaged or not part of a label table.
    """
    return [row for shard in shards(folder, name) for row in _read_file(shard)]


def table_for(folder: str | Path, name: str, corpus: Corpus) -> str:
    """Return the name of the table that a corpus can recreate: `name`, or its edition of 2026-11.

    The tables of 2026-11 were made from the public music only, those named after a split from the whole corpus.

    Raises:
        CorpusError: there is no table of that name, or it was made from another corpus.
    """
    older = f"{name}-2026-11"
    there = tables(folder)
    if name in there:
        made_of = corpus_of(shards(folder, name)[0])
        if made_of in (None, corpus.digest):
            return name
        if older not in there:
            raise CorpusError(
                f"{name} in {folder} was made from corpus {made_of}; {corpus.folder} is {corpus.digest}: give the "
                "corpus that the table was made from"
            )
    if older in there:
        return older
    return shards(folder, name)[0].stem.rsplit("-", 1)[0]


def corpus_of(path: Path) -> str | None:
    """Return the digest of the corpus from which a shard was made, or None for shards of 2026-11, which lack it.

    Raises:
        CorpusError: the shard is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        found = (pyarrow.parquet.read_schema(path).metadata or {}).get(CORPUS_KEY)
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError(
            f"{path} is damaged or not part of a label table ({error}): remove it and make it again"
        ) from error
    return None if found is None else bytes(found).decode()


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
        raise CorpusError(
            f"{path} is damaged or not part of a label table ({error}): remove it and make it again"
        ) from error
