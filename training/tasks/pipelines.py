"""Complete trainings, from examples to weights: compute features, create the task, run the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...model.beats import Beats
from ...model.head import sizes_to
from ...model.teacher import Teacher
from ...runtime.errors import CorpusError
from .. import loop
from ..corpus.clips import Corpus
from ..data.batches import Clips
from ..data.examples import Example
from ..data.feature_cache import DENSE, FBANK, FeatureCache, Kind, clean_kind, fingerprint, texture_kind
from ..loop import Plan, Progress, Task
from ..run_directory import Metrics, Run
from .distillation import DistilConfig, DistilTask, NanoDistilTask, StudentTask, keep_targets
from .nano import NanoTask, NanoTrainingConfig, parts_of
from .teacher import TeacherConfig, TeacherTask, kept_layers, made


class Told(NamedTuple):
    """Callbacks that report the progress of a training.

    Attributes:
        features: called with the kind of features, the number of sounds that are done, and the total number.
        step, epoch: see `loop.train`.
        part: called with the name of the next network, if several are trained.
    """

    features: Callable[[str, int, int], None] | None = None
    step: Callable[[Progress], None] | None = None
    epoch: Callable[[Metrics], None] | None = None
    part: Callable[[str], None] | None = None

    def begins(self, name: str) -> None:
        """Report the name of the next network."""
        if self.part:
            self.part(name)

    def of(self, what: str) -> Callable[[int, int], None] | None:
        """Return the callback for one kind of features."""
        tell = self.features
        return (lambda done, total: tell(what, done, total)) if tell else None


@dataclass(frozen=True)
class Data:
    """The data that a network is trained on.

    Attributes:
        train, valid: examples for training, and those that select the epoch.
        cache: stores features.
        corpus: of label tables.
        jobs: number of processes that compute features.
        work: work folder of labelling, with dense targets.
        test: examples for the final results. Their features are computed before training.
    """

    train: Sequence[Example]
    valid: Sequence[Example]
    cache: FeatureCache
    corpus: Corpus | None = None
    jobs: int = 1
    work: Path | None = None
    test: Sequence[Example] = ()

    def with_labels(self, count: int | None, seed: int = 0) -> Data:
        """Return the same data with labels for only `count` examples of train, chosen at random."""
        if count is None or count >= len(self.train):
            return self
        kept = set(np.random.default_rng([23, seed]).permutation(len(self.train))[:count].tolist())
        nan = float("nan")
        return replace(
            self, train=[e if place in kept else replace(e, score=nan) for place, e in enumerate(self.train)]
        )

    def labelled(self) -> Data:
        """Return the same data without the examples of train that have no label."""
        return replace(self, train=[example for example in self.train if not math.isnan(example.score)])

    def make_features(self, kinds: Sequence[Kind], examples: Sequence[Example], told: Told) -> None:
        """Compute the missing features of examples."""
        names = " and ".join(kind.name for kind in kinds)
        self.cache.fill(kinds, examples, self.corpus, self.jobs, told.of(names))

    def fingerprints(self) -> list[str]:
        """Return the fingerprints of train and valid."""
        return [fingerprint(self.train), fingerprint(self.valid)]


class Trained(NamedTuple):
    """The file of the best weights, the task, and the metrics of every epoch."""

    weights: Path
    task: Task[Any]
    history: list[Metrics]


def train_nano(config: NanoTrainingConfig, data: Data, folder: Path, told: Told | None = None) -> Trained:
    """Train nano on label tables, or resume its training. See `loop.train`.

    Args:
        config: see `NanoTrainingConfig`.
        data: rows of label tables.
        folder: of the run.
        told: callbacks.

    Raises:
        CorpusError: there are fewer rows than a batch. See also `FeatureCache.fill`.
        OptionError: some examples are not rows of a label table, or the folder holds another run.
    """
    told = told or Told()
    parts_of(data.train)
    if len(data.train) < config.batch:
        raise CorpusError(f"{len(data.train)} rows are less than a batch of {config.batch}: give more rows")
    run = Run(folder, {**asdict(config), "data": data.fingerprints()})
    reads, clean = texture_kind(config.network.texture_version), clean_kind(config.network.texture_version)
    data.make_features([reads, clean], data.train, told)
    data.make_features([reads], [*data.valid, *data.test], told)
    if data.work is not None:
        data.cache.add_targets(data.train, data.work)
    train = Clips(data.cache, data.train, reads, (DENSE, clean))
    task = NanoTask(config, train, Clips(data.cache, data.valid, reads))
    return _trained(task, config.plan, run, told)


def train_teacher(
    config: TeacherConfig, beats: Beats | None, data: Data, folder: Path, told: Told | None = None
) -> Trained:
    """Train a teacher, or resume its training. See `loop.train` and `teacher.made`.

    Args:
        config: see `TeacherConfig`.
        beats: loaded from a checkpoint. None trains a BEATs from scratch.
        data: see `Data`.
        folder: of the run.
        told: callbacks.
    """
    told = told or Told()
    teacher = made(config, beats)
    sha256 = beats.checkpoint_sha256 if beats else None
    run = Run(folder, {**asdict(config), "beats_sha256": sha256, "data": data.fingerprints()})
    data.make_features([FBANK], [*data.train, *data.valid], told)
    reads = kept_layers(teacher, config, data.cache, [*data.train, *data.valid], told.of("BEATs layers"))
    train, valid = (Clips(data.cache, part, reads) for part in (data.train, data.valid))
    task = TeacherTask(teacher, config, train, valid, pretrained=beats is not None)
    return _trained(task, config.plan, run, told)


def distil(
    config: DistilConfig, teacher: Teacher | None, data: Data, folder: Path, told: Told | None = None
) -> Trained:
    """Distil a student or a nano from a teacher. Without a teacher, train it on labels alone.

    Args:
        config: see `DistilConfig`.
        teacher: loaded from a checkpoint, or None.
        data: see `Data`. Examples of train without a label are used with a teacher only.
        folder: of the run.
        told: callbacks.
    """
    told = told or Told()
    config.check(teacher)
    data = data if teacher else data.labelled()
    sha256 = teacher.checkpoint_sha256 if teacher else None
    built = sizes_to(teacher.config, teacher.head_config) if teacher else {}
    run = Run(folder, {**asdict(config), **built, "teacher_sha256": sha256, "data": data.fingerprints()})
    reads = texture_kind() if config.student == "nano" else FBANK
    data.make_features([reads], data.valid, told)
    data.make_features([reads, FBANK] if teacher and reads != FBANK else [reads], data.train, told)
    targets: tuple[Kind, ...] = ()
    if teacher:
        targets = keep_targets(teacher, config, data.cache, data.train, told.of("the teacher's layers"))
    train = Clips(data.cache, data.train, reads, targets)
    valid = Clips(data.cache, data.valid, reads)
    make: type[StudentTask] | type[NanoDistilTask] = NanoDistilTask if config.student == "nano" else StudentTask
    task: DistilTask = make(config, train, valid, teacher)
    return _trained(task, config.plan, run, told)


def _trained(task: Task[Any], plan: Plan, run: Run, told: Told) -> Trained:
    history = loop.train(task, plan, run, told.step, told.epoch)
    return Trained(run.folder / task.weights, task, history)
