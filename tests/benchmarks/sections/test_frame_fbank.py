"""The frame-by-frame fbank agrees with Kaldi's features in the golden files."""

from __future__ import annotations

import numpy as np
from haaqi_edge.benchmarks.golden import Arrays
from haaqi_edge.benchmarks.sections.frame_fbank import fbank_per_frame


def test_the_features_are_those_of_kaldi(golden: dict[str, Arrays]) -> None:
    for arrays in golden.values():
        samples = arrays["waveform"].astype(np.float32) / 32768
        difference = np.abs(fbank_per_frame(samples) - arrays["fbank"])
        assert difference.mean() < 1e-5
        assert difference.max() < 1e-3
