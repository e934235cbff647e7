"""The encoder at work: presented samples in, tokens out, each patch computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from . import frontend as fe
from .bundle import Bundle
from .fbank import PatchStream, patches
from .sessions import Options, Session
from .texture import textures
from .windows import Encoded

BATCH: Final = 64
"""patches in one run of the encoder (10 s); bounds its memory"""

Array = npt.NDArray[np.float32]


class Encoder:
    """The encoder of a bundle, whichever form of input it takes."""

    def __init__(
        self, bundle: Bundle, provider: str | None, threads: int | None, options: Options | None = None
    ) -> None:
        self.session = Session(bundle.path("encoder"), provider, threads, options)
        self._input, self._reading = bundle.card.encoder_input, READINGS[bundle.card.reading]

    def run(self, samples: Array) -> Array:
        """Tokens float32 [patches, tokens per patch, width] of samples float32 [(patches - 1) 2560 + 2800]."""
        return self.tokens(self._reading(samples))

    def tokens(self, features: Array) -> Array:
        """Tokens of patches as the encoder reads them, float32 [patches, ...]."""
        return self.session.run(**{self._input: features})[0]

    def read(self, blocks: Iterable[Array], silence: float) -> Iterator[Encoded]:
        """The patches of a signal that comes in blocks at 16 kHz, as `tokens` takes them and in their place; up to a
        peak of `silence` a patch is silent."""
        stream = PatchStream()
        for block in blocks:
            for part in batches(stream.push(block)):
                yield Encoded(self._reading(part), silent_patches(part, silence))

    def encode_batch(self, samples: Array, silence: float) -> Encoded:
        """Tokens of samples as `run` takes them, and which of their patches do not exceed a peak of `silence`."""
        return Encoded(self.run(samples), silent_patches(samples, silence))


def batches(samples: Array) -> Iterator[Array]:
    """Views of the samples of whole patches, those of at most `BATCH` patches each."""
    for start in range(0, fe.patch_count(len(samples)), BATCH):
        yield samples[start * fe.PATCH_SHIFT :][: (BATCH - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH]


def silent_patches(samples: Array, silence: float) -> npt.NDArray[np.bool_]:
    """Which patches do not exceed a peak of `silence`, [patches]."""
    peaks: Array = np.maximum.reduce(np.abs(patch_samples(samples)), axis=1)
    return peaks <= silence


def patch_samples(samples: Array) -> Array:
    """A view float32 [patches, 2800] of the samples that each patch reads."""
    return fe.stretches(samples, (fe.patch_count(len(samples)), fe.PATCH_SHIFT), length=fe.PATCH_LENGTH)


READINGS: Final[Mapping[str, Callable[[Array], Array]]] = {
    "fbank": patches,
    "texture": textures,
    "texture-2": partial(textures, version=2),
    "samples": lambda samples: np.ascontiguousarray(patch_samples(samples)),
}
"""what an encoder may read of the samples of whole patches, by `Card.reading`"""
