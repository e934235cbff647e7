"""Run inference on the device with numpy and ONNX Runtime: audio, audiograms, scoring, streaming, shipped models.

This package does not import torch.

    from haaqi_edge.runtime import Scorer
    Scorer("nano").score("song.flac", "N3").score
"""

from .audiogram import Audiogram
from .bundle import Bundle, Card, shipped_models
from .errors import HaaqiEdgeError
from .scorer import Scorer, Tokens
from .scores import Score, Window
from .streaming.stream import Stream
from .streaming.updates import Reading, Summary, Total, Update

__all__ = [
    "Audiogram",
    "Bundle",
    "Card",
    "HaaqiEdgeError",
    "Reading",
    "Score",
    "Scorer",
    "Stream",
    "Summary",
    "Tokens",
    "Total",
    "Update",
    "Window",
    "shipped_models",
]
