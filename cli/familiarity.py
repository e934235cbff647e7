"""The warning of sounds that are unlike those that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from .console import print_warning

if TYPE_CHECKING:
    from ..runtime.bundle import Card

_MAX_NAMES: Final = 3
"""number of files that the warning names"""
_RESULTS: Final = ("rows", "flagged", "rmse", "rmse_others", "coverage", "coverage_others")
"""results of the card that JSON documents have"""


def warn_of_unfamiliar(card: Card, names: Sequence[str], files: int = 1) -> None:
    """Warn if sounds are unlike those that the model was trained on, with what the card says of such test sounds.

    Args:
        card: of the model.
        names: the unfamiliar files.
        files: number of all files.
    """
    if not names or card.familiarity is None:
        return
    if files == 1:
        which = f"{names[0]} is"
    else:
        listed = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
        which = f"{len(names)} of {files} files ({listed}) are"
    print_warning(
        f"{which} unlike the sounds that {card.name} was trained on: a score of something other than music has no "
        f"meaning. {describe_flagged(card)}"
    )


def familiarity_document(card: Card) -> dict[str, Any]:
    """Return the entry of a JSON document on the test sounds above the threshold; empty for a model without it."""
    if card.familiarity is None:
        return {}
    results = {name: value for name, value in card.familiarity.results.items() if name in _RESULTS}
    return {"familiarity": {"share": card.familiarity.share, **results}}


def describe_flagged(card: Card) -> str:
    """Return a sentence on the test sounds above the threshold of a card's familiarity."""
    assert card.familiarity is not None
    results, share = card.familiarity.results, card.familiarity.share
    covered = ""
    if "coverage" in results:
        covered = f"; HAAQI is in the interval for {results['coverage']:.0%} (others: {results['coverage_others']:.0%})"
    return (
        f"Of the music that it was tested on, {share:.0%} is as unlike: the error of its scores is "
        f"{results['rmse']:.2f} (root mean squared; others: {results['rmse_others']:.2f}){covered}"
    )
