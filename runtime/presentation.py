"""From a recording to the presented signal: level and NAL-R, applied block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .audio import Audio
from .audiogram import Audiogram
from .errors import AudioError, OptionError
from .frontend import SAMPLE_RATE
from .levels import SILENCE, NalR, amplitude, check_level


@dataclass(frozen=True)
class Presentation:
    """How loud a recording is played, and for whom it is amplified.

    Attributes:
        level1: dB SPL of RMS 1.0; None takes the model's (85).
        spl: dB SPL of the whole clip instead, before amplification (usual value 65).
        listener: NAL-R amplifies for this audiogram; None leaves the music as it is (amplified already, or unaided).
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
        """The amplitude factor that brings a recording to this level in the model's scale; `spl` reads it all."""
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
        """The amplitude factor of `level1` alone, which needs no recording."""
        return 1.0 if self.level1 is None else amplitude(self.level1 - model_level1)

    def blocks(self, audio: Audio, gain: float) -> Iterator[npt.NDArray[np.float32]]:
        """The presented signal, float32 blocks at 16 kHz."""
        presenter = Presenter(gain, self.listener)
        for block in audio.blocks():
            yield presenter.push(block)
        yield presenter.finish()


class Presenter:
    """The presented signal of a recording that arrives in blocks at 16 kHz, whatever the blocks.

    Args:
        gain: amplitude factor.
        listener: for whom NAL-R amplifies, if it does.
    """

    def __init__(self, gain: float, listener: Audiogram | None) -> None:
        self._gain = gain
        self._stage = NalR(listener, SAMPLE_RATE) if listener else None

    def push(self, block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Samples float32 [n] in, the presented ones that are ready out."""
        scaled = block if self._gain == 1.0 else block * np.float32(self._gain)
        return self._stage.push(scaled) if self._stage else scaled

    def finish(self) -> npt.NDArray[np.float32]:
        """The last samples, those that waited for the filter's look-ahead."""
        return self._stage.finish() if self._stage else np.empty(0, dtype=np.float32)


def silent(audio: Audio) -> AudioError:
    """The error for a recording that holds nothing but zeros."""
    return AudioError(f"{audio.name} is silent throughout: a quality needs sound; check the recording or its channel")
