"""How far a sound is from the sounds that a model was trained on.

The measure is a Mahalanobis distance: the mean and the spread of the tokens of a window, over its patches, are compared
with those of training clips along their main directions. It needs the tokens only, so that it is the same for all
listeners of a signal, and for a file and a stream.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Familiarity:
    """The tokens of training clips, in short, and the distance from which on a sound counts as unlike them.

    Attributes:
        threshold: distance from which on a sound counts as unfamiliar.
        share: share of the test clips above the threshold.
        min_patches: number of patches with sound that a window needs at least.
        results: measurements by name (see `training.familiarity`): how many test clips are above the threshold, the
            errors of their scores and of the others', and the share of other kinds of sound above the threshold.
        center: base64 of float32 [directions], the projection of the mean of the training clips.
        projection: base64 of float16 [directions, 2 x width]. It maps the mean and the spread of tokens to directions
            in which training clips have a variance of 1.
    """

    threshold: float
    share: float
    min_patches: int
    results: Mapping[str, Any]
    center: str
    projection: str

    def unfamiliarity(self, tokens: Array, silent: npt.NDArray[np.bool_]) -> float | None:
        """Return the distance of a window from the training clips, relative to the threshold.

        Args:
            tokens: float32 [patches, tokens per patch, width], of a window.
            silent: bool [patches]. Silent patches are left out.

        Returns:
            The distance, above 1 for an unfamiliar sound; None if fewer than `min_patches` patches have sound.
        """
        sound = tokens[~silent]
        if len(sound) < self.min_patches:
            return None
        return float(self.distances(describe_tokens(sound))) / self.threshold

    def distances(self, descriptions: Array) -> npt.NDArray[np.floating]:
        """Return the distances of sounds from the training clips.

        Args:
            descriptions: float32 [..., 2 x width], see `describe_tokens`.

        Returns:
            [...].
        """
        center, projection = self._arrays
        distances: npt.NDArray[np.floating] = np.linalg.norm(descriptions @ projection.T - center, axis=-1)
        return distances

    @classmethod
    def create(cls, mean: npt.ArrayLike, projection: npt.ArrayLike, *, share: float, min_patches: int) -> Familiarity:
        """Encode arrays as text. The threshold is 1, and there are no results; `dataclasses.replace` sets them.

        Args:
            mean: [2 x width], the mean of the training clips.
            projection: [directions, 2 x width].
            share: see the attributes.
            min_patches: see the attributes.
        """
        stored = np.asarray(projection).astype("<f2")
        center = (stored.astype(np.float64) @ np.asarray(mean)).astype("<f4")
        return cls(1.0, share, min_patches, {}, _to_text(center), _to_text(stored))

    def check(self, width: int) -> None:
        """Check that the arrays fit together and to tokens of a size.

        Raises:
            ValueError: if they do not.
        """
        try:
            center, projection = self._arrays
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"center and projection cannot be read ({error})") from error
        if len(center) == 0 or projection.shape[1] != 2 * width:
            raise ValueError(f"projection is {projection.shape}, expected [directions, {2 * width}]")
        if not (self.threshold > 0 and 0 < self.share < 1 and self.min_patches > 0):
            raise ValueError("threshold and min_patches must be above 0, and share between 0 and 1")
        if not (np.isfinite(center).all() and np.isfinite(projection).all()):
            raise ValueError("center and projection must be finite")

    @cached_property
    def _arrays(self) -> tuple[Array, Array]:
        """Center [directions] and projection [directions, 2 x width]."""
        center = np.frombuffer(base64.b64decode(self.center, validate=True), "<f4").astype(np.float32)
        projection = np.frombuffer(base64.b64decode(self.projection, validate=True), "<f2").astype(np.float32)
        return center, projection.reshape(len(center), -1)

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave out the decoded arrays."""
        return {name: value for name, value in self.__dict__.items() if name != "_arrays"}


def describe_tokens(tokens: Array) -> Array:
    """Return the mean and the standard deviation of tokens over patches, float32 [2 x width].

    Args:
        tokens: float32 [patches, tokens per patch, width].
    """
    flat = tokens.reshape(-1, tokens.shape[-1])
    mean = flat.mean(axis=0)
    return np.concatenate([mean, np.sqrt(np.square(flat - mean).mean(axis=0))])


def is_unfamiliar(unfamiliarity: float | None) -> bool | None:
    """Return whether a sound is unlike the training data; None if it is unknown."""
    return None if unfamiliarity is None else unfamiliarity > 1


def _to_text(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
