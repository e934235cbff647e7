"""Comparison of predictors with each other and with HAAQI: predictors, sounds, comparison, plots, timing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import Comparison, compare, compare_agreement, summarize_changes
    from .labelled_files import Evaluation, LabelledFile, compute_labels, evaluate, read_labels
    from .manifest import ManifestRow, read_manifest, score_manifest, summarize_systems
    from .plots import save_plot, save_scatter
    from .predictors import Predictor, ScorerPredictor, open_predictor
    from .sounds import Sound, list_folder_sounds, list_table_sounds, load_audio
    from .timing import Speedup, Timing, compute_speedup, summarize_times, time_interleaved

_HOMES = {
    "Comparison": "comparison",
    "Evaluation": "labelled_files",
    "LabelledFile": "labelled_files",
    "ManifestRow": "manifest",
    "Predictor": "predictors",
    "ScorerPredictor": "predictors",
    "Sound": "sounds",
    "Speedup": "timing",
    "Timing": "timing",
    "compare": "comparison",
    "compare_agreement": "comparison",
    "compute_labels": "labelled_files",
    "compute_speedup": "timing",
    "evaluate": "labelled_files",
    "list_folder_sounds": "sounds",
    "list_table_sounds": "sounds",
    "load_audio": "sounds",
    "open_predictor": "predictors",
    "read_labels": "labelled_files",
    "read_manifest": "manifest",
    "save_plot": "plots",
    "save_scatter": "plots",
    "score_manifest": "manifest",
    "summarize_changes": "comparison",
    "summarize_systems": "manifest",
    "summarize_times": "timing",
    "time_interleaved": "timing",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "Comparison",
    "Evaluation",
    "LabelledFile",
    "ManifestRow",
    "Predictor",
    "ScorerPredictor",
    "Sound",
    "Speedup",
    "Timing",
    "compare",
    "compare_agreement",
    "compute_labels",
    "compute_speedup",
    "evaluate",
    "list_folder_sounds",
    "list_table_sounds",
    "load_audio",
    "open_predictor",
    "read_labels",
    "read_manifest",
    "save_plot",
    "save_scatter",
    "score_manifest",
    "summarize_changes",
    "summarize_systems",
    "summarize_times",
    "time_interleaved",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ..runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
