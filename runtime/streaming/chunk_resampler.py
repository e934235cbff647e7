"""Convert the chunks of a stream, of any size, to mono samples at 16 kHz."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..audio.channels import Channel, ChannelMixer, check_channel
from ..audio.reading import (
    BLOCK_SECONDS,
    MAX_CHANNELS,
    Resampler,
    checked_rate,
    checked_samples,
    full_scale,
    integer_peak,
)
from ..errors import AudioError, OptionError, SampleFormatWarning
from ..features import patches as fe

Array = npt.NDArray[np.float32]

STREAM_NAME: Final = "the stream"
_MAX_USUAL_CHANNELS: Final = 8
"""A first chunk of more channels than samples must be declared, unless it has at most this number of channels."""
_RESAMPLER_BLOCK_SECONDS: Final = 0.02
"""Seconds of audio that are resampled in one call.

The samples from soxr do not depend on how its input is split, but the time at which it returns them does. Each call
also has a fixed cost, equal to that of 10 ms of audio. Blocks of one size solve both problems. They delay the audio by
up to 20 ms.
"""
_EMPTY: Final = np.empty(0, dtype=np.float32)


class ChunkResampler:
    """Converter of chunks, from one sample up, to mono blocks at 16 kHz.

    The samples, and the time at which they are returned, do not depend on how the audio is split into chunks. At
    16 kHz, blocks end where patches end, so no patch is delayed.

    Args:
        rate: sample rate of the chunks, Hz.
        channel: the channel that is used, as for `open_audio`.
        channels: number of channels. Default: that of the first chunk.

    Raises:
        AudioError: if the rate cannot be used.
        OptionError: if `channel` or `channels` is invalid.
    """

    def __init__(self, rate: int, channel: Channel = "mix", channels: int | None = None) -> None:
        self.rate = checked_rate(rate, STREAM_NAME)
        if channels is not None and (isinstance(channels, bool) or channels not in range(1, MAX_CHANNELS + 1)):
            raise OptionError(f"channels={channels!r}: give 1 to {MAX_CHANNELS}")
        self._mixer = ChannelMixer(check_channel(channel), STREAM_NAME)
        self._resampler = Resampler(self.rate, STREAM_NAME, mixer=self._mixer)
        self._native = self.rate == fe.SAMPLE_RATE
        size = math.gcd(fe.PATCH_LENGTH, fe.PATCH_SHIFT) if self._native else int(_RESAMPLER_BLOCK_SECONDS * self.rate)
        self._block = np.empty(size, dtype=np.float32)
        self._stored = 0
        self._channels = channels
        self._peak, self._integers = 0, 0  # of integers of 32 bits, and their number

    def check(self, samples: Any) -> npt.NDArray[Any]:
        """Return a chunk as an array [n] or [n, channels] for `push`.

        Raises:
            AudioError: if the type or shape of the samples cannot be used, or if the number of channels has changed.
        """
        chunk = checked_samples(samples)
        channels = chunk.shape[1] if chunk.ndim == 2 else 1
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(
                f"a chunk of shape {chunk.shape}: expected [n] or [n, channels] with 1 to {MAX_CHANNELS} channels; "
                "transpose [channels, n]"
            )
        if channels != (self._channels or channels):
            raise AudioError(
                f"a chunk with {channels} channel(s) in {STREAM_NAME} of {self._channels}: channels cannot change; "
                f"start another stream. The chunk has the shape {chunk.shape}, expected is [n, {self._channels}]"
            )
        if self._channels is None and channels > max(len(chunk), _MAX_USUAL_CHANNELS) and len(chunk):
            raise AudioError(
                f"a chunk of shape {chunk.shape} is ambiguous: expected is [n, channels], which makes it {len(chunk)} "
                f"sample(s) of {channels} channels; if it is [channels, n], transpose it, otherwise declare "
                f"channels={channels} when you create the stream"
            )
        self._check_scale(chunk)
        if len(chunk):
            self._channels = channels
        return chunk

    def _check_scale(self, chunk: npt.NDArray[Any]) -> None:
        """Refuse integers of 64 bits that cannot have the full scale of their type, and remember those of 32 bits."""
        if chunk.dtype.itemsize < 4 or chunk.dtype.kind != "i":
            return
        peak = integer_peak(chunk)
        if chunk.dtype.itemsize == 8 and 0 < peak < 2**32:
            raise AudioError(
                f"a chunk of type {chunk.dtype} with a peak of {peak}: the full scale of the samples is unclear; "
                "divide them by it, and give floating point"
            )
        if chunk.dtype.itemsize == 4:
            self._peak, self._integers = max(self._peak, peak), self._integers + len(chunk)

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
            if self._stored + len(mono) < len(self._block):
                self._store(mono)
            else:
                yield self._resample_blocks(mono)

    def finish(self) -> Array:
        """Return the last samples, which were held back here and in the resampler.

        Warn if the channels cancel each other, or if integers look like 24 bits in the lower bits of 32.
        """
        self._mixer.warn()
        if self._integers >= self.rate and 0 < self._peak < 2**23:
            warnings.warn(
                f"the integers of {STREAM_NAME}, of 32 bits, have a peak of {self._peak} only: if they are of 24 bits, "
                "shift them by 8 bits to the left",
                SampleFormatWarning,
                stacklevel=2,
            )
        last = self._resampler.resample(self._block[: self._stored].copy()) if self._stored else _EMPTY
        self._stored = 0
        return np.concatenate([last, self._resampler.finish()])

    def _store(self, mono: Array) -> None:
        self._block[self._stored : self._stored + len(mono)] = mono
        self._stored += len(mono)

    def _resample_blocks(self, mono: Array) -> Array:
        size, at = len(self._block), 0
        ready = []
        if self._stored:
            at = size - self._stored
            self._store(mono[:at])
            ready.append(self._resampler.resample(self._block))
        end = at + (len(mono) - at) // size * size
        if self._native:
            ready.append(mono[at:end])
        else:
            ready += [self._resampler.resample(mono[i : i + size]) for i in range(at, end, size)]
        joined = np.concatenate(ready)
        self._stored = 0
        self._store(mono[end:])
        return joined
