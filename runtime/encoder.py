"""The encoder at work: presented samples in, tokens out, each patch computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from . import frontend as fe
from .bundle import Bundle
from .fbank import PatchStream, patches
from .sessions import Session
from .texture import textures
from .windows import Encoded

BATCH: Final = 64
"""patches in one run of the encoder (10 s); bounds its memory"""

Array = npt.NDArray[np.float32]


class Encoder:
    """The encoder of a bundle, whichever form of input it takes."""

    def __init__(self, bundle: Bundle, provider: str | None, threads: int | None) -> None:
        self.session = Session(bundle.path("encoder"), provider, threads)
        self._input = bundle.card.encoder_input

    def run(self, samples: Array) -> Array:
        """Tokens float32 [patches, tokens per patch, width] of samples float32 [(patches - 1) 2560 + 2800]."""
        return self.session.run(**{self._input: READINGS[self._input](samples)})[0]

    def encode(self, blocks: Iterable[Array], silence: float) -> Iterator[Encoded]:
        """Tokens of a signal that comes in blocks at 16 kHz; up to a peak of `silence` a patch is silent."""
        stream = PatchStream()
        for block in blocks:
            for part in batches(stream.push(block)):
                yield self.encode_batch(part, silence)

    def encode_batch(self, samples: Array, silence: float) -> Encoded:
        """Tokens of samples as `run` takes them, and which of their patches do not exceed a peak of `silence`."""
        peaks = np.maximum.reduce(np.abs(patch_samples(samples)), axis=1)
        return Encoded(self.run(samples), peaks <= silence)


def batches(samples: Array) -> Iterator[Array]:
    """Views of the samples of whole patches, those of at most `BATCH` patches each."""
    for start in range(0, fe.patch_count(len(samples)), BATCH):
        yield samples[start * fe.PATCH_SHIFT :][: (BATCH - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH]


def patch_samples(samples: Array) -> Array:
    """A view float32 [patches, 2800] of the samples that each patch reads."""
    return fe.stretches(samples, (fe.patch_count(len(samples)), fe.PATCH_SHIFT), length=fe.PATCH_LENGTH)


READINGS: Final[Mapping[str, Callable[[Array], Array]]] = {
    "fbank": patches,
    "texture": textures,
    "samples": lambda samples: np.ascontiguousarray(patch_samples(samples)),
}
"""what an encoder may read of the samples of whole patches, by the name of its input"""
