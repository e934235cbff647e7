"""Run inference on the device with numpy and ONNX Runtime: audio, audiograms, scoring, streaming, shipped models.

This package does not import torch. Its names are resolved at their first use.

    from haaqi_edge.runtime import Scorer
    Scorer("nano").score("song.flac", "N3").score
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .lazy import resolve

if TYPE_CHECKING:
    from .audiogram import Audiogram, EarPair, load_listeners
    from .backend import Backend, HeadOutput
    from .bundle import Bundle, Card, shipped_models
    from .ears import EarScores
    from .errors import HaaqiEdgeError
    from .scorer import Scorer, Tokens
    from .scores import Score, Window
    from .streaming.ear_stream import EarStream
    from .streaming.stream import Stream
    from .streaming.updates import ListenerSummary, ListenerUpdate, Summary, Update

_HOMES = {
    "Audiogram": "audiogram",
    "Backend": "backend",
    "Bundle": "bundle",
    "Card": "bundle",
    "EarPair": "audiogram",
    "EarScores": "ears",
    "EarStream": "streaming.ear_stream",
    "HaaqiEdgeError": "errors",
    "HeadOutput": "backend",
    "ListenerSummary": "streaming.updates",
    "ListenerUpdate": "streaming.updates",
    "Score": "scores",
    "Scorer": "scorer",
    "Stream": "streaming.stream",
    "Summary": "streaming.updates",
    "Tokens": "scorer",
    "Update": "streaming.updates",
    "Window": "scores",
    "load_listeners": "audiogram",
    "shipped_models": "bundle",
}
"""Module of this package that each public name comes from."""

__all__ = [
    "Audiogram",
    "Backend",
    "Bundle",
    "Card",
    "EarPair",
    "EarScores",
    "EarStream",
    "HaaqiEdgeError",
    "HeadOutput",
    "ListenerSummary",
    "ListenerUpdate",
    "Score",
    "Scorer",
    "Stream",
    "Summary",
    "Tokens",
    "Update",
    "Window",
    "load_listeners",
    "shipped_models",
]


def __getattr__(name: str) -> Any:
    return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
