"""HAAQI as a loss function for waveforms, differentiable with respect to the samples.

Wisnu et al. 2025, "HAAQI-Net", propose this use of the network. The front ends match the runtime's (`Fbank` and
`Texture` equal the numpy versions), and clips are cut into windows as the scorer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from ..runtime.audio.levels import LEVEL1, amplitude, check_level
from ..runtime.audiogram import MAX_HEARING_LEVEL, MIN_HEARING_LEVEL, AudiogramLike, as_audiograms
from ..runtime.errors import AudioError, AudiogramError, OptionError
from ..runtime.features.patches import PATCH_FRAMES, PATCH_LENGTH, SAMPLE_RATE
from ..runtime.windows import DEFAULT_WINDOW, window_patches
from .family import Network, load_network
from .fbank import Fbank
from .head import AUDIOGRAM_VALUES, Scores
from .nano import Nano
from .small import Small
from .teacher import Teacher
from .texture import Texture, TextureMel

WINDOW: Final = window_patches(DEFAULT_WINDOW)
"""Patches per window, as in a scorer."""
Audiograms: TypeAlias = "AudiogramLike | Sequence[AudiogramLike] | Tensor"


def score_windows(network: Network, features: Tensor, audiogram: Tensor, patches: int = WINDOW) -> Tensor:
    """Score clips of any length, and return the scores [batch].

    A clip's score is the mean over its windows, weighted by the number of patches that each window adds.

    Args:
        network: the network that reads the features.
        features: texture [batch, patches, 16, 32] for nano, texture and log-mel spectrum [batch, patches, 16, 136] for
            small, normalized fbank [batch, frames, 128] for the others.
        audiogram: [batch, 8], in dB HL.
        patches: the length of a window. The last window ends at the end of the clip.
    """
    score: Callable[[Tensor, Tensor], Scores]
    if isinstance(network, Nano | Small):  # tokens do not depend on the window
        features, frames, score = network.encode_clips(features), 1, network.head
    else:
        frames, score = PATCH_FRAMES, network.score if isinstance(network, Teacher) else network
    count = features.shape[1] // frames
    if count <= patches:
        return _clip_score(score(features, audiogram))
    total, done = features.new_zeros(()), 0
    while done < count:
        stop = min(done + patches, count)
        part = features[:, (stop - patches) * frames : stop * frames]
        total = total + (stop - done) / count * _clip_score(score(part, audiogram))
        done = stop
    return total


def _clip_score(scores: Any) -> Tensor:
    score: Tensor = scores.score
    return score


class HAAQILoss(nn.Module):
    """Loss of the signal that reaches a listener's ear: 1 minus the predicted HAAQI, or its distance from a target.

    The network is frozen and its dropout is off, in training mode too. Gradients flow to the waveform only. The front
    end computes in fp32 even under autocast.

        loss = HAAQILoss("nano", "N3")
        loss(network(noisy)).backward()

    Args:
        model: `"nano"` (the shipped one), the path of a checkpoint, or a network.
        audiogram: the listener, see `forward`. With None, pass one with every call.
        level1: dB SPL of a waveform with an RMS of 1.0.
        target: the score to approach, 0 to 1, or one per clip [batch]. None maximizes the score.
        reduction: `mean`, `sum` or `none` over the batch.

    Raises:
        AudiogramError: an invalid audiogram.
        CheckpointError: an invalid checkpoint.
        OptionError: an invalid level, target or reduction.
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
            raise OptionError(f"reduction {reduction!r}: expected mean, sum or none")
        goal = None if target is None else torch.as_tensor(target, dtype=torch.float32)
        if goal is not None and not (goal.ndim <= 1 and bool(((goal >= 0) & (goal <= 1)).all())):
            raise OptionError(f"target {target!r}: expected a score from 0 to 1, or a tensor of such scores, [batch]")
        self.network: Network = load_network(model).requires_grad_(False)
        self.front_end: nn.Module
        if isinstance(self.network, Nano):
            self.front_end = Texture(self.network.config.texture_version)
        else:
            self.front_end = TextureMel() if isinstance(self.network, Small) else Fbank()
        self.gain = amplitude(check_level("level1", level1) - LEVEL1)
        self.reduction = reduction
        self.register_buffer("target", goal, persistent=False)
        self.register_buffer("audiogram", None if audiogram is None else _levels(audiogram), persistent=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> HAAQILoss:
        """Set the mode, as for any module. The network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        for part in self.network.modules():
            if isinstance(part, nn.RNNBase):
                part.train()  # cuDNN needs this for gradients of recurrent layers; it changes nothing with one layer
        return self

    def forward(self, waveform: Tensor, audiogram: Audiograms | None = None) -> Tensor:
        """Return the loss of `waveform` [batch, samples], 16 kHz in [-1, 1].

        Args:
            waveform: the signal at the ear, amplification included, at least 2,800 samples of any floating-point type.
                It is computed in fp32, or in fp64 after `.double()`. A sample that is not finite makes the loss NaN:
                checking for it would have to wait for the GPU.
            audiogram: [batch, 8] or [8] in dB HL, anything that `as_audiogram` accepts, or a list of these for the
                batch. The default is the audiogram of the constructor.

        Returns:
            A scalar, or [batch] if the reduction is `none`.

        Raises:
            AudioError: another shape or type of the waveform.
            AudiogramError: another shape or type of the audiogram, or levels outside -10 to 120 dB HL.
            OptionError: the number of targets differs from the number of clips.
        """
        score = self.score(waveform, audiogram)
        target: Any = self.target
        if target is not None and target.shape not in ((), score.shape):
            raise OptionError(f"{len(target)} targets for {len(score)} clips: give one for all, or one per clip")
        loss = 1 - score if target is None else (score - target).abs()
        return loss.mean() if self.reduction == "mean" else loss.sum() if self.reduction == "sum" else loss

    def score(self, waveform: Tensor, audiogram: Audiograms | None = None) -> Tensor:
        """Return the scores [batch] themselves. See `forward` for the arguments."""
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
        return score_windows(self.network, features, self._audiograms(audiogram, exact))

    def _audiograms(self, given: Audiograms | None, waveform: Tensor) -> Tensor:
        if given is None and self.audiogram is None:
            raise AudiogramError("no audiogram was given: pass one to HAAQILoss, or to every call")
        levels: Any = self.audiogram if given is None else _levels(given)
        if levels.ndim == 1:
            levels = levels[None].expand(waveform.shape[0], -1)
        if levels.shape != (waveform.shape[0], AUDIOGRAM_VALUES):
            raise AudiogramError(
                f"audiograms of shape {list(levels.shape)} were given for {waveform.shape[0]} clips; expected one for "
                "all, [8], or one per clip, [batch, 8]"
            )
        converted: Tensor = levels.to(waveform)
        return converted


def _levels(given: Audiograms) -> Tensor:
    """Convert audiograms to a tensor, [8] or [listeners, 8] in dB HL."""
    if not isinstance(given, Tensor):
        listeners, several = as_audiograms(given)
        levels = torch.tensor([listener.levels for listener in listeners])
        return levels if several else levels[0]
    if not bool(((given >= MIN_HEARING_LEVEL) & (given <= MAX_HEARING_LEVEL)).all()):
        raise AudiogramError(
            f"audiograms contain levels outside {MIN_HEARING_LEVEL:g} to {MAX_HEARING_LEVEL:g} dB HL: "
            "give hearing thresholds"
        )
    return given
