"""Verification: comparison of exported graphs and of exported C with the original network in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..model.head import Scores
from ..runtime.audiogram import Audiogram
from ..runtime.errors import ExportError
from ..runtime.features import patches as fe
from ..runtime.features.front_ends import FEATURE_EXTRACTORS
from ..runtime.session import Session

if TYPE_CHECKING:
    from .c.check import CNano

TOLERANCE: Final = 1e-5
"""Maximum difference of a score for an fp32 export."""
PATCH_COUNTS: Final = (1, 2, 7, 62, 63, 188)
LISTENERS: Final = ("NH", "N3", "N7", "S2")
_CHUNK: Final = 997
"""Number of samples per call of the C code."""

Array = npt.NDArray[np.float32]


class Network(Protocol):
    """A network in PyTorch.

    It maps fbank [batch, frames, 128] or texture [batch, patches, 16, 32], depending on `reads`, and audiogram
    [batch, 8] to scores.
    """

    @property
    def reads(self) -> str: ...

    def __call__(self, features: Tensor, audiogram: Tensor, /) -> Scores: ...


class Difference(NamedTuple):
    """The largest absolute difference of a frame's or a clip's score in one case."""

    case: str
    difference: float


class Parity(NamedTuple):
    """The result of a verification: the worst case, and the number of cases."""

    worst: Difference
    cases: int


def probe_signal(samples: int, seed: int = 0) -> Array:
    """Generate a music-like test signal: float32 [samples] at 16 kHz.

    It consists of plucked harmonic tones over noise, with a slowly varying level, and with half a second of silence in
    the first second.
    """
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
    """Compare encoder and head with the network, on `PATCH_COUNTS` patches and for all of `LISTENERS` at once.

    Raises:
        ExportError: a score differs by more than `tolerance`. The message names the worst case.
    """
    encode, score = Session(encoder), Session(head)
    (reads,) = encode.inputs
    extract = FEATURE_EXTRACTORS["samples" if reads == "samples" else network.reads]

    def run(samples: Array, audiograms: Array) -> Sequence[Array]:
        tokens = encode.run(**{reads: extract(samples)})[0]
        return score.run(tokens=tokens.reshape(1, -1, tokens.shape[2]), audiogram=audiograms)

    lengths = [(count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH for count in PATCH_COUNTS]
    return check_parity(_compare(network, run, lengths), tolerance=tolerance)


def verify_fused(network: Network, fused: bytes, window: int) -> Parity:
    """Compare the fused graph with the network on raw samples, including incomplete patches. See `verify_bundle`.

    Args:
        network: the network.
        fused: the graph.
        window: number of patches up to which the graph gives scores.
    """
    session = Session(fused)

    def run(samples: Array, audiograms: Array) -> Sequence[Array]:
        return session.run(waveform=samples[None], audiogram=audiograms)

    lengths = [
        (count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH + extra
        for count in PATCH_COUNTS
        if count <= window
        for extra in (0, 1, 2559)
    ]
    return check_parity(_compare(network, run, lengths))


def verify_c(network: Network, stream: CNano, window: int, tolerance: float) -> Parity:
    """Compare compiled C with the network, on those of `PATCH_COUNTS` that fit its `window`. See `verify_bundle`."""

    def run(samples: Array, audiograms: Array) -> Sequence[Array]:
        stream.init()
        for start in range(0, len(samples), _CHUNK):
            stream.push(samples[start : start + _CHUNK])
        results, intervals = [], []
        for audiogram in audiograms:
            results.append(stream.score(audiogram))
            if stream.predicts_interval:
                intervals.append(stream.interval()[1:])
        scores = np.array([score for _, score, _ in results], np.float32)
        outputs = [np.stack([frames for _, _, frames in results]), scores]
        return [*outputs, np.array(intervals, np.float32)] if intervals else outputs

    counts = [count for count in PATCH_COUNTS if count <= window]
    lengths = [(count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH for count in counts]
    return check_parity(_compare(network, run, lengths), "the C and PyTorch", tolerance)


class _Run(Protocol):
    def __call__(self, samples: Array, audiograms: Array) -> Sequence[Array]: ...


def _compare(network: Network, run: _Run, lengths: list[int]) -> Iterator[Difference]:
    audiograms = np.stack([Audiogram.named(name).array() for name in LISTENERS])
    signal = probe_signal(max(lengths))
    references: dict[int, Scores] = {}  # by number of patches: samples of an incomplete patch change nothing
    for length in lengths:
        samples = signal[:length]
        if fe.patch_count(length) not in references:
            features = torch.from_numpy(FEATURE_EXTRACTORS[network.reads](samples))
            if network.reads == "fbank":
                features = features.flatten(0, 1)
            with torch.inference_mode():
                features = features.expand(len(audiograms), *features.shape)
                scores = network(features, torch.from_numpy(audiograms))
            references[fe.patch_count(length)] = scores
        expected = references[fe.patch_count(length)]
        actual = run(samples, audiograms)
        tensors = [value for value in expected if value is not None]
        for index, name in enumerate(LISTENERS):
            differences = [
                np.abs(a[index] - b[index].numpy()).max() if a.shape == tuple(b.shape) else np.inf
                for a, b in zip(actual, tensors, strict=True)
            ]
            yield Difference(f"{length} samples ({fe.patch_count(length)} patches), {name}", float(max(differences)))


def check_parity(
    differences: Iterator[Difference], what: str = "ONNX Runtime and PyTorch", tolerance: float = TOLERANCE
) -> Parity:
    """Check that no difference exceeds the tolerance, and return the worst of all cases.

    Args:
        differences: those of all cases.
        what: the two implementations that are compared, for the message.
        tolerance: maximum difference.

    Raises:
        ExportError: a difference exceeds the tolerance.
    """
    cases = list(differences)
    worst = max(cases, key=lambda d: np.inf if np.isnan(d.difference) else d.difference)
    if not worst.difference <= tolerance:  # NaN fails too
        raise ExportError(
            f"the export is wrong: scores of {what} differ by {worst.difference:.3g} (more than "
            f"{tolerance:g}) at {worst.case}; nothing was written"
        )
    return Parity(worst, len(cases))
