"""`haaqi-edge distil`: a student or a nano from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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


def distil(
    teacher: Annotated[Path, typer.Option(help="The teacher's checkpoint, haaqi_net.pth or one trained here.")],
    student: Annotated[Literal["student", "nano"], typer.Option(help="What is taught.")] = "student",
    table: Table = None,
    output: Output = Path("runs/distil"),
    music: Music = None,
    valid: Valid = None,
    config: Config = None,
    heads: Annotated[Literal["independent", "sequential"] | None, typer.Option(help="Prediction heads.")] = None,
    weighted_sum: Annotated[
        bool | None, typer.Option("--weighted-sum/--last-layer", help="What of its layers the student's head reads.")
    ] = None,
    loss: Annotated[Literal["l1_cosine", "adaptive"] | None, typer.Option(help="How the terms become one.")] = None,
    tune_blstm: Annotated[
        bool | None, typer.Option("--tune-blstm/--freeze-blstm", help="Train the teacher's BLSTM on.")
    ] = None,
    tune_attention: Annotated[
        bool | None, typer.Option("--tune-attention/--freeze-attention", help="Train the teacher's attention on.")
    ] = None,
    labels: Annotated[
        int | None, typer.Option(min=1, help="Use so many labels only; the rest teach unlabelled.")
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
    """Distil the student (BEATs's first layers under the teacher's head), or nano, from a teacher and labels.

    `--config table4-...` names a row of the paper's Table IV. What the teacher gives is computed once a sound and kept.
    Stop it at any time (Ctrl-C): the same command goes on from there, to the same numbers.
    """
    require_training()
    from ..model.teacher import Teacher
    from ..training.distil import DistilConfig
    from ..training.recipes import distil as train
    from ..training.settings import settings

    flags = said(
        student=student,
        heads=heads,
        weighted_sum=weighted_sum,
        loss=loss,
        tune_blstm=tune_blstm,
        tune_attention=tune_attention,
        epochs=epochs,
        patience=patience,
        lr=lr,
        batch=batch,
        seed=seed,
        device=device,
        precision=precision,
    )
    told = told_by(config, "nano-distil" if student == "nano" else "table4-independent-adaptive-weighted")
    asked = settings(DistilConfig, told, flags, config or "the settings")
    network = Teacher.from_checkpoint(teacher)
    data = data_of(table, valid, music, features, rows, valid_rows, jobs).with_labels(labels, asked.seed)
    with shown() as tell:
        trained = train(asked, network, data, output, tell)
    report(trained, as_json)
