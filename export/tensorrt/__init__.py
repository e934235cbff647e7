"""Export for TensorRT: typed graphs, optimization profiles, checks, and the building of engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle import Precision, write_tensorrt
    from .engine import EngineJob, build_engine, describe_platform, plan_engines
    from .manifest import Manifest, Settings, format_commands
    from .shapes import check_profiles, infer_shapes
    from .support import check_supported, find_problems

_HOMES = {
    "EngineJob": "engine",
    "Manifest": "manifest",
    "Precision": "bundle",
    "Settings": "manifest",
    "build_engine": "engine",
    "check_profiles": "shapes",
    "check_supported": "support",
    "describe_platform": "engine",
    "find_problems": "support",
    "format_commands": "manifest",
    "infer_shapes": "shapes",
    "plan_engines": "engine",
    "write_tensorrt": "bundle",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "EngineJob",
    "Manifest",
    "Precision",
    "Settings",
    "build_engine",
    "check_profiles",
    "check_supported",
    "describe_platform",
    "find_problems",
    "format_commands",
    "infer_shapes",
    "plan_engines",
    "write_tensorrt",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ...runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
