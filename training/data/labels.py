"""The label table: rows that define a presented signal, and the HAAQI score of each.

A table is a set of Parquet shards, each of which is written once. A row holds no audio: clip, start, duration,
variation, chain, seed, aid, level and audiogram recreate it (`rendering.render_row`). Labelling saves chunks in a work
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

from ...haaqi.index import Haaqi, Listener, Reference
from ...runtime.audio.levels import LEVEL1
from ...runtime.audiogram import Audiogram
from ...runtime.batch.parallel import parallel_map
from ...runtime.errors import CorpusError, OptionError
from ...runtime.writing import replace_atomically
from ..corpus.clips import Corpus, Split
from ..locks import hold_lock
from .features import patches_in, rows_digest
from .rendering import render_presented, render_reference
from .rows import GROUP, Row, plan_rows
from .targets import dense_targets, quantize_targets

CHUNK: Final = 200
"""Number of rows that a process labels before it saves them."""
SHARD_ROWS: Final = 2_000
SECONDS: Final[dict[Split, float]] = {"train": 5.2, "valid": 10.0, "test": 10.0}
"""Duration of a row's sound, in seconds."""
CORPUS_KEY: Final = b"corpus"
"""Key of the corpus digest in a shard's Parquet metadata."""
VERIFY_TOLERANCE: Final = 5e-4
"""Maximum difference of a score that is recomputed on another processor or with another version of numpy."""
SHORTFALL: Final = 0.2
"""Seconds that an excerpt may be shorter than its row."""
_SCORES: Final = Haaqi._fields


class LabelledRows(NamedTuple):
    """Rows with their scores, and their dense targets uint8 [rows, 3, patches, 32] if requested."""

    rows: list[Row]
    targets: npt.NDArray[np.uint8] | None


