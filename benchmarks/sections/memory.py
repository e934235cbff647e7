"""Memory section: peak memory of fresh processes, compared with one that only imports onnxruntime."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure as Picture

from ..context import LISTENER, Workbench
from ..fresh_process import peak_memory
from ..report.plots import bars, colour
from ..report.schema import Section
from ..report.section_builder import Sheet

TITLE: Final = "Memory"
SECONDS: Final = 10.0
RUNS: Final = 5
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
from haaqi_edge.haaqi.index import Ear, Reference
Reference(samples.astype(float), 16_000, Ear("{LISTENER}")).score(samples[::-1].astype(float), 16_000)
"""
)
_PYCLARITY: Final = (
    _LOAD
    + f"""
from haaqi_edge.benchmarks.studies.haaqi import oracle
from haaqi_edge.haaqi.index import Ear
oracle(samples.astype(float), samples[::-1].astype(float), 16_000, Ear("{LISTENER}"))
"""
)


def measure(bench: Workbench) -> Section:
    """Measure the peak memory of processes, one after another."""
    quick = bench.options.quick
    sheet, runs = Sheet("memory", TITLE), 2 if quick else RUNS
    folded, int8 = str(bench.folded.folder), str(bench.int8.folder)
    probes = {
        "interpreter": ("the interpreter alone", "", SECONDS, ""),
        "numpy": ("import numpy", "import numpy", SECONDS, ""),
        "onnxruntime": ("import onnxruntime", "import onnxruntime", SECONDS, ""),
        "nano": (f"nano, {SECONDS:g} s", _SCORE, SECONDS, "nano"),
        "nano, 10 minutes": ("nano, 10 minutes", _SCORE, 600.0, "nano"),
        "nano-int8": (f"nano-int8, {SECONDS:g} s", _SCORE, SECONDS, "nano-int8"),
        "folded": (f"student folded, {SECONDS:g} s", _SCORE, SECONDS, folded),
        "int8": (f"student int8, {SECONDS:g} s", _SCORE, SECONDS, int8),
        "HAAQI": (f"HAAQI, ours, {SECONDS:g} s", _HAAQI, SECONDS, ""),
        "teacher": (f"teacher in PyTorch, {SECONDS:g} s", _TEACHER, SECONDS, ""),
    }
    if quick or not find_spec("clarity"):
        why = "a quick run has no time for it" if quick else "it is not installed: pip install --no-deps pyclarity"
        sheet.lacks("pyclarity's HAAQI", why)
    else:
        probes["pyclarity"] = (f"pyclarity's HAAQI, {SECONDS:g} s", _PYCLARITY, SECONDS, "")
    with tempfile.TemporaryDirectory() as folder:
        clips = {}
        for seconds in (SECONDS, 600.0):
            clips[seconds] = Path(folder) / f"{seconds:g}.npy"
            np.save(clips[seconds], np.resize(bench.clip(SECONDS), round(seconds * 16_000)))
        rows = []
        for number, (key, (name, code, seconds, model)) in enumerate(probes.items()):
            bench.told("memory", number, len(probes))
            slow = quick and key in ("teacher", "HAAQI")
            found = [peak_memory(code, str(clips[seconds]), model) for _ in range(1 if slow else runs)]
            figure = sheet.sampled(key, f"peak memory, {name}", found, of="processes in turn", unit="MB")
            base = sheet.figures.get("memory/onnxruntime")
            more = "" if base is None or base.value is None else f"{np.median(found) - base.value:+.1f}"
            rows.append([name, f"{figure.value:.1f}", f"{min(found):.1f} to {max(found):.1f}", more])
    sheet.table(
        "Peak memory of a fresh process",
        ["", "MB", "smallest to largest", "more than importing onnxruntime"],
        rows,
        "MB are 10^6 bytes of resident memory, shared libraries included; the samples are in memory and count (0.6 MB "
        "for 10 s, 38 MB for 10 minutes). One thread.",
    )
    sheet.target("nano: peak memory of a process that scores 10 s", "nano", "at most", 80.0)
    return sheet.section()


def draw(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the peak memory of each process."""
    values = {f.name.removeprefix("peak memory, "): f.value or 0.0 for f in section.figures}
    tints = [colour(f.key.split("/")[1].split(",")[0]) for f in section.figures]
    picture = bars(values, tints, "MB", lambda value: f"{value:,.0f} MB", log=True)
    return {"memory": (picture, "The most that a fresh process holds (logarithmic).")}
