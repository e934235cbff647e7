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
from ..context import LISTENER, BenchContext
from ..fresh_process import run_fresh_process, user_environment
from ..report.plots import create_axes
from ..report.schema import Section
from ..report.section_builder import SectionBuilder

TITLE: Final = "Cold start"
_STEPS: Final = ("interpreter", "numpy", "onnxruntime", "the rest of haaqi_edge.runtime", "sessions", "first score")
_COLOURS: Final = ("#8b949e", "#56B4E9", "#0072B2", "#009E73", "#E69F00", "#D55E00")
_SECONDS: Final = 10.0
"""duration of the file that is scored"""
_RUNS: Final = 21
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


def measure(context: BenchContext) -> Section:
    """Start processes in turn: each model from Python, and the command line with nano."""
    builder, runs = SectionBuilder("cold_start", TITLE), 4 if context.options.quick else _RUNS
    models = {"nano": "nano", "nano-int8": "nano-int8", "folded": str(context.folded_student.folder)}
    times: dict[str, list[list[float]]] = {name: [] for name in models}
    command_times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        soundfile.write(clip, context.load_music(_SECONDS), SAMPLE_RATE, subtype="PCM_16")
        for run in range(runs + 1):  # the first run fills the file cache and is not counted
            context.on_progress("cold start", run, runs + 1)
            for name, model in models.items():
                times[name].append(run_fresh_process(_CODE, model, str(clip)))
            started = time.perf_counter()
            argv = [sys.executable, "-m", "haaqi_edge.cli.main", "score", str(clip), "-a", LISTENER, "--threads", "1"]
            subprocess.run(argv, capture_output=True, check=True, env=user_environment())
            command_times.append(time.perf_counter() - started)
    rows = []
    for name, runs_of_model in times.items():
        seconds = np.array(runs_of_model[1:])  # [runs, steps]
        total = builder.add_timing(
            f"{name}/together", f"{name}: from exec to the first score", seconds.sum(axis=1).tolist()
        )
        steps = [
            builder.add_timing(f"{name}/{step}", f"{name}: {step}", column.tolist())
            for step, column in zip(_STEPS, seconds.T, strict=True)
        ]
        rows.append([name, *(f"{step.value:.0f}" for step in steps), f"{total.value:.0f} (p95 {total.p95:.0f})"])
    command = builder.add_timing("command line", "nano: haaqi-edge score, from exec to its end", command_times[1:])
    rows.append(["nano, haaqi-edge score", *[""] * len(_STEPS), f"{command.value:.0f} (p95 {command.p95:.0f})"])
    builder.add_table(
        f"ms from exec to the first score of a file of {_SECONDS:g} s",
        ["", *_STEPS, "total"],
        rows,
        "Medians; one thread; the files are in the system's cache. The command line's time includes printing and the "
        "end of the process.",
    )
    builder.add_target("nano: first score from a cold process", "nano/together", "at most", 600.0)
    return builder.build()


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the steps as stacked bars."""
    models = list(dict.fromkeys(f.key.split("/")[1] for f in section.figures if f.key.count("/") == 2))
    picture, ax = create_axes(size=(9.0, 1.4 + 0.5 * len(models)))
    for place, model in enumerate(models):
        left = 0.0
        for step, colour in zip(_STEPS, _COLOURS, strict=True):
            figure = section.figure(f"{section.name}/{model}/{step}")
            width = figure.value if figure and figure.value else 0.0
            ax.barh(place, width, left=left, color=colour, height=0.62, label=step if place == 0 else None)
            left += width
    ax.set_yticks(range(len(models)), models)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("ms")
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3)
    return {"cold_start": (picture, f"From exec to the first score of {_SECONDS:g} s of audio, in Python, one thread.")}
