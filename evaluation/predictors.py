"""Predictors of scores with one interface: a bundle on ONNX Runtime, or a checkpoint in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from ..runtime import Scorer
from ..runtime.audio.levels import LEVEL1, SILENCE
from ..runtime.audio.presentation import Presentation
from ..runtime.audio.reading import TOO_SHORT, AudioLike, open_audio
from ..runtime.audiogram import Audiogram
from ..runtime.encoder import READINGS, patch_samples
from ..runtime.errors import AudioError
from ..runtime.features import patches as fe
from ..runtime.files import is_file
from ..runtime.windows import Encoded, cut, window_patches

if TYPE_CHECKING:
    from ..model import Nano, Student, Teacher

CHECKPOINTS: Final = (".safetensors", ".pth", ".pt", ".ckpt")
"""file suffixes of checkpoints; they identify a checkpoint even if the file does not exist"""
Array = npt.NDArray[np.float32]
SECONDS: Final = 10.0
"""duration of a window if no card specifies it"""


class Judge(Protocol):
    """Interface of a predictor: a model, or a stand-in for one."""

    def __call__(
        self, audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False
    ) -> float:
        """Return the quality of audio for a listener.

        Args:
            audio: a path, or samples and their rate in Hz. The audio is the presented signal, or music that is not
                amplified yet (see `nal_r`).
            listener: the listener's audiogram.
            spl: level in dB SPL at which the clip is presented; None keeps the level of the samples.
            nal_r: whether to amplify the audio for the listener by NAL-R first.

        Raises:
            AudioError: the audio cannot be scored.
        """


class ScorerJudge:
    """A predictor that runs a bundle on ONNX Runtime."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.name = f"{scorer.card.name} ({scorer.card.precision}, ONNX Runtime)"

    def __call__(
        self, audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False
    ) -> float:
        return self.scorer.score(audio, listener, spl=spl, nal_r=nal_r).score


class NetworkJudge:
    """A predictor that runs a network in PyTorch, with the same windows as `Scorer`.

    Args:
        network: nano, student or teacher.
        name: name in reports.
        window: duration of a window in seconds.
    """

    def __init__(self, network: Nano | Student | Teacher, name: str, window: float = SECONDS) -> None:
        self.network = network.eval()
        self.name = f"{name} (PyTorch)"
        self._length = window_patches(window)

    def __call__(
        self, audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False
    ) -> float:
        source = open_audio(audio)
        presentation = Presentation(None, spl, listener if nal_r else None)
        gain = presentation.gain(source, LEVEL1)
        samples = np.concatenate(list(presentation.blocks(source, gain)))
        count = fe.patch_count(len(samples))
        if count == 0:
            raise AudioError(f"{source.name} is shorter than one patch: {TOO_SHORT}")
        silent = np.abs(patch_samples(samples)).max(axis=1) <= SILENCE * gain
        places = np.arange(count, dtype=np.float32)[:, None, None]
        total, weight = 0.0, 0
        for start, patches, added in cut([Encoded(places, silent)], self._length):
            if not patches.silent.all():
                stop = start + len(patches.silent) - 1
                part = samples[start * fe.PATCH_SHIFT : stop * fe.PATCH_SHIFT + fe.PATCH_LENGTH]
                total += added * self._window(part, listener)
                weight += added
        if weight == 0:
            raise AudioError(f"{source.name} is silent throughout")
        return total / weight

    def _window(self, samples: Array, listener: Audiogram) -> float:
        import torch

        reads = self.network.reads
        seen = torch.from_numpy(np.array(samples if reads == "waveform" else READINGS[reads](samples)))
        if reads == "fbank":
            seen = seen.flatten(0, 1)
        with torch.inference_mode():
            return float(self.network(seen[None], torch.from_numpy(listener.array())[None]).score)


def judge_of(model: str | Path, threads: int | None = None) -> ScorerJudge | NetworkJudge:
    """Return the predictor for a model.

    Args:
        model: the name of a shipped model, the folder of a bundle, or a checkpoint of nano, student or teacher.
        threads: threads of ONNX Runtime; not used for checkpoints.

    Raises:
        BundleNotFoundError: the bundle does not exist.
        BundleError: the bundle is invalid.
        CheckpointError: the checkpoint cannot be loaded.
    """
    if not is_file(Path(model)) and Path(model).suffix not in CHECKPOINTS:
        return ScorerJudge(Scorer(model, threads=threads))
    from ..model.family import network_of

    return NetworkJudge(network_of(model), Path(model).name)
