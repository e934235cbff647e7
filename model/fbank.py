"""The fbank front end in PyTorch, differentiable with respect to the waveform.

Constants, window and filters come from the runtime.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.errors import AudioError
from ..runtime.features import patches as fe
from ..runtime.features.fbank import mel_filters, povey_window


class Fbank(nn.Module):
    """Kaldi's log mel filterbank with the normalization of BEATs (Chen et al. 2023, "BEATs", ICML)."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Not persistent, because the published state dicts contain no front end.
        self.register_buffer("window", torch.tensor(povey_window(), dtype=torch.float32), persistent=False)
        self.register_buffer("filters", torch.tensor(mel_filters(), dtype=torch.float32), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the normalized features [batch, frames, 128] of `waveform` [batch, samples], 16 kHz in [-1, 1].

        Raises:
            AudioError: another shape, or fewer samples than one frame.
        """
        if waveform.ndim != 2 or waveform.shape[1] < fe.FRAME_LENGTH:
            raise AudioError(
                f"a waveform of shape {list(waveform.shape)} was given; expected [batch, samples] at {fe.SAMPLE_RATE} "
                f"Hz with at least {fe.FRAME_LENGTH} samples: add the batch axis, or give a longer clip"
            )
        # A power spectrum exceeds the range of half precision.
        with torch.autocast(waveform.device.type, enabled=False):
            return self._features(waveform if waveform.dtype == torch.float64 else waveform.float())

    def _features(self, waveform: Tensor) -> Tensor:
        frames = (waveform * fe.WAVE_SCALE).unfold(1, fe.FRAME_LENGTH, fe.FRAME_SHIFT)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        windowed = (frames - fe.PREEMPHASIS * before) * self.window
        spectrum = torch.fft.rfft(F.pad(windowed, (0, fe.FFT_LENGTH - fe.FRAME_LENGTH)))
        # |z|^2 from the real and imaginary parts: the gradient of abs is undefined at zero, the value for silence.
        power = spectrum.real.square() + spectrum.imag.square()
        mel: Tensor = power[..., : self.filters.shape[0]] @ self.filters.to(power.dtype)
        return (mel.clamp_min(torch.finfo(torch.float32).eps).log() - fe.FBANK_MEAN) / (2 * fe.FBANK_STD)
