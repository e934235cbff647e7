"""The head of a bundle: computes scores from a window of tokens and audiograms."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from .backend import HeadOutput
from .bundle import Bundle
from .session import Options, Session

Array = npt.NDArray[np.float32]

_ATTENTION: Final = 2**22
"""Maximum of listeners x tokens^2 in one run of the head.

It limits the memory of the student's attention to about 0.3 GB. A single listener with a very long window may exceed
it.
"""


def max_listeners_per_run(tokens: int) -> int:
    """Return how many listeners the head scores in one run for a window of `tokens` tokens."""
    return max(1, _ATTENTION // tokens**2)


class Head:
    """The head of a bundle.

    Args:
        bundle: the model.
        provider: see `Session`.
        threads: see `Session`.
        options: see `Session`.
        max_listeners: maximum number of listeners in one run; None if the provider has no limit.

    Attributes:
        session: session of the head's graph.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: str | None,
        threads: int | None,
        options: Options | None = None,
        max_listeners: int | None = None,
    ) -> None:
        self.session = Session(bundle.path("head"), provider, threads, options)
        self._max_listeners = max_listeners

    def run(self, tokens: Array, audiograms: Array) -> HeadOutput:
        """Score a window for one or more listeners.

        Args:
            tokens: float32 [patches, tokens per patch, width].
            audiograms: float32 [listeners, 8], dB HL.

        Returns:
            Frame scores, scores, and intervals if the model predicts them. A frame score is the mean over the tokens of
            a patch.
        """
        flat = tokens.reshape(1, -1, tokens.shape[2])
        batch = min(max_listeners_per_run(flat.shape[1]), self._max_listeners or len(audiograms))
        parts = [
            self.session.run(tokens=flat, audiogram=audiograms[i : i + batch]) for i in range(0, len(audiograms), batch)
        ]
        output = HeadOutput(*(parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))))
        if tokens.shape[1] > 1:
            frame_scores = output.frame_scores.reshape(len(audiograms), len(tokens), -1).mean(axis=2)
            return output._replace(frame_scores=frame_scores)
        return output
