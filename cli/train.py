"""`haaqi-edge train`: label music with HAAQI, and fit nano to the labels."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..runtime.errors import OptionError
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
    seconds: Annotated[float, typer.Option(help="Length of an excerpt.")] = 4.0,
    jobs: _Jobs = None,
    as_json: _Json = False,
) -> None:
    """Degrade excerpts of the music, amplify them for listeners, and score each with HAAQI (pyclarity)."""
    require("train", *_MODULES)
    from ..runtime.sessions import available_cores
    from ..training.corpus import Corpus
    from ..training.labels import SHARD_ROWS, SPLITS, make_shard

    if split not in SPLITS or not 1.0 <= seconds <= 10.0 or shards < 1:
        raise OptionError(f"--split is one of {', '.join(SPLITS)}, --seconds 1 to 10, --shards at least 1")
    corpus = Corpus(music)
    with progress() as bar:
        numbers = bar.track(range(shards), description=f"labelling {split}, {SHARD_ROWS} rows a shard")
        paths = [make_shard(table, corpus, split, n, seconds, jobs or available_cores()) for n in numbers]
    if as_json:
        print_json({"split": split, "shards": [str(path) for path in paths], "rows": shards * SHARD_ROWS})
    else:
        out.print(f"{len(paths)} shards of {split} in {table}")


@app.command()
def nano(
    music: _Music,
    table: _Table,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for weights, metrics and bundle.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the rows.")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights, order and crops.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for features; by default OUTPUT/features.")] = None,
    jobs: _Jobs = None,
    as_json: _Json = False,
) -> None:
    """Fit nano to split train, choose the epoch on valid, report on test, and write weights and bundle."""
    require("train", *_MODULES)
    require("export", "onnx", "onnxscript")
    from ..export.bundle import nano_source, write_bundle
    from ..runtime.sessions import available_cores
    from ..training import fit as fitting
    from ..training.card import describe, split_figures, training_notes
    from ..training.corpus import Corpus
    from ..training.features import FeatureCache
    from ..training.labels import read

    if output.exists() and not output.is_dir():
        raise OptionError(f"{output} is a file: give a folder for weights, metrics and bundle")
    threads = jobs or available_cores()
    config = fitting.FitConfig(seed=seed, threads=threads, **({} if epochs is None else {"epochs": epochs}))
    corpus = Corpus(music)
    features = FeatureCache(cache or output / "features", corpus, threads)
    rows = {split: read(table, split) for split in ("train", "valid", "test")}
    with err.status("features"):
        data = {split: fitting.Table.of(part, features.get(part)) for split, part in rows.items()}

    with progress() as bar:
        task = bar.add_task("fitting", total=config.epochs)

        def done(epoch: fitting.Epoch) -> None:
            bar.update(task, advance=1, description=f"fitting, valid LCC {epoch.valid.lcc:.3f}")

        network, history = fitting.fit(data["train"], data["valid"], config, output, done)
    predicted = fitting.predict(network, data["test"])
    figures: dict[str, Any] = {
        "test": split_figures(rows["test"], predicted),
        "valid": max(h.valid for h in history)._asdict(),
    }
    (output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    notes = training_notes(corpus, rows, asdict(config))
    source = nano_source(output / "nano.safetensors", figures=figures, notes=notes)
    card, parity = write_bundle(source, output / "bundle")
    (output / "bundle" / "README.md").write_text(describe(card), encoding="utf-8")
    result = {**figures, "parity": parity.worst.difference, "bundle": str(output / "bundle")}
    if as_json:
        print_json(result)
        return
    test = figures["test"]["all"]
    out.print(
        f"test: LCC {test['lcc']:.3f} (95% {test['lcc_low']:.3f} to {test['lcc_high']:.3f}), SRCC {test['srcc']:.3f}, "
        f"MSE {test['mse']:.4f} on {test['rows']} rows; weights and bundle in {output}"
    )
