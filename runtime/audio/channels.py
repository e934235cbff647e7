"""Mix the channels of a recording down to one, or choose one of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import AudioError, CancellationWarning, OptionError

Array = npt.NDArray[np.float32]

Channel: TypeAlias = "Literal['mix', 'left', 'right'] | int"
"""`mix` for the mean of all channels, `left` or `right` of a stereo recording, or a number from 0."""

_CANCELLED: Final = 0.1
"""Energy of a mix, relative to that of a mix of uncorrelated channels, below which the channels cancel each other."""
_PART: Final = 0.1
"""Part of a recording's energy that must cancel for a warning."""


_SECTION_SECONDS: Final = 1.0
"""Minimum length of a section whose energies are compared. A few samples may cancel at random."""
_MIN_SECONDS: Final = 0.175
"""Shorter recordings are not scored."""


@dataclass
class _Section:
    """A section of a recording: the energy of its channels, that of their mean, and its length in seconds."""

    energy: float = 0.0
    mixed: float = 0.0
    seconds: float = 0.0


def check_channel(channel: Any) -> Channel:
    """Return a choice of channels.

    Raises:
        OptionError: if it is none.
    """
    if isinstance(channel, str) and channel in ("mix", "left", "right"):
        return channel  # type: ignore[return-value]
    if isinstance(channel, int | np.integer) and not isinstance(channel, bool) and channel >= 0:
        return int(channel)
    raise OptionError(f"channel={channel!r}: give 'mix', 'left', 'right', or the number of a channel, from 0")


class ChannelMixer:
    """Converter of blocks of several channels to one, which finds out whether the channels cancel each other.

    Args:
        channel: the choice of channels, from `check_channel`.
        name: name of the recording in messages.
    """

    def __init__(self, channel: Channel = "mix", name: str = "the audio") -> None:
        self._channel, self._name = channel, name
        self._energy = self._cancelled = self._seconds = 0.0
        self._section = _Section()
        self._first: float | None = None
        self._last = 0.0

    def select(self, block: Array) -> Array:
        """Return the chosen channel of a block, or all channels for a mix.

        Args:
            block: float32 [n] or [n, channels].

        Raises:
            AudioError: if the recording does not have the channel.
        """
        if self._channel == "mix":
            return block
        if block.ndim == 1:
            block = block[:, None]
        return np.ascontiguousarray(block[:, self._index(block.shape[1])])

    def mix(self, block: Array, rate: int) -> Array:
        """Return the mean of the channels of a block.

        Args:
            block: float32 [n] or [n, channels], from `select`.
            rate: Hz.

        Returns:
            float32 [n].
        """
        if block.ndim == 1:
            return block
        mono = average(block)
        if block.shape[1] > 1:
            flat = block.reshape(-1)
            self._section.energy += float(np.dot(flat, flat))
            # equal to the energy for uncorrelated channels
            self._section.mixed += float(np.dot(mono, mono)) * block.shape[1] ** 2
        self._section.seconds += len(block) / rate
        if self._section.seconds >= _SECTION_SECONDS:
            self._end_section()
        return mono

    def cancellation(self) -> str | None:
        """Return a description of the cancellation in the blocks so far, or None."""
        self._end_section()
        if self._seconds < _MIN_SECONDS:
            return None
        if self._energy == 0.0 or self._cancelled <= _PART * self._energy or self._first is None:
            return None
        whole = self._last - self._first >= 0.95 * self._seconds
        where = "" if whole else f" from {self._first:.1f} to {self._last:.1f} s"
        return (
            f"the channels of {self._name} cancel each other{where}, as with opposite phase: their mean says "
            "little about either; choose one with channel='left' or channel='right' (--channel)"
        )

    def warn(self) -> None:
        """Issue a `CancellationWarning` if the channels cancel each other."""
        if (text := self.cancellation()) is not None:
            warnings.warn(text, CancellationWarning, stacklevel=2)

    def _index(self, channels: int) -> int:
        if isinstance(self._channel, int):
            if self._channel >= channels:
                raise AudioError(
                    f"{self._name} has no channel {self._channel}: it has {channels}, numbered from 0 to {channels - 1}"
                )
            return self._channel
        if channels > 2:
            raise AudioError(
                f"{self._name} has {channels} channels, of which none is just {self._channel!r}: give the number of a "
                f"channel, from 0 to {channels - 1}"
            )
        return 0 if self._channel == "left" or channels == 1 else 1

    def _end_section(self) -> None:
        """Compare the energies of a section's channels and of their mean."""
        section, self._section = self._section, _Section()
        self._energy += section.energy
        if section.mixed < _CANCELLED * section.energy:
            self._cancelled += section.energy
            if self._first is None:
                self._first = self._seconds
            self._last = self._seconds + section.seconds
        self._seconds += section.seconds


def average(block: Array) -> Array:
    """Return the mean over the channels of [n, channels].

    numpy's `mean` takes ten times as long over so short an axis.
    """
    mean: Array = block[:, 0].copy()
    for channel in block.T[1:]:
        mean += channel
    mean /= np.float32(block.shape[1])
    return mean
