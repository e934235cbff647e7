"""`haaqi-edge distil`: train a student or nano from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import MODEL, TRAINING, with_option_groups
from .training_options import (
    DataOptions,
    LabelsOption,
    OutputOption,
    RunOptions,
    WeightedSumOption,
    load_settings,
    load_training_data,
    require_training,
)
from .training_progress import print_result, show_progress


@with_option_groups
def distil(
    data: DataOptions,
    run: RunOptions,
    teacher: Annotated[
        Path,
        typer.Option(
            help="Checkpoint of the teacher: haaqi_net.pth, or one from `train teacher`.", rich_help_panel=MODEL
        ),
    ],
    student: Annotated[
        Literal["student", "nano"], typer.Option(help="Network to train.", rich_help_panel=MODEL)
    ] = "student",
    output: OutputOption = Path("runs/distil"),
    heads: Annotated[
        Literal["independent", "sequential"] | None,
        typer.Option(help="Input of each prediction head: the tokens, or the previous head.", rich_help_panel=TRAINING),
    ] = None,
    weighted_sum: WeightedSumOption = None,
    loss: Annotated[
        Literal["l1_cosine", "adaptive"] | None,
        typer.Option(help="How the terms of the loss are combined.", rich_help_panel=TRAINING),
    ] = None,
    tune_blstm: Annotated[
        bool | None,
        typer.Option("--tune-blstm/--freeze-blstm", help="Train the teacher's BLSTM.", rich_help_panel=TRAINING),
    ] = None,
    tune_attention: Annotated[
        bool | None,
        typer.Option(
            "--tune-attention/--freeze-attention", help="Train the teacher's attention.", rich_help_panel=TRAINING
        ),
    ] = None,
    labels: LabelsOption = None,
) -> None:
    """Train a student or nano from a teacher and labels.

    The student consists of BEATs' first layers and the teacher's head. `--config table4-...` selects a row of Table IV
    of the paper. The teacher's outputs are computed once per sound and cached. With --labels, sounds without a label
    are trained on these outputs only. Interrupt the command at any time (Ctrl-C), and run it again to resume.
    """
    require_training()
    from ..model.teacher import Teacher
    from ..training.settings import build_settings
    from ..training.tasks.distillation import DistilConfig
    from ..training.tasks.pipelines import distil as distil_network

    overrides = {
        **run.overrides(),
        "student": student,
        "heads": heads,
        "weighted_sum": weighted_sum,
        "loss": loss,
        "tune_blstm": tune_blstm,
        "tune_attention": tune_attention,
    }
    default = "nano-distil" if student == "nano" else "table4-independent-adaptive-weighted"
    settings = load_settings(run.config, default)
    config = build_settings(DistilConfig, settings, overrides, run.config or "the settings")
    network = Teacher.from_checkpoint(teacher)
    examples = load_training_data(data, run).with_labels(labels, config.trainer.seed)
    with show_progress() as callbacks:
        result = distil_network(config, network, examples, output, callbacks)
    print_result(result, run.as_json)
