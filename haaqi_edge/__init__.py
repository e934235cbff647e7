"""Predict how good music sounds to a hearing-aid user (HAAQI, 0 to 1), from the audio and an audiogram.

    import haaqi_edge
    haaqi_edge.Scorer("nano").score("song.flac", "N3").score

Importing this package loads neither torch nor ONNX Runtime; names are resolved at their first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runtime.audiogram import Audiogram
    from .runtime.bundle import shipped_models
    from .runtime.errors import HaaqiEdgeError
    from .runtime.scorer import Scorer, Tokens
    from .runtime.scores import Score
    from .runtime.streaming.stream import Stream

    __version__: str

# In a checkout the sub-packages are folders beside this one: `python` started there finds them, too.
_ROOT = Path(__file__).parents[1]
if (_ROOT / "runtime" / "scorer.py").is_file():
    __path__.append(str(_ROOT))

_HOMES = {
    "Audiogram": "audiogram",
    "HaaqiEdgeError": "errors",
    "Score": "scores",
    "Scorer": "scorer",
    "Stream": "streaming.stream",
    "Tokens": "scorer",
    "shipped_models": "bundle",
}
"""module of `runtime` that each public name comes from"""

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

        value: Any = version("haaqi-edge")
    elif name in _HOMES:
        value = getattr(import_module(f".runtime.{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
