"""The texture front end of nano in PyTorch.

It consists of convolutions and matrix products, so that it is differentiable and can be exported to ONNX. Its features
equal those of `runtime.features.texture`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.errors import AudioError, OptionError
from ..runtime.features import mel
from ..runtime.features import patches as fe
from ..runtime.features import texture as tx
from .spectrum import PowerSpectrum

_UNIT: Final = tx.FLOOR**-0.5
"""Factor of the samples, so that the floor of a mean square is 1. Torch's exporter would round a floor as small as
`FLOOR` to 0, and silence would give 0 / 0."""


class Texture(nn.Module):
    """Texture of complete patches, see `runtime.features.texture` for the features and the constants.

    Args:
        version: version of the front end, one of `runtime.features.texture.VERSIONS`.

    Raises:
        OptionError: an unknown version.
    """

    polynomials: Tensor
    trend: Tensor
    short_kernel: Tensor
    rate_kernel: Tensor
    long_mean: Tensor
    short_mean: Tensor
    rate_mean: Tensor
    members: Tensor

    def __init__(self, version: int = 1) -> None:
        super().__init__()
        if version not in tx.VERSIONS:
            raise OptionError(f"version {version!r} of the texture front end: expected one of {tx.VERSIONS}")
        self.version = version
        layout = tx.bands()
        long_bins = np.arange(layout.long.start, layout.long.stop)
        self.long_power = PowerSpectrum(np.hanning(tx.SPECTRUM), long_bins)
        order = self.long_power.order - long_bins[0]
        in_band = np.searchsorted(layout.long_starts, order, side="right") - 1
        long_mean = (in_band == np.arange(tx.BANDS)[:, None]) / layout.long_counts[:, None]
        # The bins of each band, padded to the same number by repeating the last one: extremes do not change.
        widest = int(layout.long_counts.max())
        last = layout.long_starts + layout.long_counts.astype(int) - 1
        members = np.minimum(layout.long_starts[:, None] + np.arange(widest), last[:, None])
        members = np.argsort(order)[members]
        short_mean = np.zeros((tx.BANDS, tx.FRAME // 2 + 1))
        band = np.searchsorted(layout.short_starts, np.arange(len(layout.short)), side="right") - 1
        short_mean[band, layout.short] = layout.short_weights
        rates = tx.modulation_bins()
        rate_bins = np.arange(rates[0].start, rates[-1].stop)
        rate_mean = np.stack([((rate_bins >= r.start) & (rate_bins < r.stop)) / (r.stop - r.start) for r in rates])
        for name, value in {
            "short_kernel": _fourier_rows(tx.FRAME, np.arange(tx.FRAME // 2 + 1)),
            "rate_kernel": _fourier_rows(tx.FRAMES, rate_bins),
            "long_mean": long_mean,
            "short_mean": short_mean,
            "rate_mean": rate_mean,
        }.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32), persistent=False)
        self.register_buffer("members", torch.tensor(members.reshape(-1)), persistent=False)
        if version != 1:
            self.register_buffer("polynomials", torch.tensor(tx.trend_basis().polynomials), persistent=False)
            self.register_buffer("trend", torch.tensor(tx.trend_basis().rows), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the texture [batch, patches, 16, 32] of `waveform` [batch, samples], 16 kHz in [-1, 1].

        Samples after the last complete patch are dropped.

        Raises:
            AudioError: another shape, or fewer samples than one patch.
        """
        check_waveform(waveform)
        patches = _split_patches(waveform)
        flat = patches.flatten(0, 1)
        planes = self.planes(flat if self.version == 1 else self.detrend(flat))
        return planes.reshape(*patches.shape[:2], len(tx.PLANES), tx.BANDS)

    def planes(self, patches: Tensor) -> Tensor:
        """Return the texture [patches, 16, 32] of the samples of patches, [patches, 2800]."""
        x = patches.unsqueeze(1) * _UNIT
        return torch.cat([self._spectral_planes(x), self._modulation_planes(x), _level_planes(x)], dim=1)

    def detrend(self, x: Tensor) -> Tensor:
        """Return patches [patches, 2800] without mean, drift and rumble, as `runtime.features.texture.detrend`."""
        segments = fe.PATCH_LENGTH // tx.SEGMENT
        moments = (x.reshape(-1, segments, tx.SEGMENT) @ self.polynomials).flatten(1)
        fitted = F.linear(moments, self.trend) @ self.trend
        trend = (fitted.reshape(-1, segments, tx.SEGMENT_POWERS) @ self.polynomials.t()).flatten(1)
        return x - trend

    def _spectral_planes(self, x: Tensor) -> Tensor:
        """Return the planes of the long spectrum, [patches, 4, 32], for `x` [patches, 1, 2800]."""
        start = (fe.PATCH_LENGTH - tx.SPECTRUM) // 2
        power = self.long_power(x[:, 0, start : start + tx.SPECTRUM])
        power = power + power.sum(1, keepdim=True) / (1 / tx.RELATIVE_FLOOR) + tx.SPECTRUM
        log = power.log()
        mean = F.linear(log, self.long_mean)
        level = F.linear(power, self.long_mean).log()
        members = log.index_select(1, self.members).reshape(log.shape[0], tx.BANDS, -1)
        planes = [level + math.log(tx.FLOOR), level - mean, members.amax(2) - level, level - members.amin(2)]
        return torch.stack(planes, dim=1)

    def _modulation_planes(self, x: Tensor) -> Tensor:
        """Return the planes of the band envelopes, [patches, 9, 32], for `x` [patches, 1, 2800]."""
        power = _power_spectra(x, self.short_kernel, tx.HOP)
        frames = (F.conv1d(power, self.short_mean.unsqueeze(2)) + tx.FRAME).log()
        centred = frames - frames.mean(2, keepdim=True)  # [patches, bands, frames]
        real, imaginary = F.linear(centred, self.rate_kernel).chunk(2, dim=2)
        strength = F.linear(real * real + imaginary * imaginary, self.rate_mean) + tx.MODULATION_FLOOR
        # The square root has no gradient at 0, the value for silence.
        fluctuation = (centred * centred).mean(2).clamp_min(1e-12).sqrt()
        extremes = torch.stack([-centred.amin(2), centred.amax(2), fluctuation], dim=1)
        return torch.cat([strength.log().transpose(1, 2), extremes], dim=1)


