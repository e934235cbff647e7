"""HAAQI as a loss: how badly a waveform is heard, differentiable down to its samples.

Wisnu et al. 2025, "HAAQI-Net", propose the network for this. The front ends are the runtime's (`Fbank`, `Texture` equal
the numpy ones), windows are cut as the scorer cuts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from ..runtime.audiogram import HIGHEST, LOWEST, AudiogramLike, as_audiograms
from ..runtime.errors import AudioError, AudiogramError, OptionError
from ..runtime.frontend import PATCH_FRAMES, PATCH_LENGTH, SAMPLE_RATE
from ..runtime.levels import LEVEL1, amplitude, check_level
from .family import Network, network_of
from .fbank import Fbank
from .head import AUDIOGRAM_VALUES
from .nano import Nano
from .teacher import Teacher
from .texture import Texture

WINDOW: Final = 62
"""patches of a window: 10 s"""
Audiograms: TypeAlias = "AudiogramLike | Sequence[AudiogramLike] | Tensor"


def windowed(network: Network, features: Tensor, audiogram: Tensor, patches: int = WINDOW) -> Tensor:
    """Scores [batch] of clips of any length, each the mean of its windows, weighted by the patches that each adds.

    Args:
        network: reads the features.
        features: texture [batch, patches, 16, 32] for nano, normalised fbank [batch, frames, 128] for the others.
        audiogram: [batch, 8], dB HL.
        patches: of a window; the last one ends at the end.
    """
    frames = 1 if isinstance(network, Nano) else PATCH_FRAMES
    count = features.shape[1] // frames
    score = network.score if isinstance(network, Teacher) else network
    if count <= patches:
        return _clip(score(features, audiogram))
    total, done = features.new_zeros(()), 0
    while done < count:
        stop = min(done + patches, count)
        part = features[:, (stop - patches) * frames : stop * frames]
        total = total + (stop - done) / count * _clip(score(part, audiogram))
        done = stop
    return total


def _clip(scores: Any) -> Tensor:
    score: Tensor = scores.score
    return score


class HAAQILoss(nn.Module):
    """1 minus the predicted HAAQI, or its distance from a target, of what reaches a listener's ear.

    The network is frozen and its dropout off, whatever mode the loss is in; gradients flow to the waveform alone. The
    front end computes in fp32 under autocast too.

        loss = HAAQILoss("nano", "N3")
        loss(network(noisy)).backward()

    Args:
        model: `"nano"` (the shipped one), a checkpoint's path, or a network.
        audiogram: who listens, see `forward`; None where every call says it.
        level1: dB SPL of a waveform whose RMS is 1.0.
        target: the score to come near to, 0 to 1, or [batch] of them; None asks for the best.
        reduction: `mean`, `sum` or `none` over the batch.

    Raises:
        AudiogramError, CheckpointError: see their messages.
        OptionError: a level, target or reduction that has no meaning.
    """

    def __init__(
        self,
        model: Network | str | Path = "nano",
        audiogram: Audiograms | None = None,
        level1: float = LEVEL1,
        *,
        target: float | Tensor | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise OptionError(f"reduction {reduction!r}: give mean, sum or none")
        wanted = None if target is None else torch.as_tensor(target, dtype=torch.float32)
        if wanted is not None and not (wanted.ndim <= 1 and bool(((wanted >= 0) & (wanted <= 1)).all())):
            raise OptionError(f"target {target!r} is not a score from 0 to 1, nor a tensor of them, [batch]")
        self.network: Network = network_of(model).requires_grad_(False)
        version = self.network.config.texture_version if isinstance(self.network, Nano) else None
        self.front_end = Fbank() if version is None else Texture(version)
        self.gain = amplitude(check_level("level1", level1) - LEVEL1)
        self.reduction = reduction
        self.register_buffer("target", wanted, persistent=False)
        self.register_buffer("audiogram", None if audiogram is None else _levels(audiogram), persistent=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> HAAQILoss:
        """As any module's, but the network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        for part in self.network.modules():
            if isinstance(part, nn.RNNBase):
                part.train()  # cuDNN differentiates recurrent layers in this mode only; of one layer it changes nothing
        return self

    def forward(self, waveform: Tensor, audiogram: Audiograms | None = None) -> Tensor:
        """The loss of `waveform` [batch, samples], 16 kHz in [-1, 1].

        Args:
            waveform: at least 2,800 samples of any floating-point type, computed in fp32, or in fp64 after
                `.double()`; what reaches the ear, amplification included. A sample that is not finite makes the loss
                NaN: looking for one would have to wait for the GPU.
            audiogram: [batch, 8] or [8] in dB HL, what `as_audiogram` takes, or a list of that for the batch; by
                default the loss's own.

        Returns:
            a scalar, or [batch] where nothing is reduced.

        Raises:
            AudioError, AudiogramError: another shape or type, or levels outside -10 to 120 dB HL.
            OptionError: as many targets as there are no clips.
        """
        score = self.score(waveform, audiogram)
        target: Any = self.target
        if target is not None and target.shape not in ((), score.shape):
            raise OptionError(f"{len(target)} targets for {len(score)} clips: give one for all, or one each")
        loss = 1 - score if target is None else (score - target).abs()
        return loss.mean() if self.reduction == "mean" else loss.sum() if self.reduction == "sum" else loss

    def score(self, waveform: Tensor, audiogram: Audiograms | None = None) -> Tensor:
        """The scores [batch] themselves; see `forward`."""
        if not isinstance(waveform, Tensor) or not waveform.is_floating_point():
            kind = waveform.dtype if isinstance(waveform, Tensor) else type(waveform).__name__
            raise AudioError(f"a waveform of {kind} was given; expected a tensor of floating-point samples in [-1, 1]")
        if waveform.ndim != 2 or not len(waveform) or waveform.shape[1] < PATCH_LENGTH:
            raise AudioError(
                f"a waveform of shape {list(waveform.shape)} was given; expected [batch, samples] at {SAMPLE_RATE} Hz "
                f"with at least {PATCH_LENGTH} samples: add the batch axis, or give longer clips"
            )
        with torch.autocast(waveform.device.type, enabled=False):
            double = next(self.network.parameters()).dtype == torch.float64
            exact = waveform.double() if double else waveform.float()
            features = self.front_end(exact * self.gain)
        return windowed(self.network, features, self._audiograms(audiogram, exact))

    def _audiograms(self, given: Audiograms | None, waveform: Tensor) -> Tensor:
        if given is None and self.audiogram is None:
            raise AudiogramError("no audiogram: give one to the loss, or to every call")
        levels: Any = self.audiogram if given is None else _levels(given)
        if levels.ndim == 1:
            levels = levels[None].expand(waveform.shape[0], -1)
        if levels.shape != (waveform.shape[0], AUDIOGRAM_VALUES):
            raise AudiogramError(
                f"audiograms of shape {list(levels.shape)} for {waveform.shape[0]} clips; expected one for all, [8], "
                "or one each, [batch, 8]"
            )
        found: Tensor = levels.to(waveform)
        return found


def _levels(given: Audiograms) -> Tensor:
    """Audiograms as a tensor, [8] or [listeners, 8] in dB HL."""
    if not isinstance(given, Tensor):
        listeners, several = as_audiograms(given)
        levels = torch.tensor([listener.levels for listener in listeners])
        return levels if several else levels[0]
    if not bool(((given >= LOWEST) & (given <= HIGHEST)).all()):
        raise AudiogramError(f"audiograms hold levels outside {LOWEST:g} to {HIGHEST:g} dB HL: give hearing thresholds")
    return given
