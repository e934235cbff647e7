"""A long frame's power spectrum in matrix products, folded by the symmetries of cosine and sine.

A graph without a Fourier operator then computes a quarter of the plain transform, and stores one period of a cosine
instead of its matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PowerSpectrum(nn.Module):
    """Power of some bins of windowed frames.

    Args:
        window: float [length], length a multiple of 4.
        bins: which bins, below length / 2; the output has the even ones first, then the odd ones: `order`.
    """

    window: Tensor
    wave: Tensor
    bins: Tensor

    def __init__(self, window: npt.NDArray[np.floating], bins: npt.NDArray[np.integer]) -> None:
        super().__init__()
        angle = 2 * np.pi / len(window) * np.arange(len(window))
        self.quarter = len(window) // 4
        self.order: npt.NDArray[np.integer] = np.concatenate([bins[bins % 2 == 0], bins[bins % 2 == 1]])
        self.even = int((bins % 2 == 0).sum())
        self.register_buffer("window", torch.tensor(window, dtype=torch.float32), persistent=False)
        self.register_buffer("wave", torch.tensor(np.cos(angle), dtype=torch.float32), persistent=False)
        self.register_buffer("bins", torch.tensor(self.order, dtype=torch.int64), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Power [batch, bins], in `order`, of `frames` [batch, length]."""
        half, quarter = 2 * self.quarter, self.quarter
        x = frames * self.window
        # With n samples and the bin k: cos(2 pi k (n - i) / n) = cos(2 pi k i / n), the sine changes its sign; ...
        back = x[:, half + 1 :].flip(1)  # the samples n - 1 down to n / 2 + 1 stand beside 1 to n / 2 - 1
        first, middle = x[:, :1], x[:, half : half + 1]
        plus = torch.cat([first, x[:, 1:half] + back, middle], dim=1)  # [batch, n / 2 + 1]
        minus = x[:, 1:half] - back  # [batch, n / 2 - 1]
        # ... and at n / 2 - i in the place of i both change theirs, or not, by whether k is odd.
        head, tail = plus[:, :quarter], plus[:, quarter + 1 :].flip(1)
        low, high = minus[:, : quarter - 1], minus[:, quarter:].flip(1)
        cosines = [torch.cat([head + tail, plus[:, quarter : quarter + 1]], dim=1), head - tail]
        sines = [low - high, torch.cat([low + high, minus[:, quarter - 1 : quarter]], dim=1)]
        cosine_waves, sine_waves = self._waves(0), self._waves(3 * quarter)  # a sine is a cosine, three quarters on
        even = self.even
        real = [F.linear(cosines[0], cosine_waves[:even]), F.linear(cosines[1], cosine_waves[even:, :quarter])]
        imaginary = [F.linear(sines[0], sine_waves[:even, 1:quarter]), F.linear(sines[1], sine_waves[even:, 1:])]
        return torch.cat(real, dim=1).square() + torch.cat(imaginary, dim=1).square()

    def _waves(self, shift: int) -> Tensor:
        """Cosines [bins, length / 4 + 1] in `order`, begun `shift` samples of the lowest frequency's period later."""
        samples = torch.arange(self.quarter + 1, dtype=torch.int64, device=self.bins.device)
        places = (torch.outer(self.bins, samples) + shift).remainder(4 * self.quarter)
        return self.wave.index_select(0, places.flatten()).reshape(len(self.bins), -1)
