"""Measure the speed of candidates on this machine, side by side."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime

from ..evaluation.timing import Ratio, Timing, ratio, taken, timing
from ..runtime.audio.levels import LEVEL1, amplitude
from ..runtime.audiogram import Audiogram
from ..runtime.encoder import READINGS
from ..training.corpus.synthetic import RATE, piece
from ..training.data.features import at_front_end
from ..training.degradations.signals import rms
from .candidate_scores import Networks

SECONDS: Final = 10.0
"""duration of the audio that is scored"""
RUNS: Final = 21
BEFORE: Final = "fp32"
"""name of the baseline"""


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
    ratio: Ratio
    whole_ratio: Ratio

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


def speeds(candidates: Mapping[str, Mapping[str, bytes]], runs: int = RUNS) -> dict[str, Speed]:
    """Measure the speed of candidates, with interleaved runs in one process.

    Args:
        candidates: graphs by role, by the names of the candidates; one of them must be `fp32`.
        runs: number of timed runs per candidate.
    """
    music = piece(0, SECONDS)
    samples = at_front_end(music * (amplitude(65.0 - LEVEL1) / rms(music)), RATE, SECONDS)
    audiogram = Audiogram.named("N3").array()[None]
    networks = {name: Networks(graphs, threads=1) for name, graphs in candidates.items()}
    features = READINGS[networks[BEFORE].reads](samples)

    def network(one: Networks) -> object:
        return one.head.run(tokens=one.tokens(features), audiogram=audiogram)

    def whole(one: Networks) -> object:
        return one.head.run(tokens=one.tokens(READINGS[one.reads](samples)), audiogram=audiogram)

    alone = taken({name: lambda one=one: network(one) for name, one in networks.items()}, runs)  # type: ignore[misc]
    all_in = taken({name: lambda one=one: whole(one) for name, one in networks.items()}, runs)  # type: ignore[misc]
    return {
        name: Speed(
            timing(alone[name]),
            timing(all_in[name]),
            ratio(alone[BEFORE], alone[name]),
            ratio(all_in[BEFORE], all_in[name]),
        )
        for name in candidates
    }


def machine() -> dict[str, Any]:
    """Describe the machine that produces the results: processor, cores, versions, load average."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "numpy": np.__version__,
    }
