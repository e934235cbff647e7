"""Convert raw PCM, as `ffmpeg`, `arecord` and `sox` write it to a pipe, to samples."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import AudioError, OptionError
from .containers.signatures import name_of_file
from .reading import MAX_CHANNELS

FORMATS: Final = {"s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4}
"""Bytes per sample by ffmpeg's format name: signed integers and floating point, little endian."""
_MIN_AMPLITUDE: Final = 1e-12
_MAX_AMPLITUDE: Final = 100.0
"""Range of plausible amplitudes of floating-point audio."""
_MIN_SAMPLES: Final = 16
"""Minimum number of samples for the check of amplitudes."""


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
        if not 1 <= channels <= MAX_CHANNELS:
            raise OptionError(f"{channels} channels: give 1 to {MAX_CHANNELS}")
        self._form, self._channels = form, channels
        self._frame = FORMATS[form] * channels
        self._rest = b""
        self._started = False
        self._checked = form != "f32le"  # any bytes are valid integers

    def push(self, data: bytes) -> npt.NDArray[Any]:
        """Add bytes, and return the samples of the frames that are complete.

        Returns:
            [n, channels] of int16, int32 (24-bit samples use the upper 24 bits) or float32.

        Raises:
            AudioError: if the first bytes belong to an audio file instead of raw samples, or if the first
                floating-point numbers cannot be audio.
        """
        joined = self._rest + data
        if not self._started:
            file = name_of_file(joined)
            if file is None:
                self._rest = joined
                return self._decode(b"").reshape(-1, self._channels)
            self._started = True
            if file:
                raise AudioError(
                    f"this is {file}, not raw samples: leave out the format, rate and channels, which its header "
                    "gives, or pipe raw samples in (ffmpeg -i FILE -f s16le -)"
                )
        return self._take_frames(joined)

    def flush(self) -> npt.NDArray[Any]:
        """Return the last samples, which waited for the check of the first bytes, [n, channels].

        Raises:
            AudioError: as for `push`.
        """
        self._started = True
        return self._take_frames(self._rest)

    def finish(self) -> npt.NDArray[Any]:
        """Return the last samples, as `flush` does.

        Raises:
            AudioError: if the bytes end within a frame. Call `flush` before for the samples of complete frames.
        """
        last = self.flush()
        if over := len(self._rest):
            raise AudioError(
                f"the samples end {over} of {self._frame} bytes into a frame: --format {self._form} and "
                f"--channels {self._channels} are not what was sent, or it was cut off"
            )
        return last

    def _take_frames(self, data: bytes) -> npt.NDArray[Any]:
        """Return the samples of the complete frames, and keep the rest."""
        whole = len(data) // self._frame * self._frame
        self._rest = data[whole:]
        samples = self._decode(data[:whole])
        if not self._checked:
            self._check_amplitudes(samples)
        return samples.reshape(-1, self._channels)

    def _check_amplitudes(self, samples: npt.NDArray[Any]) -> None:
        """Raise `AudioError` if the first numbers other than 0 cannot be audio.

        Integers that are read as floating point mostly lie far outside the amplitudes of audio.
        """
        sounding = np.abs(samples[samples != 0])
        if len(sounding) < _MIN_SAMPLES:
            return
        if np.mean((sounding > _MIN_AMPLITUDE) & (sounding < _MAX_AMPLITUDE)) < 0.5:  # false for NaN
            first = ", ".join(f"{x:.3g}" for x in samples[samples != 0][:3])
            raise AudioError(
                f"samples such as {first} cannot be audio of the format {self._form}: give the --format of the "
                "samples, perhaps s16le"
            )
        self._checked = True

    def _decode(self, data: bytes) -> npt.NDArray[Any]:
        if self._form == "s24le":
            wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
            wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
            return wide.view("<i4")[:, 0]
        return np.frombuffer(data, dtype={"s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}[self._form])
