"""Convert raw PCM, as `ffmpeg`, `arecord` and `sox` write it to a pipe, to samples."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import AudioError, OptionError
from .reading import MOST_CHANNELS

FORMATS: Final = {"s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4}
"""Bytes per sample by ffmpeg's format name: signed integers and floating point, little endian."""
_CONTAINERS: Final = {b"RIFF": "wav", b"RIFX": "wav", b"RF64": "wav", b"fLaC": "FLAC", b"OggS": "Ogg", b"FORM": "aiff"}
_TINIEST: Final = 1e-12
_LOUDEST: Final = 100.0
"""Range of plausible amplitudes of floating-point audio."""
_ENOUGH: Final = 16
"""Minimum number of samples for the check of amplitudes."""
_MAGIC: Final = 4
"""Leading bytes that distinguish a file from raw samples."""


class Pcm:
    """Decoder of bytes, in pieces of any size, to samples [n, channels].

    Args:
        form: a key of `FORMATS`.
        channels: number of interleaved channels.

    Raises:
        OptionError: if the format is unknown or the number of channels is out of range.
    """

    def __init__(self, form: str, channels: int) -> None:
        if form not in FORMATS:
            raise OptionError(f"format {form!r} of raw samples: expected one of {', '.join(FORMATS)}")
        if not 1 <= channels <= MOST_CHANNELS:
            raise OptionError(f"{channels} channels: give 1 to {MOST_CHANNELS}")
        self._form, self._channels = form, channels
        self._frame = FORMATS[form] * channels
        self._rest = b""
        self._begun = False
        self._sane = form != "f32le"  # any bytes are valid integers

    def push(self, data: bytes) -> npt.NDArray[Any]:
        """Add bytes, and return the samples of the frames that are complete.

        Returns:
            [n, channels] of int16, int32 (24-bit samples use the upper 24 bits) or float32.

        Raises:
            AudioError: if the first bytes belong to an audio file instead of raw samples, or if the first
                floating-point numbers cannot be audio.
        """
        joined = self._rest + data
        if not self._begun:
            if len(joined) < _MAGIC:
                self._rest = joined
                return self._decoded(b"").reshape(-1, self._channels)
            self._begun = True
            if container := _CONTAINERS.get(joined[:_MAGIC]):
                raise AudioError(
                    f"this is a {container} file and no raw samples: give the file's path, or pipe raw samples in "
                    "(ffmpeg -i FILE -f s16le -)"
                )
        whole = len(joined) // self._frame * self._frame
        self._rest = joined[whole:]
        samples = self._decoded(joined[:whole])
        if not self._sane:
            self._judge(samples)
        return samples.reshape(-1, self._channels)

    def finish(self) -> None:
        """Check that the bytes end with a complete frame.

        Raises:
            AudioError: if they end within a frame.
        """
        if over := len(self._rest) % self._frame:
            raise AudioError(
                f"the samples end {over} of {self._frame} bytes into a frame: --format {self._form} and "
                f"--channels {self._channels} are not what was sent, or it was cut off"
            )

    def _judge(self, samples: npt.NDArray[Any]) -> None:
        """Raise `AudioError` if the first numbers other than 0 cannot be audio.

        Integers that are read as floating point mostly lie far outside the amplitudes of audio.
        """
        sounding = np.abs(samples[samples != 0])
        if len(sounding) < _ENOUGH:
            return
        if np.mean((sounding > _TINIEST) & (sounding < _LOUDEST)) < 0.5:  # false for NaN
            first = ", ".join(f"{x:.3g}" for x in samples[samples != 0][:3])
            raise AudioError(
                f"samples such as {first} are no audio of the format {self._form}: give the --format that is sent, "
                "perhaps s16le"
            )
        self._sane = True

    def _decoded(self, data: bytes) -> npt.NDArray[Any]:
        if self._form == "s24le":
            wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
            wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
            return wide.view("<i4")[:, 0]
        return np.frombuffer(data, dtype={"s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}[self._form])
