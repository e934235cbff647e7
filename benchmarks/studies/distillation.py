"""Test whether a teacher helps: `haaqi-edge bench study distillation MUSIC`.

A distilled student is compared with one that learns from the same few labels alone.

Without the authors' weights, the teacher is a small BEATs. It is trained from scratch on the label table by the code
that trains the real one. Both students are tested on music that was not used in training. The interval of their
difference is bootstrapped over pieces of music, for the mean over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...model.beats import BeatsConfig
from ...model.head import HeadConfig
from ...model.student import Student
from ...model.teacher import Teacher
from ...runtime.writing import write_json
from ...training.corpus.clips import Corpus
from ...training.data.batches import Dataset, evaluate_network
from ...training.data.examples import Example, load_table_examples
from ...training.data.feature_cache import FBANK, FeatureCache
from ...training.data.labels import resolve_table
from ...training.loop import Progress as StepProgress
from ...training.loop import TrainerConfig, resolve_device
from ...training.run_directory import Metrics
from ...training.statistics import agreement, bootstrap_interval, pearson, spearman
from ...training.tasks.distillation import DistilConfig
from ...training.tasks.pipelines import Callbacks, TrainingData, distil, train_teacher
from ...training.tasks.teacher import TeacherConfig
from ..progress import Progress, no_progress

Array = npt.NDArray[np.floating]
RESULTS_FILE: Final = "figures.json"
"""file of the results in the work folder"""
_BEATS: Final = BeatsConfig(
    layers=4,
    width=64,
    heads=2,
    ffn=192,
    patch_width=64,
    norm_layers=4,
    buckets=32,
    position_kernel=16,
    position_groups=4,
)
_HEAD: Final = HeadConfig(width=64, hidden=32, heads=4)
_TEACHER: Final = TeacherConfig(
    _HEAD,
    _BEATS,
    unfrozen_layers=_BEATS.layers,
    batch_size=32,
    trainer=TrainerConfig(epochs=7, max_grad_norm=1.0, threads=1),
)
_STUDENT: Final = DistilConfig(
    layers=2,
    predicts=(2, 3),
    tune_blstm=True,
    tune_attention=True,
    beats=_BEATS,
    head=_HEAD,
    batch_size=16,
    trainer=TrainerConfig(epochs=4, patience=6, max_grad_norm=1.0, threads=1),
)


def training_callbacks(name: str, on_progress: Progress) -> Callbacks:
    """Return callbacks that report the steps and epochs of a training.

    Args:
        name: of the network.
        on_progress: called with the progress.
    """

    def report_features(kind: str, done: int, total: int) -> None:
        on_progress(f"{name}: features {kind}", done, total)

    def report_step(now: StepProgress) -> None:
        on_progress(f"{name}: epoch {now.epoch + 1}", now.step, now.steps)

    def report_epoch(metrics: Metrics) -> None:
        epoch = f"{name}: end of epoch {metrics['epoch'] + 1:g}"
        on_progress(f"{epoch}, LCC {metrics['lcc']:.3f}, loss {metrics['loss']:.4f}", 1, 1)

    return Callbacks(report_features, report_step, report_epoch)


def _predict(network: Student | Teacher, clips: Dataset) -> Array:
    """Return the scores of clips, [clips]."""
    score = network.score if isinstance(network, Teacher) else network
    return evaluate_network(score, clips, 16, resolve_device("cpu"))[1]


def compare_students(
    alone: Sequence[Array], taught: Sequence[Array], examples: Sequence[Example], resamples: int = 2000
) -> dict[str, Any]:
    """Compare students that were trained with and without a teacher.

    Args:
        alone, taught: scores [clips] of the students without and with a teacher, one array per seed.
        examples: the clips, with their labels.
        resamples: number of bootstrap resamples.

    Returns:
        LCC and SRCC of both, by seed, and the change of their means with its 95% interval over resampled pieces of
        music.
    """
    labels = np.array([example.score for example in examples])
    pieces = [example.group for example in examples]
    without, with_teacher = np.array(alone), np.array(taught)
    results: dict[str, Any] = {"pieces": len(set(pieces)), "clips": len(labels)}
    for name, metric in (("lcc", pearson), ("srcc", spearman)):

        def mean_change(first: Array, second: Array, label: Array, axis: int, metric: Any = metric) -> Any:
            return np.mean(metric(second, label, axis) - metric(first, label, axis), axis=0)

        low, high = bootstrap_interval(
            mean_change, without, with_teacher, labels, groups=pieces, resamples=resamples, seed=41
        )
        results[name] = {
            "alone": metric(without, labels).tolist(),
            "taught": metric(with_teacher, labels).tolist(),
            "change": float(mean_change(without, with_teacher, labels, -1)),
            "interval": [low, high],
        }
    return results


def measure(
    music: Path,
    table: Path,
    work: Path,
    rows: int,
    sounds: int,
    labels: int,
    seeds: int,
    teacher: Path | None,
    on_progress: Progress = no_progress,
) -> dict[str, Any]:
    """Train and compare teacher and students. What is already finished in `work` is not repeated.

    Args:
        music: folder of clean music with its CLIPS.csv.
        table: folder of the label table.
        work: folder for features, run directories and results.
        rows: number of labels that the teacher is trained on.
        sounds: number of sounds that the student is distilled on.
        labels: how many of them have a label for the students.
        seeds: number of students of each kind.
        teacher: checkpoint of a teacher; None trains one.
        on_progress: called with the progress.
    """
    cache, corpus = FeatureCache(work / "features"), Corpus(music)
    train, valid, test = (
        load_table_examples(table, resolve_table(table, split, corpus), count)
        for split, count in (("train", rows), ("valid", 600), ("test", 400))
    )
    if teacher is None:
        data = TrainingData(train, valid, cache, corpus)
        callbacks = training_callbacks("teacher", on_progress)
        teacher = train_teacher(_TEACHER, None, data, work / "teacher", callbacks).weights
    network = Teacher.from_checkpoint(teacher)
    cache.fill([FBANK], test, corpus)
    clips = Dataset(cache, test, FBANK)
    subset = TrainingData(train[:sounds], valid[:200], cache, corpus)
    alone, taught = [], []
    for seed in range(seeds):
        data = subset.with_labels(labels, seed)
        trainer = replace(_STUDENT.trainer, seed=seed)
        config = replace(_STUDENT, trainer=replace(trainer, epochs=5 * trainer.epochs))
        callbacks = training_callbacks(f"student {seed} alone", on_progress)
        student = distil(config, None, data, work / f"alone-{labels}-{seed}", callbacks)
        alone.append(_predict(Student.from_checkpoint(student.weights), clips))
        config = replace(_STUDENT, trainer=trainer, loss="l1_cosine", imitation_weight=1.0, token_weight=0.1)
        callbacks = training_callbacks(f"student {seed} with the teacher", on_progress)
        student = distil(config, network, data, work / f"taught-{labels}-{seed}", callbacks)
        taught.append(_predict(Student.from_checkpoint(student.weights), clips))
    results = {"teacher_rows": rows, "sounds": sounds, "labels": labels, **compare_students(alone, taught, test)}
    results["teacher"] = agreement(_predict(network, clips), clips.labels).lcc
    write_json(results, work / RESULTS_FILE)
    return results


def format_lines(results: dict[str, Any]) -> list[str]:
    """Format the results as text."""
    lines = [
        f"teacher: LCC {results['teacher']:.3f} on {results['clips']} clips of {results['pieces']} pieces that "
        "training did not use"
    ]
    for metric in ("lcc", "srcc"):
        result = results[metric]
        low, high = result["interval"]
        alone, taught = (float(np.mean(result[name])) for name in ("alone", "taught"))
        lines.append(
            f"{metric.upper()} of a student with {results['labels']} labels: {alone:.3f} alone, {taught:.3f} with the "
            f"teacher; change {result['change']:+.3f} (95%: {low:+.3f} to {high:+.3f}), {len(result['alone'])} seeds"
        )
    return lines
