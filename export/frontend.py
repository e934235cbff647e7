"""The front end inside a graph: one convolution, a square and a matrix product, the same features as the runtime's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..runtime import frontend as fe
from ..runtime.fbank import mel_filters, povey_window


class GraphFbank(nn.Module):
    """Samples float32 [batch, n] at 16 kHz to features [batch, 1 + (n - 400) // 160, 128].

    All that Kaldi does to a frame before the power spectrum is linear: removing the mean, pre-emphasis, window and
    Fourier transform are folded, in float64, into one kernel of 512 outputs and 400 taps. Kept in fp32 in every graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.from_numpy(_kernel()).float().unsqueeze(1))
        self.register_buffer("filters", torch.from_numpy(mel_filters().copy()).t().unsqueeze(2).contiguous())

    def forward(self, samples: Tensor) -> Tensor:
        """See the class."""
        spectrum = nn.functional.conv1d(samples.unsqueeze(1), self.get_buffer("kernel"), stride=fe.FRAME_SHIFT)
        real, imaginary = spectrum.chunk(2, dim=1)
        power = real * real + imaginary * imaginary
        mel = nn.functional.conv1d(power, self.get_buffer("filters"))
        log = torch.log(torch.clamp_min(mel, float(np.finfo(np.float32).eps)))
        return ((log - fe.FBANK_MEAN) / (2 * fe.FBANK_STD)).transpose(1, 2)


def _kernel() -> npt.NDArray[np.float64]:
    """[512, 400]: cosine then sine parts of the bins 0 to 255 of a frame."""
    taps, bins = fe.FRAME_LENGTH, fe.FFT_LENGTH // 2
    centred = np.eye(taps) - 1.0 / taps
    emphasis = np.eye(taps) - fe.PREEMPHASIS * np.eye(taps, k=-1)
    emphasis[0, 0] -= fe.PREEMPHASIS  # the first sample stands for the one before it
    angle = 2.0 * np.pi / fe.FFT_LENGTH * np.outer(np.arange(bins), np.arange(taps))
    fourier = np.concatenate([np.cos(angle), -np.sin(angle)])
    window = povey_window().astype(np.float64) * fe.WAVE_SCALE
    return (fourier * window) @ emphasis @ centred
