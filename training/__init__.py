"""Training: corpora, degradations, labels, and the training of all networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loop import Progress, Task, TrainerConfig, TrainingInterrupted, train
    from .pairs import Pair, match_files, score_pair, score_pairs
    from .run_directory import RunDirectory
    from .settings import build_settings, read_settings, shipped_configs
    from .statistics import (
        Agreement,
        Interval,
        agreement,
        agreement_change,
        agreement_intervals,
        bootstrap,
        bootstrap_interval,
        ordered_pairs,
        pearson,
        spearman,
    )

_HOMES = {
    "Agreement": "statistics",
    "Interval": "statistics",
    "Pair": "pairs",
    "Progress": "loop",
    "RunDirectory": "run_directory",
    "Task": "loop",
    "TrainerConfig": "loop",
    "TrainingInterrupted": "loop",
    "agreement": "statistics",
    "agreement_change": "statistics",
    "agreement_intervals": "statistics",
    "bootstrap": "statistics",
    "bootstrap_interval": "statistics",
    "build_settings": "settings",
    "match_files": "pairs",
    "ordered_pairs": "statistics",
    "pearson": "statistics",
    "read_settings": "settings",
    "score_pair": "pairs",
    "score_pairs": "pairs",
    "shipped_configs": "settings",
    "spearman": "statistics",
    "train": "loop",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "Agreement",
    "Interval",
    "Pair",
    "Progress",
    "RunDirectory",
    "Task",
    "TrainerConfig",
    "TrainingInterrupted",
    "agreement",
    "agreement_change",
    "agreement_intervals",
    "bootstrap",
    "bootstrap_interval",
    "build_settings",
    "match_files",
    "ordered_pairs",
    "pearson",
    "read_settings",
    "score_pair",
    "score_pairs",
    "shipped_configs",
    "spearman",
    "train",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ..runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
