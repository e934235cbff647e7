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

from ..runtime.audio.levels import LEVEL1, SILENCE, amplitude, check_level
from ..runtime.audiogram import MAX_HEARING_LEVEL, MIN_HEARING_LEVEL, AudiogramLike, as_audiograms
from ..runtime.errors import AudioError, AudiogramError, OptionError
from ..runtime.features.patches import PATCH_FRAMES, PATCH_LENGTH, PATCH_SHIFT, SAMPLE_RATE
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


def score_windows(
    network: Network, features: Tensor, audiogram: Tensor, patches: int = WINDOW, silent: Tensor | None = None
) -> Tensor:
    """Score clips of any length, and return the scores [batch].

    A clip's score is the mean over its windows, weighted by the number of patches that each window adds. Silent windows
    are left out, as in `Scorer.score`.

    Args:
        network: the network that reads the features.
        features: texture [batch, patches, 16, 32] for nano, texture and log-mel spectrum [batch, patches, 16, 136] for
            small, normalized fbank [batch, frames, 128] for the others.
        audiogram: [batch, 8], in dB HL.
        patches: the length of a window. The last window ends at the end of the clip.
        silent: bool [batch, patches]: the silent patches. None if there are none. The score of a clip whose windows
            are all silent is NaN.
    """
    if isinstance(network, Nano | Small):  # tokens do not depend on the window
        return _mean_of_windows(network.head, network.encode_clips(features), 1, audiogram, patches, silent)
    score = network.score if isinstance(network, Teacher) else network
    return _mean_of_windows(score, features, PATCH_FRAMES, audiogram, patches, silent)


def score_tokens(network: Nano | Small, tokens: Tensor, audiogram: Tensor, patches: int = WINDOW) -> Tensor:
    """Score clips of any length from their tokens, as `score_windows` does.

    Args:
        network: the network whose encoder made the tokens.
        tokens: [batch, patches, width], from `encode_clips`.
        audiogram: [batch, 8], in dB HL.
        patches: the length of a window.
    """
    return _mean_of_windows(network.head, tokens, 1, audiogram, patches)


def _mean_of_windows(
    score: Callable[[Tensor, Tensor], Scores],
    features: Tensor,
    frames: int,
    audiogram: Tensor,
    patches: int,
    silent: Tensor | None = None,
) -> Tensor:
    """Return the mean of the windows' scores, [batch].

    Args:
        score: maps features and audiograms to scores.
        features: [batch, patches * frames, ...].
        frames: number of frames of a patch.
        audiogram: [batch, 8], in dB HL.
        patches: the length of a window.
        silent: bool [batch, patches]; see `score_windows`.
    """
    count = features.shape[1] // frames
    if count <= patches and silent is None:
        return _clip_score(score(features, audiogram))
    total, weight, done = features.new_zeros(()), features.new_zeros(()), 0
    while done < count:
        stop = min(done + patches, count)
        start = max(0, stop - patches)
        part = _clip_score(score(features[:, start * frames : stop * frames], audiogram))
        added = torch.full_like(part, stop - done)
        if silent is not None:
            quiet = silent[:, start:stop].all(dim=1)
            added, part = added.masked_fill(quiet, 0.0), part.masked_fill(quiet, 0.0)
        total, weight, done = total + added * part, weight + added, stop
    return total / weight


def _clip_score(scores: Any) -> Tensor:
    score: Tensor = scores.score
    return score


