"""What runs on the device: audio in, audiogram, levels, fbank, sessions, scorer; the shipped artifacts. No torch.

from haaqi_edge.runtime import Scorer
Scorer("nano").score("song.flac", "N3").score
"""

from .audiogram import Audiogram
from .bundle import Bundle, Card, shipped_models
from .errors import HaaqiEdgeError
from .scorer import Score, Scorer, Tokens, Window

__all__ = ["Audiogram", "Bundle", "Card", "HaaqiEdgeError", "Score", "Scorer", "Tokens", "Window", "shipped_models"]
