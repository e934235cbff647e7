"""`haaqi-edge train teacher` and `train student`: HAAQI-Net's networks, trained on labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..runtime.errors import OptionError
from .training import (
    AsJson,
    Batch,
    Config,
    Device,
    Epochs,
    Features,
    Jobs,
    Music,
    Output,
    Patience,
    Precision,
    Rate,
    Rows,
    Seed,
    Table,
    Valid,
    ValidRows,
    data_of,
    report,
    require_training,
    said,
    shown,
    told_by,
)


def teacher(
    table: Table = None,
    beats: Annotated[Path | None, typer.Option(help="BEATs_iter3_plus_AS2M.pt, or another BEATs.")] = None,
    output: Output = Path("runs/teacher"),
    music: Music = None,
    valid: Valid = None,
    config: Config = None,
    free: Annotated[str | None, typer.Option(help="Last layers of BEATs to train, a number or `all`.")] = None,
    weighted_sum: Annotated[
        bool | None, typer.Option("--weighted-sum/--last-layer", help="What of BEATs the head reads.")
    ] = None,
    features: Features = None,
    rows: Rows = None,
    valid_rows: ValidRows = None,
    epochs: Epochs = None,
    patience: Patience = None,
    lr: Rate = None,
    batch: Batch = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Train HAAQI-Net's teacher on BEATs: MSE(clip) + MSE(frames), Adam, early stopping; published settings by default.

    What the frozen layers give is computed once a sound and kept. Stop it at any time (Ctrl-C): the same command goes
    on from there, to the same numbers. Weights are in the published layout.
    """
    require_training()
    from ..model.beats import Beats
    from ..training.recipes import train_teacher
    from ..training.settings import settings
    from ..training.teacher import TeacherConfig, kept_bytes

    told = told_by(config, "teacher")
    table, valid = table or _path(told.pop("table", None)), valid or _path(told.pop("valid", None))
    beats = beats or _path(told.pop("beats_path", None))
    network = None if beats is None else Beats.from_checkpoint(beats)
    layers = network.config.layers if network else int((told.get("beats") or {}).get("layers", 0))
    flags = said(
        free=_layers(free, layers),
        weighted_sum=weighted_sum,
        epochs=epochs,
        patience=patience,
        lr=lr,
        batch=batch,
        seed=seed,
        device=device,
        precision=precision,
    )
    asked = settings(TeacherConfig, told, flags, config or "the settings")
    data = data_of(table, valid, music, features, rows, valid_rows, jobs)
    if network and asked.free < layers:
        from .console import err

        sounds = len({example.sound for example in [*data.train, *data.valid]})
        size = kept_bytes(network.config, asked.free, sounds, patches=32) / 1e9
        err.print(
            f"BEATs's layers of {sounds:,} sounds will be kept in {data.store.folder}: {size:,.1f} GB at 5 s each"
        )
    with shown() as tell:
        trained = train_teacher(asked, network, data, output, tell)
    report(trained, as_json)


def student(
    table: Table = None,
    output: Output = Path("runs/student"),
    music: Music = None,
    valid: Valid = None,
    config: Config = None,
    labels: Annotated[int | None, typer.Option(min=1, help="Use so many labels only, drawn by chance.")] = None,
    features: Features = None,
    rows: Rows = None,
    valid_rows: ValidRows = None,
    epochs: Epochs = None,
    patience: Patience = None,
    lr: Rate = None,
    batch: Batch = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Train the student (22.6 M parameters deployed) from scratch on labels alone, without a teacher."""
    require_training()
    from ..training.distil import DistilConfig
    from ..training.recipes import distil
    from ..training.settings import settings

    told = told_by(config, "student-scratch")
    flags = said(epochs=epochs, patience=patience, lr=lr, batch=batch, seed=seed, device=device, precision=precision)
    asked = settings(DistilConfig, told, flags, config or "the settings")
    data = data_of(table, valid, music, features, rows, valid_rows, jobs).with_labels(labels, asked.seed)
    with shown() as tell:
        trained = distil(asked, None, data, output, tell)
    report(trained, as_json)


def _path(text: object) -> Path | None:
    return None if text is None else Path(str(text))


def _layers(text: str | None, layers: int) -> int | None:
    if text is None:
        return None
    if text == "all":
        return layers
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"--free {text!r}: give a number of layers, or `all`") from None
