"""`haaqi-edge distil`: a student or a nano from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .training import (
    DataOptions,
    Labels,
    Output,
    RunOptions,
    data_of,
    report,
    require_training,
    shown,
    told_by,
    with_options,
)


@with_options
def distil(
    data: DataOptions,
    run: RunOptions,
    teacher: Annotated[Path, typer.Option(help="The teacher's checkpoint, haaqi_net.pth or one trained here.")],
    student: Annotated[Literal["student", "nano"], typer.Option(help="What is taught.")] = "student",
    output: Output = Path("runs/distil"),
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
    labels: Labels = None,
) -> None:
    """Distil the student (BEATs's first layers under the teacher's head), or nano, from a teacher and labels.

    `--config table4-...` names a row of the paper's Table IV. What the teacher gives is computed once a sound and kept;
    with --labels, the other sounds teach through it alone. Stop it at any time (Ctrl-C): the same command goes on.
    """
    require_training()
    from ..model.teacher import Teacher
    from ..training.settings import settings
    from ..training.tasks.distillation import DistilConfig
    from ..training.tasks.pipelines import distil as train

    flags = {
        **run.flags(),
        "student": student,
        "heads": heads,
        "weighted_sum": weighted_sum,
        "loss": loss,
        "tune_blstm": tune_blstm,
        "tune_attention": tune_attention,
    }
    told = told_by(run.config, "nano-distil" if student == "nano" else "table4-independent-adaptive-weighted")
    asked = settings(DistilConfig, told, flags, run.config or "the settings")
    network = Teacher.from_checkpoint(teacher)
    examples = data_of(data, run).with_labels(labels, asked.plan.seed)
    with shown() as tell:
        trained = train(asked, network, examples, output, tell)
    report(trained, run.as_json)
