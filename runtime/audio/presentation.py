"""Convert a recording to the presented signal: apply the level and NAL-R, block by block.

The presented signal is the one that reaches the listener's ear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..audiogram import Audiogram
from ..errors import AudioError, OptionError
from ..features.patches import SAMPLE_RATE
from .levels import LEVEL1, SILENCE, LoudnessMeter, NalR, amplitude, check_level, decibels
from .reading import Audio

MAX_SPL: Final = 120.0
"""Maximum level of a recording before amplification, dB SPL RMS: the threshold of pain."""
MAX_PRESENTED_SPL: Final = 141.0
"""Maximum level of a signal that is known to be amplified: music at 85 dB SPL, and NAL-R for a loss of 105 dB HL.

A higher limit would take music in integers of 16 bits for sound.
"""
_CHECK: Final = "a quality needs sound; check the recording or its channel"
_MIN_INTEGER_RMS: Final = 600.0
"""RMS from which samples look like integers. Music at 85 dB SPL, amplified for a loss of 105 dB HL, has up to 580."""


@dataclass(frozen=True)
class Presentation:
    """The level at which a recording is played, and the listener for whom it is amplified.

    Attributes:
        level1: dB SPL of RMS 1.0. Default: the model's value (85).
        spl: dB SPL of the whole clip before amplification (usually 65), instead of `level1`.
        listener: the listener for whom NAL-R amplifies. None leaves the music as it is (already amplified, or unaided).

    Raises:
        OptionError: if `level1` and `spl` are both given, or if a level is out of range.
    """

    level1: float | None = None
    spl: float | None = None
    listener: Audiogram | None = None

    def __post_init__(self) -> None:
        if self.level1 is not None and self.spl is not None:
            raise OptionError("level1 and spl both set the level: give one of them")
        for name in ("level1", "spl"):
            value = getattr(self, name)
            if value is not None:
                check_level(name, value)

    def gain(self, audio: Audio, model_level1: float) -> float:
        """Compute the amplitude factor that brings a recording to this level.

        With `spl`, this reads the whole recording. Its level is that of what lies above 20 Hz: an offset and rumble are
        not heard.

        Args:
            audio: the recording.
            model_level1: dB SPL of RMS 1.0 that the model expects.

        Raises:
            AudioError: if `spl` is given and the recording is silent.
        """
        if self.spl is None:
            return self.level1_gain(model_level1)
        meter, peak = LoudnessMeter(SAMPLE_RATE), 0.0
        for block in audio.blocks():
            meter.push(block)
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
        power = meter.finish()
        if peak <= SILENCE or power <= SILENCE**2:
            raise silence_error(audio)
        return amplitude(self.spl - model_level1) / float(np.sqrt(power))

    def level1_gain(self, model_level1: float) -> float:
        """Compute the amplitude factor of `level1` alone, without a recording."""
        return 1.0 if self.level1 is None else amplitude(self.level1 - model_level1)

    def blocks(self, audio: Audio, gain: float, model_level1: float = LEVEL1) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the presented signal, float32 blocks at 16 kHz.

        Args:
            audio: the recording.
            gain: amplitude factor, from `gain`.
            model_level1: dB SPL of RMS 1.0 that the model expects.

        Raises:
            AudioError: at the end, if the level of the recording is above `MAX_SPL` before amplification
                (`MAX_PRESENTED_SPL` if it is known to be presented, see `Audio.presented`), and not set by `spl`.
        """
        presenter = Presenter(gain, self.listener)
        check = LevelCheck(
            audio.name,
            gain,
            model_level1,
            amplifies=self.listener is not None,
            presented=audio.presented and self.listener is None,
        )
        for block in audio.blocks():
            check.push(block)
            yield presenter.push(block)
        if self.spl is None:
            check.finish()
        yield presenter.finish()


class Presenter:
    """Converter of a recording that arrives in blocks at 16 kHz to the presented signal.

    The result does not depend on how the recording is split into blocks.

    Args:
        gain: amplitude factor.
        listener: the listener for whom NAL-R amplifies; None for no amplification.
    """

    def __init__(self, gain: float, listener: Audiogram | None) -> None:
        self._gain = gain
        self._stage = NalR(listener, SAMPLE_RATE) if listener else None

    def push(self, block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Convert a block, float32 [n], and return the presented samples that are ready."""
        scaled = block if self._gain == 1.0 else block * np.float32(self._gain)
        return self._stage.push(scaled) if self._stage else scaled

    def finish(self) -> npt.NDArray[np.float32]:
        """Return the last samples, which waited for the filter's look-ahead."""
        return self._stage.finish() if self._stage else np.empty(0, dtype=np.float32)


class LevelCheck:
    """A check that a recording is not louder than any music, which arrives in blocks at 16 kHz.

    Args:
        name: name of the recording in messages.
        gain: amplitude factor of the presentation.
        model_level1: dB SPL of RMS 1.0.
        amplifies: whether the recording is amplified after the check.
        presented: whether the recording is known to be the presented signal, which may be louder.
    """

    def __init__(
        self, name: str, gain: float, model_level1: float, *, amplifies: bool = False, presented: bool = False
    ) -> None:
        self._name, self._gain, self._level1 = name, gain, model_level1
        self._amplifies, self._presented = amplifies, presented
        self._energy, self._samples, self._peak = 0.0, 0, 0.0

    def push(self, block: npt.NDArray[np.float32]) -> None:
        """Add a block, float32 [n], without its gain."""
        self._energy += float(np.dot(block, block))
        self._samples += len(block)
        if self._energy > self._samples:  # above full scale; otherwise the peak does not matter
            self._peak = max(self._peak, float(np.abs(block).max(initial=0.0)))

    def finish(self) -> None:
        """Check the level of the blocks so far.

        Raises:
            AudioError: if it is above `MAX_SPL`, or `MAX_PRESENTED_SPL` of a signal that is known to be presented.
        """
        unscaled = float(np.sqrt(self._energy / max(1, self._samples)))
        rms, limit = self._gain * unscaled, MAX_PRESENTED_SPL if self._presented else MAX_SPL
        if rms <= amplitude(limit - self._level1):
            return
        level = self._level1 + decibels(rms)
        if unscaled >= _MIN_INTEGER_RMS:
            bits = next((bits for bits in (16, 24) if self._peak <= 2.0 ** (bits - 1)), 32)
            reason = (
                f"samples of up to {self._peak:.6g} look like integers of {bits} bits as floating point: divide them "
                f"by {2 ** (bits - 1)}"
            )
        elif self._amplifies:
            reason = (
                "no music is louder before amplification: lower level1, or score it without NAL-R if it is amplified "
                "already"
            )
        elif self._presented:
            reason = "no amplified music is louder: lower level1"
        else:
            reason = (
                "music that is amplified for a severe hearing loss can be this loud: to score it at this level, give "
                f"spl={level:.0f}; otherwise lower level1"
            )
        raise AudioError(
            f"{self._name} has a level of {level:.0f} dB SPL (RMS, with level1={level - decibels(unscaled):g}), above "
            f"the limit of {limit:g} dB SPL: {reason}"
        )


def silence_error(audio: Audio) -> AudioError:
    """Return the error for a recording that is silent throughout."""
    return silent(audio.name, cancelled=audio.cancellation is not None)


def silent(name: str, *, cancelled: bool = False) -> AudioError:
    """Return the error for audio that is silent throughout.

    Args:
        name: name of the audio.
        cancelled: whether this is because its channels cancel each other, of which a warning tells more.
    """
    reason = "its channels cancel each other; score one of them" if cancelled else _CHECK
    return AudioError(f"{name} is silent throughout: {reason}")
