"""Convert a recording to the presented signal: apply the level and NAL-R, block by block.

The presented signal is the one that reaches the listener's ear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..audiogram import Audiogram
from ..errors import AudioError, OptionError
from ..features.patches import SAMPLE_RATE
from .levels import SILENCE, NalR, amplitude, check_level
from .reading import Audio


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

        With `spl`, this reads the whole recording.

        Args:
            audio: the recording.
            model_level1: dB SPL of RMS 1.0 that the model expects.

        Raises:
            AudioError: if `spl` is given and the recording is silent.
        """
        if self.spl is None:
            return self.level1_gain(model_level1)
        energy, samples, peak = 0.0, 0, 0.0
        for block in audio.blocks():
            energy += float(np.square(block, dtype=np.float64).sum())
            samples += len(block)
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
        if peak <= SILENCE:
            raise silent(audio)
        return amplitude(self.spl - model_level1) / float(np.sqrt(energy / samples))

    def level1_gain(self, model_level1: float) -> float:
        """Compute the amplitude factor of `level1` alone, without a recording."""
        return 1.0 if self.level1 is None else amplitude(self.level1 - model_level1)

    def blocks(self, audio: Audio, gain: float) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the presented signal, float32 blocks at 16 kHz."""
        presenter = Presenter(gain, self.listener)
        for block in audio.blocks():
            yield presenter.push(block)
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


def silent(audio: Audio) -> AudioError:
    """Return the error for a recording that is silent throughout."""
    return AudioError(f"{audio.name} is silent throughout: a quality needs sound; check the recording or its channel")
