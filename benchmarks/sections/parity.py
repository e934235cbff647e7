"""Parity section: differences of scores between implementations of one network.

PyTorch is compared with ONNX Runtime, and fp32 with int8, over durations and listeners. The published networks are
compared with their golden outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure as Picture

from ...evaluation.comparison import summary
from ...export.bundle import nano_source, student_source, write_fused
from ...export.verify import TOLERANCE, probe_signal
from ...model import Nano, Student
from ...runtime import Audiogram, Bundle, Scorer
from ...runtime.audiogram import STANDARD
from ...runtime.encoder import READINGS
from ...runtime.features.patches import PATCH_LENGTH, PATCH_SHIFT, SAMPLE_RATE, patch_count
from ...runtime.session import Session
from ...runtime.windows import Encoded, cut, window_patches
from .. import golden
from ..context import Workbench
from ..report.plots import axes, colour
from ..report.schema import Section
from ..report.section_builder import Sheet

TITLE: Final = "Parity"
PATCHES: Final = (1, 2, 7, 62, 63, 188, 375, 1_250, 3_750)
"""durations of the clips in patches, up to 10 minutes"""
QUICK: Final = (1, 7, 62, 63)
FUSED: Final = (1, 2, 7, 62, 63, 187)
"""durations in patches for bundles fused to one file, up to 30 s"""
FLOOR: Final = 1e-9
"""smallest difference that is drawn; smaller ones are drawn at this value"""
Array = npt.NDArray[np.float32]
Differences = dict[str, list[list[float]]]
"""absolute differences of scores, by pair: [durations][listeners]"""


def measure(bench: Workbench) -> Section:
    """Score the same probe signal with both implementations of each pair."""
    sheet, lengths = Sheet("parity", TITLE), QUICK if bench.options.quick else PATCHES
    listeners = [Audiogram.named(name) for name in STANDARD]
    families = {
        "nano": (bench.nano, Bundle("nano"), Bundle("nano-int8")),
        "folded": (bench.student, bench.folded, bench.int8),
    }
    found: Differences = {}
    for name, (network, fp32, int8) in families.items():
        found |= bench.store.cell(
            f"parity/{name}",
            (lengths, bench.provided, bench.options.quick),
            lambda of=(name, network, fp32, int8): _pairs(bench, lengths, listeners, *of),  # type: ignore[misc]
        )
        if bench.options.quick:
            sheet.lacks(f"{name} fused to one file, clips longer than 10 s", "a quick run has no time for it")
            continue
        found |= bench.store.cell(
            f"parity/{name}, fused",
            bench.provided,
            lambda of=(name, network): _fused(bench, listeners, *of),  # type: ignore[misc]
        )
    rows = []
    for pair, differences in found.items():
        values = np.array(differences).ravel()
        told = summary(values)
        of = f"probe signal, {len(differences)} lengths by {len(listeners)} listeners"
        figure = sheet.sampled(
            f"{pair}/largest", f"{pair}: largest difference of a score", values, of=of, statistic="largest"
        )
        rows.append([pair, f"{len(values)}", f"{figure.value:.1e}", f"{told['p99']:.1e}", f"{told['mean']:.1e}"])
    shown = ", ".join(f"{patches * 0.16:g}" for patches in lengths)
    sheet.table(
        "Differences of a clip's score",
        ["", "scores", "largest", "99th percentile", "mean"],
        rows,
        f"Clips of {shown} s in windows of 10 s (fused: one window of up to 30 s), for "
        f"{', '.join(a.name for a in listeners)}.",
    )
    for name in families:
        what = "nano" if name == "nano" else "folded student"
        sheet.target(f"{what}, ONNX Runtime against PyTorch", f"{name}: PyTorch - ONNX/largest", "at most", TOLERANCE)
    _golden(bench, sheet)
    return sheet.section()


def _pairs(
    bench: Workbench,
    lengths: tuple[int, ...],
    listeners: list[Audiogram],
    name: str,
    network: Nano | Student,
    fp32: Bundle,
    int8: Bundle,
) -> Differences:
    scorers = {"fp32": Scorer(fp32.folder), "int8": Scorer(int8.folder)}
    found: Differences = {f"{name}: PyTorch - ONNX": [], f"{name}: fp32 - int8": []}
    signal = probe_signal((max(lengths) - 1) * PATCH_SHIFT + PATCH_LENGTH, bench.options.seed)
    for number, patches in enumerate(lengths):
        bench.told(f"parity: {name}", number, len(lengths))
        samples = signal[: (patches - 1) * PATCH_SHIFT + PATCH_LENGTH]
        scores = {
            key: np.array([one.score for one in scorer.score((samples, SAMPLE_RATE), listeners)])
            for key, scorer in scorers.items()
        }
        scores["torch"] = in_torch(network, samples, listeners, fp32.card.window)
        for pair, (a, b) in zip(found, (("torch", "fp32"), ("fp32", "int8")), strict=True):
            found[pair].append(np.abs(scores[a] - scores[b]).tolist())
    return found


def in_torch(
    network: Nano | Student, samples: Array, listeners: list[Audiogram], window: float | None
) -> npt.NDArray[np.float64]:
    """Return the scores of a network in PyTorch, in the windows that the scorer uses.

    Args:
        network: nano or student.
        samples: float32 [n] at 16 kHz; no window is treated as silent.
        listeners: audiograms.
        window: seconds in a window, or None for one window.

    Returns:
        float64 [listeners].
    """
    audiograms = torch.from_numpy(np.stack([one.array() for one in listeners]))
    features = READINGS[network.reads](samples)
    silent = np.zeros(len(features), dtype=np.bool_)
    total, weight = np.zeros(len(listeners)), 0
    with torch.inference_mode():
        tokens = network.encode(torch.from_numpy(features)).numpy()
        for _, part, added in cut([Encoded(tokens, silent)], None if window is None else window_patches(window)):
            flat = torch.from_numpy(part.tokens.reshape(1, -1, part.tokens.shape[2]))
            total += added * network.head(flat, audiograms).score.double().numpy()
            weight += added
    return np.asarray(total / weight)


def _fused(bench: Workbench, listeners: list[Audiogram], name: str, network: Nano | Student) -> Differences:
    bench.told(f"parity: {name}, fused", 0, 0)
    path = bench.store.folder / f"{name}.onnx"
    write_fused(nano_source(None) if isinstance(network, Nano) else student_source(bench.student_checkpoint), path)
    return {
        f"{name}: PyTorch - fused": [_one_file(path, network, count, bench.options.seed, listeners) for count in FUSED]
    }


def _one_file(path: Path, network: Nano | Student, patches: int, seed: int, listeners: list[Audiogram]) -> list[float]:
    samples = probe_signal((patches - 1) * PATCH_SHIFT + PATCH_LENGTH + 1_000, seed)
    assert patch_count(len(samples)) == patches
    audiograms = np.stack([one.array() for one in listeners])
    scores = Session(path).run(waveform=samples[None], audiogram=audiograms)[1]
    return [float(one) for one in np.abs(scores - in_torch(network, samples, listeners, None))]


def _golden(bench: Workbench, sheet: Sheet) -> None:
    if bench.options.reference is None:
        sheet.lacks(
            "the published networks' golden outputs", "give the folder that holds reference/golden with --reference"
        )
        return
    if bench.options.quick:
        sheet.lacks("the published networks' golden outputs", "a quick run has no time for them")
        return
    bench.told("parity: golden outputs", 0, 0)
    found = bench.store.cell("parity/golden", bench.options.reference, lambda: golden.measure(bench.options.reference))  # type: ignore[arg-type]
    for name, difference in found.items():
        sheet.exact(f"golden/{name}", f"golden outputs: {name}", difference, better="lower")
    sheet.table(
        "Against the published implementation's golden outputs",
        ["", "largest difference"],
        [[name, f"{difference:.1e}"] for name, difference in found.items()],
    )
    for network in ("student", "teacher"):
        key = f"golden/{network}, clip score"
        sheet.target(f"{network}: clip score against the golden one", key, "at most", golden.SCORE_TOLERANCE)


def draw(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot every difference, by pair."""
    pairs = {key.removesuffix("/largest"): series.values for key, series in section.series.items()}
    picture, one = axes(size=(9.0, 1.2 + 0.5 * len(pairs)))
    rng = np.random.default_rng(0)
    for place, (pair, values) in enumerate(pairs.items()):
        heights = place + rng.uniform(-0.22, 0.22, len(values))
        one.scatter(np.maximum(values, FLOOR), heights, s=9, alpha=0.5, linewidths=0, color=colour(pair.split(":")[0]))
    one.axvline(TOLERANCE, color="#b42318", linestyle="--", linewidth=1)
    one.set_yticks(range(len(pairs)), list(pairs))
    one.invert_yaxis()
    one.grid(axis="y", visible=False)
    one.set(xscale="log", xlabel="absolute difference of a score")
    caption = f"Each score's difference; dashed: the {TOLERANCE:g} that an fp32 export may show."
    return {"parity": (picture, caption)}