class HAAQILoss(nn.Module):
    """Loss of the signal that reaches a listener's ear: 1 minus the predicted HAAQI, or its distance from a target.

    The network is frozen and its dropout is off, in training mode too. Gradients flow to the waveform only, second
    derivatives included. Front end and network compute in fp32 even under autocast. `torch.compile` leaves out the
    front end: its complex spectra are not supported by Inductor, and compiling its constants takes minutes.

        loss = HAAQILoss("nano", "N3")
        loss(network(noisy)).backward()

    Args:
        model: `"nano"` (the shipped one), the path of a checkpoint, or a network.
        audiogram: the listener, see `forward`. With None, pass one with every call.
        level1: dB SPL of a waveform with an RMS of 1.0.
        target: the score to approach, 0 to 1, or one per clip [batch]. None maximizes the score.
        reduction: `mean`, `sum` or `none` over the batch.
        check: whether samples that are not finite, and clips that are silent throughout, are errors. On a GPU the
            checks wait for it at each call. With False, the scores of such clips are NaN.

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
        check: bool = True,
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
        self.reduction, self.check = reduction, check
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
                It is computed in fp32, or in fp64 after `.double()`. Silent windows are left out of the mean, as in
                `Scorer.score`.
            audiogram: [batch, 8] or [8] in dB HL, anything that `as_audiogram` accepts, or a list of these for the
                batch. The default is the audiogram of the constructor.

        Returns:
            A scalar, or [batch] if the reduction is `none`.

        Raises:
            AudioError: another shape or type of the waveform; with `check`, samples that are not finite, or clips that
                are silent throughout.
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
        front_end = _exclude_from_compilation() if torch.compiler.is_compiling() else _compute_features
        with torch.autocast(waveform.device.type, enabled=False):
            double = next(self.network.parameters()).dtype == torch.float64
            exact = waveform.double() if double else waveform.float()
            levels = self._audiograms(audiogram, exact)
            features, silent = front_end(self.front_end, exact, self.gain, self.check)
            return score_windows(self.network, features, levels, silent=silent)

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


def _compute_features(front_end: nn.Module, waveform: Tensor, gain: float, check: bool) -> tuple[Tensor, Tensor | None]:
    """Return the features of waveforms [batch, samples], and which patches are silent, bool [batch, patches].

    The second is None if no patch is silent.

    Args:
        front_end: the front end of the network.
        waveform: the waveforms, before the gain.
        gain: factor of the presentation level.
        check: whether to raise an error for samples that are not finite, and for silent clips.

    Raises:
        AudioError: see `check`.
    """
    peaks = waveform.detach().abs().unfold(1, PATCH_LENGTH, PATCH_SHIFT).amax(dim=2)
    silent = peaks <= SILENCE
    if check:
        finite, sounding = torch.isfinite(waveform.detach()).all(dim=1), ~silent.all(dim=1)
        if not bool((finite & sounding).all()):
            raise _unusable_clips(waveform.detach(), finite, sounding)
        if not bool(silent.any()):
            return front_end(waveform * gain), None
    return front_end(waveform * gain), silent


def _exclude_from_compilation() -> Callable[[nn.Module, Tensor, float, bool], tuple[Tensor, Tensor | None]]:
    """Return `_compute_features`, which `torch.compile` runs as it is. Importing the compiler takes over a second."""
    disable: Any = torch.compiler.disable  # without types
    excluded: Callable[[nn.Module, Tensor, float, bool], tuple[Tensor, Tensor | None]] = disable(_compute_features)
    return excluded


def _unusable_clips(waveform: Tensor, finite: Tensor, sounding: Tensor) -> AudioError:
    """Return the error for clips that have samples that are not finite, or are silent throughout."""
    broken = (~finite).nonzero().flatten().tolist()
    if broken:
        first = int((~torch.isfinite(waveform[broken[0]])).nonzero()[0])
        return AudioError(
            f"clips {broken[:8]} of the batch hold samples that are not finite (clip {broken[0]} at "
            f"{first / SAMPLE_RATE:.3f} s): look for a division by zero or a diverged training; HAAQILoss(check=False) "
            "gives NaN for them"
        )
    silent = (~sounding).nonzero().flatten().tolist()
    return AudioError(
        f"clips {silent[:8]} of the batch are silent throughout, for which there is no quality: leave them out; "
        "HAAQILoss(check=False) gives NaN for them"
    )


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
