"""Int8 quantization of bundles: calibration data, activation ranges, quantizers, sensitivity search, speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calibration_data import (
        CalibrationData,
        Excerpt,
        ExcerptSet,
        ModelInputs,
        create_folder_data,
        create_synthetic_data,
        prepare_inputs,
    )
    from .finalization import finalize_model
    from .layer_groups import LayerGroup, find_layer_groups
    from .measurement import GraphRunner, Speed, measure_speeds, score_graphs
    from .quantization import (
        Candidate,
        QuantizationResult,
        QuantizationSettings,
        check_quantizable,
        describe_candidate,
        list_notes,
        quantize,
        rank_candidates,
    )
    from .quantizers import quantize_dynamic_graph, quantize_static_graph, store_weights_int8
    from .ranges import RangeExcess, Ranges, collect_ranges, find_range_excess
    from .sensitivity import SearchResult, Sensitivity, SensitivitySearch
    from .targets import TARGETS, Target, get_target, native_target, runs_natively

_HOMES = {
    "TARGETS": "targets",
    "CalibrationData": "calibration_data",
    "Candidate": "quantization",
    "Excerpt": "calibration_data",
    "ExcerptSet": "calibration_data",
    "GraphRunner": "measurement",
    "LayerGroup": "layer_groups",
    "ModelInputs": "calibration_data",
    "QuantizationResult": "quantization",
    "QuantizationSettings": "quantization",
    "RangeExcess": "ranges",
    "Ranges": "ranges",
    "SearchResult": "sensitivity",
    "Sensitivity": "sensitivity",
    "SensitivitySearch": "sensitivity",
    "Speed": "measurement",
    "Target": "targets",
    "check_quantizable": "quantization",
    "collect_ranges": "ranges",
    "create_folder_data": "calibration_data",
    "create_synthetic_data": "calibration_data",
    "describe_candidate": "quantization",
    "finalize_model": "finalization",
    "find_layer_groups": "layer_groups",
    "find_range_excess": "ranges",
    "get_target": "targets",
    "list_notes": "quantization",
    "measure_speeds": "measurement",
    "native_target": "targets",
    "prepare_inputs": "calibration_data",
    "quantize": "quantization",
    "quantize_dynamic_graph": "quantizers",
    "quantize_static_graph": "quantizers",
    "rank_candidates": "quantization",
    "runs_natively": "targets",
    "score_graphs": "measurement",
    "store_weights_int8": "quantizers",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "TARGETS",
    "CalibrationData",
    "Candidate",
    "Excerpt",
    "ExcerptSet",
    "GraphRunner",
    "LayerGroup",
    "ModelInputs",
    "QuantizationResult",
    "QuantizationSettings",
    "RangeExcess",
    "Ranges",
    "SearchResult",
    "Sensitivity",
    "SensitivitySearch",
    "Speed",
    "Target",
    "check_quantizable",
    "collect_ranges",
    "create_folder_data",
    "create_synthetic_data",
    "describe_candidate",
    "finalize_model",
    "find_layer_groups",
    "find_range_excess",
    "get_target",
    "list_notes",
    "measure_speeds",
    "native_target",
    "prepare_inputs",
    "quantize",
    "quantize_dynamic_graph",
    "quantize_static_graph",
    "rank_candidates",
    "runs_natively",
    "score_graphs",
    "store_weights_int8",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ..runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
