"""`haaqi-edge train`: label music with HAAQI, and fit nano to the labels."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import TaskID

from ..runtime.errors import OptionError
from ..runtime.writing import write_file, write_json
from .console import err, out, print_json, progress, require

app = typer.Typer(no_args_is_help=True, help="Make labels and train.")

_Music = Annotated[Path, typer.Option(help="Folder of clean music with its CLIPS.csv.")]
_Table = Annotated[Path, typer.Option(help="Folder of the label table's Parquet shards.")]
_Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; by default the cores of this process.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_MODULES = ("torch", "safetensors", "scipy", "numba", "pyarrow", "joblib")


@app.command()
def labels(
    music: _Music,
    table: _Table,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "train",
    shards: Annotated[int, typer.Option(help="Make shards 0 to this number; those that exist are kept.")] = 1,
    work: Annotated[
        Path | None, typer.Option(help="Folder of what is no whole shard yet, and of features; by default TABLE.work.")
    ] = None,
    features: Annotated[bool, typer.Option(help="Keep features there, for training: 70 MB a shard of train.")] = True,
    jobs: _Jobs = None,
    as_json: _Json = False,
) -> None:
    """Degrade excerpts of the music, amplify them for listeners, and score each with HAAQI.

    Every 200 rows are saved: stop it at any time (Ctrl-C, or SIGTERM), the same command goes on from there. A table
    belongs to its music: give other music another --table.
    """
    require("train", *_MODULES)
    from ..runtime.sessions import available_cores
    from ..training.corpus.clips import Corpus
    from ..training.data.labels import CHUNK, SHARD_ROWS, Labelling
    from ..training.data.rows import SPLITS

    if split not in SPLITS:
        raise OptionError(f"--split {split!r}: expected one of {', '.join(SPLITS)}")
    if shards < 1:
        raise OptionError(f"--shards {shards}: give at least 1")
    folder = work or table.with_name(f"{table.name}.work")
    for path in (table, folder):
        if path.exists() and not path.is_dir():
            raise OptionError(f"{path} is a file: give a folder")
    labelling = Labelling(Corpus(music), split, table, folder, features)
    rows = shards * SHARD_ROWS
    steps = rows // CHUNK
    finished = steps - len(labelling.missing(0, rows))
    with progress() as bar:
        task = bar.add_task(f"labelling {split}, {CHUNK} rows a step", total=steps, completed=finished)

        def made(_: int) -> None:
            nonlocal finished
            finished += 1
            bar.update(task, completed=finished)
            if not err.is_terminal:
                err.print(f"{finished * CHUNK:,} of {rows:,} rows of {split}")

        try:
            labelling.run(0, rows, jobs or available_cores(), made)
        except KeyboardInterrupt:
            bar.stop()
            err.print(f"stopped; {finished * CHUNK:,} of {rows:,} rows are saved: the same command goes on from there")
            raise
    if as_json:
        print_json({"split": split, "shards": [str(labelling.shard(n)) for n in range(shards)], "rows": rows})
    else:
        out.print(f"{shards} shard{'s' if shards > 1 else ''} of {split} in {table}", markup=False, soft_wrap=True)


@app.command()
def nano(
    music: _Music,
    table: _Table,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for weights, metrics and bundle.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the rows.")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights, order and masks.")] = 0,
    work: Annotated[
        Path | None, typer.Option(help="Folder of the features, made where they are missing; by default TABLE.work.")
    ] = None,
    jobs: _Jobs = None,
    as_json: _Json = False,
) -> None:
    """Fit nano to split train, choose the epoch on valid, report on test and on its sense, write weights and bundle.

    Features that labelling did not keep are made again first, which takes as long as labelling.
    """
    require("train", *_MODULES)
    require("export", "onnx", "onnxscript")
    from ..benchmarks.sanity import measure
    from ..export.bundle import nano_source, write_bundle
    from ..runtime.sessions import available_cores
    from ..training.card import describe, split_figures, training_notes
    from ..training.corpus.clips import Corpus
    from ..training.data.arrays import Table
    from ..training.data.labels import features_of, read
    from ..training.data.rows import SPLITS
    from ..training.tasks import nano as fitting

    folder = work or table.with_name(f"{table.name}.work")
    for path in (output, folder):
        if path.exists() and not path.is_dir():
            raise OptionError(f"{path} is a file: give a folder")
    threads = jobs or available_cores()
    config = fitting.FitConfig(seed=seed, threads=threads)
    config = config if epochs is None else replace(config, epochs=epochs)
    corpus = Corpus(music)
    rows = {split: read(table, split) for split in SPLITS}
    data: dict[str, Table] = {}
    with progress() as bar:
        for split in SPLITS:
            features = bar.add_task(f"features of {split}, 200 rows a step", total=None)

            def made(finished: int, total: int, task: TaskID = features) -> None:
                bar.update(task, completed=finished, total=total)

            data[split] = Table.of(rows[split], features_of(rows[split], split, corpus, folder, threads, made))
        task = bar.add_task("fitting", total=config.epochs)

        def done(epoch: fitting.Epoch) -> None:
            bar.update(task, advance=1, description=f"fitting, valid LCC {epoch.valid.lcc:.3f}")

        network, history = fitting.fit(data["train"], data["valid"], config, output, done)
    predicted = fitting.predict(network, data["test"])
    genres = {clip.path: clip.genre for clip in corpus.clips}
    figures: dict[str, Any] = {
        "test": split_figures(rows["test"], predicted, genres),
        "valid": max(h.valid for h in history)._asdict(),
    }
    notes = training_notes(corpus, rows, asdict(config))
    source = nano_source(output / "nano.safetensors", figures=figures, notes=notes)
    write_bundle(source, output / "bundle")
    figures["sanity"] = measure(music, output / "bundle")
    write_json(figures, output / "figures.json")
    card, parity = write_bundle(replace(source, figures=figures), output / "bundle")
    write_file(describe(card).encode(), output / "bundle" / "README.md")
    result = {**figures, "parity": parity.worst.difference, "bundle": str(output / "bundle")}
    if as_json:
        print_json(result)
        return
    test = figures["test"]["all"]
    out.print(
        f"test: LCC {test['lcc']:.3f} (95% {test['lcc_low']:.3f} to {test['lcc_high']:.3f}), SRCC {test['srcc']:.3f}, "
        f"MSE {test['mse']:.4f} on {test['rows']} rows; weights and bundle in {output}"
    )
