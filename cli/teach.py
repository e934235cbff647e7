"""`haaqi-edge train teacher` and `train student`: HAAQI-Net's networks, trained on labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..runtime.errors import OptionError
from .console import err
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
def teacher(
    data: DataOptions,
    run: RunOptions,
    beats: Annotated[Path | None, typer.Option(help="BEATs_iter3_plus_AS2M.pt, or another BEATs.")] = None,
    output: Output = Path("runs/teacher"),
    free: Annotated[str | None, typer.Option(help="Last layers of BEATs to train, a number or `all`.")] = None,
    weighted_sum: Annotated[
        bool | None, typer.Option("--weighted-sum/--last-layer", help="What of BEATs the head reads.")
    ] = None,
) -> None:
    """Train HAAQI-Net's teacher on BEATs: MSE(clip) + MSE(frames), Adam, early stopping; published settings by default.

    What the frozen layers give is computed once a sound and kept. Stop it at any time (Ctrl-C): the same command goes
    on from there, to the same numbers. Weights are in the published layout.
    """
    require_training()
    from ..model.beats import Beats
    from ..training.settings import settings
    from ..training.tasks.pipelines import train_teacher
    from ..training.tasks.teacher import TeacherConfig, kept_bytes, kept_kind

    told = told_by(run.config, "teacher", of_teacher=True)
    table, valid = told.pop("table", None), told.pop("valid", None)
    data = replace(data, table=data.table or _path(table), valid=data.valid or _path(valid))
    named = _path(told.pop("beats_path", None))
    beats = beats or named
    network = None if beats is None else Beats.from_checkpoint(beats)
    flags = {**run.flags(), "free": None if free == "all" else _layers(free), "weighted_sum": weighted_sum}
    asked = settings(TeacherConfig, told, flags, run.config or "the settings")
    layers = network.config.layers if network else asked.beats.layers if asked.beats else 0
    if free == "all":
        asked = replace(asked, free=layers)
    examples = data_of(data, run)
    if network and asked.free < layers:
        kind = kept_kind(network.checkpoint_sha256 or "", layers - asked.free)
        sounds = len(examples.cache.missing(kind, [*examples.train, *examples.valid]))
        size = kept_bytes(network.config, asked.free, sounds, patches=32)
        told_size = f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
        kept = f"{sounds:,} sounds will be kept in {examples.cache.folder}: {told_size} at 5 s each"
        if sounds:
            err.print(f"BEATs's layers of {kept}", markup=False, soft_wrap=True)
    with shown() as tell:
        trained = train_teacher(asked, network, examples, output, tell)
    report(trained, run.as_json)


@with_options
def student(data: DataOptions, run: RunOptions, output: Output = Path("runs/student"), labels: Labels = None) -> None:
    """Train the student (22.6 M parameters deployed) from scratch on labels alone, without a teacher."""
    require_training()
    from ..training.settings import settings
    from ..training.tasks.distillation import DistilConfig
    from ..training.tasks.pipelines import distil

    told = told_by(run.config, "student-scratch")
    asked = settings(DistilConfig, told, run.flags(), run.config or "the settings")
    examples = data_of(data, run).with_labels(labels, asked.plan.seed)
    with shown() as tell:
        trained = distil(asked, None, examples, output, tell)
    report(trained, run.as_json)


def _path(text: object) -> Path | None:
    return None if text is None else Path(str(text))


def _layers(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        raise OptionError(f"--free {text!r}: give a number of layers, or `all`") from None
