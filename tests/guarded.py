"""Run exported files on strange inputs in a program that knows only ONNX Runtime, and check its answers: NaN or scores.

`HAAQI_EDGE_GUARD_RUNS=1000` gives all files so many runs. The suite has fewer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from haaqi_edge.runtime import Scorer
from haaqi_edge.runtime.errors import HaaqiEdgeError
from numpy.typing import NDArray
from strange_inputs import levels_of, sizes_of, values_of, waveform_of

PROGRAM = Path(__file__).with_name("strange_inputs.py")
ASKED = os.environ.get("HAAQI_EDGE_GUARD_RUNS")
LONGEST = 161_519
"""samples in the longest waveform with a score"""
INT8_TOLERANCE, TOLERANCE = 5e-3, 1e-5


def run_program(paths: list[Path], runs: int, folder: Path) -> tuple[int, list[list[NDArray[np.float32]]]]:
    """Return the number of runs, and the scores or tokens of each file in each run. An abort fails."""
    runs = int(ASKED) if ASKED else runs
    argv = [sys.executable, PROGRAM, runs, folder / "results.npz", *paths]
    process = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    with np.load(folder / "results.npz") as found:
        return runs, [[found[f"{place}-{run}"] for run in range(runs)] for place in range(len(paths))]


def valid_rows(levels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which audiograms have answers. No audiogram has one answer, NaN."""
    return ((levels >= -10) & (levels <= 120)).all(axis=1) if len(levels) else np.zeros(1, np.bool_)


def check_scores(scorer: Scorer, results: list[NDArray[np.float32]], tolerance: float) -> int:
    """Compare a fused file with `score`, and return the number of runs with an answer."""
    answers = 0
    for run, scores in enumerate(results):
        sound, levels = waveform_of(run)[0], levels_of(run)
        good = valid_rows(levels)
        try:
            expected = scorer.score((sound, 16_000), levels[good]) if good.any() and len(sound) <= LONGEST else []
        except HaaqiEdgeError:
            expected = []
        if not expected:
            assert np.isnan(scores).all(), run
            continue
        assert np.isfinite(scores).tolist() == good.tolist(), run
        np.testing.assert_allclose(scores[good], [one.score for one in expected], atol=tolerance, err_msg=str(run))
        answers += 1
    return answers


def check_heads(results: list[NDArray[np.float32]], width: int, *, clips: bool = False) -> None:
    """Check which answers of a head are NaN. With `clips`, every third run has one clip for each audiogram."""
    answers = 0
    for run, scores in enumerate(results):
        levels = levels_of(run)
        number = len(levels) if clips and run % 3 == 0 else 1
        tokens = values_of(run, (number, sizes_of(run), width))
        finite = (np.abs(tokens) < 1e30).all(axis=(1, 2)) if tokens.size else np.zeros(1, np.bool_)
        expected = np.broadcast_to(valid_rows(levels) & finite, scores.shape)
        assert np.isfinite(scores).tolist() == expected.tolist(), run
        answers += bool(expected.any())
    assert 0 < answers < len(results)
