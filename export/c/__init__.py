"""Export of nano as plain C99: sources, constants, and a comparison with the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check import CNano, compile_c, find_compiler
    from .constants import CConstants, WeightFormat
    from .writer import CExport, Operations, check_c_folder, count_operations, write_c

_HOMES = {
    "CConstants": "constants",
    "CExport": "writer",
    "CNano": "check",
    "Operations": "writer",
    "WeightFormat": "constants",
    "check_c_folder": "writer",
    "compile_c": "check",
    "count_operations": "writer",
    "find_compiler": "check",
    "write_c": "writer",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "CConstants",
    "CExport",
    "CNano",
    "Operations",
    "WeightFormat",
    "check_c_folder",
    "compile_c",
    "count_operations",
    "find_compiler",
    "write_c",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ...runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
