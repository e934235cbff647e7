"""The power spectrum of a long frame as matrix products, reduced by the symmetries of cosine and sine.

A graph without a Fourier operator then computes a quarter of the plain transform. It stores one period of a cosine
instead of the matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PowerSpectrum(nn.Module):
    """Power spectrum of windowed frames, for selected bins.

    Args:
        window: float [length], with a length that is a multiple of 4.
        bins: the bins to compute, below length / 2. In the output (see `order`), the even bins come first.
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
        """Return the power [batch, bins], in the order of `order`, of `frames` [batch, length]."""
        half, quarter = 2 * self.quarter, self.quarter
        x = frames * self.window
        # With n samples and bin k, cos(2 pi k (n - i) / n) = cos(2 pi k i / n), and the sine changes its sign.
        back = x[:, half + 1 :].flip(1)  # samples n - 1 down to n / 2 + 1, the partners of 1 to n / 2 - 1
        first, middle = x[:, :1], x[:, half : half + 1]
        plus = torch.cat([first, x[:, 1:half] + back, middle], dim=1)  # [batch, n / 2 + 1]
        minus = x[:, 1:half] - back  # [batch, n / 2 - 1]
        # Replacing i by n / 2 - i changes the sign of one of the two: of the cosine for odd k, of the sine for even k.
        head, tail = plus[:, :quarter], plus[:, quarter + 1 :].flip(1)
        low, high = minus[:, : quarter - 1], minus[:, quarter:].flip(1)
        cosines = [torch.cat([head + tail, plus[:, quarter : quarter + 1]], dim=1), head - tail]
        sines = [low - high, torch.cat([low + high, minus[:, quarter - 1 : quarter]], dim=1)]
        cosine_waves, sine_waves = self._waves(0), self._waves(3 * quarter)  # a sine is a cosine shifted by 3/4 period
        even = self.even
        real = [F.linear(cosines[0], cosine_waves[:even]), F.linear(cosines[1], cosine_waves[even:, :quarter])]
        imaginary = [F.linear(sines[0], sine_waves[:even, 1:quarter]), F.linear(sines[1], sine_waves[even:, 1:])]
        return torch.cat(real, dim=1).square() + torch.cat(imaginary, dim=1).square()

    def _waves(self, shift: int) -> Tensor:
        """Return cosines [bins, length / 4 + 1] in `order`, advanced by `shift` samples of the lowest frequency."""
        samples = torch.arange(self.quarter + 1, dtype=torch.int64, device=self.bins.device)
        places = (torch.outer(self.bins, samples) + shift).remainder(4 * self.quarter)
        return self.wave.index_select(0, places.flatten()).reshape(len(self.bins), -1)
