"""`haaqi-edge train nano` and `train features`: nano on label tables, and the features that training reads."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..runtime.errors import OptionError
from ..runtime.writing import write_file, write_json
from .console import out, print_json, require
from .corpus import CorpusFolder
from .training import (
    DataOptions,
    RunOptions,
    cache_of,
    data_of,
    folder_beside,
    require_training,
    shown,
    told_by,
    with_options,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..training.data.examples import Example
    from ..training.data.feature_cache import Kind
    from ..training.data.rows import Row

app = typer.Typer(no_args_is_help=True, help="Train networks, and make the features that training reads.")

OLDER_TEST = "test-2026-11"
"""the test table of the first edition, which stays for comparison"""


@app.command()
def features(
    table: Annotated[Path, typer.Option(help="Folder of the label tables' shards.")],
    corpus: CorpusFolder,
    of: Annotated[
        list[str] | None,
        typer.Option(help="Label table: train, valid, test, or an older one. Repeat for several; train by default."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Make those of the first rows of each table only.")] = None,
    front_end: Annotated[
        Literal["texture", "texture-2", "fbank"],
        typer.Option(help="texture for nano, in one of its versions; fbank for student and teacher."),
    ] = "texture",
    output: Annotated[
        Path | None, typer.Option("--features", help="Folder in which they are kept; TABLE.features by default.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; all cores of this process by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make features of label tables, which takes no HAAQI; training makes those that are missing by itself.

    Interrupt the command at any time (Ctrl-C): run it again to resume. A table that has grown keeps its features.
    """
    require("train", "torch", "scipy", "numba", "pyarrow", "joblib")
    from ..runtime.session import available_cores
    from ..training.corpus.clips import Corpus
    from ..training.data.examples import of_table
    from ..training.tasks.pipelines import Data

    names = of or ["train"]
    examples = {name: of_table(table, name, rows) for name in names}
    cache = cache_of(table, output)
    data = Data([], [], cache, Corpus(corpus), jobs or available_cores())
    with shown() as tell:
        for name, part in examples.items():
            data.make_features(_kinds(front_end, name), part, tell)
    if as_json:
        print_json({"features": str(cache.folder), "rows": {name: len(part) for name, part in examples.items()}})
    else:
        counts = ", ".join(f"{len(part):,} rows of {name}" for name, part in examples.items())
        out.print(f"features of {counts} in {cache.folder}", markup=False, soft_wrap=True)


def _kinds(front_end: str, table: str) -> list[Kind]:
    """Kinds of features that a network reads of a table; to train nano, that of the clean music too."""
    from ..training.data.feature_cache import FBANK, clean_kind, texture_kind

    if front_end == "fbank":
        return [FBANK]
    version = 2 if front_end == "texture-2" else 1
    return [texture_kind(version), *([clean_kind(version)] if table.startswith("train") else [])]


@app.command()
@with_options
def nano(
    data: DataOptions,
    run: RunOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for weights, metrics and bundle.")] = Path(
        "runs/nano"
    ),
    work: Annotated[
        Path | None, typer.Option(help="Folder of labelling, for its dense targets; TABLE.work by default.")
    ] = None,
) -> None:
    """Train nano on label tables, choose the epoch on valid, report on test and on its sense, write weights and bundle.

    Features that are missing are made first, without HAAQI. Rows of which labelling kept dense targets learn from
    these too. Interrupt the command at any time (Ctrl-C): run it again to resume, to the same numbers.
    """
    require_training()
    require("export", "onnx", "onnxscript")
    from ..benchmarks.studies.sanity import measure
    from ..export.bundle import nano_source, write_bundle
    from ..model.nano import Nano
    from ..training.card import describe, split_figures, training_notes
    from ..training.data.batches import Clips, evaluate
    from ..training.data.examples import of_table
    from ..training.data.feature_cache import texture_kind
    from ..training.data.labels import tables
    from ..training.loop import device_of
    from ..training.settings import settings
    from ..training.tasks.nano import NanoTrainingConfig
    from ..training.tasks.pipelines import train_nano

    if data.table is not None and data.table.is_file():
        raise OptionError(f"--table {data.table} is a file: nano learns HAAQI's parts too, give a label table's folder")
    if output.exists() and not output.is_dir():
        raise OptionError(f"{output} is a file: give a folder")
    config = settings(NanoTrainingConfig, told_by(run.config, "nano"), run.flags(), run.config or "the settings")
    examples = data_of(data, run)
    assert data.table is not None
    corpus = examples.corpus
    assert corpus is not None
    config = replace(config, plan=replace(config.plan, threads=config.plan.threads or examples.jobs))
    older = [OLDER_TEST] if OLDER_TEST in tables(data.table) else []
    tests = {name: of_table(data.table, name) for name in ("test", *older)}
    test = [example for part in tests.values() for example in part]
    examples = replace(examples, test=test, work=folder_beside(data.table, work, "work"))
    reads = texture_kind(config.network.texture_version)
    with shown() as tell:
        trained = train_nano(config, examples, output, tell)
    network, device = Nano.from_checkpoint(trained.weights), device_of(config.plan.device)
    figures: dict[str, Any] = {}
    for name, part in tests.items():
        clips = Clips(examples.cache, part, reads)
        predicted = evaluate(network.to(device), clips, config.batch, device)[1]
        genres = {clip.path: clip.genre for clip in corpus.part(name).clips}
        figures[name] = split_figures(_by_table(part)[name], predicted, genres)
    best = max(trained.history, key=lambda epoch: epoch["lcc"])
    figures["valid"] = {name: best[name] for name in ("lcc", "srcc", "mse", "rows")}
    rows = _by_table([*examples.train, *examples.valid, *test])
    notes = training_notes(corpus, rows, asdict(config), data.train_on or ["train"])
    source = nano_source(trained.weights, figures=figures, notes=notes)
    write_bundle(source, output / "bundle")
    figures["sanity"] = measure(corpus.folder, output / "bundle")
    write_json(figures, output / "figures.json")
    card, parity = write_bundle(replace(source, figures=figures), output / "bundle")
    write_file(describe(card).encode(), output / "bundle" / "README.md")
    if run.as_json:
        print_json({**figures, "parity": parity.worst.difference, "bundle": str(output / "bundle")})
        return
    for name in tests:
        found = figures[name]["all"]
        out.print(
            f"{name}: LCC {found['lcc']:.3f} (95% {found['lcc_low']:.3f} to {found['lcc_high']:.3f}), "
            f"SRCC {found['srcc']:.3f}, MSE {found['mse']:.4f} on {found['rows']} rows"
        )
    out.print(f"weights and bundle in {output}", markup=False, soft_wrap=True)


def _by_table(examples: Sequence[Example]) -> dict[str, list[Row]]:
    """Rows of examples by label table."""
    from ..training.data.rows import Row

    found: dict[str, list[Row]] = {}
    for example in examples:
        if isinstance(example.source, Row):
            found.setdefault(example.table, []).append(example.source)
    return found
