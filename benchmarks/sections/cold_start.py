"""Cold start section: the time of a fresh process from exec to its first score, by step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from matplotlib.figure import Figure as Picture

from ...runtime.features.patches import SAMPLE_RATE
from ..context import LISTENER, Workbench
from ..fresh_process import fresh
from ..report.plots import axes
from ..report.schema import Section
from ..report.section_builder import Sheet

TITLE: Final = "Cold start"
PARTS: Final = ("interpreter", "numpy", "onnxruntime", "the rest of haaqi_edge.runtime", "sessions", "first score")
TINTS: Final = ("#8b949e", "#56B4E9", "#0072B2", "#009E73", "#E69F00", "#D55E00")
SECONDS: Final = 10.0
"""seconds of the file that is scored"""
RUNS: Final = 21
_CODE: Final = f"""
import sys, time
at = [float(sys.argv[1]), time.time()]
import numpy; at.append(time.time())
import onnxruntime; at.append(time.time())
from haaqi_edge.runtime import Scorer; at.append(time.time())
scorer = Scorer(sys.argv[2], threads=1); at.append(time.time())
scorer.score(sys.argv[3], "{LISTENER}"); at.append(time.time())
import json
print(json.dumps([after - before for before, after in zip(at, at[1:])]))
"""


def measure(bench: Workbench) -> Section:
    """Start processes in turn: each model from Python, and the command line with nano."""
    sheet, runs = Sheet("cold_start", TITLE), 4 if bench.options.quick else RUNS
    models = {"nano": "nano", "nano-int8": "nano-int8", "folded": str(bench.folded.folder)}
    taken: dict[str, list[list[float]]] = {name: [] for name in models}
    command: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        soundfile.write(clip, bench.clip(SECONDS), SAMPLE_RATE, subtype="PCM_16")
        for run in range(runs + 1):  # the first run fills the file cache and is not counted
            bench.told("cold start", run, runs + 1)
            for name, model in models.items():
                taken[name].append(fresh(_CODE, model, str(clip)))
            started = time.perf_counter()
            argv = [sys.executable, "-m", "haaqi_edge.cli.main", "score", str(clip), "-a", LISTENER, "--threads", "1"]
            subprocess.run(argv, capture_output=True, check=True)
            command.append(time.perf_counter() - started)
    rows = []
    for name, found in taken.items():
        table = np.array(found[1:])
        whole = sheet.timing(f"{name}/together", f"{name}: from exec to the first score", table.sum(axis=1).tolist())
        parts = [
            sheet.timing(f"{name}/{part}", f"{name}: {part}", column.tolist())
            for part, column in zip(PARTS, table.T, strict=True)
        ]
        rows.append([name, *(f"{part.value:.0f}" for part in parts), f"{whole.value:.0f} (p95 {whole.p95:.0f})"])
    line = sheet.timing("command line", "nano: haaqi-edge score, from exec to its end", command[1:])
    rows.append(["nano, haaqi-edge score", *[""] * len(PARTS), f"{line.value:.0f} (p95 {line.p95:.0f})"])
    sheet.table(
        f"ms from exec to the first score of a file of {SECONDS:g} s",
        ["", *PARTS, "together"],
        rows,
        "Medians; one thread; the files are in the system's cache. The command line's time includes its tables "
        "and its end.",
    )
    sheet.target("nano: first score from a cold process", "nano/together", "at most", 600.0)
    return sheet.section()


def draw(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the steps as stacked bars."""
    models = list(dict.fromkeys(f.key.split("/")[1] for f in section.figures if f.key.count("/") == 2))
    picture, one = axes(size=(9.0, 1.4 + 0.5 * len(models)))
    for place, model in enumerate(models):
        left = 0.0
        for part, tint in zip(PARTS, TINTS, strict=True):
            figure = section.figure(f"start/{model}/{part}")
            width = figure.value if figure and figure.value else 0.0
            one.barh(place, width, left=left, color=tint, height=0.62, label=part if place == 0 else None)
            left += width
    one.set_yticks(range(len(models)), models)
    one.invert_yaxis()
    one.grid(axis="y", visible=False)
    one.set_xlabel("ms")
    one.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3)
    return {"cold_start": (picture, f"From exec to the first score of {SECONDS:g} s of audio, in Python, one thread.")}
