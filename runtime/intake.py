"""What a stream takes in: chunks of any size to mono samples at 16 kHz."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import frontend as fe
from .audio import BLOCK_SECONDS, MOST_CHANNELS, Resampler, checked_rate, checked_samples, full_scale
from .errors import AudioError

Array = npt.NDArray[np.float32]

NAME: Final = "the stream"
RESAMPLED: Final = 0.02
"""seconds that are resampled at once. soxr's samples do not depend on how its input is cut, but when it gives them
does, and a call costs as much as 10 ms of audio: blocks of one size settle both, for up to 20 ms of delay."""
_EMPTY: Final = np.empty(0, dtype=np.float32)


class Intake:
    """Chunks from one sample up to mono blocks at 16 kHz; neither the samples nor when they come depend on the chunks.

    At 16 kHz no patch waits: blocks end where patches do.

    Args:
        rate: Hz of the chunks.

    Raises:
        AudioError: a rate that cannot be used.
    """

    def __init__(self, rate: int) -> None:
        self.rate = checked_rate(rate, NAME)
        self._resampler = Resampler(self.rate, NAME)
        self._native = self.rate == fe.SAMPLE_RATE
        size = math.gcd(fe.PATCH_LENGTH, fe.PATCH_SHIFT) if self._native else int(RESAMPLED * self.rate)
        self._block = np.empty(size, dtype=np.float32)
        self._held = 0
        self._channels: int | None = None

    def check(self, samples: Any) -> npt.NDArray[Any]:
        """A chunk as an array [n] or [n, channels] that `push` takes.

        Raises:
            AudioError: no samples of a usable type and shape, or another number of channels than before.
        """
        chunk = checked_samples(samples)
        channels = chunk.shape[1] if chunk.ndim == 2 else 1
        if not 1 <= channels <= MOST_CHANNELS:
            raise AudioError(
                f"a chunk of shape {chunk.shape}: expected [n] or [n, channels] with 1 to {MOST_CHANNELS} channels; "
                "transpose [channels, n]"
            )
        if channels != (self._channels or channels):
            raise AudioError(
                f"a chunk with {channels} channel(s) in {NAME} of {self._channels}: channels cannot change; "
                "start another stream"
            )
        if len(chunk):
            self._channels = channels
        return chunk

    def push(self, chunk: npt.NDArray[Any]) -> Iterator[Array]:
        """What `check` gave in; the samples that are ready out, in blocks of at most some seconds, all of them new.

        Raises:
            AudioError: see `Resampler.mix`.
        """
        step = int(BLOCK_SECONDS * self.rate)
        for start in range(0, len(chunk), step):
            mono = self._resampler.mix(np.ascontiguousarray(full_scale(chunk[start : start + step])))
            if self._held + len(mono) < len(self._block):
                self._hold(mono)
            else:
                yield self._blocks(mono)

    def finish(self) -> Array:
        """The last samples: what was held back here and in the resampler."""
        last = self._resampler.resample(self._block[: self._held].copy()) if self._held else _EMPTY
        self._held = 0
        return np.concatenate([last, self._resampler.finish()])

    def _hold(self, mono: Array) -> None:
        self._block[self._held : self._held + len(mono)] = mono
        self._held += len(mono)

    def _blocks(self, mono: Array) -> Array:
        size, at = len(self._block), 0
        ready = []
        if self._held:
            at = size - self._held
            self._hold(mono[:at])
            ready.append(self._resampler.resample(self._block))
        end = at + (len(mono) - at) // size * size
        if self._native:
            ready.append(mono[at:end])
        else:
            ready += [self._resampler.resample(mono[i : i + size]) for i in range(at, end, size)]
        joined = np.concatenate(ready)
        self._held = 0
        self._hold(mono[end:])
        return joined
