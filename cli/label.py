"""`haaqi-edge label`: degrade music, score it with HAAQI, and verify labels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ..runtime.errors import LabelError, OptionError
from .console import err, out, print_json, progress, require
from .corpus import CorpusFolder

if TYPE_CHECKING:
    from ..training.corpus.clips import Corpus


def label(
    corpus: CorpusFolder,
    table: Annotated[Path, typer.Option(help="Folder of the label tables' Parquet shards.")],
    split: Annotated[
        str, typer.Option(help="train, valid or test; with --verify also an older table, such as test-2026-11.")
    ] = "train",
    shards: Annotated[int, typer.Option(min=1, help="Make shards 0 to this number, of 2,000 rows each.")] = 1,
    targets: Annotated[
        int, typer.Option(min=0, help="Keep dense targets of rows 0 to this number for training; 3 KB a row.")
    ] = 0,
    verify: Annotated[
        int | None, typer.Option(min=1, help="Make and score this many random rows again, instead of new ones.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of unfinished shards and dense targets; TABLE.work by default.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; all cores of this process by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Degrade excerpts of the music, amplify them for listeners, and score each with HAAQI.

    Every 200 rows are saved: interrupt the command at any time (Ctrl-C, or SIGTERM), run it again to resume. A table
    belongs to its corpus: give another corpus another --table.
    Exit code 1 if --verify finds a score that is off by more than 0.0005.
    """
    require("train", "scipy", "numba", "pyarrow", "joblib", "av")
    from ..runtime.session import available_cores
    from ..training.corpus.clips import Corpus

    folder = work or table.with_name(f"{table.name}.work")
    for path in (table, folder):
        if path.exists() and not path.is_dir():
            raise OptionError(f"{path} is a file: give a folder")
    cores = jobs or available_cores()
    if verify is not None:
        _verify(Corpus(corpus), table, split, verify, cores, as_json)
    else:
        _label(Corpus(corpus), table, split, shards, targets, folder, cores, as_json)


def _label(
    corpus: Corpus, table: Path, split: str, shards: int, targets: int, folder: Path, jobs: int, as_json: bool
) -> None:
    from ..training.corpus.clips import Split
    from ..training.data.labels import CHUNK, SHARD_ROWS, Labelling

    known: dict[str, Split] = {name: name for name in get_args(Split)}
    if split not in known:
        raise OptionError(f"--split {split!r}: expected one of {', '.join(known)}")
    labelling = Labelling(corpus, known[split], table, folder, targets)
    rows = shards * SHARD_ROWS
    finished = rows // CHUNK - len(labelling.missing(0, rows))
    with progress() as bar:
        task = bar.add_task(f"labelling {split}, {CHUNK} rows a step", total=rows // CHUNK, completed=finished)

        def made(_: int) -> None:
            nonlocal finished
            finished += 1
            bar.update(task, completed=finished)
            if not err.is_terminal:
                err.print(f"{finished * CHUNK:,} of {rows:,} rows of {split}")

        try:
            labelling.run(0, rows, jobs, made)
        except KeyboardInterrupt:
            bar.stop()
            err.print(f"stopped; {finished * CHUNK:,} of {rows:,} rows are saved: run the same command to resume")
            raise
    if as_json:
        paths = [str(labelling.shard(n)) for n in range(shards)]
        print_json({"split": split, "shards": paths, "rows": rows, "corpus": corpus.digest})
    else:
        out.print(f"{shards} shard{'s' if shards > 1 else ''} of {split} in {table}", markup=False, soft_wrap=True)


def _verify(corpus: Corpus, table: Path, name: str, count: int, jobs: int, as_json: bool) -> None:
    from ..training.data.labels import RECREATED, corpus_of, shards, verify

    made_of = corpus_of(shards(table, name)[0])
    same = made_of in (None, corpus.part(name).digest)
    if not same:
        err.print(f"note: {name} was made from corpus {made_of}; this one is {corpus.digest}")
    with progress() as bar:
        task = bar.add_task(f"verifying {name}", total=count)
        found = []
        for result in verify(table, name, corpus, count, jobs):
            found.append(result)
            bar.update(task, advance=1)
    if not found:
        raise LabelError(f"{name} in {table} has no rows: make it again")
    off = [result for result in found if not result.difference <= RECREATED]  # NaN is off, too
    largest = max((result.difference for result in found), key=lambda value: (math.isnan(value), value))
    if as_json:
        print_json(
            {
                "table": name,
                "rows": len(found),
                "same_corpus": same,
                "largest_difference": largest,
                "off": [
                    {"clip": r.row.clip, "chain": r.row.chain, "score": r.row.score, "again": r.score} for r in off
                ],
            }
        )
    else:
        rows = f"{len(found)} row{'s' if len(found) > 1 else ''}"
        out.print(f"{rows} of {name}: largest difference {largest:.1e}, allowed {RECREATED:g}", soft_wrap=True)
        for r in off:
            out.print(
                f"  {r.row.clip} {r.row.chain}: {r.row.score:.4f}, now {r.score:.4f}", markup=False, soft_wrap=True
            )
    if off:
        raise LabelError(
            f"{len(off)} of {len(found)} rows of {name} differ by more than {RECREATED:g}: check that the corpus was "
            "built from the same recipe and packages"
        )
