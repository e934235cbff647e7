"""Export from PyTorch: graphs, lossless surgery, verification and bundles; ORT files, C and TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle import (
        ExportSource,
        load_nano_source,
        load_random_student_source,
        load_small_source,
        load_student_source,
        write_bundle,
        write_bundle_and_fused,
        write_fused,
        write_fused_bundle,
    )
    from .fp16 import convert_to_fp16
    from .ort import OrtExport, write_ort
    from .surgery import FoldedStudent, SurgeryStep, fold, measure_steps
    from .tracing import trace_encoder, trace_front_end, trace_head, trace_teacher
    from .verify import Difference, Parity, verify_bundle, verify_c, verify_fused

_HOMES = {
    "Difference": "verify",
    "ExportSource": "bundle",
    "FoldedStudent": "surgery",
    "OrtExport": "ort",
    "Parity": "verify",
    "SurgeryStep": "surgery",
    "convert_to_fp16": "fp16",
    "fold": "surgery",
    "load_nano_source": "bundle",
    "load_random_student_source": "bundle",
    "load_small_source": "bundle",
    "load_student_source": "bundle",
    "measure_steps": "surgery",
    "trace_encoder": "tracing",
    "trace_front_end": "tracing",
    "trace_head": "tracing",
    "trace_teacher": "tracing",
    "verify_bundle": "verify",
    "verify_c": "verify",
    "verify_fused": "verify",
    "write_bundle": "bundle",
    "write_bundle_and_fused": "bundle",
    "write_fused": "bundle",
    "write_fused_bundle": "bundle",
    "write_ort": "ort",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "Difference",
    "ExportSource",
    "FoldedStudent",
    "OrtExport",
    "Parity",
    "SurgeryStep",
    "convert_to_fp16",
    "fold",
    "load_nano_source",
    "load_random_student_source",
    "load_small_source",
    "load_student_source",
    "measure_steps",
    "trace_encoder",
    "trace_front_end",
    "trace_head",
    "trace_teacher",
    "verify_bundle",
    "verify_c",
    "verify_fused",
    "write_bundle",
    "write_bundle_and_fused",
    "write_fused",
    "write_fused_bundle",
    "write_ort",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ..runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
