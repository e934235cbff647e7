"""Whole trainings, from examples to weights: features kept, the task made, the loop run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...model.beats import Beats
from ...model.head import sizes_to
from ...model.teacher import Teacher
from .. import loop
from ..corpus.clips import Corpus
from ..data.batches import Batch, Clips, Kind
from ..data.examples import Example
from ..data.feature_cache import Store, fingerprint
from ..loop import Plan, Progress, Task
from ..run_directory import Metrics, Run
from .distillation import DistilConfig, DistilTask, NanoDistilTask, StudentTask, keep_targets
from .teacher import TeacherConfig, TeacherTask, kept_layers, made


class Told(NamedTuple):
    """How a training tells what it does.

    Attributes:
        features: called with what is being kept, how many sounds of it are there, and of how many.
        step, epoch: see `loop.train`.
        part: called with the name of what is trained next, where that is several networks.
    """

    features: Callable[[str, int, int], None] | None = None
    step: Callable[[Progress], None] | None = None
    epoch: Callable[[Metrics], None] | None = None
    part: Callable[[str], None] | None = None

    def begins(self, name: str) -> None:
        """Tell what is trained next."""
        if self.part:
            self.part(name)

    def of(self, what: str) -> Callable[[int, int], None] | None:
        """The report on one kind of features."""
        tell = self.features
        return (lambda done, total: tell(what, done, total)) if tell else None


@dataclass(frozen=True)
class Data:
    """What a network is trained on.

    Attributes:
        train, valid: examples that teach, and those that choose the epoch.
        store: keeps features.
        corpus: the music of a table's rows.
        jobs: processes that make features.
    """

    train: Sequence[Example]
    valid: Sequence[Example]
    store: Store
    corpus: Corpus | None = None
    jobs: int = 1

    def with_labels(self, count: int | None, seed: int = 0) -> Data:
        """The same where only `count` examples of train, drawn by chance, have labels."""
        if count is None or count >= len(self.train):
            return self
        kept = set(np.random.default_rng([23, seed]).permutation(len(self.train))[:count].tolist())
        nan = float("nan")
        return replace(
            self, train=[e if place in kept else replace(e, score=nan) for place, e in enumerate(self.train)]
        )

    def labelled(self) -> Data:
        """The same without the examples of train that have no label."""
        return replace(self, train=[example for example in self.train if not math.isnan(example.score)])

    def features(self, kind: str, told: Told) -> None:
        """Keep a front end's features of all examples."""
        self.store.fill(kind, [*self.train, *self.valid], self.corpus, self.jobs, told.of(kind))

    def fingerprints(self) -> list[str]:
        """Of both parts."""
        return [fingerprint(self.train), fingerprint(self.valid)]


class Trained(NamedTuple):
    """The best weights' file, the task, and every epoch's metrics."""

    weights: Path
    task: Task[Batch]
    history: list[Metrics]


def train_teacher(
    config: TeacherConfig, beats: Beats | None, data: Data, folder: Path, told: Told | None = None
) -> Trained:
    """Train a teacher, or go on with its training; see `loop.train`, `teacher.made`.

    Args:
        config: see `TeacherConfig`.
        beats: read from a checkpoint; None trains one from scratch.
        data: see `Data`.
        folder: of the run.
        told: how it tells what it does.
    """
    told = told or Told()
    teacher = made(config, beats)
    sha256 = beats.checkpoint_sha256 if beats else None
    run = Run(folder, {**asdict(config), "beats_sha256": sha256, "data": data.fingerprints()})
    data.features("fbank", told)
    reads = kept_layers(teacher, config, data.store, [*data.train, *data.valid], told.of("BEATs layers"))
    train, valid = (Clips(data.store, part, reads) for part in (data.train, data.valid))
    task = TeacherTask(teacher, config, train, valid, pretrained=beats is not None)
    return _trained(task, config.plan, run, told)


def distil(
    config: DistilConfig, teacher: Teacher | None, data: Data, folder: Path, told: Told | None = None
) -> Trained:
    """Distil a student or a nano from a teacher, or train one on labels alone where there is none.

    Args: as `train_teacher`; examples of train without a label teach through the teacher.
    """
    told = told or Told()
    config.check(teacher)
    data = data if teacher else data.labelled()
    sha256 = teacher.checkpoint_sha256 if teacher else None
    built = sizes_to(teacher.config, teacher.head_config) if teacher else {}
    run = Run(folder, {**asdict(config), **built, "teacher_sha256": sha256, "data": data.fingerprints()})
    reads = "texture" if config.student == "nano" else "fbank"
    data.features(reads, told)
    targets: tuple[Kind, ...] = ()
    if teacher:
        if reads != "fbank":
            replace(data, valid=()).features("fbank", told)
        targets = keep_targets(teacher, config, data.store, data.train, told.of("the teacher's layers"))
    train = Clips(data.store, data.train, Kind(reads), targets)
    valid = Clips(data.store, data.valid, Kind(reads))
    make: type[StudentTask] | type[NanoDistilTask] = NanoDistilTask if config.student == "nano" else StudentTask
    task: DistilTask = make(config, train, valid, teacher)
    return _trained(task, config.plan, run, told)


def _trained(task: Task[Batch], plan: Plan, run: Run, told: Told) -> Trained:
    history = loop.train(task, plan, run, told.step, told.epoch)
    return Trained(run.folder / task.weights, task, history)
