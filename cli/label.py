"""`haaqi-edge label`: make label tables, and verify them."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ..runtime.errors import HaaqiEdgeError, LabelError, OptionError
from .console import err, out, print_json, progress, require
from .options import DATA, OUTPUT, CorpusOption, JobsOption, JsonOption

if TYPE_CHECKING:
    from ..training.corpus.clips import Corpus, Split


def label(
    corpus: CorpusOption,
    table: Annotated[
        Path, typer.Option(help="Folder for the Parquet shards of the label tables.", rich_help_panel=OUTPUT)
    ],
    split: Annotated[
        str,
        typer.Option(
            help="train, valid or test. With --verify also an older table, such as test-2026-11.", rich_help_panel=DATA
        ),
    ] = "train",
    shards: Annotated[
        int | None,
        typer.Option(min=1, help="Number of shards, of 2,000 rows each. Default: 1.", rich_help_panel=DATA),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="For a trial: only this number of rows, in a table that cannot be extended.",
            rich_help_panel=DATA,
        ),
    ] = None,
    dense_targets: Annotated[
        int,
        typer.Option(
            min=0,
            help="Save dense targets for training for this number of rows from the start; 3 KB per row.",
            rich_help_panel=OUTPUT,
        ),
    ] = 0,
    verify: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of making labels, recompute this number of random rows and compare."),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Folder for unfinished shards and dense targets. Default: TABLE.work.", rich_help_panel=OUTPUT
        ),
    ] = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a label table: degrade music and score it with HAAQI.

    Excerpts of the music are degraded, amplified for listeners, and scored. Every 200 rows are saved: interrupt the
    command at any time (Ctrl-C or SIGTERM), and run it again to resume. A table belongs to one corpus. Use another
    --table for another corpus.
    Exit codes: 1 if --verify finds a difference of more than 0.0005, 2 for invalid input.
    """
    require("train", "scipy", "numba", "pyarrow", "joblib", "av")
    from ..runtime.session import available_cores
    from ..training.corpus.clips import Corpus

    folder = work or table.with_name(f"{table.name}.work")
    for path in (table, folder):
        if path.exists() and not path.is_dir():
            raise OptionError(f"{path} is a file: give a folder")
    cores = jobs or available_cores()
    if rows is not None and (shards is not None or dense_targets or verify is not None):
        raise OptionError("--rows labels a few rows for a trial: leave out --shards, --dense-targets and --verify")
    if rows is not None:
        _label_trial(Corpus(corpus), table, split, rows, folder, cores, as_json)
    elif verify is not None:
        _verify_labels(Corpus(corpus), table, split, verify, cores, as_json)
    else:
        _make_labels(Corpus(corpus), table, split, shards or 1, dense_targets, folder, cores, as_json)


def _make_labels(
    corpus: Corpus, table: Path, split: str, shards: int, dense_targets: int, folder: Path, jobs: int, as_json: bool
) -> None:
    from ..training.data.labels import CHUNK, SHARD_ROWS, Labelling

    labelling = Labelling(corpus, _check_split(split), table, folder, dense_targets)
    rows = shards * SHARD_ROWS
    finished = 0
    new_folders = [path for path in (table, folder) if not path.exists()]
    with progress() as bar:
        task = bar.add_task(f"labelling {split}, {CHUNK} rows per step", total=rows // CHUNK)

        def show_finished(missing: int) -> None:
            nonlocal finished
            finished = rows // CHUNK - missing
            bar.update(task, completed=finished)

        def count_step(_: int) -> None:
            nonlocal finished
            finished += 1
            bar.update(task, completed=finished)
            if not err.is_terminal:
                err.print(f"{finished * CHUNK:,} of {rows:,} rows of {split}")

        try:
            labelling.run(0, rows, jobs, count_step, show_finished)
        except KeyboardInterrupt:
            bar.stop()
            err.print(f"stopped; {finished * CHUNK:,} of {rows:,} rows are saved: run the same command again to resume")
            raise
        except HaaqiEdgeError:
            for path in new_folders:
                with contextlib.suppress(OSError):  # not empty, because some rows are saved
                    path.rmdir()
            raise
    if as_json:
        paths = [str(labelling.shard(n)) for n in range(shards)]
        print_json({"split": split, "shards": paths, "rows": rows, "corpus": corpus.digest})
    else:
        out.print(f"{shards} shard{'s' if shards > 1 else ''} of {split} in {table}", markup=False, soft_wrap=True)


def _check_split(split: str) -> Split:
    from ..training.corpus.clips import Split

    known: dict[str, Split] = {name: name for name in get_args(Split)}
    if split not in known:
        raise OptionError(f"--split {split!r}: expected one of {', '.join(known)}")
    return known[split]


def _label_trial(corpus: Corpus, table: Path, split: str, count: int, folder: Path, jobs: int, as_json: bool) -> None:
    """Label a few rows."""
    from ..training.data.labels import Labelling

    labelling = Labelling(corpus, _check_split(split), table, folder)
    with progress() as bar:
        task = bar.add_task(f"labelling {split}", total=count)
        rows = labelling.run_trial(count, jobs, lambda done: bar.update(task, completed=done))
    if as_json:
        print_json({"split": split, "shards": [str(labelling.shard(0))], "rows": rows, "corpus": corpus.digest})
    else:
        out.print(f"{rows} rows of {split} in {labelling.shard(0)}", markup=False, soft_wrap=True)


def _verify_labels(corpus: Corpus, table: Path, name: str, count: int, jobs: int, as_json: bool) -> None:
    from ..training.data.labels import VERIFY_TOLERANCE, read_corpus_digest, shard_paths, verify_table

    digest = read_corpus_digest(shard_paths(table, name)[0])
    same = digest in (None, corpus.part(name).digest)
    if not same:
        err.print(f"note: {name} was made from corpus {digest}; the given corpus is {corpus.digest}")
    with progress() as bar:
        task = bar.add_task(f"verifying {name}", total=count)
        found = []
        for result in verify_table(table, name, corpus, count, jobs):
            found.append(result)
            bar.update(task, advance=1)
    if not found:
        raise LabelError(f"{name} in {table} has no rows: delete it, and make it again with `haaqi-edge label`")
    off = [result for result in found if not result.difference <= VERIFY_TOLERANCE]  # NaN is off, too
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
        out.print(f"{rows} of {name}: maximum difference {largest:.1e}, tolerance {VERIFY_TOLERANCE:g}", soft_wrap=True)
        for r in off:
            out.print(
                f"  {r.row.clip} {r.row.chain}: {r.row.score:.4f}, recomputed {r.score:.4f}",
                markup=False,
                soft_wrap=True,
            )
    if off:
        raise LabelError(
            f"{len(off)} of {len(found)} rows of {name} differ by more than {VERIFY_TOLERANCE:g}: check that the "
            "corpus was built from the same recipe and packages"
        )
