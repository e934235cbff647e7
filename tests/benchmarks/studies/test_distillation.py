"""The study of distillation: students are compared over resampled pieces of music, and the progress is reported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from haaqi_edge.benchmarks.studies.distillation import compare_students, format_lines, training_callbacks
from haaqi_edge.training.loop import Progress


def make_students(noise: float, labels: np.ndarray, seeds: int) -> list[np.ndarray]:
    """Return the predictions of students, whose errors have a standard deviation of `noise`."""
    return [labels + noise * np.random.default_rng(seed).standard_normal(len(labels)) for seed in range(seeds)]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_better_student_has_a_positive_change(seeds: int) -> None:
    labels = np.random.default_rng(9).random(120)
    examples: list[Any] = [SimpleNamespace(score=label, group=f"piece {n // 4}") for n, label in enumerate(labels)]
    alone, taught = make_students(0.5, labels, seeds), make_students(0.1, labels, seeds)
    results = compare_students(alone, taught, examples, resamples=200)
    assert (results["pieces"], results["clips"]) == (30, 120)
    for metric in ("lcc", "srcc"):
        result = results[metric]
        low, high = result["interval"]
        assert len(result["alone"]) == len(result["taught"]) == seeds
        assert result["change"] == pytest.approx(np.mean(result["taught"]) - np.mean(result["alone"]))
        assert 0 < low < result["change"] < high
    assert results["lcc"]["alone"][0] == pytest.approx(np.corrcoef(alone[0], labels)[0, 1])
    lines = format_lines({**results, "teacher": 0.9, "labels": 200})
    assert f"{seeds} seeds" in lines[1]


def test_students_that_are_the_same_do_not_differ() -> None:
    labels = np.random.default_rng(9).random(40)
    examples: list[Any] = [SimpleNamespace(score=label, group=str(n // 2)) for n, label in enumerate(labels)]
    students = make_students(0.3, labels, 2)
    assert compare_students(students, students, examples, resamples=50)["lcc"]["interval"] == [0, 0]


def test_steps_and_epochs_are_reported() -> None:
    calls: list[tuple[str, int, int]] = []
    callbacks = training_callbacks("teacher", lambda step, done, total: calls.append((step, done, total)))
    assert callbacks.on_features
    assert callbacks.on_step
    assert callbacks.on_epoch
    callbacks.on_features("fbank", 3, 9)
    callbacks.on_step(Progress(0, 4, 2, 10, 0.5, 1.0, 38.0))
    callbacks.on_epoch({"epoch": 0, "lcc": 0.5, "loss": 0.25})
    assert calls == [
        ("teacher: features fbank", 3, 9),
        ("teacher: epoch 1", 2, 10),
        ("teacher: end of epoch 1, LCC 0.500, loss 0.2500", 1, 1),
    ]
