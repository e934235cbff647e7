"""Verification: comparison of exported graphs and of exported C with the original network in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..model.head import Scores
from ..runtime.audiogram import Audiogram
from ..runtime.bundle import ROLES, Bundle
from ..runtime.errors import ExportError
from ..runtime.features import patches as fe
from ..runtime.features.front_ends import FEATURE_EXTRACTORS
from ..runtime.session import Session

if TYPE_CHECKING:
    from .c.check import CNano

TOLERANCE: Final = 1e-5
"""Maximum difference of a score for an fp32 export."""
INT8_TOLERANCE: Final = 5e-3
"""Maximum difference of a score between an int8 bundle and another form of it. The front end in a graph rounds in
another way than in numpy, and a value may then fall on another step of int8."""
PATCH_COUNTS: Final = (1, 2, 7, 62, 63, 188)
LISTENERS: Final = ("NH", "N3", "N7", "S2")
_CHUNK: Final = 997
"""Number of samples per call of the C code."""

Array = npt.NDArray[np.float32]
Counter = Callable[[int, int], None]
"""called with the number of lengths that were compared, and the number of all lengths"""


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


def verify_bundle(
    network: Network, encoder: bytes, head: bytes, tolerance: float = TOLERANCE, progress: Counter | None = None
) -> Parity:
    """Compare encoder and head with the network, on `PATCH_COUNTS` patches and for all of `LISTENERS` at once.

    Raises:
        ExportError: a score differs by more than `tolerance`. The message names the worst case.
    """
    actual = _run_graphs({"encoder": encoder, "head": head}, network.reads)
    return check_parity(_compare(_run_network(network), actual, _lengths(), progress), tolerance=tolerance)


def verify_fused(network: Network, fused: bytes, window: int, progress: Counter | None = None) -> Parity:
    """Compare the fused graph with the network on raw samples, including incomplete patches. See `verify_bundle`.

    Args:
        network: the network.
        fused: the graph.
        window: number of patches up to which the graph gives scores.
        progress: see `Counter`.
    """
    lengths = _lengths(window, (0, 1, 2559))
    return check_parity(_compare(_run_network(network), _run_fused(fused), lengths, progress))


def verify_fused_bundle(bundle: Bundle, fused: bytes, window: int) -> Parity:
    """Compare the fused graph with the bundle that it was made from. See `verify_fused`."""
    graphs = {role: bundle.path(role).read_bytes() for role in ROLES}
    expected = _run_graphs(graphs, bundle.card.front_end_name)
    tolerance = TOLERANCE if bundle.card.precision == "fp32" else INT8_TOLERANCE
    cases = _compare(expected, _run_fused(fused), _lengths(window, (0, 1, 2559)))
    return check_parity(cases, "the fused file and the bundle", tolerance)


def verify_graphs(before: Mapping[str, bytes], after: Mapping[str, bytes], reads: str, what: str) -> Parity:
    """Compare the graphs of a bundle with what they became. See `verify_bundle`.

    Args:
        before, after: encoder and head, by role.
        reads: name of the front end.
        what: the two kinds of files, for the message.
    """
    return check_parity(_compare(_run_graphs(before, reads), _run_graphs(after, reads), _lengths()), what)


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

    return check_parity(_compare(_run_network(network), run, _lengths(window)), "the C and PyTorch", tolerance)


class _Run(Protocol):
    def __call__(self, samples: Array, audiograms: Array) -> Sequence[Array]: ...


def _run_network(network: Network) -> _Run:
    def run(samples: Array, audiograms: Array) -> Sequence[Array]:
        features = torch.from_numpy(FEATURE_EXTRACTORS[network.reads](samples))
        if network.reads == "fbank":
            features = features.flatten(0, 1)
        with torch.inference_mode():
            scores = network(features.expand(len(audiograms), *features.shape), torch.from_numpy(audiograms))
        return [value.numpy() for value in scores if value is not None]

    return run


def _run_graphs(graphs: Mapping[str, bytes], reads: str) -> _Run:
    """Run encoder and head. `reads` names the front end of an encoder that does not include it."""
    encode, score = (Session(graphs[role]) for role in ROLES)
    (given,) = encode.inputs
    extract = FEATURE_EXTRACTORS["samples" if given == "samples" else reads]

    def run(samples: Array, audiograms: Array) -> Sequence[Array]:
        tokens = encode.run(**{given: extract(samples)})[0]
        return score.run(tokens=tokens.reshape(1, -1, tokens.shape[2]), audiogram=audiograms)

    return run


def _run_fused(fused: bytes) -> _Run:
    session = Session(fused)
    return lambda samples, audiograms: session.run(waveform=samples[None], audiogram=audiograms)


def _lengths(window: int | None = None, extra: Sequence[int] = (0,)) -> list[int]:
    """Return numbers of samples: of `PATCH_COUNTS` patches up to a window, with some samples of an incomplete patch."""
    counts = [count for count in PATCH_COUNTS if window is None or count <= window]
    return [(count - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH + more for count in counts for more in extra]


def _compare(reference: _Run, run: _Run, lengths: list[int], progress: Counter | None = None) -> Iterator[Difference]:
    audiograms = np.stack([Audiogram.named(name).array() for name in LISTENERS])
    signal = probe_signal(max(lengths))
    references: dict[int, Sequence[Array]] = {}  # by patches: samples of an incomplete patch change nothing
    for done, length in enumerate(lengths):
        if progress is not None:
            progress(done, len(lengths))
        samples, patches = signal[:length], fe.patch_count(length)
        if patches not in references:
            references[patches] = reference(samples, audiograms)
        actual = run(samples, audiograms)
        for index, name in enumerate(LISTENERS):
            differences = [
                np.abs(a[index] - b[index]).max() if a.shape == b.shape else np.inf
                for a, b in zip(actual, references[patches], strict=True)
            ]
            yield Difference(f"{length} samples ({patches} patches), {name}", float(max(differences)))


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
