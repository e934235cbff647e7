"""The front ends by name, and the features of a signal that arrives in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from ..windows import PatchFeatures
from . import patches as fe
from .fbank import PatchStream, patches
from .mel import texture_mel
from .texture import textures

Array = npt.NDArray[np.float32]

BATCH: Final = 64
"""Maximum number of patches in one run of the encoder (10 s). It limits the encoder's memory. It is a multiple of every
`FrontEnd.block`."""


def patch_samples(samples: Array) -> Array:
    """Return a view of the samples that each patch reads, float32 [patches, 2800]."""
    return fe.overlapping_segments(samples, (fe.patch_count(len(samples)), fe.PATCH_SHIFT), length=fe.PATCH_LENGTH)


def silent_patches(samples: Array, silence: float) -> npt.NDArray[np.bool_]:
    """Return which patches have a peak amplitude of at most `silence`, bool [patches]."""
    peaks: Array = np.maximum.reduce(np.abs(patch_samples(samples)), axis=1)
    return peaks <= silence


def split_batches(samples: Array) -> Iterator[Array]:
    """Yield views of the samples of whole patches, for at most `BATCH` patches each."""
    for start in range(0, fe.patch_count(len(samples)), BATCH):
        yield samples[start * fe.PATCH_SHIFT :][: (BATCH - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH]


def read_patches(
    blocks: Iterable[Array], front_end: str, silence: float, block_patches: int = 1
) -> Iterator[PatchFeatures]:
    """Compute the features of a signal that arrives in blocks.

    Args:
        blocks: float32 [n] at 16 kHz.
        front_end: a key of `FEATURE_EXTRACTORS`.
        silence: peak amplitude up to which a patch is silent.
        block_patches: patches that the encoder reads together (`FrontEnd.block`). Only the last result may have an
            incomplete block.

    Yields:
        At most `BATCH` patches each. They do not depend on how the signal is split into blocks.
    """
    compute, stream = FEATURE_EXTRACTORS[front_end], PatchStream(block_patches)

    def features_of(samples: Array) -> Iterator[PatchFeatures]:
        for part in split_batches(samples):
            yield PatchFeatures(compute(part), silent_patches(part, silence))

    for block in blocks:
        yield from features_of(stream.push(block))
    yield from features_of(stream.finish())


FEATURE_EXTRACTORS: Final[Mapping[str, Callable[[Array], Array]]] = {
    "fbank": patches,
    "texture": textures,
    "texture-2": partial(textures, version=2),
    "texture_mel": texture_mel,
    "samples": lambda samples: np.ascontiguousarray(patch_samples(samples)),
}
"""Front ends by `Card.front_end_name`. Each computes the encoder's input from the samples of whole patches."""
