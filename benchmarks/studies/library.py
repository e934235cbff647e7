"""Compare the ways to score a folder, in files per second: `haaqi-edge bench study library FOLDER`.

Files are scored one after another, prefetched and encoded in batches, and in parallel processes. The runs are
interleaved. The study also reports how much the scores differ. The first round, which loads models and starts
processes, is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...calibration.measurement import describe_machine
from ...evaluation.timing import compute_speedup, summarize_times, time_interleaved
from ...runtime import Audiogram
from ...runtime.audio.folders import audio_in
from ...runtime.batch.parallel import parallel_map
from ...runtime.batch.prefetch import BATCH
from ...runtime.batch.requests import FileResult, ScoreRequest, score_files, score_part
from ...runtime.session import available_cores

_LISTENER: Final = "N3"
_FILES_PER_TASK: Final = 8
"""number of files that a process takes at a time"""


def select_files(folder: Path, count: int) -> list[Path]:
    """Return at most `count` audio files, spread evenly over the sorted files of a folder.

    Raises:
        AudioError: the folder contains no audio files.
    """
    files = audio_in(folder)
    return [files[int(number)] for number in np.linspace(0, len(files) - 1, min(count, len(files)))]


def measure(
    files: list[Path],
    model: str = "nano",
    batch_size: int = BATCH,
    jobs: int = 2,
    provider: str | None = None,
    runs: int = 5,
) -> dict[str, Any]:
    """Time all methods on the same files, with the same total number of threads.

    Args:
        files: the audio files.
        model: shipped name or folder of a bundle.
        batch_size: number of patches in a batch.
        jobs: number of processes.
        provider: of ONNX Runtime; None for the CPU.
        runs: number of timed runs.

    Returns:
        the machine, and for each method: speed, and largest difference of a score from scoring one after another.
    """
    plain = ScoreRequest(model, (Audiogram.named(_LISTENER),), provider=provider, threads=available_cores())
    batched = replace(plain, batch=batch_size)
    numbered = list(enumerate(files))
    parts = [numbered[i : i + _FILES_PER_TASK] for i in range(0, len(numbered), _FILES_PER_TASK)]

    def score_in_parallel(request: ScoreRequest) -> list[FileResult]:
        of_process = replace(request, threads=max(1, available_cores() // jobs))
        results = parallel_map(partial(score_part, of_process), parts, jobs)
        return [result for part in results for result in part.files]

    methods: dict[str, Callable[[], list[FileResult]]] = {
        "one after another": lambda: list(score_files(plain, numbered)),
        f"--batch-size {batch_size}": lambda: list(score_files(batched, numbered)),
        f"--jobs {jobs}": lambda: score_in_parallel(plain),
        f"--jobs {jobs} --batch-size {batch_size}": lambda: score_in_parallel(batched),
    }
    baseline = "one after another"
    results = {name: method() for name, method in methods.items()}
    scores = {name: _scores(one) for name, one in results.items()}
    seconds = time_interleaved(methods, runs)
    audio = sum(one.outcome[0].windows[-1].end for one in results[baseline] if isinstance(one.outcome, list))
    return {
        "machine": describe_machine(),
        "model": model,
        "files": len(files),
        "audio_seconds": audio,
        "methods": {
            name: {
                "files_per_second": len(files) / summarize_times(seconds[name]).median,
                "times_real_time": audio / summarize_times(seconds[name]).median,
                "speedup": compute_speedup(seconds[baseline], seconds[name])._asdict(),
                "largest_difference": float(np.nanmax(np.abs(scores[name] - scores[baseline]))),
            }
            for name in methods
        },
    }


def _scores(results: list[FileResult]) -> npt.NDArray[np.float64]:
    """Return the scores in the order of the files, [files]; NaN for files that cannot be scored."""
    in_order = sorted(results, key=lambda result: result.place)
    return np.array([one.outcome[0].score if isinstance(one.outcome, list) else np.nan for one in in_order])


def format_lines(results: dict[str, Any]) -> list[str]:
    """Format the results as text."""
    lines = [
        f"{results['files']} files, {results['audio_seconds']:.0f} s of audio, {results['model']}, {results['machine']}"
    ]
    for name, one in results["methods"].items():
        speedup = one["speedup"]
        interval = "" if np.isnan(speedup["low"]) else f" ({speedup['low']:.2f} to {speedup['high']:.2f})"
        lines.append(
            f"{name:<28} {one['files_per_second']:7.2f} files/s, {one['times_real_time']:6.0f} times real time, "
            f"{speedup['median']:.2f} times as fast{interval}, "
            f"largest difference {one['largest_difference']:.2g}"
        )
    return lines
