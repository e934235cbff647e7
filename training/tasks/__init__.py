"""Tasks of training: nano, HAAQI-Net's teacher and student, and tuning to ratings; and complete trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .distillation import DistilConfig
    from .mos import MosConfig, TuningResult, tune
    from .nano import NanoTrainingConfig
    from .pipelines import Callbacks, TrainingData, TrainingResult, distil, train_nano, train_teacher
    from .ratings import read_ratings
    from .teacher import TeacherConfig

_HOMES = {
    "Callbacks": "pipelines",
    "DistilConfig": "distillation",
    "MosConfig": "mos",
    "NanoTrainingConfig": "nano",
    "TeacherConfig": "teacher",
    "TrainingData": "pipelines",
    "TrainingResult": "pipelines",
    "TuningResult": "mos",
    "distil": "pipelines",
    "read_ratings": "ratings",
    "train_nano": "pipelines",
    "train_teacher": "pipelines",
    "tune": "mos",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "Callbacks",
    "DistilConfig",
    "MosConfig",
    "NanoTrainingConfig",
    "TeacherConfig",
    "TrainingData",
    "TrainingResult",
    "TuningResult",
    "distil",
    "read_ratings",
    "train_nano",
    "train_teacher",
    "tune",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ...runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
