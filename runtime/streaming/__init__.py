"""Streaming: score audio while it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..lazy import resolve

if TYPE_CHECKING:
    from .chunk_resampler import ChunkResampler
    from .ear_stream import EarResult, EarStream, EarSummary, EarUpdate
    from .ring_buffer import RingBuffer
    from .signal_window import SignalWindow
    from .stream import Stream
    from .updates import ListenerSummary, ListenerUpdate, Summary, Update

_HOMES = {
    "ChunkResampler": "chunk_resampler",
    "EarResult": "ear_stream",
    "EarStream": "ear_stream",
    "EarSummary": "ear_stream",
    "EarUpdate": "ear_stream",
    "ListenerSummary": "updates",
    "ListenerUpdate": "updates",
    "RingBuffer": "ring_buffer",
    "SignalWindow": "signal_window",
    "Stream": "stream",
    "Summary": "updates",
    "Update": "updates",
}
"""Module of this package that each public name comes from."""

__all__ = [
    "ChunkResampler",
    "EarResult",
    "EarStream",
    "EarSummary",
    "EarUpdate",
    "ListenerSummary",
    "ListenerUpdate",
    "RingBuffer",
    "SignalWindow",
    "Stream",
    "Summary",
    "Update",
]


def __getattr__(name: str) -> Any:
    return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
