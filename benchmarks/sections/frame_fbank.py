"""The fbank computed frame by frame, as in Kaldi's code. The runtime's fbank is timed against it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...runtime.features import patches as fe
from ...runtime.features.fbank import mel_filters, povey_window

Array = npt.NDArray[np.float32]


def fbank_per_frame(samples: Array) -> Array:
    """Compute the same as the runtime's `fbank`, one frame at a time as in Kaldi's code.

    Args:
        samples: float32 [n] at 16 kHz.

    Returns:
        float32 [frames, 128].
    """
    frames = []
    for start in range(0, len(samples) - fe.FRAME_LENGTH + 1, fe.FRAME_SHIFT):
        frame = samples[start : start + fe.FRAME_LENGTH] * np.float32(fe.WAVE_SCALE)
        frame = frame - frame.mean()
        frame = frame - np.float32(fe.PREEMPHASIS) * np.concatenate([frame[:1], frame[:-1]])
        spectrum = np.fft.rfft(frame * povey_window(), fe.FFT_LENGTH)[: fe.FFT_LENGTH // 2]
        energy = np.maximum(np.abs(spectrum) ** 2 @ mel_filters(), np.finfo(np.float32).eps)
        frames.append((np.log(energy) - fe.FBANK_MEAN) / (2 * fe.FBANK_STD))
    return np.stack(frames).astype(np.float32)
