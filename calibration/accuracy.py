"""How far two judges differ on the same sounds, and what that costs against HAAQI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..runtime.errors import AudioError, HaaqiEdgeError, OptionError
from ..training.metrics import agreement
from .judges import Judge
from .sounds import Sound, loaded

Array = npt.NDArray[np.float64]
WORST: Final = 10
"""sounds that are named"""
LEAST: Final = 3
"""sounds from which correlations are told"""
BUDGET: Final = 0.005
"""largest change of a score, at its 99th percentile, that is accepted by default"""
_DRAWS: Final = 500


@dataclass(frozen=True)
class Comparison:
    """Scores of two judges for the same sounds.

    Attributes:
        sounds: those that both could score.
        first, second: float64 [sounds]; the second is what is checked, the first what it should agree with.
        failed: names of sounds that could not be scored, and why.
    """

    sounds: list[Sound]
    first: Array
    second: Array
    failed: list[tuple[str, HaaqiEdgeError]]

    @property
    def change(self) -> Array:
        """From first to second, float64 [sounds]."""
        return self.second - self.first

    @property
    def labels(self) -> Array | None:
        """HAAQI, float64 [sounds]; None where not all have it."""
        known = [sound.label for sound in self.sounds if sound.label is not None]
        return np.array(known) if len(known) == len(self.sounds) else None

    def figures(self) -> dict[str, Any]:
        """Everything a report holds, as plain values; see `summary`, `by_group`, `worst`."""
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
        """The summary of each group of sounds."""
        keys = np.array([str(key(sound)) for sound in self.sounds])
        return {
            name: {"sounds": int((keys == name).sum()), **summary(self.change[keys == name])}
            for name in sorted(set(keys))
        }

    def worst(self, number: int = WORST) -> list[dict[str, Any]]:
        """The sounds whose scores differ most."""
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
"""what differences are told by, where all sounds know it"""


def compare(first: Judge, second: Judge, sounds: Sequence[Sound], done: Callable[[], None] | None = None) -> Comparison:
    """Score sounds by both judges.

    Args:
        first: what should be agreed with.
        second: what is checked.
        sounds: what is scored.
        done: called after each sound.

    Raises:
        AudioError: no sound could be scored; the first one's reason.
    """
    kept: list[Sound] = []
    scores: list[tuple[float, float]] = []
    failed: list[tuple[str, HaaqiEdgeError]] = []
    for sound, audio in loaded(sounds):
        try:
            a, b = (judge(audio, sound.listener, spl=sound.spl, nal_r=sound.nal_r) for judge in (first, second))
        except OptionError:
            raise  # it holds for all
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
    """Largest, 99th percentile and mean of absolute changes [n], and their mean with sign."""
    size = np.abs(change)
    return {
        "largest": float(size.max()),
        "p99": float(np.quantile(size, 0.99)),
        "mean": float(size.mean()),
        "bias": float(change.mean()),
    }


def against(labels: Array, first: Array, second: Array, seed: int = 0) -> dict[str, Any]:
    """LCC, SRCC and MSE of both against HAAQI [n], and what changes from the first to the second with its 95% bootstrap
    interval over sounds."""
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
    """A correlation of scores that are all the same is none."""
    return float(value) if np.isfinite(value) else None
