"""Run encoder and head on one device. Tokens stay in device memory.

They are copied to the host only for a model with a measure of familiarity (`Card.familiarity`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..backend import HeadOutput
from ..bundle import Card
from ..session import Session, onnx_runtime
from ..window_scoring import WindowTask
from .provider_options import ProviderOptions

Array = npt.NDArray[np.float32]

_ATTENTION: Final = 2**24
"""Maximum of clips x tokens^2 in one run of the head. At this size, the student's attention takes about 1 GB."""
_MAX_GRAPHS: Final = 8
"""Maximum number of shapes for which CUDA graphs are stored."""


class BoundModel:
    """An encoder and a head that exchange tokens in device memory.

    Args:
        encoder: session of the encoder.
        head: session of the head, on the same device.
        card: card of the model.
        limits: limits of the provider per run.

    Attributes:
        predicts: scale of the predicted quantity.
        several_clips: whether the head accepts windows of several clips in one run.
    """

    def __init__(self, encoder: Session, head: Session, card: Card, limits: ProviderOptions) -> None:
        self._encoder, self._head, self._limits = encoder, head, limits
        self.predicts = card.predicts
        self._input, self._token_shape = card.encoder_input, (card.tokens_per_patch, card.width)
        self._outputs = card.head_outputs
        self._familiarity = card.familiarity
        self.several_clips: bool = not isinstance(head.inputs["tokens"][0], int)
        # CUDA graphs use fixed buffers, which two threads must not write at the same time.
        self._lock: AbstractContextManager[object] = threading.Lock() if encoder.captures else nullcontext()
        self._shapes: set[tuple[int, ...]] = set()
        self._graphs: dict[tuple[int, ...], tuple[int, Any, Any, Any]] = {}

    def windows_per_run(self, patches: int, batch: int) -> int:
        """Return how many windows to score in one run, at least 1.

        Args:
            patches: patches in each window.
            batch: patches to encode in one run.
        """
        limit = batch // patches
        if self.several_clips:
            limit = min(limit, _ATTENTION // (patches * self._token_shape[0]) ** 2, self._limits.listeners or limit)
        else:
            limit = 1
        if self._limits.patches:
            limit = min(limit, self._limits.patches // patches)
        return max(1, limit)

    def score_windows(self, tasks: Sequence[WindowTask]) -> None:
        """Encode and score windows, and add the scores to their clips.

        Args:
            tasks: windows of the same length, from clips with the same number of listeners.
        """
        with self._lock:
            self._score(tasks)

    def _score(self, tasks: Sequence[WindowTask]) -> None:
        tokens = self._encode(np.concatenate([task.features for task in tasks]))
        rows = np.stack([task.clip.audiograms for task in tasks])  # [windows, listeners, 8]
        windows, listeners = rows.shape[:2]
        tokens_per_window = len(tasks[0].features) * self._token_shape[0]
        limit = max(1, min(self._limits.listeners or listeners, _ATTENTION // tokens_per_window**2))
        parts: list[list[Array]] = []
        if windows == 1:
            parts = [self._run_head(tokens, 1, rows[0, i : i + limit]) for i in range(0, listeners, limit)]
            outputs = [np.concatenate(part)[None] for part in zip(*parts, strict=True)]
        else:  # one listener of each clip per run
            parts = [self._run_head(tokens, windows, np.ascontiguousarray(rows[:, i])) for i in range(listeners)]
            outputs = [np.stack(part, axis=1) for part in zip(*parts, strict=True)]
        if self._token_shape[0] > 1:
            outputs[0] = outputs[0].reshape(windows, listeners, -1, self._token_shape[0]).mean(axis=3)
        distances = self._distances(tokens, tasks)
        for task, values, distance in zip(tasks, zip(*outputs, strict=True), distances, strict=True):
            task.clip.set_output(task.window_index, HeadOutput(*values), distance)

    def _distances(self, tokens: Any, tasks: Sequence[WindowTask]) -> list[float | None]:
        """Return the unfamiliarity of each window, for tokens in device memory."""
        if self._familiarity is None:
            return [None] * len(tasks)
        windows = np.split(tokens.numpy(), len(tasks))
        return [
            self._familiarity.unfamiliarity(window, task.silent) for window, task in zip(windows, tasks, strict=True)
        ]

    def _encode(self, features: Array) -> Any:
        """Encode features and return the tokens in device memory."""
        shape = features.shape
        recurs = shape in self._shapes and len(self._graphs) < _MAX_GRAPHS
        if self._encoder.captures and (shape in self._graphs or recurs):
            return self._encode_with_graph(features)
        self._shapes.add(shape)
        binding = self._encoder.binding()
        binding.bind_cpu_input(self._input, np.ascontiguousarray(features))
        binding.bind_output("tokens", self._encoder.device, 0)
        self._encoder.run_bound(binding)
        return binding.get_outputs()[0]

    def _encode_with_graph(self, features: Array) -> Any:
        """Encode features as `_encode` does, with the fixed buffers that a CUDA graph requires."""
        shape, device = features.shape, self._encoder.device
        if shape not in self._graphs:
            allocate = onnx_runtime().OrtValue.ortvalue_from_shape_and_type
            given = allocate(list(shape), np.float32, device, 0)
            tokens = allocate([shape[0], *self._token_shape], np.float32, device, 0)
            binding = self._encoder.binding()
            binding.bind_ortvalue_input(self._input, given)
            binding.bind_ortvalue_output("tokens", tokens)
            self._graphs[shape] = len(self._graphs) + 1, given, tokens, binding
        number, given, tokens, binding = self._graphs[shape]
        given.update_inplace(np.ascontiguousarray(features))
        self._encoder.run_bound(binding, number)
        return tokens

    def _run_head(self, tokens: Any, clips: int, audiograms: Array) -> list[Array]:
        """Return the head's outputs, each [audiograms, ...], for tokens in device memory."""
        per_clip = tokens.shape()[0] * self._token_shape[0] // clips
        binding = self._head.binding()
        shape = (clips, per_clip, self._token_shape[1])
        binding.bind_input("tokens", self._head.device, 0, np.float32, shape, tokens.data_ptr())
        binding.bind_cpu_input("audiogram", np.ascontiguousarray(audiograms))
        for name in self._outputs:
            binding.bind_output(name, "cpu", 0)
        self._head.run_bound(binding)
        outputs: list[Array] = binding.copy_outputs_to_cpu()
        return outputs
