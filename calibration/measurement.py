"""Measure candidates: run their graphs in memory, score excerpts with them, and compare their speed."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from ..evaluation.timing import Speedup, Timing, compute_speedup, summarize_times, time_interleaved
from ..runtime.audio.levels import LEVEL1, amplitude
from ..runtime.audiogram import Audiogram
from ..runtime.bundle import ROLES
from ..runtime.features.front_ends import FEATURE_EXTRACTORS
from ..runtime.session import Session
from ..training.corpus.synthetic import RATE, synthesize_piece
from ..training.data.features import resample_to_front_end
from ..training.degradations.signals import rms
from .calibration_data import ModelInputs

SECONDS: Final = 10.0
"""duration of the audio that is scored to measure speed"""
RUNS: Final = 21
BASELINE: Final = "fp32"
"""name of the candidate that the others are compared with"""
Array = npt.NDArray[np.float32]


class GraphRunner:
    """An encoder and a head on ONNX Runtime, from graphs in memory.

    Args:
        graphs: both graphs, by role.
        threads: None uses all cores.
    """

    def __init__(self, graphs: Mapping[str, bytes], threads: int | None = None) -> None:
        self.encoder, self.head = (Session(graphs[role], None, threads) for role in ROLES)
        (self.reads,) = self.encoder.inputs

    def tokens(self, features: Array) -> Array:
        """Return the tokens of patches, [1, tokens, width]."""
        tokens = self.encoder.run(**{self.reads: features})[0]
        return tokens.reshape(1, -1, tokens.shape[2])


class TokenCache:
    """Tokens of the excerpts by encoder, for graphs that share an encoder. It keeps the last encoder and the first.

    The first encoder is the one in fp32, with which each layer of the head is measured alone.
    """

    def __init__(self) -> None:
        self._tokens: dict[bytes, list[Array]] = {}

    def get(self, encoder: bytes) -> list[Array]:
        """Return the list of tokens, one array per excerpt, which is empty for a new encoder. The caller appends."""
        key = hashlib.sha256(encoder).digest()
        if key not in self._tokens and len(self._tokens) == 2:
            self._tokens.popitem()
        return self._tokens.setdefault(key, [])


def score_graphs(
    graphs: Mapping[str, bytes],
    inputs: Sequence[ModelInputs],
    cache: TokenCache | None = None,
    progress: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Score all excerpts for all their listeners.

    Args:
        graphs: encoder and head, by role.
        inputs: the prepared excerpts.
        cache: of the same excerpts.
        progress: called after each excerpt with the number of excerpts scored so far.

    Returns:
        float64 [scores], excerpt by excerpt.
    """
    runner = GraphRunner(graphs)
    tokens = [] if cache is None else cache.get(graphs["encoder"])
    scores = []
    for index, one in enumerate(inputs):
        if index == len(tokens):
            tokens.append(runner.tokens(one.features))
        scores.append(runner.head.run(tokens=tokens[index], audiogram=one.audiograms)[1])
        if progress is not None:
            progress(index + 1)
    return np.concatenate(scores).astype(np.float64)


@dataclass(frozen=True)
class Speed:
    """Time of a candidate for 10 s of audio on one thread.

    Attributes:
        network: encoder and head alone.
        whole: from samples in memory to the score.
        ratio, whole_ratio: how many times faster than fp32, for each.
    """

    network: Timing
    whole: Timing
    ratio: Speedup
    whole_ratio: Speedup

    @property
    def faster(self) -> bool:
        """Whether the network is faster than fp32: the whole 95% interval lies above 1."""
        return self.ratio.low > 1

    @property
    def slower(self) -> bool:
        """Whether the network is slower than fp32: the whole 95% interval lies below 1."""
        return self.ratio.high < 1

    def to_dict(self) -> dict[str, Any]:
        """Return milliseconds and ratios as plain values, for a card."""
        return {
            "network_ms": 1e3 * self.network.median,
            "whole_ms": 1e3 * self.whole.median,
            "network_times_faster": self.ratio._asdict(),
            "whole_times_faster": self.whole_ratio._asdict(),
        }


def measure_speeds(candidates: Mapping[str, Mapping[str, bytes]], runs: int = RUNS) -> dict[str, Speed]:
    """Measure the speed of candidates, with interleaved runs in one process.

    Args:
        candidates: graphs by role, by the names of the candidates; one of them must be `fp32`.
        runs: number of timed runs per candidate.
    """
    music = synthesize_piece(0, SECONDS)
    samples = resample_to_front_end(music * (amplitude(65.0 - LEVEL1) / rms(music)), RATE, SECONDS)
    audiogram = Audiogram.named("N3").array()[None]
    runners = {name: GraphRunner(graphs, threads=1) for name, graphs in candidates.items()}
    features = FEATURE_EXTRACTORS[runners[BASELINE].reads](samples)

    def network(one: GraphRunner) -> object:
        return one.head.run(tokens=one.tokens(features), audiogram=audiogram)

    def whole(one: GraphRunner) -> object:
        return one.head.run(tokens=one.tokens(FEATURE_EXTRACTORS[one.reads](samples)), audiogram=audiogram)

    network_times = time_interleaved({name: partial(network, one) for name, one in runners.items()}, runs)
    whole_times = time_interleaved({name: partial(whole, one) for name, one in runners.items()}, runs)
    return {
        name: Speed(
            summarize_times(network_times[name]),
            summarize_times(whole_times[name]),
            compute_speedup(network_times[BASELINE], network_times[name]),
            compute_speedup(whole_times[BASELINE], whole_times[name]),
        )
        for name in candidates
    }


def describe_machine() -> dict[str, Any]:
    """Describe the machine that produces the results: processor, cores, versions, load average."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "numpy": np.__version__,
    }
