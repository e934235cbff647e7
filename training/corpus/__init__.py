"""The corpus: recorded, rendered and synthetic music, the speech bank, and how they are built from a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .build import Builder, BuildSummary
    from .clips import Clip, Corpus, Split
    from .cutting import CutRules
    from .packages import Packages
    from .recipe import Recipe, read_recipe, shipped_recipes
    from .speech.bank import SpeechBank, SpeechVoices
    from .synthetic import synthesize_piece

_HOMES = {
    "BuildSummary": "build",
    "Builder": "build",
    "Clip": "clips",
    "Corpus": "clips",
    "CutRules": "cutting",
    "Packages": "packages",
    "Recipe": "recipe",
    "SpeechBank": "speech.bank",
    "SpeechVoices": "speech.bank",
    "Split": "clips",
    "read_recipe": "recipe",
    "shipped_recipes": "recipe",
    "synthesize_piece": "synthetic",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "BuildSummary",
    "Builder",
    "Clip",
    "Corpus",
    "CutRules",
    "Packages",
    "Recipe",
    "SpeechBank",
    "SpeechVoices",
    "Split",
    "read_recipe",
    "shipped_recipes",
    "synthesize_piece",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ...runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
