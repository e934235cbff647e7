"""Clean music rendered from scores: scores and arrangements, accompaniments, pieces, and noise floors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arrangements import arrange
    from .noise import NoiseFloors, measure_floor
    from .pieces import Piece, plan_pieces, render_piece
    from .scores import Score, read_score

_HOMES = {
    "NoiseFloors": "noise",
    "Piece": "pieces",
    "Score": "scores",
    "arrange": "arrangements",
    "measure_floor": "noise",
    "plan_pieces": "pieces",
    "read_score": "scores",
    "render_piece": "pieces",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "NoiseFloors",
    "Piece",
    "Score",
    "arrange",
    "measure_floor",
    "plan_pieces",
    "read_score",
    "render_piece",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ....runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
