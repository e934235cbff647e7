"""Test whether a teacher helps: compare a distilled student with one that learns from the same few labels alone.

    haaqi-edge bench study distillation MUSIC --work runs/distillation

Without the authors' weights, the teacher is a small BEATs. It is trained from scratch on the label table by the code
that trains the real one. Both students are tested on music that was not used in training. The interval of their
difference is bootstrapped over pieces of music, for the mean over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...model.beats import BeatsConfig
from ...model.head import HeadConfig
from ...model.student import Student
from ...model.teacher import Teacher
from ...runtime.writing import write_json
from ...training.corpus.clips import Corpus
from ...training.data.batches import Clips, evaluate
from ...training.data.examples import Example, of_table
from ...training.data.feature_cache import FBANK, FeatureCache
from ...training.loop import Plan, Progress, device_of
from ...training.run_directory import Metrics
from ...training.statistics import agreement
from ...training.tasks.distillation import DistilConfig
from ...training.tasks.pipelines import Data, Told, distil, train_teacher
from ...training.tasks.teacher import TeacherConfig
from ..program import told_in_a_line

TABLE: Final = Path(__file__).parents[2] / "training" / "table"
BEATS: Final = BeatsConfig(
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
HEAD: Final = HeadConfig(width=64, hidden=32, heads=4)
TEACHER: Final = TeacherConfig(HEAD, BEATS, free=BEATS.layers, batch=32, plan=Plan(epochs=7, clip=1.0, threads=1))
STUDENT: Final = DistilConfig(
    layers=2,
    predicts=(2, 3),
    tune_blstm=True,
    tune_attention=True,
    beats=BEATS,
    head=HEAD,
    batch=16,
    plan=Plan(epochs=4, patience=6, clip=1.0, threads=1),
)
_DRAWS: Final = 2000


def told(name: str) -> Told:
    """Return callbacks that print one line per epoch, and one every hundred steps."""

    def step(now: Progress) -> None:
        if now.step % 100 == 0:
            print(f"{name}: epoch {now.epoch + 1}, step {now.step} of {now.steps}, {now.left:.0f} s left", flush=True)

    def epoch(found: Metrics) -> None:
        print(f"{name}: epoch {found['epoch'] + 1:g}, LCC {found['lcc']:.3f}, loss {found['loss']:.4f}", flush=True)

    return Told(None, step, epoch)


def predictions(student: Student | Teacher, clips: Clips) -> npt.NDArray[np.float32]:
    """Return the scores of clips, [clips]."""
    score = student.score if isinstance(student, Teacher) else student
    return evaluate(score, clips, 16, device_of("cpu"))[1]


def difference(
    alone: Sequence[npt.NDArray[np.float32]],
    taught: Sequence[npt.NDArray[np.float32]],
    examples: Sequence[Example],
) -> dict[str, Any]:
    """Compare students that were trained with and without a teacher.

    Args:
        alone, taught: scores [clips] of the students without and with a teacher, one array per seed.
        examples: the clips, with their labels.

    Returns:
        LCC and SRCC of both, by seed, and the change of their means with its 95% interval over resampled pieces of
        music.
    """
    labels = np.array([example.score for example in examples])
    names = np.array([example.group for example in examples])
    members = [np.flatnonzero(names == name) for name in sorted(set(names.tolist()))]
    rng = np.random.default_rng(41)

    def worth(predicted: Sequence[npt.NDArray[np.float32]], rows: npt.NDArray[np.int64], rank: bool) -> list[float]:
        take = stats.rankdata if rank else np.asarray
        return [float(np.corrcoef(take(p[rows]), take(labels[rows]))[0, 1]) for p in predicted]

    every = np.arange(len(labels))
    found: dict[str, Any] = {"pieces": len(members), "clips": len(labels)}
    for metric, rank in (("lcc", False), ("srcc", True)):
        draws = []
        for _ in range(_DRAWS):
            rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
            draws.append(np.mean(worth(taught, rows, rank)) - np.mean(worth(alone, rows, rank)))
        low, high = np.quantile(draws, [0.025, 0.975])
        found[metric] = {
            "alone": worth(alone, every, rank),
            "taught": worth(taught, every, rank),
            "change": float(np.mean(worth(taught, every, rank)) - np.mean(worth(alone, every, rank))),
            "interval": [float(low), float(high)],
        }
    return found


def measure(
    music: Path, table: Path, work: Path, rows: int, sounds: int, labels: int, seeds: int, teacher: Path | None
) -> dict[str, Any]:
    """Train and compare teacher and students. What is already finished in `work` is not repeated.

    Args:
        music: folder of clean music with its CLIPS.csv.
        table: folder of the label table.
        work: folder for features and run directories.
        rows: number of labels that the teacher is trained on.
        sounds: number of sounds that the student is distilled on.
        labels: how many of them have a label for the students.
        seeds: number of students of each kind.
        teacher: checkpoint of a teacher; None trains one.
    """
    cache, corpus = FeatureCache(work / "features"), Corpus(music)
    train, valid = of_table(table, "train", rows), of_table(table, "valid", 600)
    test = of_table(table, "test", 400)
    if teacher is None:
        data = Data(train, valid, cache, corpus)
        teacher = train_teacher(TEACHER, None, data, work / "teacher", told("teacher")).weights
    network = Teacher.from_checkpoint(teacher)
    cache.fill([FBANK], test, corpus)
    clips = Clips(cache, test, FBANK)
    few = Data(train[:sounds], valid[:200], cache, corpus)
    alone, taught = [], []
    for seed in range(seeds):
        data = few.with_labels(labels, seed)
        plan = replace(STUDENT.plan, seed=seed)
        longer = replace(plan, epochs=5 * plan.epochs)
        scratch = replace(STUDENT, plan=longer)
        by_labels = distil(scratch, None, data, work / f"alone-{labels}-{seed}", told(f"alone {seed}"))
        alone.append(predictions(Student.from_checkpoint(by_labels.weights), clips))
        config = replace(STUDENT, plan=plan, loss="l1_cosine", imitation_weight=1.0, token_weight=0.1)
        by_teacher = distil(config, network, data, work / f"taught-{labels}-{seed}", told(f"taught {seed}"))
        taught.append(predictions(Student.from_checkpoint(by_teacher.weights), clips))
    found = {"teacher_rows": rows, "sounds": sounds, "labels": labels, **difference(alone, taught, test)}
    found["teacher"] = agreement(predictions(network, clips), clips.labels).lcc
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", type=Path, help="folder of clean music with its CLIPS.csv")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--work", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--rows", type=int, default=7000, help="labels that teach the teacher")
    parser.add_argument("--sounds", type=int, default=2000, help="sounds that the student hears with its teacher")
    parser.add_argument("--labels", type=int, default=200, help="of those, labels that both students get")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--teacher", type=Path, help="a teacher trained before")
    args = parser.parse_args()
    with told_in_a_line():
        found = measure(
            args.music, args.table, args.work, args.rows, args.sounds, args.labels, args.seeds, args.teacher
        )
    write_json(found, args.work / "figures.json")
    print(f"teacher: LCC {found['teacher']:.3f} on {found['clips']} clips of {found['pieces']} unheard pieces")
    for metric in ("lcc", "srcc"):
        told_of = found[metric]
        low, high = told_of["interval"]
        means = [float(np.mean(told_of[name])) for name in ("alone", "taught")]
        print(
            f"{metric.upper()} of a student with {found['labels']} labels: alone {means[0]:.3f}, with the teacher "
            f"{means[1]:.3f}; {told_of['change']:+.3f} (95%: {low:+.3f} to {high:+.3f}), {args.seeds} seeds"
        )


if __name__ == "__main__":
    main()
