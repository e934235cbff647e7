"""Predictors of scores with one interface: bundles on ONNX Runtime, and checkpoints in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..runtime.audio.reading import AudioLike
from ..runtime.audiogram import Audiogram
from ..runtime.files import is_checkpoint, is_file, is_graph
from ..runtime.scorer import Scorer


class Predictor(Protocol):
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


class ScorerPredictor:
    """A predictor that runs a `Scorer`.

    Args:
        scorer: of a bundle, or of a network in PyTorch (see `model.backend`).

    Attributes:
        name: model, precision and library, for reports.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        library = "ONNX Runtime" if scorer.placement else "PyTorch"
        self.name = f"{scorer.card.name} ({scorer.card.precision}, {library})"

    def __call__(
        self, audio: AudioLike, listener: Audiogram, *, spl: float | None = None, nal_r: bool = False
    ) -> float:
        return self.scorer.score(audio, listener, spl=spl, nal_r=nal_r).score


def uses_pytorch(model: str | Path) -> bool:
    """Return whether `open_predictor` takes a model for a checkpoint, which needs PyTorch."""
    return is_checkpoint(model) or (is_file(Path(model)) and not is_graph(model))


def open_predictor(model: str | Path, threads: int | None = None) -> ScorerPredictor:
    """Return the predictor for a model.

    Args:
        model: the name of a shipped model, the folder of a bundle, a fused file, or a checkpoint of nano,
            student or teacher.
        threads: threads of ONNX Runtime; not used for checkpoints.

    Raises:
        BundleNotFoundError: the bundle does not exist.
        BundleError: the bundle is invalid.
        CheckpointError: the checkpoint cannot be loaded.
    """
    if uses_pytorch(model):
        from ..model.backend import load_backend

        return ScorerPredictor(Scorer(load_backend(model)))
    return ScorerPredictor(Scorer(model, threads=threads))
