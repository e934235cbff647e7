"""The encoder of a bundle: computes tokens from presented samples, each patch once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from .bundle import Bundle
from .features import patches as fe
from .features.fbank import PatchStream, patches
from .features.texture import textures
from .session import Options, Session
from .windows import Encoded

BATCH: Final = 64
"""Maximum number of patches in one run of the encoder (10 s). It limits the encoder's memory."""

Array = npt.NDArray[np.float32]


class Encoder:
    """The encoder of a bundle, with the front end that its graph expects.

    Args:
        bundle: the model.
        provider: see `Session`.
        threads: see `Session`.
        options: see `Session`.
    """

    def __init__(
        self, bundle: Bundle, provider: str | None, threads: int | None, options: Options | None = None
    ) -> None:
        self.session = Session(bundle.path("encoder"), provider, threads, options)
        self._input, self._reading = bundle.card.encoder_input, READINGS[bundle.card.reading]

    def run(self, samples: Array) -> Array:
        """Compute tokens from samples.

        Args:
            samples: float32 [(patches - 1) * 2560 + 2800] at 16 kHz.

        Returns:
            float32 [patches, tokens per patch, width].
        """
        return self.tokens(self._reading(samples))

    def tokens(self, features: Array) -> Array:
        """Compute tokens from features.

        Args:
            features: float32 [patches, ...], as the encoder's graph reads them.

        Returns:
            float32 [patches, tokens per patch, width].
        """
        return self.session.run(**{self._input: features})[0]

    def read(self, blocks: Iterable[Array], silence: float) -> Iterator[Encoded]:
        """Compute the features of a signal that arrives in blocks.

        Args:
            blocks: float32 [n] at 16 kHz.
            silence: peak amplitude up to which a patch is silent.

        Yields:
            Patches with features in place of tokens, as `tokens` accepts them.
        """
        stream = PatchStream()
        for block in blocks:
            for part in batches(stream.push(block)):
                yield Encoded(self._reading(part), silent_patches(part, silence))

    def encode_batch(self, samples: Array, silence: float) -> Encoded:
        """Compute tokens from samples, and find the silent patches.

        Args:
            samples: as for `run`.
            silence: peak amplitude up to which a patch is silent.
        """
        return Encoded(self.run(samples), silent_patches(samples, silence))


def batches(samples: Array) -> Iterator[Array]:
    """Yield views of the samples of whole patches, for at most `BATCH` patches each."""
    for start in range(0, fe.patch_count(len(samples)), BATCH):
        yield samples[start * fe.PATCH_SHIFT :][: (BATCH - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH]


def silent_patches(samples: Array, silence: float) -> npt.NDArray[np.bool_]:
    """Return which patches have a peak amplitude of at most `silence`, bool [patches]."""
    peaks: Array = np.maximum.reduce(np.abs(patch_samples(samples)), axis=1)
    return peaks <= silence


def patch_samples(samples: Array) -> Array:
    """Return a view of the samples that each patch reads, float32 [patches, 2800]."""
    return fe.stretches(samples, (fe.patch_count(len(samples)), fe.PATCH_SHIFT), length=fe.PATCH_LENGTH)


READINGS: Final[Mapping[str, Callable[[Array], Array]]] = {
    "fbank": patches,
    "texture": textures,
    "texture-2": partial(textures, version=2),
    "samples": lambda samples: np.ascontiguousarray(patch_samples(samples)),
}
"""Front ends by `Card.reading`. Each computes the encoder's input from the samples of whole patches."""
