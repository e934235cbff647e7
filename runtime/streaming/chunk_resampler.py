"""Convert the chunks of a stream, of any size, to mono samples at 16 kHz."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..audio.reading import BLOCK_SECONDS, MOST_CHANNELS, Resampler, checked_rate, checked_samples, full_scale
from ..errors import AudioError
from ..features import patches as fe

Array = npt.NDArray[np.float32]

NAME: Final = "the stream"
RESAMPLED: Final = 0.02
"""Seconds of audio that are resampled in one call.

The samples from soxr do not depend on how its input is split, but the time at which it returns them does. Each call
also has a fixed cost, equal to that of 10 ms of audio. Blocks of one size solve both problems. They delay the audio by
up to 20 ms.
"""
_EMPTY: Final = np.empty(0, dtype=np.float32)


class Intake:
    """Converter of chunks, from one sample up, to mono blocks at 16 kHz.

    The samples, and the time at which they are returned, do not depend on how the audio is split into chunks. At
    16 kHz, blocks end where patches end, so no patch is delayed.

    Args:
        rate: sample rate of the chunks, Hz.

    Raises:
        AudioError: if the rate cannot be used.
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
        """Return a chunk as an array [n] or [n, channels] for `push`.

        Raises:
            AudioError: if the type or shape of the samples cannot be used, or if the number of channels has changed.
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
        """Convert a chunk.

        Args:
            chunk: an array from `check`.

        Yields:
            float32 [m] at 16 kHz: the samples that are ready, in blocks of a few seconds at most. The blocks do not
            share memory with `chunk`.

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
        """Return the last samples, which were held back here and in the resampler."""
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
