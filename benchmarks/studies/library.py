"""Files per second: haaqi-edge bench study library FOLDER [--clips 60] [--batch 256] [--jobs 2] [--model nano]

The program scores files one after another, prefetched and encoded in batches, and in parallel processes. The runs are
interleaved. It also reports how much the scores differ. The first round, which loads models and starts processes, is
not counted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...calibration.speed import machine
from ...evaluation.timing import ratio, taken, timing
from ...runtime import Audiogram
from ...runtime.audio.reading import audio_in
from ...runtime.batch.parallel import spread
from ...runtime.batch.prefetch import BATCH
from ...runtime.batch.requests import Request, Scored, score_files, score_part
from ...runtime.errors import OptionError
from ...runtime.session import available_cores
from ..program import told_in_a_line

LISTENER: Final = "N3"
TOGETHER: Final = 8
"""number of files that a process takes at a time"""


def measure(
    files: list[Path],
    model: str = "nano",
    batch: int = BATCH,
    jobs: int = 2,
    provider: str | None = None,
    runs: int = 5,
) -> dict[str, Any]:
    """Time all methods on the same files, with the same total number of threads."""
    plain = Request(model, (Audiogram.named(LISTENER),), provider=provider, threads=available_cores())
    places = list(enumerate(files))
    parts = [places[i : i + TOGETHER] for i in range(0, len(places), TOGETHER)]

    def spread_out(request: Request) -> list[Scored]:
        one = replace(request, threads=max(1, available_cores() // jobs))
        return [scored for part in spread(partial(score_part, one), parts, jobs) for scored in part.files]

    together = replace(plain, batch=batch)
    contenders: dict[str, Callable[[], list[Scored]]] = {
        "plain": lambda: list(score_files(plain, places)),
        f"--batch {batch}": lambda: list(score_files(together, places)),
        f"--jobs {jobs}": lambda: spread_out(plain),
        f"--jobs {jobs} --batch {batch}": lambda: spread_out(together),
    }
    scores = {name: _scores(run()) for name, run in contenders.items()}
    seconds = taken(contenders, runs)
    audio = sum(
        scored.outcome[0].windows[-1].end for scored in contenders["plain"]() if isinstance(scored.outcome, list)
    )
    return {
        "machine": machine(),
        "model": model,
        "files": len(files),
        "audio_seconds": audio,
        "ways": {
            name: {
                "files_per_second": len(files) / timing(seconds[name]).median,
                "times_real_time": audio / timing(seconds[name]).median,
                "times_plain": ratio(seconds["plain"], seconds[name])._asdict(),
                "largest_difference": float(np.nanmax(np.abs(scores[name] - scores["plain"]))),
            }
            for name in contenders
        },
    }


def _scores(found: list[Scored]) -> np.ndarray:
    """Return the scores in the order of the files; NaN for files that cannot be scored."""
    inorder = sorted(found, key=lambda scored: scored.place)
    return np.array([one.outcome[0].score if isinstance(one.outcome, list) else np.nan for one in inorder])


def main() -> None:
    """Print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=60, help="files to score, spread over the folder")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--provider")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    with told_in_a_line():
        _print(parser.parse_args())


def _print(given: argparse.Namespace) -> None:
    for name in ("clips", "batch", "jobs", "runs"):
        if getattr(given, name) < 1:
            raise OptionError(f"--{name} {getattr(given, name)}: give 1 or more")
    every = audio_in(given.folder)
    files = [every[int(i)] for i in np.linspace(0, len(every) - 1, min(given.clips, len(every)))]
    found = measure(files, given.model, given.batch, given.jobs, given.provider, given.runs)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['files']} files, {found['audio_seconds']:.0f} s of audio, {found['model']}, {found['machine']}")
    for name, way in found["ways"].items():
        times = way["times_plain"]
        print(
            f"{name:<24} {way['files_per_second']:7.2f} files/s, {way['times_real_time']:6.0f} times real time, "
            f"{times['median']:.2f} times plain ({times['low']:.2f} to {times['high']:.2f}), "
            f"largest difference {way['largest_difference']:.2g}"
        )


if __name__ == "__main__":
    main()
