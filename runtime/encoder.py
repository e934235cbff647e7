"""The encoder of a bundle: computes tokens from features, each patch once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .bundle import Bundle
from .session import Options, Session

Array = npt.NDArray[np.float32]


class Encoder:
    """The encoder of a bundle.

    Args:
        bundle: the model.
        provider: see `Session`.
        threads: see `Session`.
        options: see `Session`.

    Attributes:
        session: session of the encoder's graph.
    """

    def __init__(
        self, bundle: Bundle, provider: str | None, threads: int | None, options: Options | None = None
    ) -> None:
        self.session = Session(bundle.path("encoder"), provider, threads, options)
        self._input = bundle.card.encoder_input

    def encode(self, features: Array) -> Array:
        """Compute tokens from features.

        Args:
            features: float32 [patches, ...], as the encoder's graph reads them; see
                `features.front_ends.FEATURE_EXTRACTORS`.

        Returns:
            float32 [patches, tokens per patch, width].
        """
        return self.session.run(**{self._input: features})[0]
