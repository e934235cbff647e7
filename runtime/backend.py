"""The interface between `Scorer` and a model: a bundle on ONNX Runtime, or a network in another framework."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .bundle import Card

Array = npt.NDArray[np.float32]


class HeadOutput(NamedTuple):
    """Scores of a window.

    Attributes:
        frame_scores: float32 [listeners, patches], the score of each patch.
        scores: float32 [listeners], the score of the window.
        intervals: float32 [listeners, 2], lower and upper end of the prediction interval of each score; None if the
            model predicts none (`Card.interval`).
    """

    frame_scores: Array
    scores: Array
    intervals: Array | None = None


@runtime_checkable
class Backend(Protocol):
    """What `Scorer` needs of a model. Pass an object with these members to `Scorer` in place of a model's name.

    `onnx_backend.OnnxBackend` is the backend of bundles. `haaqi_edge.model.backend` supplies one for checkpoints in
    PyTorch. To pickle a scorer, its backend must support pickling.
    """

    @property
    def card(self) -> Card:
        """Description of the model.

        `Scorer` reads the model's name, the front end (`front_end_name`), the default window, the presentation level,
        the size of a token (`tokens_per_patch`, `width`), the scale of the predicted quantity, `streamable` and
        `source_sha256`. The card of a model without files has an empty `files`.
        """

    @property
    def provider(self) -> str:
        """Name of the library and device that run the model."""

    @property
    def threads(self) -> int:
        """Number of CPU threads in use."""

    @property
    def encodes_windows(self) -> bool:
        """Whether a token depends on the whole window.

        `encode` is then called with all patches of a window, and `Scorer` neither streams nor keeps tokens for later.
        """

    def encode(self, features: Array) -> Array:
        """Compute tokens.

        Args:
            features: float32 [patches, ...], computed by the front end `card.front_end_name`. Consecutive patches of
                one window if `encodes_windows`; otherwise any patches, also of several clips.

        Returns:
            float32 [patches, tokens per patch, width].
        """

    def run_head(self, tokens: Array, audiograms: Array) -> HeadOutput:
        """Score a window for one or more listeners.

        Args:
            tokens: float32 [patches, tokens per patch, width].
            audiograms: float32 [listeners, 8], dB HL.
        """
