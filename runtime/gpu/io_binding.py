"""Run encoder and head on one device. Tokens stay in device memory and are never copied to the host."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..audiogram import Audiogram
from ..bundle import Card
from ..head import Heard
from ..scores import Assembly, Score
from ..session import Session, onnx_runtime
from ..windows import Cut
from .provider_options import Acceleration

Array = npt.NDArray[np.float32]

_ATTENTION: Final = 2**24
"""Maximum of clips x tokens^2 in one run of the head. At this size, the student's attention takes about 1 GB."""
GRAPHS: Final = 8
"""Maximum number of shapes for which CUDA graphs are stored."""


class Task(NamedTuple):
    """A window to score.

    Attributes:
        features: float32 [patches, ...].
        clip: the clip that receives the scores.
        place: index of the window in the clip.
    """

    features: Array
    clip: Assembly
    place: int


class Pair:
    """An encoder and a head that exchange tokens in device memory.

    Args:
        encoder: session of the encoder.
        head: session of the head, on the same device.
        card: card of the model.
        limits: limits of the provider per run.
    """

    def __init__(self, encoder: Session, head: Session, card: Card, limits: Acceleration) -> None:
        self._encoder, self._head, self._limits = encoder, head, limits
        self.predicts = card.predicts
        self._input, self._row = card.encoder_input, (card.tokens_per_patch, card.width)
        self.several_clips: bool = not isinstance(head.inputs["tokens"][0], int)
        """Whether the head accepts windows of several clips in one run."""
        # CUDA graphs use fixed buffers, which two threads must not write at the same time.
        self._alone: AbstractContextManager[object] = threading.Lock() if encoder.captures else nullcontext()
        self._seen: set[tuple[int, ...]] = set()
        self._kept: dict[tuple[int, ...], tuple[int, Any, Any, Any]] = {}

    def together(self, patches: int, batch: int) -> int:
        """Return how many windows to score in one run, at least 1.

        Args:
            patches: patches in each window.
            batch: patches to encode in one run.
        """
        most = batch // patches
        if self.several_clips:
            most = min(most, _ATTENTION // (patches * self._row[0]) ** 2, self._limits.listeners or most)
        else:
            most = 1
        if self._limits.patches:
            most = min(most, self._limits.patches // patches)
        return max(1, most)

    def score(self, windows: Iterable[Cut], listeners: Sequence[Audiogram], name: str) -> list[Score]:
        """Score one clip.

        Args:
            windows: the clip's windows, with features in place of tokens.
            listeners: the listeners.
            name: name of the clip in error messages.

        Returns:
            One `Score` per listener.

        Raises:
            AudioError: if all windows are silent.
        """
        clip = Assembly(listeners, name, self.predicts)
        for window in windows:
            place = clip.add(window)
            if not window.patches.silent.all():
                self.hear([Task(window.patches.tokens, clip, place)])
        return clip.scores()

    def hear(self, tasks: Sequence[Task]) -> None:
        """Encode and score windows, and add the scores to their clips.

        Args:
            tasks: windows of the same length, from clips with the same number of listeners.
        """
        with self._alone:
            self._hear(tasks)

    def _hear(self, tasks: Sequence[Task]) -> None:
        tokens = self._tokens(np.concatenate([task.features for task in tasks]))
        rows = np.stack([task.clip.audiograms for task in tasks])  # [windows, listeners, 8]
        windows, listeners = rows.shape[:2]
        most = max(
            1, min(self._limits.listeners or listeners, _ATTENTION // (len(tasks[0].features) * self._row[0]) ** 2)
        )
        parts: list[tuple[Array, Array]] = []
        if windows == 1:
            parts = [self._heard(tokens, 1, rows[0, i : i + most]) for i in range(0, listeners, most)]
            frames, scores = (np.concatenate(part)[None] for part in zip(*parts, strict=True))
        else:  # one listener of each clip per run
            parts = [self._heard(tokens, windows, np.ascontiguousarray(rows[:, i])) for i in range(listeners)]
            frames, scores = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
        if self._row[0] > 1:
            frames = frames.reshape(windows, listeners, -1, self._row[0]).mean(axis=3)
        for task, curve, values in zip(tasks, frames, scores, strict=True):
            task.clip.hear(task.place, Heard(curve, values))

    def _tokens(self, features: Array) -> Any:
        """Encode features and return the tokens in device memory."""
        shape = features.shape
        if self._encoder.captures and (shape in self._kept or (shape in self._seen and len(self._kept) < GRAPHS)):
            return self._replayed(features)
        self._seen.add(shape)
        binding = self._encoder.binding()
        binding.bind_cpu_input(self._input, np.ascontiguousarray(features))
        binding.bind_output("tokens", self._encoder.device, 0)
        self._encoder.run_bound(binding)
        return binding.get_outputs()[0]

    def _replayed(self, features: Array) -> Any:
        """Encode features as `_tokens` does, with the fixed buffers that a CUDA graph requires."""
        shape, device = features.shape, self._encoder.device
        if shape not in self._kept:
            place = onnx_runtime().OrtValue.ortvalue_from_shape_and_type
            given = place(list(shape), np.float32, device, 0)
            tokens = place([shape[0], *self._row], np.float32, device, 0)
            binding = self._encoder.binding()
            binding.bind_ortvalue_input(self._input, given)
            binding.bind_ortvalue_output("tokens", tokens)
            self._kept[shape] = len(self._kept) + 1, given, tokens, binding
        number, given, tokens, binding = self._kept[shape]
        given.update_inplace(np.ascontiguousarray(features))
        self._encoder.run_bound(binding, number)
        return tokens

    def _heard(self, tokens: Any, clips: int, audiograms: Array) -> tuple[Array, Array]:
        """Return frame scores [audiograms, tokens] and scores [audiograms] for tokens in device memory."""
        per_clip = tokens.shape()[0] * self._row[0] // clips
        binding = self._head.binding()
        shape = (clips, per_clip, self._row[1])
        binding.bind_input("tokens", self._head.device, 0, np.float32, shape, tokens.data_ptr())
        binding.bind_cpu_input("audiogram", np.ascontiguousarray(audiograms))
        for name in ("frame_scores", "score"):
            binding.bind_output(name, "cpu", 0)
        self._head.run_bound(binding)
        frame_scores, scores = binding.copy_outputs_to_cpu()
        return frame_scores, scores
