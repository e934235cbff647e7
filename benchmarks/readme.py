"""The README's table and picture, measured here and now: python -m haaqi_edge.benchmarks.readme (make figures)"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import torch

from ..calibration.timing import compare
from ..export.bundle import WINDOW, parameter_count
from ..export.c import TOLERANCES, operations
from ..export.c_numbers import Numbers
from ..export.surgery import steps
from ..model import Nano, Student, Teacher
from ..runtime import Bundle, Scorer
from ..runtime.audio import open_audio
from ..runtime.audiogram import Audiogram
from ..runtime.fbank import fbank
from ..runtime.frontend import SAMPLE_RATE
from ..runtime.windows import window_patches
from . import frontend

BEGIN: Final = "<!-- figures: made by `make figures` -->"
END: Final = "<!-- end of figures -->"
LISTENER: Final = "N3"


def table(demo: Path) -> str:
    """The figures as a Markdown table; `demo` is the folder of the demo clips."""
    rows: list[tuple[str, str]] = []
    student, teacher = Student().eval(), Teacher().eval()
    rows.append(("parameters, teacher", f"{parameter_count(teacher):,}"))
    for name, network in steps(student):
        rows.append((f"parameters, student {name}", f"{parameter_count(network):,}"))
    bundle = Bundle("nano")
    rows.append(("parameters, nano", f"{bundle.card.parameters:,}"))
    size = sum(bundle.path(role).stat().st_size for role in bundle.card.files)
    rows.append(("nano's bundle", f"{size / 1e6:.2f} MB"))
    test = bundle.card.figures["test"]["all"]
    rows.append(
        (
            f"nano against HAAQI, {test['rows']} sounds of unheard music (test split)",
            f"LCC {test['lcc']:.3f} (95%: {test['lcc_low']:.3f} to {test['lcc_high']:.3f}), "
            f"SRCC {test['srcc']:.3f}, MSE {test['mse']:.4f}",
        )
    )
    rows += _c()
    sense = bundle.card.figures["sanity"]
    rows += [
        ("nano, clean music with NAL-R (HAAQI: nearly 1), mean score", f"{sense['clean']['figure']:.3f}"),
        ("nano, clips whose score falls with the SNR from 40 to -4 dB", f"{sense['snr']['figure']:.0%}"),
    ]
    parity = bundle.card.figures["parity"]["largest_difference"]
    rows.append(("nano, ONNX Runtime against PyTorch, largest difference of a score", f"{parity:.1g}"))
    rows += _timings(demo, teacher)
    return "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _c() -> list[tuple[str, str]]:
    """What nano takes as plain C."""
    nano, patches = Nano.from_checkpoint(), window_patches(WINDOW)
    assert patches is not None
    numbers = {weights: Numbers(nano, weights, patches) for weights in TOLERANCES}
    flash = ", ".join(f"{weights} {one.constants / 1e3:,.0f} kB" for weights, one in numbers.items())
    work = operations(nano.config, patches)
    return [
        ("nano in C, weights and tables", flash),
        (f"nano in C, RAM of a stream, window of {WINDOW:g} s", f"{numbers['int8'].ram / 1e3:.0f} kB"),
        ("nano in C, multiplications", f"{work.front_end + work.encoder:,} a patch, {work.score:,} a score"),
    ]


def _timings(demo: Path, teacher: Teacher) -> list[tuple[str, str]]:
    torch.set_num_threads(1)
    samples, rate = soundfile.read(demo / "clean.flac", dtype="float32")
    clip = (samples[: 10 * rate], rate)
    scorer, listener = Scorer("nano", threads=1), Audiogram.named(LISTENER)
    waveform = 0.1 * torch.randn(1, 10 * SAMPLE_RATE)
    levels = torch.from_numpy(listener.array())[None]

    def run_teacher() -> None:
        with torch.inference_mode():
            teacher(waveform, levels)

    taken = compare({"nano": lambda: scorer.score(clip, listener), "teacher": run_teacher}, runs=5)
    front = frontend.measure()
    where = f"{platform.machine()}, 1 thread"
    return [
        (f"10 s of audio to score, nano ({where})", f"{taken['nano'].median * 1e3:.1f} ms"),
        (f"10 s of audio to score, teacher in PyTorch ({where})", f"{taken['teacher'].median * 1e3:.0f} ms"),
        ("teacher's time over nano's", f"{taken['teacher'].median / taken['nano'].median:.0f}"),
        ("front end written per frame, its time over ours", f"{front['per frame'].median / front['fbank'].median:.1f}"),
    ]


def picture(demo: Path, path: Path) -> None:
    """Draw the demo clips, clean and degraded, with the quality that listener N3 hears moment by moment."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    scorer = Scorer("nano", threads=1)
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 4.4), sharex=True, sharey="row", height_ratios=[1.4, 1])
    for column, name in enumerate(("clean", "degraded")):
        file = demo / f"{name}.flac"
        result = scorer.score(file, LISTENER, nal_r=True)
        features = fbank(np.concatenate(list(open_audio(file).blocks())))
        top, bottom = axes[0][column], axes[1][column]
        seconds = len(features) / 100
        top.imshow(features.T, origin="lower", aspect="auto", extent=(0, seconds, 0, 128), cmap="magma")
        top.set_title(f"{name}: {result.score:.2f}")
        bottom.plot(result.times, result.frame_scores, color="tab:blue", lw=1.2, label="every 160 ms")
        for window in result.windows:
            bottom.hlines(window.score or np.nan, window.start, window.end, color="black", lw=2)
        bottom.set_ylim(0, 1)
        bottom.set_xlabel("seconds")
        bottom.grid(alpha=0.3)
    axes[0][0].set_ylabel("mel band")
    axes[1][0].set_ylabel(f"quality for {LISTENER}")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Rewrite the README's figures, below the working directory."""
    readme, demo = Path("README.md"), Path("demo")
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    figures = table(demo)
    Path("docs").mkdir(exist_ok=True)
    picture(demo, Path("docs/demo.png"))
    readme.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}", encoding="utf-8")
    print(figures)


if __name__ == "__main__":
    main()
