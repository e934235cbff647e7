"""Comparison of two predictors on the same sounds: how far their scores differ, and how well each agrees with HAAQI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..runtime.errors import AudioError, HaaqiEdgeError, OptionError
from ..training.statistics import agreement, agreement_change, none_if_undefined
from .predictors import Predictor
from .sounds import Sound, load_audio

Array = npt.NDArray[np.float64]
LISTED_SOUNDS: Final = 10
"""a report lists this many sounds, those with the largest differences"""
MIN_SOUNDS: Final = 3
"""minimum number of sounds for which correlations are computed"""
BUDGET: Final = 0.005
"""default limit for the change of a score, at the 99th percentile of the absolute changes"""
_RESAMPLES: Final = 500


@dataclass(frozen=True)
class Comparison:
    """Scores of two predictors for the same sounds.

    Attributes:
        sounds: the sounds that both predictors could score.
        first: float64 [sounds], scores of the reference predictor.
        second: float64 [sounds], scores of the predictor under test.
        errors: the name of each sound that could not be scored, and the error.
    """

    sounds: list[Sound]
    first: Array
    second: Array
    errors: list[tuple[str, HaaqiEdgeError]]

    @property
    def change(self) -> Array:
        """Change of each score from first to second, float64 [sounds]."""
        return self.second - self.first

    @property
    def labels(self) -> Array | None:
        """HAAQI of each sound, float64 [sounds]; None unless all sounds have a label."""
        labels = [sound.label for sound in self.sounds if sound.label is not None]
        return np.array(labels) if len(labels) == len(self.sounds) else None

    def to_dict(self) -> dict[str, Any]:
        """Return all results of the comparison for a report, as plain values.

        See `summarize_changes`, `compare_agreement`, `summarize_groups` and `largest_changes`.
        """
        result: dict[str, Any] = {"sounds": len(self.sounds), **summarize_changes(self.change)}
        if len(self.sounds) >= MIN_SOUNDS:
            between = agreement(self.second, self.first)
            result |= {"lcc": none_if_undefined(between.lcc), "srcc": none_if_undefined(between.srcc)}
        labels = self.labels
        if labels is not None and len(labels) >= MIN_SOUNDS:
            result["against_haaqi"] = compare_agreement(labels, self.first, self.second)
        result["by"] = {
            name: self.summarize_groups(key)
            for name, key in GROUPINGS.items()
            if all(key(sound) is not None for sound in self.sounds)
        }
        result["worst"] = self.largest_changes()
        return result

    def summarize_groups(self, key: Callable[[Sound], str | None]) -> dict[str, dict[str, float | int]]:
        """Summarize the changes of each group of sounds.

        Args:
            key: returns the group of a sound.

        Returns:
            for each group, by its name: the number of sounds, and the summary of their changes.
        """
        groups = np.array([str(key(sound)) for sound in self.sounds])
        return {
            name: {"sounds": int((groups == name).sum()), **summarize_changes(self.change[groups == name])}
            for name in sorted(set(groups))
        }

    def largest_changes(self, number: int = LISTED_SOUNDS) -> list[dict[str, Any]]:
        """Return the sounds whose scores differ most, the largest difference first.

        Args:
            number: how many sounds to return.
        """
        order = np.argsort(-np.abs(self.change), kind="stable")[:number]
        return [
            {
                "sound": self.sounds[index].name,
                "audiogram": self.sounds[index].listener.name,
                "first": float(self.first[index]),
                "second": float(self.second[index]),
                "change": float(self.change[index]),
            }
            for index in order
        ]


def _level_range(sound: Sound) -> str | None:
    if sound.level is None:
        return None
    low = 10 * int(sound.level // 10)
    return f"{low} to {low + 10} dB SPL"


GROUPINGS: Final[dict[str, Callable[[Sound], str | None]]] = {
    "audiogram": lambda sound: sound.listener.name,
    "condition": lambda sound: sound.condition,
    "level": _level_range,
}
"""how a report groups sounds; a grouping is used only if it is known for all sounds"""


def compare(
    first: Predictor, second: Predictor, sounds: Sequence[Sound], progress: Callable[[], None] | None = None
) -> Comparison:
    """Score sounds with two predictors.

    Sounds that cannot be scored are listed in `Comparison.errors`.

    Args:
        first: the reference predictor.
        second: the predictor under test.
        sounds: the sounds to score.
        progress: called after each sound.

    Raises:
        OptionError: an option is invalid, which affects all sounds.
        AudioError: no sound could be scored; the message gives the first reason.
    """
    compared: list[Sound] = []
    scores: list[tuple[float, float]] = []
    errors: list[tuple[str, HaaqiEdgeError]] = []
    for sound, audio in load_audio(sounds):
        try:
            a, b = (predict(audio, sound.listener, spl=sound.spl, nal_r=sound.nal_r) for predict in (first, second))
        except OptionError:
            raise  # the option affects all sounds
        except HaaqiEdgeError as error:
            errors.append((sound.name, error))
        else:
            compared.append(sound)
            scores.append((a, b))
        if progress:
            progress()
    if not compared:
        reason = f": {errors[0][1]}" if errors else ""
        raise AudioError(f"none of {len(sounds)} sounds could be scored{reason}")
    table = np.array(scores, dtype=np.float64)
    return Comparison(compared, table[:, 0], table[:, 1], errors)


def summarize_changes(change: Array) -> dict[str, float]:
    """Summarize changes of scores.

    Args:
        change: float64 [n].

    Returns:
        `largest`, `p99` (99th percentile) and `mean` of the absolute changes, and `bias`, the mean of the signed
        changes.
    """
    size = np.abs(change)
    return {
        "largest": float(size.max()),
        "p99": float(np.quantile(size, 0.99)),
        "mean": float(size.mean()),
        "bias": float(change.mean()),
    }


def compare_agreement(labels: Array, first: Array, second: Array, seed: int = 0) -> dict[str, Any]:
    """Compare how well two sets of scores agree with HAAQI.

    Args:
        labels: float64 [n], HAAQI.
        first, second: float64 [n], the scores.
        seed: of the bootstrap.

    Returns:
        for each of `lcc`, `srcc` and `mse`: the values `first` and `second`, the `change` from first to second, and the
        bounds `low` and `high` of its 95% bootstrap interval over sounds. Values that are not finite are None.
    """
    a, b = agreement(first, labels), agreement(second, labels)
    intervals = agreement_change(first, second, labels, min_distinct=MIN_SOUNDS, resamples=_RESAMPLES, seed=seed)
    results = {}
    for name, interval in intervals._asdict().items():
        before, after = getattr(a, name), getattr(b, name)
        values = {"first": before, "second": after, "change": after - before, **interval._asdict()}
        results[name] = {key: none_if_undefined(value) for key, value in values.items()}
    return results
