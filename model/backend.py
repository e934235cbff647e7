"""Checkpoints as a backend of `Scorer`: a nano, small, student or teacher in PyTorch.

    from haaqi_edge import Scorer
    from haaqi_edge.model.backend import load_backend

    Scorer(load_backend("haaqi_net_distillBEATs.pth")).score("song.flac", "N3").score

Windows, silence, many files and streaming are those of `Scorer`. The teacher attends over time, so that its tokens
depend on the whole window (`encodes_windows`): it does not stream.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..runtime.audio.levels import LEVEL1
from ..runtime.backend import HeadOutput
from ..runtime.bundle import Card, EncoderInput, FrontEnd
from ..runtime.errors import CheckpointError, OptionError
from ..runtime.features import patches as fe
from ..runtime.head import max_listeners_per_run
from ..runtime.session import MAX_THREADS
from ..runtime.windows import DEFAULT_WINDOW
from .family import Network, load_network
from .nano import COVERAGE, Nano
from .small import BLOCK, Small
from .student import Student
from .teacher import Teacher

Array = npt.NDArray[np.float32]

_FBANK_TOKENS: Final = fe.MEL_BINS // fe.PATCH_FRAMES
"""Tokens per patch of the networks that read the fbank: one for every 16 mel bands."""


class TorchBackend:
    """A network in PyTorch as a backend of `Scorer`; see `runtime.backend.Backend`.

    Args:
        network: nano, small, student or teacher. It is switched to evaluation mode and moved to the device.
        name: name of the model in results and messages.
        device: device of PyTorch, such as `cpu` or `cuda`.

    Attributes:
        network: the network.
        card: description of the model. It has no files.
        provider: library and device.
        encodes_windows: True for the teacher.
    """

    def __init__(self, network: Network, name: str, *, device: str = "cpu") -> None:
        self.network = network.eval().to(device)
        self.card = _describe(network, name)
        self.provider = f"PyTorch {torch.__version__} ({device})"
        self.encodes_windows = isinstance(network, Teacher)
        self._device = device

    @property
    def threads(self) -> int:
        """Number of CPU threads of PyTorch in this process."""
        return torch.get_num_threads()

    def encode(self, features: Array) -> Array:
        """Compute tokens; see `runtime.backend.Backend.encode`.

        Args:
            features: float32 [patches, 16, 32] (texture) for nano, [patches, 16, 136] (texture and log-mel spectrum) of
                whole blocks for small, [patches, 16, 128] (fbank) for the student, and [patches, 2800] (samples) of
                consecutive patches for the teacher.
        """
        with torch.inference_mode():
            tokens: Array = self._encode(torch.from_numpy(features).to(self._device)).cpu().numpy()
        return tokens.reshape(len(features), self.card.tokens_per_patch, self.card.width)

    def run_head(self, tokens: Array, audiograms: Array) -> HeadOutput:
        """Score a window for one or more listeners; see `runtime.backend.Backend.run_head`."""
        flat = torch.from_numpy(np.ascontiguousarray(tokens)).reshape(1, -1, self.card.width).to(self._device)
        levels = torch.from_numpy(audiograms).to(self._device)
        with torch.inference_mode():
            parts = [
                self.network.head(flat, part) for part in torch.split(levels, max_listeners_per_run(flat.shape[1]))
            ]
            frame_scores: Array = torch.cat([part.frame_scores for part in parts]).cpu().numpy()
            scores: Array = torch.cat([part.score for part in parts]).cpu().numpy()
            ends = [part.interval for part in parts if part.interval is not None]
            intervals: Array | None = torch.cat(ends).cpu().numpy() if ends else None
        frame_scores = frame_scores.reshape(len(audiograms), len(tokens), -1).mean(axis=2)
        return HeadOutput(frame_scores, scores, intervals)

    def _encode(self, features: Tensor) -> Tensor:
        if isinstance(self.network, Teacher):
            return self.network.encode(self.network.fbank(_join_patches(features)[None]))
        return self.network.encode(features)


class CheckpointBackend(TorchBackend):
    """A checkpoint as a backend of `Scorer`. It can be pickled: unpickling loads the checkpoint once per process.

    Args:
        path: path of the checkpoint, or `nano` for the shipped weights.
        device: device of PyTorch, such as `cpu` or `cuda`.
        threads: number of CPU threads of PyTorch, for the whole process. Default: leave it as it is.

    Raises:
        CheckpointNotFoundError: if there is no such file.
        CheckpointError: if the file is not exactly a checkpoint of one of the networks.
        OptionError: if the path is a folder, if the checkpoint belongs to no network of the family, if the device is
            not available, or if `threads` is out of range.
    """

    def __init__(self, path: str | Path, *, device: str = "cpu", threads: int | None = None) -> None:
        _check_device(device)
        if threads is not None:
            if not 1 <= threads <= MAX_THREADS:
                raise OptionError(f"threads={threads}: give a number from 1 to {MAX_THREADS}, or none")
            torch.set_num_threads(threads)
        super().__init__(load_network(path), Path(path).name, device=device)
        self._arguments = (str(path) if str(path) == "nano" else str(Path(path).absolute()), device, threads)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the options. The checkpoint must exist where the backend is unpickled."""
        return _reopen, (*self._arguments, self.card.source_sha256)


