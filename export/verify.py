"""Verification: what was exported, on ONNX Runtime, against the network that it came from, in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..model.scores import Scores
from ..runtime import frontend as fe
from ..runtime.audiogram import Audiogram
from ..runtime.encoder import READINGS
from ..runtime.errors import ExportError
from ..runtime.sessions import Session

if TYPE_CHECKING:
    from .c_check import CNano

TOLERANCE: Final = 1e-5
"""largest difference of a score that an fp32 export may show"""
PATCHES: Final = (1, 2, 7, 62, 63, 188)
LISTENERS: Final = ("NH", "N3", "N7", "S2")
_CHUNK: Final = 997
"""samples that C is given at once"""

Array = npt.NDArray[np.float32]


class Network(Protocol):
    """The network in PyTorch: what it reads, fbank [batch, frames, 128] or texture [batch, patches, 16, 32], and
    audiogram [batch, 8] to scores."""

    @property
    def reads(self) -> str: ...

    def __call__(self, features: Tensor, audiogram: Tensor, /) -> Scores: ...


class Difference(NamedTuple):
    """The largest absolute difference of a frame's or a clip's score in a case."""

    case: str
    difference: float


class Parity(NamedTuple):
    """What a verification found: the worst case, over how many."""

    worst: Difference
    cases: int


def probe_signal(samples: int, seed: int = 0) -> Array:
    """Plucked harmonic tones over noise, swelling, with half a second of silence in the first: float32 [samples] at
    16 kHz, to verify with where no music is."""
    rng = np.random.default_rng(seed)
    sound = 0.003 * rng.standard_normal(samples)
    ring = np.arange(fe.SAMPLE_RATE) / fe.SAMPLE_RATE
    for onset in range(0, samples, fe.SAMPLE_RATE // 5):
        pitch = 110.0 * 2 ** (rng.integers(0, 36) / 12)
        tone = sum(np.sin(2 * np.pi * pitch * harmonic * ring) / harmonic for harmonic in range(1, 8))
        sound[onset : onset + len(ring)] += (0.1 * np.exp(-6.0 * ring) * tone)[: samples - onset]
    sound[fe.SAMPLE_RATE // 4 : 3 * fe.SAMPLE_RATE // 4] = 0.0  # whole patches of zeros
    swell = 10 ** (np.sin(2 * np.pi * np.arange(samples) / (7.0 * fe.SAMPLE_RATE)) / 2)
    return np.asarray((sound * swell).clip(-1, 1), dtype=np.float32)


def verify_bundle(network: Network, encoder: bytes, head: bytes, tolerance: float = TOLERANCE) -> Parity:
    """Encoder and head against the network on `PATCHES` patches, for all of `LISTENERS` at once.

    Raises:
        ExportError: a score that differs by more than `tolerance`, with the worst case.
    """
    encode, score = Session(encoder), Session(head)
    (reads,) = encode.inputs
    reading = READINGS["samples" if reads == "samples" else network.reads]

    def run(samples: Array, audiograms: Array) -> tuple[Array, Array]:
        tokens = encode.run(**{reads: reading(samples)})[0]
        frame_scores, scores = score.run(tokens=tokens.reshape(1, -1, tokens.shape[2]), audiogram=audiograms)
        return frame_scores, scores

    lengths = [(count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH for count in PATCHES]
    return checked(_compare(network, run, lengths), tolerance=tolerance)


def verify_fused(network: Network, fused: bytes) -> Parity:
    """The fused graph against the network on raw samples, trailing ones that fill no patch included; as above."""
    session = Session(fused)

    def run(samples: Array, audiograms: Array) -> tuple[Array, Array]:
        frame_scores, scores = session.run(waveform=samples[None], audiogram=audiograms)
        return frame_scores, scores

    lengths = [(count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH + extra for count in PATCHES for extra in (0, 1, 2559)]
    return checked(_compare(network, run, lengths))


def verify_c(network: Network, ear: CNano, window: int, tolerance: float) -> Parity:
    """Compiled C against the network, on those of `PATCHES` that its window of so many patches takes; as above."""

    def run(samples: Array, audiograms: Array) -> tuple[Array, Array]:
        ear.init()
        for start in range(0, len(samples), _CHUNK):
            ear.push(samples[start : start + _CHUNK])
        heard = [ear.score(audiogram) for audiogram in audiograms]
        return np.stack([frames for _, _, frames in heard]), np.array([score for _, score, _ in heard], np.float32)

    counts = [count for count in PATCHES if count <= window]
    lengths = [(count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH for count in counts]
    return checked(_compare(network, run, lengths), "the C and PyTorch", tolerance)


class _Run(Protocol):
    def __call__(self, samples: Array, audiograms: Array) -> tuple[Array, Array]: ...


def _compare(network: Network, run: _Run, lengths: list[int]) -> Iterator[Difference]:
    audiograms = np.stack([Audiogram.named(name).array() for name in LISTENERS])
    signal = probe_signal(max(lengths))
    known: dict[int, Scores] = {}  # by patches: samples that fill no patch change nothing
    for length in lengths:
        samples = signal[:length]
        if fe.patch_count(length) not in known:
            features = torch.from_numpy(READINGS[network.reads](samples))
            if network.reads == "fbank":
                features = features.flatten(0, 1)
            with torch.inference_mode():
                features = features.expand(len(audiograms), *features.shape)
                scores = network(features, torch.from_numpy(audiograms))
            known[fe.patch_count(length)] = scores
        expected = known[fe.patch_count(length)]
        got = run(samples, audiograms)
        for name, index in ((name, i) for i, name in enumerate(LISTENERS)):
            differences = [
                np.abs(a[index] - b[index].numpy()).max() if a.shape == tuple(b.shape) else np.inf
                for a, b in zip(got, expected, strict=True)
            ]
            yield Difference(f"{length} samples ({fe.patch_count(length)} patches), {name}", float(max(differences)))


def checked(
    differences: Iterator[Difference], what: str = "ONNX Runtime and PyTorch", tolerance: float = TOLERANCE
) -> Parity:
    """The worst of all cases. Raises ExportError for one that exceeds the tolerance; `what` are the two compared."""
    found = list(differences)
    worst = max(found, key=lambda d: np.inf if np.isnan(d.difference) else d.difference)
    if not worst.difference <= tolerance:  # NaN fails too
        raise ExportError(
            f"the export is wrong: scores of {what} differ by {worst.difference:.3g} (more than "
            f"{tolerance:g}) at {worst.case}; nothing was written"
        )
    return Parity(worst, len(found))