class TextureMel(nn.Module):
    """Texture (version 2) and log-mel spectrum of complete patches, as `runtime.features.mel.texture_mel`."""

    kernel: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.texture = Texture(version=2)
        angle = 2 * np.pi / fe.FFT_LENGTH * np.outer(np.arange(fe.FFT_LENGTH // 2 + 1), np.arange(fe.FRAME_LENGTH))
        kernel = np.concatenate([np.cos(angle), -np.sin(angle)]) * np.hanning(fe.FRAME_LENGTH)
        self.register_buffer("kernel", torch.tensor(kernel, dtype=torch.float32), persistent=False)
        weights = torch.tensor(mel.mel_weights()).t().contiguous()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the features [batch, patches, 16, 136] of `waveform` [batch, samples], 16 kHz in [-1, 1].

        Samples after the last complete patch are dropped.

        Raises:
            AudioError: another shape, or fewer samples than one patch.
        """
        check_waveform(waveform)
        patches = _split_patches(waveform)
        flat = self.texture.detrend(patches.flatten(0, 1))
        power = F.conv1d(_power_spectra(flat.unsqueeze(1), self.kernel, fe.FRAME_SHIFT), self.weights.unsqueeze(2))
        frames = ((power + mel.FLOOR).log() + mel.OFFSET) / mel.SCALE
        frames = F.pad(frames[:, mel.SILENT_BANDS :], (0, 0, mel.SILENT_BANDS, 0), value=mel.SILENT_VALUE)
        features = torch.cat([self.texture.planes(flat), frames.transpose(1, 2)], dim=2)
        return features.reshape(*patches.shape[:2], fe.PATCH_FRAMES, tx.BANDS + mel.MEL_BANDS)


def check_waveform(waveform: Tensor) -> None:
    """Raise AudioError unless `waveform` is [batch, samples] with at least one patch."""
    if waveform.ndim != 2 or waveform.shape[1] < fe.PATCH_LENGTH:
        raise AudioError(
            f"a waveform of shape {list(waveform.shape)} was given; expected [batch, samples] at {fe.SAMPLE_RATE} "
            f"Hz with at least {fe.PATCH_LENGTH} samples: add the batch axis, or give a longer clip"
        )


def _split_patches(waveform: Tensor) -> Tensor:
    """Return the overlapping patches [batch, patches, 2800] of `waveform` [batch, samples]."""
    count = (waveform.shape[1] - fe.PATCH_LENGTH) // fe.PATCH_SHIFT + 1
    padded = F.pad(waveform, (0, fe.PATCH_SHIFT))[:, : (count + 1) * fe.PATCH_SHIFT]
    blocks = padded.reshape(waveform.shape[0], count + 1, fe.PATCH_SHIFT)
    return torch.cat([blocks[:, :-1], blocks[:, 1:, : fe.PATCH_LENGTH - fe.PATCH_SHIFT]], dim=2)


def _level_planes(x: Tensor) -> Tensor:
    """Return loudness, crest and kurtosis [patches, 3, 32] of `x` [patches, 1, 2800]. All bands get the same values."""
    square = x * x
    power = square.mean(2) + 1
    crest = 0.5 * ((square.amax(2) + 1) / power).log()
    kurtosis = ((square / power.unsqueeze(2)).square().mean(2) + tx.MODULATION_FLOOR).log()
    values = torch.cat([0.5 * (power.log() + math.log(tx.FLOOR)), crest, kurtosis], dim=1)
    return values.unsqueeze(2).expand(-1, -1, tx.BANDS)


def _power_spectra(x: Tensor, kernel: Tensor, step: int) -> Tensor:
    """Return the power spectra [batch, bins, frames] of `x` [batch, 1, samples]."""
    real, imaginary = F.conv1d(x, kernel.unsqueeze(1), stride=step).chunk(2, dim=1)
    return real * real + imaginary * imaginary


def _fourier_rows(length: int, bins: np.ndarray) -> np.ndarray:
    """Return the rows [2 bins, length] of a windowed Fourier transform: the cosines, then the sines."""
    angle = 2 * np.pi / length * np.outer(bins, np.arange(length))
    return np.concatenate([np.cos(angle), -np.sin(angle)]) * np.hanning(length)