def load_backend(path: str | Path, *, device: str = "cpu", threads: int | None = None) -> CheckpointBackend:
    """Load a checkpoint as a backend of `Scorer`; see `CheckpointBackend`."""
    return CheckpointBackend(path, device=device, threads=threads)


@cache
def _reopen(path: str, device: str, threads: int | None, source_sha256: str) -> CheckpointBackend:
    backend = load_backend(path, device=device, threads=threads)
    if backend.card.source_sha256 != source_sha256:
        raise CheckpointError(
            f"{path} is not the checkpoint that it was when this backend was pickled: call load_backend again"
        )
    return backend


def _describe(network: Network, name: str) -> Card:
    """Return the card of a network."""
    front_end = FrontEnd()
    family: str
    encoder_input: EncoderInput
    if isinstance(network, Nano):
        family, encoder_input, tokens = "nano", "texture", 1
        front_end = FrontEnd(texture_version=network.config.texture_version)
    elif isinstance(network, Small):
        family, encoder_input, tokens = "small", "texture_mel", 1
        front_end = FrontEnd(texture_version=network.config.nano.texture_version, block=BLOCK)
    elif isinstance(network, Student):
        family, encoder_input, tokens = "student", "fbank", _FBANK_TOKENS
    else:
        family, encoder_input, tokens = "teacher", "samples", _FBANK_TOKENS
    return Card(
        name=name,
        version="",
        family=family,
        precision="fp32",
        streamable=not isinstance(network, Teacher),
        window=DEFAULT_WINDOW,
        level1=LEVEL1,
        encoder_input=encoder_input,
        tokens_per_patch=tokens,
        width=network.config.width,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        source_sha256=network.checkpoint_sha256 or _weights_sha256(network),
        files={},
        front_end=front_end,
        interval=network_interval(network),
    )


def network_interval(network: Network) -> float | None:
    """Return the probability of a network's prediction intervals (`Card.interval`); None if it predicts none."""
    return COVERAGE if isinstance(network, Nano | Small) and network.config.interval else None


def _weights_sha256(network: Network) -> str:
    """Return the SHA-256 of the weights of a network that was not loaded from a file."""
    digest = hashlib.sha256()
    for key, tensor in network.state_dict().items():
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return digest.hexdigest()


def _join_patches(patches: Tensor) -> Tensor:
    """Return the waveform [samples] of consecutive, overlapping patches [patches, 2800]."""
    return torch.cat([patches[:, : fe.PATCH_SHIFT].flatten(), patches[-1, fe.PATCH_SHIFT :]])


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"PyTorch cannot use the device {device!r} ({error}): give cpu, or cuda on a machine with a GPU"
        ) from error
