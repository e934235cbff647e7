"""Predict how good music sounds to a hearing-aid user (HAAQI, 0 to 1), from the audio and an audiogram.

    import haaqi_edge
    haaqi_edge.Scorer("nano").score("song.flac", "N3").score

Importing this package loads neither torch nor ONNX Runtime; names are resolved at their first use (PEP 562).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # absolute: type checkers started in a checkout find the sub-packages where they are installed
    from haaqi_edge.runtime.audiogram import Audiogram
    from haaqi_edge.runtime.bundle import shipped_models
    from haaqi_edge.runtime.errors import HaaqiEdgeError
    from haaqi_edge.runtime.scorer import Scorer, Tokens
    from haaqi_edge.runtime.scores import Score
    from haaqi_edge.runtime.streaming.stream import Stream

    __version__: str

# In a checkout the sub-packages are folders beside this one: `python` started there finds them, too.
_ROOT = Path(__file__).parents[1]
if (_ROOT / "runtime" / "scorer.py").is_file():
    __path__.append(str(_ROOT))

_HOMES = {
    "Audiogram": "runtime.audiogram",
    "HaaqiEdgeError": "runtime.errors",
    "Score": "runtime.scores",
    "Scorer": "runtime.scorer",
    "Stream": "runtime.streaming.stream",
    "Tokens": "runtime.scorer",
    "shipped_models": "runtime.bundle",
}
"""Module that each public name comes from."""

__all__ = [
    "Audiogram",
    "HaaqiEdgeError",
    "Score",
    "Scorer",
    "Stream",
    "Tokens",
    "__version__",
    "shipped_models",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        globals()[name] = version("haaqi-edge")
        return globals()[name]
    from haaqi_edge.runtime.lazy import resolve

    return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
