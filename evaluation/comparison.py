"""Compare two predictors on the same sounds: how far their scores differ, and how well each agrees with HAAQI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..runtime.errors import AudioError, HaaqiEdgeError, OptionError
from ..training.statistics import agreement
from .predictors import Judge
from .sounds import Sound, loaded

Array = npt.NDArray[np.float64]
WORST: Final = 10
"""a report lists this many sounds, those with the largest differences"""
LEAST: Final = 3
"""minimum number of sounds for which correlations are computed"""
BUDGET: Final = 0.005
"""default limit for the change of a score, at the 99th percentile of the absolute changes"""
_DRAWS: Final = 500


@dataclass(frozen=True)
class Comparison:
    """Scores of two predictors for the same sounds.

    Attributes:
        sounds: the sounds that both predictors could score.
        first: float64 [sounds], scores of the reference predictor.
        second: float64 [sounds], scores of the predictor under test.
        failed: the name of each sound that could not be scored, and the error.
    """

    sounds: list[Sound]
    first: Array
    second: Array
    failed: list[tuple[str, HaaqiEdgeError]]

    @property
    def change(self) -> Array:
        """Change of each score from first to second, float64 [sounds]."""
        return self.second - self.first

    @property
    def labels(self) -> Array | None:
        """HAAQI of each sound, float64 [sounds]; None unless all sounds have a label."""
        known = [sound.label for sound in self.sounds if sound.label is not None]
        return np.array(known) if len(known) == len(self.sounds) else None

    def figures(self) -> dict[str, Any]:
        """Return all results of the comparison for a report, as plain values.

        See `summary`, `against`, `by_group` and `worst`.
        """
        result: dict[str, Any] = {"sounds": len(self.sounds), **summary(self.change)}
        if len(self.sounds) >= LEAST:
            between = agreement(self.second, self.first)
            result |= {"lcc": _finite(between.lcc), "srcc": _finite(between.srcc)}
        labels = self.labels
        if labels is not None and len(labels) >= LEAST:
            result["against_haaqi"] = against(labels, self.first, self.second)
        result["by"] = {
            name: self.by_group(key)
            for name, key in GROUPS.items()
            if all(key(sound) is not None for sound in self.sounds)
        }
        result["worst"] = self.worst()
        return result

    def by_group(self, key: Callable[[Sound], str | None]) -> dict[str, dict[str, float | int]]:
        """Summarize the changes of each group of sounds.

        Args:
            key: returns the group of a sound.

        Returns:
            for each group, by its name: the number of sounds, and the `summary` of their changes.
        """
        keys = np.array([str(key(sound)) for sound in self.sounds])
        return {
            name: {"sounds": int((keys == name).sum()), **summary(self.change[keys == name])}
            for name in sorted(set(keys))
        }

    def worst(self, number: int = WORST) -> list[dict[str, Any]]:
        """Return the sounds whose scores differ most, the largest difference first.

        Args:
            number: how many sounds to return.
        """
        places = np.argsort(-np.abs(self.change), kind="stable")[:number]
        return [
            {
                "sound": self.sounds[place].name,
                "audiogram": self.sounds[place].listener.name,
                "first": float(self.first[place]),
                "second": float(self.second[place]),
                "change": float(self.change[place]),
            }
            for place in places
        ]


def _level(sound: Sound) -> str | None:
    return (
        None if sound.level is None else f"{10 * int(sound.level // 10)} to {10 * int(sound.level // 10) + 10} dB SPL"
    )


GROUPS: Final[dict[str, Callable[[Sound], str | None]]] = {
    "audiogram": lambda sound: sound.listener.name,
    "condition": lambda sound: sound.condition,
    "level": _level,
}
"""how a report groups sounds; a grouping is used only if it is known for all sounds"""


def compare(first: Judge, second: Judge, sounds: Sequence[Sound], done: Callable[[], None] | None = None) -> Comparison:
    """Score sounds with two predictors.

    Sounds that cannot be scored are listed in `Comparison.failed`.

    Args:
        first: the reference predictor.
        second: the predictor under test.
        sounds: the sounds to score.
        done: called after each sound.

    Raises:
        OptionError: an option is invalid, which affects all sounds.
        AudioError: no sound could be scored; the message gives the first reason.
    """
    kept: list[Sound] = []
    scores: list[tuple[float, float]] = []
    failed: list[tuple[str, HaaqiEdgeError]] = []
    for sound, audio in loaded(sounds):
        try:
            a, b = (judge(audio, sound.listener, spl=sound.spl, nal_r=sound.nal_r) for judge in (first, second))
        except OptionError:
            raise  # the option affects all sounds
        except HaaqiEdgeError as error:
            failed.append((sound.name, error))
        else:
            kept.append(sound)
            scores.append((a, b))
        if done:
            done()
    if not kept:
        reason = f": {failed[0][1]}" if failed else ""
        raise AudioError(f"none of {len(sounds)} sounds could be scored{reason}")
    table = np.array(scores, dtype=np.float64)
    return Comparison(kept, table[:, 0], table[:, 1], failed)


def summary(change: Array) -> dict[str, float]:
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


def against(labels: Array, first: Array, second: Array, seed: int = 0) -> dict[str, Any]:
    """Compare how well two sets of scores agree with HAAQI.

    Args:
        labels: float64 [n], HAAQI.
        first, second: float64 [n], the scores.
        seed: of the bootstrap.

    Returns:
        for each of `lcc`, `srcc` and `mse`: the values `first` and `second`, the `change` from first to second, and the
        limits `low` and `high` of its 95% bootstrap interval over sounds. Values that are not finite are None.
    """
    both = [agreement(scores, labels) for scores in (first, second)]
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(_DRAWS):
        rows = rng.integers(0, len(labels), len(labels))
        if len(set(rows.tolist())) >= LEAST:
            a, b = (agreement(scores[rows], labels[rows]) for scores in (first, second))
            draws.append([b.lcc - a.lcc, b.srcc - a.srcc, b.mse - a.mse])
    low, high = np.nanquantile(np.array(draws), [0.025, 0.975], axis=0)
    found: dict[str, Any] = {}
    for place, name in enumerate(("lcc", "srcc", "mse")):
        a, b = (getattr(one, name) for one in both)
        found[name] = {
            "first": _finite(a),
            "second": _finite(b),
            "change": _finite(b - a),
            "low": _finite(float(low[place])),
            "high": _finite(float(high[place])),
        }
    return found


def _finite(value: float) -> float | None:
    """Return a number, or None if it is not finite: the correlation of equal scores is undefined."""
    return float(value) if np.isfinite(value) else None
