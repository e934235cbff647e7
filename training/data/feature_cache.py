"""What networks read of sounds, computed once a sound and kept on disk: a file each, in a folder for every kind.

A file's name is its key (`Example.sound`, `Example.heard`), its folder's tells what computed it: a store serves any
number of runs, and one that was stopped goes on with what is missing. Everything is float16: fbank and texture lose
less than a fifth of what a 16-bit file loses, and hidden layers a relative 5e-4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...runtime.fbank import fbank
from ...runtime.texture import textures
from ...runtime.writing import putting
from ..corpus.clips import Corpus
from ..spread import spread
from .examples import Example, Single, waveforms

Half = npt.NDArray[np.float16]
FRONT_ENDS: Final[dict[str, Callable[[Single], Any]]] = {"fbank": fbank, "texture": textures}
"""kinds that need no network: fbank [frames, 128], texture [patches, 16, 32]"""
CHUNK: Final = 16
"""sounds that a process makes before it takes the next"""


class Store:
    """A folder of arrays by kind and key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: str, key: str) -> Path:
        """Where an array is or will be."""
        return self.folder / kind / key[:2] / f"{key}.npy"

    def load(self, kind: str, key: str) -> Half:
        """An array; see `put`."""
        found: Half = np.load(self.path(kind, key), allow_pickle=False)
        return found

    def put(self, kind: str, key: str, array: npt.NDArray[Any]) -> None:
        """Keep an array, whole or not at all."""
        path = self.path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with putting(path) as part, part.open("wb") as file:
            np.save(file, array.astype(np.float16))

    def missing(self, kind: str, keys: Sequence[str]) -> list[int]:
        """The places of keys that have no array, each key once."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        return sorted(place for key, place in first.items() if not self.path(kind, key).exists())

    def fill(
        self,
        kind: str,
        examples: Sequence[Example],
        corpus: Corpus | None,
        jobs: int,
        done: Callable[[int, int], None] | None = None,
    ) -> None:
        """Make what is missing of a front end's features.

        Args:
            kind: one of `FRONT_ENDS`.
            examples: whose.
            corpus: the music of a table's rows.
            jobs: processes.
            done: called with the number of sounds that are there, and of all.
        """
        places = self.missing(kind, [example.sound for example in examples])
        wanted = [examples[place] for place in places]
        finished = len(examples) - len(wanted)
        if done:
            done(finished, len(examples))
        chunks = [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)]
        for count in spread(partial(_make, self, kind, corpus), chunks, jobs):
            finished += count
            if done:
                done(finished, len(examples))

    def fill_with(
        self,
        kind: str,
        keys: Sequence[str],
        compute: Callable[[int], npt.NDArray[Any]],
        done: Callable[[int, int], None] | None = None,
    ) -> None:
        """Make what is missing of a network's outputs; `compute` gives the array of a place among `keys`."""
        places = self.missing(kind, keys)
        for number, place in enumerate(places):
            if done:
                done(len(keys) - len(places) + number, len(keys))
            self.put(kind, keys[place], compute(place))
        if done:
            done(len(keys), len(keys))


def _make(store: Store, kind: str, corpus: Corpus | None, examples: Sequence[Example]) -> int:
    for example, samples in zip(examples, waveforms(examples, corpus), strict=True):
        store.put(kind, example.sound, FRONT_ENDS[kind](samples))
    return len(examples)


def batched(lengths: Sequence[int], size: int, rng: np.random.Generator | None = None) -> list[list[int]]:
    """Places in batches of at most `size` that are equally long, in a random order where there is an `rng`.

    Clips of a table are all equally long; files may not be, and are never cut or padded to each other.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    by_length: dict[int, list[int]] = {}
    for place in order.tolist():
        by_length.setdefault(lengths[place], []).append(place)
    batches = [group[i : i + size] for group in by_length.values() for i in range(0, len(group), size)]
    if rng is not None:
        batches = [batches[place] for place in rng.permutation(len(batches))]
    return batches


def fingerprint(examples: Sequence[Example]) -> str:
    """Of examples, their listeners and labels: tells one set from another."""
    text = "\n".join(f"{example.heard} {example.score:.6f}" for example in examples)
    return f"{len(examples)} examples, {hashlib.sha256(text.encode()).hexdigest()[:16]}"
