"""Containers of audio: what a file is, where its audio lies, and whether all of it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...lazy import resolve

if TYPE_CHECKING:
    from .byte_source import ByteSource, Layout, LayoutReader
    from .inspection import inspect
    from .parts import Findings, Part

_HOMES = {
    "ByteSource": "byte_source",
    "Findings": "parts",
    "Layout": "byte_source",
    "LayoutReader": "byte_source",
    "Part": "parts",
    "inspect": "inspection",
}
"""Module of this package that each public name comes from."""

__all__ = [
    "ByteSource",
    "Findings",
    "Layout",
    "LayoutReader",
    "Part",
    "inspect",
]


def __getattr__(name: str) -> Any:
    return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
