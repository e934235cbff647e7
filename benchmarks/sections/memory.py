"""Memory section: peak memory of fresh processes, compared with one that only imports onnxruntime."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure as Picture

from ..context import LISTENER, BenchContext
from ..fresh_process import measure_peak_memory
from ..report.plots import draw_bars, model_colour
from ..report.schema import Section
from ..report.section_builder import SectionBuilder

TITLE: Final = "Memory"
_SECONDS: Final = 10.0
_RUNS: Final = 5
_LOAD: Final = "import numpy\nsamples = numpy.load(sys.argv[2])\n"
_SCORE: Final = (
    _LOAD
    + f"""
from haaqi_edge.runtime import Scorer
Scorer(sys.argv[3], threads=1).score((samples, 16_000), "{LISTENER}")
"""
)
_TEACHER: Final = (
    _LOAD
    + f"""
import torch
from haaqi_edge.model import Teacher
from haaqi_edge.runtime import Audiogram
with torch.inference_mode():
    Teacher().eval()(torch.from_numpy(samples)[None], torch.from_numpy(Audiogram.named("{LISTENER}").array())[None])
"""
)
_HAAQI: Final = (
    _LOAD
    + f"""
from haaqi_edge.haaqi.index import Listener, Reference
Reference(samples.astype(float), 16_000, Listener("{LISTENER}", level1=85.0)).score(samples[::-1].astype(float), 16_000)
"""
)
_PYCLARITY: Final = (
    _LOAD
    + f"""
from haaqi_edge.benchmarks.studies.haaqi import pyclarity_haaqi
from haaqi_edge.haaqi.index import Listener
pyclarity_haaqi(samples.astype(float), samples[::-1].astype(float), 16_000, Listener("{LISTENER}", level1=85.0))
"""
)


def measure(context: BenchContext) -> Section:
    """Measure the peak memory of processes, one after another."""
    quick = context.options.quick
    builder, runs = SectionBuilder("memory", TITLE), 2 if quick else _RUNS
    folded, int8 = str(context.folded_student.folder), str(context.int8_student.folder)
    probes = {
        "interpreter": ("the interpreter alone", "", _SECONDS, ""),
        "numpy": ("import numpy", "import numpy", _SECONDS, ""),
        "onnxruntime": ("import onnxruntime", "import onnxruntime", _SECONDS, ""),
        "nano": (f"nano, {_SECONDS:g} s", _SCORE, _SECONDS, "nano"),
        "nano, 10 minutes": ("nano, 10 minutes", _SCORE, 600.0, "nano"),
        "nano-int8": (f"nano-int8, {_SECONDS:g} s", _SCORE, _SECONDS, "nano-int8"),
        "folded": (f"student folded, {_SECONDS:g} s", _SCORE, _SECONDS, folded),
        "int8": (f"student int8, {_SECONDS:g} s", _SCORE, _SECONDS, int8),
        "HAAQI": (f"HAAQI, ours, {_SECONDS:g} s", _HAAQI, _SECONDS, ""),
        "teacher": (f"teacher in PyTorch, {_SECONDS:g} s", _TEACHER, _SECONDS, ""),
    }
    if quick or not find_spec("clarity"):
        why = "a quick run has no time for it" if quick else "it is not installed: pip install --no-deps pyclarity"
        builder.add_missing("pyclarity's HAAQI", why)
    else:
        probes["pyclarity"] = (f"pyclarity's HAAQI, {_SECONDS:g} s", _PYCLARITY, _SECONDS, "")
    with tempfile.TemporaryDirectory() as folder:
        clips = {}
        for seconds in (_SECONDS, 600.0):
            clips[seconds] = Path(folder) / f"{seconds:g}.npy"
            np.save(clips[seconds], np.resize(context.load_music(_SECONDS), round(seconds * 16_000)))
        rows = []
        for number, (key, (name, code, seconds, model)) in enumerate(probes.items()):
            context.on_progress("memory", number, len(probes))
            slow = quick and key in ("teacher", "HAAQI")
            peaks = [measure_peak_memory(code, str(clips[seconds]), model) for _ in range(1 if slow else runs)]
            figure = builder.add_measurements(key, f"peak memory, {name}", peaks, of="processes in turn", unit="MB")
            base = builder.figures.get("memory/onnxruntime")
            more = "" if base is None or base.value is None else f"{np.median(peaks) - base.value:+.1f}"
            rows.append([name, f"{figure.value:.1f}", f"{min(peaks):.1f} to {max(peaks):.1f}", more])
    builder.add_table(
        "Peak memory of a fresh process",
        ["", "MB", "min to max", "more than importing onnxruntime"],
        rows,
        "MB are 10^6 bytes of resident memory, shared libraries included; the samples are in memory and count, too "
        "(0.6 MB for 10 s, 38 MB for 10 minutes). One thread.",
    )
    builder.add_target("nano: peak memory of a process that scores 10 s", "nano", "at most", 80.0)
    return builder.build()


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the peak memory of each process."""
    values = {f.name.removeprefix("peak memory, "): f.value or 0.0 for f in section.figures}
    colours = [model_colour(f.key.split("/")[1].split(",")[0]) for f in section.figures]
    picture = draw_bars(values, colours, "MB", lambda value: f"{value:,.0f} MB", log=True)
    return {"memory": (picture, "Peak memory of a fresh process (logarithmic).")}
