"""The front ends as modules for graphs. Their features equal those of the runtime. They stay in fp32 in every graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..model.texture import Texture, TextureMel
from ..runtime.features import patches as fe
from ..runtime.features.fbank import mel_filters, povey_window


class GraphFbank(nn.Module):
    """Maps samples float32 [batch, n] at 16 kHz to fbank features [batch, 1 + (n - 400) // 160, 128].

    Kaldi's steps before the power spectrum are linear. Mean removal, pre-emphasis, window and Fourier transform are
    folded, in float64, into one kernel of 512 outputs and 400 taps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.from_numpy(_kernel()).float().unsqueeze(1))
        self.register_buffer("filters", torch.from_numpy(mel_filters().copy()).t().unsqueeze(2).contiguous())

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the features, see the class."""
        spectrum = nn.functional.conv1d(samples.unsqueeze(1), self.get_buffer("kernel"), stride=fe.FRAME_SHIFT)
        real, imaginary = spectrum.chunk(2, dim=1)
        power = real * real + imaginary * imaginary
        mel = nn.functional.conv1d(power, self.get_buffer("filters"))
        log = torch.log(torch.clamp_min(mel, float(np.finfo(np.float32).eps)))
        return ((log - fe.FBANK_MEAN) / (2 * fe.FBANK_STD)).transpose(1, 2)


class GraphPatches(nn.Module):
    """Maps samples float32 [batch, n] at 16 kHz to the fbank of complete patches, [batch, patches, 16, 128]."""

    def __init__(self) -> None:
        super().__init__()
        self.fbank = GraphFbank()

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the features, see the class."""
        frames = self.fbank(samples)
        whole = frames.shape[1] // fe.PATCH_FRAMES
        return cast(Tensor, frames[:, : whole * fe.PATCH_FRAMES].unflatten(1, (whole, fe.PATCH_FRAMES)))


class GraphFrames(nn.Module):
    """Maps samples float32 [batch, n] at 16 kHz to the samples of complete patches, [batch, patches, 2800]."""

    def forward(self, samples: Tensor) -> Tensor:
        """Cut the samples, see the class."""
        return samples.unfold(1, fe.PATCH_LENGTH, fe.PATCH_SHIFT)


FRONT_ENDS: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "fbank": GraphPatches,
    "texture": Texture,
    "texture-2": partial(Texture, version=2),
    "texture_mel": TextureMel,
    "samples": GraphFrames,
}
"""Modules that compute the input of an encoder, [batch, patches, ...], from samples [batch, n]. The keys are those of
`runtime.features.front_ends.FEATURE_EXTRACTORS`"""


def _kernel() -> npt.NDArray[np.float64]:
    """Return the kernel [512, 400]: the cosine parts of the bins 0 to 255 of a frame, then the sine parts."""
    taps, bins = fe.FRAME_LENGTH, fe.FFT_LENGTH // 2
    centred = np.eye(taps) - 1.0 / taps
    emphasis = np.eye(taps) - fe.PREEMPHASIS * np.eye(taps, k=-1)
    emphasis[0, 0] -= fe.PREEMPHASIS  # the first sample also replaces the one before it
    angle = 2.0 * np.pi / fe.FFT_LENGTH * np.outer(np.arange(bins), np.arange(taps))
    fourier = np.concatenate([np.cos(angle), -np.sin(angle)])
    window = povey_window().astype(np.float64) * fe.WAVE_SCALE
    return (fourier * window) @ emphasis @ centred
