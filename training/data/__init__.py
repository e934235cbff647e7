"""The data of training: rows of label tables, their sounds and labels, features, and batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batches import Batch, Dataset, evaluate_network
    from .examples import Example, load_json_examples, load_table_examples, render_waveforms, split_by_group
    from .feature_cache import FeatureCache, FeatureKind
    from .labels import Labelling, label_rows, read_rows, resolve_table, table_names, verify_table
    from .rendering import render_presented, render_reference, render_row
    from .rows import Row, plan_rows
    from .targets import dense_targets

_HOMES = {
    "Batch": "batches",
    "Dataset": "batches",
    "Example": "examples",
    "FeatureCache": "feature_cache",
    "FeatureKind": "feature_cache",
    "Labelling": "labels",
    "Row": "rows",
    "dense_targets": "targets",
    "evaluate_network": "batches",
    "label_rows": "labels",
    "load_json_examples": "examples",
    "load_table_examples": "examples",
    "plan_rows": "rows",
    "read_rows": "labels",
    "render_presented": "rendering",
    "render_reference": "rendering",
    "render_row": "rendering",
    "render_waveforms": "examples",
    "resolve_table": "labels",
    "split_by_group": "examples",
    "table_names": "labels",
    "verify_table": "labels",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "Batch",
    "Dataset",
    "Example",
    "FeatureCache",
    "FeatureKind",
    "Labelling",
    "Row",
    "dense_targets",
    "evaluate_network",
    "label_rows",
    "load_json_examples",
    "load_table_examples",
    "plan_rows",
    "read_rows",
    "render_presented",
    "render_reference",
    "render_row",
    "render_waveforms",
    "resolve_table",
    "split_by_group",
    "table_names",
    "verify_table",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ...runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
