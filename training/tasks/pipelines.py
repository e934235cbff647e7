"""Complete trainings, from examples to weights: compute features, create the task, run the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ...model.beats import Beats
from ...model.head import format_sizes
from ...model.nano import Nano
from ...model.small import Small
from ...model.teacher import Teacher
from ...runtime.bundle import file_sha256
from ...runtime.errors import CorpusError
from .. import loop
from ..corpus.clips import Corpus
from ..data.batches import Dataset
from ..data.examples import Example
from ..data.feature_cache import (
    DENSE,
    FBANK,
    TEXTURE_MEL,
    FeatureCache,
    FeatureKind,
    clean_kind,
    examples_fingerprint,
    texture_kind,
)
from ..data.rows import Row
from ..intervals import Calibration, calibrate, split_by_source
from ..loop import Progress, Task, TrainerConfig
from ..run_directory import Metrics, RunDirectory
from .distillation import DistilConfig, DistilTask, NanoDistilTask, StudentTask, cache_teacher_targets
from .nano import (
    NanoTask,
    NanoTrainingConfig,
    SmallTrainingConfig,
    predict_distances,
    round_weights,
    save_nano,
)
from .teacher import TeacherConfig, TeacherTask, cache_frozen_layers, create_teacher


class Callbacks(NamedTuple):
    """Callbacks that report the progress of a training.

    Attributes:
        on_features: called with the kind of features, the number of sounds that are done, and the total number.
        on_step, on_epoch: see `loop.train`.
        on_stage: called with the name of the next network, if several are trained.
    """

    on_features: Callable[[str, int, int], None] | None = None
    on_step: Callable[[Progress], None] | None = None
    on_epoch: Callable[[Metrics], None] | None = None
    on_stage: Callable[[str], None] | None = None

    def start_stage(self, name: str) -> None:
        """Report the name of the next network."""
        if self.on_stage:
            self.on_stage(name)

    def for_features(self, what: str) -> Callable[[int, int], None] | None:
        """Return the callback for one kind of features."""
        report = self.on_features
        return (lambda done, total: report(what, done, total)) if report else None


@dataclass(frozen=True)
class TrainingData:
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

    def with_labels(self, count: int | None, seed: int = 0) -> TrainingData:
        """Return the same data with labels for only `count` examples of train, chosen at random."""
        if count is None or count >= len(self.train):
            return self
        kept = set(np.random.default_rng([23, seed]).permutation(len(self.train))[:count].tolist())
        nan = float("nan")
        return replace(
            self, train=[e if place in kept else replace(e, score=nan) for place, e in enumerate(self.train)]
        )

    def drop_unlabelled(self) -> TrainingData:
        """Return the same data without the examples of train that have no label."""
        return replace(self, train=[example for example in self.train if not math.isnan(example.score)])

    def compute_features(self, kinds: Sequence[FeatureKind], examples: Sequence[Example], callbacks: Callbacks) -> None:
        """Compute the missing features of examples."""
        names = " and ".join(kind.name for kind in kinds)
        self.cache.fill(kinds, examples, self.corpus, self.jobs, callbacks.for_features(names))

    def clip_sources(self) -> dict[str, str]:
        """Return the source of each clip of the tables of valid."""
        if self.corpus is None:
            return {}
        tables = {example.table for example in self.valid}
        return {clip.path: clip.source for table in tables for clip in self.corpus.part(table).clips}

    def fingerprints(self) -> list[str]:
        """Return the fingerprints of train and valid."""
        return [examples_fingerprint(self.train), examples_fingerprint(self.valid)]


class TrainingResult(NamedTuple):
    """The file of the best weights, the task, and the metrics of every epoch."""

    weights: Path
    task: Task[Any]
    history: list[Metrics]


def train_nano(
    config: NanoTrainingConfig,
    data: TrainingData,
    folder: Path,
    callbacks: Callbacks | None = None,
    pretrained: Path | None = None,
) -> TrainingResult:
    """Train nano or small, or resume its training. See `loop.train`.

    If the network predicts intervals, the epoch is chosen on one half of the sources of valid, and the intervals are
    calibrated on the other half afterwards.

    Args:
        config: see `NanoTrainingConfig`. A `SmallTrainingConfig` trains a small.
        data: rows of label tables, or audio files with scores, which have no further targets.
        folder: of the run.
        callbacks: called with the progress.
        pretrained: checkpoint of mn04, whose layers a small begins with.

    Raises:
        CorpusError: there are fewer rows than a batch. See also `FeatureCache.fill`.
        OptionError: the folder holds another run.
    """
    callbacks = callbacks or Callbacks()
    of_table = all(isinstance(example.source, Row) for example in data.train)
    if of_table and len(data.train) < config.batch_size:
        raise CorpusError(f"{len(data.train)} rows are less than a batch of {config.batch_size}: give more rows")
    origin = {"pretrained_sha256": file_sha256(pretrained)} if pretrained else {}
    run = RunDirectory(folder, {**asdict(config), **origin, "data": data.fingerprints()})
    version = config.network.texture_version
    reads = TEXTURE_MEL if isinstance(config, SmallTrainingConfig) else texture_kind(version)
    clean = clean_kind(version)
    data.compute_features([reads, clean] if of_table else [reads], data.train, callbacks)
    data.compute_features([reads], [*data.valid, *data.test], callbacks)
    if of_table and data.work is not None:
        data.cache.add_targets(data.train, data.work)
    train = Dataset(data.cache, data.train, reads, (DENSE, clean) if of_table else ())
    if not config.network.interval:
        task = NanoTask(config, train, Dataset(data.cache, data.valid, reads), pretrained)
        return _run(task, config.trainer, run, callbacks)
    selection, calibration = split_by_source(data.valid, data.clip_sources())
    task = NanoTask(config, train, Dataset(data.cache, selection, reads), pretrained)
    result = _run(task, config.trainer, run, callbacks)
    calibrate_weights(result.weights, Dataset(data.cache, calibration, reads), config)
    return result


def calibrate_weights(weights: Path, clips: Dataset, config: NanoTrainingConfig) -> Calibration:
    """Calibrate the intervals of a network, and write its weights again. See `intervals.calibrate`."""
    nano = (Small if isinstance(config, SmallTrainingConfig) else Nano).from_checkpoint(weights)
    if isinstance(nano, Small):
        round_weights(nano)
    scores, distances = predict_distances(nano, clips, config.batch_size, torch.device("cpu"))
    found = calibrate(nano.head, clips, scores, distances)
    save_nano(nano, weights)
    return found


def train_teacher(
    config: TeacherConfig, beats: Beats | None, data: TrainingData, folder: Path, callbacks: Callbacks | None = None
) -> TrainingResult:
    """Train a teacher, or resume its training. See `loop.train` and `teacher.create_teacher`.

    Args:
        config: see `TeacherConfig`.
        beats: loaded from a checkpoint. None trains a BEATs from scratch.
        data: see `TrainingData`.
        folder: of the run.
        callbacks: called with the progress.
    """
    callbacks = callbacks or Callbacks()
    teacher = create_teacher(config, beats)
    sha256 = beats.checkpoint_sha256 if beats else None
    run = RunDirectory(folder, {**asdict(config), "beats_sha256": sha256, "data": data.fingerprints()})
    data.compute_features([FBANK], [*data.train, *data.valid], callbacks)
    reads = cache_frozen_layers(
        teacher, config, data.cache, [*data.train, *data.valid], callbacks.for_features("BEATs layers")
    )
    train, valid = (Dataset(data.cache, part, reads) for part in (data.train, data.valid))
    task = TeacherTask(teacher, config, train, valid, pretrained=beats is not None)
    return _run(task, config.trainer, run, callbacks)


def distil(
    config: DistilConfig, teacher: Teacher | None, data: TrainingData, folder: Path, callbacks: Callbacks | None = None
) -> TrainingResult:
    """Distil a student or a nano from a teacher. Without a teacher, train it on labels alone.

    Args:
        config: see `DistilConfig`.
        teacher: loaded from a checkpoint, or None.
        data: see `TrainingData`. Examples of train without a label are used with a teacher only.
        folder: of the run.
        callbacks: called with the progress.
    """
    callbacks = callbacks or Callbacks()
    config.check(teacher)
    data = data if teacher else data.drop_unlabelled()
    sha256 = teacher.checkpoint_sha256 if teacher else None
    built = format_sizes(teacher.config, teacher.head_config) if teacher else {}
    run = RunDirectory(folder, {**asdict(config), **built, "teacher_sha256": sha256, "data": data.fingerprints()})
    reads = texture_kind() if config.student == "nano" else FBANK
    data.compute_features([reads], data.valid, callbacks)
    data.compute_features([reads, FBANK] if teacher and reads != FBANK else [reads], data.train, callbacks)
    targets: tuple[FeatureKind, ...] = ()
    if teacher:
        targets = cache_teacher_targets(
            teacher, config, data.cache, data.train, callbacks.for_features("the teacher's layers")
        )
    train = Dataset(data.cache, data.train, reads, targets)
    valid = Dataset(data.cache, data.valid, reads)
    make: type[StudentTask] | type[NanoDistilTask] = NanoDistilTask if config.student == "nano" else StudentTask
    task: DistilTask = make(config, train, valid, teacher)
    return _run(task, config.trainer, run, callbacks)


def _run(task: Task[Any], trainer: TrainerConfig, run: RunDirectory, callbacks: Callbacks) -> TrainingResult:
    history = loop.train(task, trainer, run, callbacks.on_step, callbacks.on_epoch)
    return TrainingResult(run.folder / task.weights, task, history)