def label_rows(rows: Sequence[Row], corpus: Corpus, targets: bool = False) -> LabelledRows:
    """Score rows with HAAQI.

    Args:
        rows: complete groups, all of the same duration.
        corpus: the clips and voices.
        targets: also compute the dense targets per patch and band (`targets.dense_targets`).

    Raises:
        CorpusError: a clip is missing, silent or shorter than its row.
    """
    done: list[Row] = []
    dense: list[npt.NDArray[np.uint8]] = []
    for start in range(0, len(rows), GROUP):
        group = rows[start : start + GROUP]
        clean, rate = render_reference(group[0], corpus)
        if len(clean) < round((group[0].duration - SHORTFALL) * rate):
            raise CorpusError(
                f"{group[0].clip} has {len(clean) / rate:.2f} s from {group[0].start:g} s on, expected "
                f"{group[0].duration:g}: check its duration_s in CLIPS.csv, and leave out clips that are shorter"
            )
        reference = Reference(clean, rate, Listener(Audiogram(group[0].audiogram), level1=LEVEL1))
        for row in group:
            signal = render_presented(row, clean, rate, corpus.voices(row.split))
            if targets:
                scores, tiles = reference.compare(signal, rate)
                dense.append(quantize_targets(dense_targets(tiles, patches_in(row.duration))))
            else:
                scores = reference.score(signal, rate)
            done.append(replace(row, **scores._asdict()))
    return LabelledRows(done, np.stack(dense) if targets else None)


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

    def missing_chunks(self, first: int, last: int) -> list[int]:
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
        return plan_rows(self.corpus.of(self.split), self.split, start, count, SECONDS[self.split], speech)

    def _check(self, path: Path, start: int, count: int) -> None:
        """Raise CorpusError unless a file holds the planned rows from `start` on. Only the first group is compared."""
        rows = _read_shard(path)
        planned = self._plan(start, GROUP)
        made_of = read_corpus_digest(path)
        if len(rows) != count or rows_digest(rows[:GROUP]) != rows_digest(planned) or made_of != self.corpus.digest:
            raise CorpusError(
                f"{path} has rows of another corpus or plan (corpus {made_of}, expected {self.corpus.digest} as in "
                f"{self.corpus.folder}): give this corpus a table and a working folder of its own"
            )

    def label_chunk(self, number: int) -> int:
        """Label a chunk, write it, and return its number."""
        rows = self._plan(number * CHUNK, CHUNK)
        done = label_rows(rows, self.corpus, number * CHUNK < self.targets)
        if done.targets is not None:
            path = targets_path(self.work, self.split, number)
            with _write_atomically(path) as part, part.open("wb") as file:
                np.savez_compressed(file, targets=done.targets, digest=np.array(rows_digest(rows)))
        write_rows(self.chunk(number), done.rows, self.corpus.digest)
        return number

    def run(
        self,
        first: int,
        last: int,
        jobs: int,
        on_chunk: Callable[[int], None] | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> None:
        """Label rows `first` to `last` in `jobs` processes, and collect shards.

        Args:
            first, last: rows. Complete chunks are labelled.
            jobs: number of processes.
            on_chunk: called with the number of each finished chunk.
            on_start: called with how many chunks are missing, before they are labelled.

        Raises:
            CorpusError: see `missing_chunks` and `label_rows`.
            OptionError: another process labels the split, or a file cannot be written. Finished chunks are kept.
            WorkerError: a process was killed. Finished chunks are kept.
        """
        self._plan(first, GROUP)  # raises an error for a split without clips, before any folder is created
        with self._lock():
            missing = self.missing_chunks(first, last)
            if on_start:
                on_start(len(missing))
            for number in parallel_map(self.label_chunk, missing, jobs, advice="use fewer --jobs, then resume"):
                self.collect()
                if on_chunk:
                    on_chunk(number)
            self.collect()

    def run_trial(self, count: int, jobs: int, on_group: Callable[[int], None] | None = None) -> int:
        """Label the first rows of the split for a trial, and write them as the only shard of the table.

        The table cannot be extended later. The rows are those that a complete table begins with.

        Args:
            count: number of rows. Complete groups of `GROUP` rows are labelled.
            jobs: number of processes.
            on_group: called with the number of rows that are done.

        Returns:
            The number of rows of the shard.

        Raises:
            CorpusError: see `label_rows`, or the table is of another corpus.
            OptionError: the table has another number of rows, another process labels the split, or a file cannot be
                written.
            WorkerError: a process was killed.
        """
        rows = self._plan(0, -(-count // GROUP) * GROUP)
        path = self.shard(0)
        with self._lock():
            if path.exists():
                found = len(_read_shard(path))
                if found != len(rows):
                    raise OptionError(
                        f"{path} has {found:,} rows, and --rows {count} would write {len(rows):,}: give another "
                        "--table, or delete it"
                    )
                self._check(path, 0, len(rows))
                return len(rows)
            groups = [(start, rows[start : start + GROUP]) for start in range(0, len(rows), GROUP)]
            done: dict[int, list[Row]] = {}
            for start, labelled in parallel_map(self._label_group, groups, jobs, advice="use fewer --jobs"):
                done[start] = labelled
                if on_group:
                    on_group(len(done) * GROUP)
            write_rows(path, [row for start in sorted(done) for row in done[start]], self.corpus.digest)
        return len(rows)

    def _label_group(self, group: tuple[int, list[Row]]) -> tuple[int, list[Row]]:
        start, rows = group
        return start, label_rows(rows, self.corpus).rows

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Let no other process label the split into the same table or working folder."""

        def busy(holder: str) -> OptionError:
            return OptionError(
                f"{holder} labels {self.split} in {self.table}, with the working folder {self.work}: wait until it "
                "ends, or give another --table and --work"
            )

        with contextlib.ExitStack() as locks:
            for folder in (self.work, self.table):
                path = folder / f"{self.split}.lock"
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    locks.enter_context(hold_lock(path, busy))
                except OSError as error:
                    raise _unwritable(path, error) from error
            yield

    def collect(self) -> None:
        """Write the shards whose chunks are complete, and remove those chunks."""
        per_shard = SHARD_ROWS // CHUNK
        numbers = {int(path.stem.rsplit("-", 1)[1]) for path in self.work.glob(f"{self.split}-{'[0-9]' * 6}.parquet")}
        for number in sorted({n // per_shard for n in numbers}):
            chunks = range(number * per_shard, (number + 1) * per_shard)
            if not self.shard(number).exists():
                if not numbers.issuperset(chunks):
                    continue
                rows = [row for n in chunks for row in _read_shard(self.chunk(n))]
                write_rows(self.shard(number), rows, self.corpus.digest)
            for n in numbers.intersection(chunks):
                self.chunk(n).unlink()


def targets_path(work: Path, split: Split, chunk: int) -> Path:
    """Return the path of a chunk's dense targets, which need not exist."""
    return work / "targets" / f"{split}-{chunk:06d}.npz"


class VerifiedRow(NamedTuple):
    """A row of a table, and the score of its sound when rendered and scored again."""

    row: Row
    score: float

    @property
    def difference(self) -> float:
        """Absolute difference of the two scores."""
        return abs(self.score - self.row.score)


def verify_table(
    table: str | Path, name: str, corpus: Corpus, count: int, jobs: int = 1, seed: int = 20
) -> Iterator[VerifiedRow]:
    """Render and score random rows of a table again.

    Args:
        table: folder of the shards.
        name: `train`, `valid`, `test`, or one of the older tables (`table_names`).
        corpus: the corpus from which the table was made.
        count: number of rows.
        jobs: number of processes.
        seed: for the choice of rows.

    Yields:
        One result per row, in order of completion. See `VERIFY_TOLERANCE`.

    Raises:
        CorpusError: there is no such table, or the corpus lacks a clip.
    """
    rows, corpus = read_rows(table, name), corpus.part(name)
    places = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    yield from parallel_map(_Verify(corpus), [rows[place] for place in places], jobs)


@dataclass(frozen=True)
class _Verify:
    corpus: Corpus

    def __call__(self, row: Row) -> VerifiedRow:
        blank = replace(row, **dict.fromkeys(_SCORES, float("nan")))  # type: ignore[arg-type]
        return VerifiedRow(row, label_rows([blank], self.corpus).rows[0].score)


def write_rows(path: Path, rows: Sequence[Row], corpus: str | None = None) -> None:
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
    with _write_atomically(path) as part:
        pyarrow.parquet.write_table(table, part, compression="zstd", compression_level=9)


@contextlib.contextmanager
def _write_atomically(path: Path) -> Iterator[Path]:
    """Create a file's folder, and yield the path to write to as `replace_atomically` does.

    Raises:
        OptionError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path) as part:
            yield part
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OptionError:
    return OptionError(
        f"cannot write {path} ({error.strerror or error}): free some space or make the folder writable, then run the "
        "same command to resume; or give another folder"
    )


def _arrow_type(name: str) -> Any:
    import pyarrow

    if name in _SCORES:
        return pyarrow.float32()
    if name == "audiogram":
        return pyarrow.list_(pyarrow.float32(), 8)
    if name == "seed":
        return pyarrow.int64()
    return pyarrow.float64() if name in {"start", "duration", "level"} else pyarrow.string()


def shard_paths(folder: str | Path, name: str) -> list[Path]:
    """List the shards of a table, in order.

    Raises:
        CorpusError: there are none.
    """
    found = sorted(Path(folder).glob(f"{name}-{'[0-9]' * 4}.parquet"))
    if not found:
        there = ", ".join(table_names(folder)) or "none"
        known = name in SECONDS
        hint = f". Make it with `haaqi-edge label --corpus CORPUS --table {folder} --split {name}`" if known else ""
        raise CorpusError(
            f"no table {name} in {folder}: expected {name}-0000.parquet and so on; there is {there}{hint}"
        )
    return found


def table_names(folder: str | Path) -> list[str]:
    """List the tables in a folder: splits, and older tables such as `test-2026-11`."""
    return sorted({path.stem.rsplit("-", 1)[0] for path in Path(folder).glob(f"*-{'[0-9]' * 4}.parquet")})


def read_rows(folder: str | Path, name: str) -> list[Row]:
    """Read all rows of a table, in order.

    Args:
        folder: of the shards.
        name: a split, or an older table such as `test-2026-11`.

    Raises:
        CorpusError: the folder has no shard of that table, or a shard is damaged or not part of a label table.
    """
    return [row for shard in shard_paths(folder, name) for row in _read_shard(shard)]


def resolve_table(folder: str | Path, name: str, corpus: Corpus) -> str:
    """Return the name of the table that a corpus can recreate: `name`, or its edition of 2026-11.

    The tables of 2026-11 were made from the public music only, those named after a split from the whole corpus.

    Raises:
        CorpusError: there is no table of that name, or it was made from another corpus.
    """
    older = f"{name}-2026-11"
    there = table_names(folder)
    if name in there:
        made_of = read_corpus_digest(shard_paths(folder, name)[0])
        if made_of in (None, corpus.digest):
            return name
        if older not in there:
            raise CorpusError(
                f"{name} in {folder} was made from corpus {made_of}; {corpus.folder} is {corpus.digest}: give the "
                "corpus that the table was made from"
            )
    if older in there:
        return older
    return shard_paths(folder, name)[0].stem.rsplit("-", 1)[0]


def read_corpus_digest(path: Path) -> str | None:
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


def _read_shard(path: Path) -> list[Row]:
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
