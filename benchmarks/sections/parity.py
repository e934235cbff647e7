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

from ...evaluation.comparison import summarize_changes
from ...export.bundle import load_nano_source, load_student_source, write_fused
from ...export.verify import TOLERANCE, probe_signal
from ...model import Nano, Student
from ...runtime import Audiogram, Bundle, Scorer
from ...runtime.audiogram import STANDARD
from ...runtime.features.front_ends import FEATURE_EXTRACTORS
from ...runtime.features.patches import PATCH_LENGTH, PATCH_SECONDS, PATCH_SHIFT, SAMPLE_RATE, patch_count
from ...runtime.session import Session
from ...runtime.windows import PatchTokens, slice_windows, window_patches
from .. import golden
from ..context import BenchContext
from ..report.plots import create_axes, model_colour
from ..report.schema import Section
from ..report.section_builder import SectionBuilder

TITLE: Final = "Parity"
_PATCHES: Final = (1, 2, 7, 62, 63, 188, 375, 1_250, 3_750)
"""durations of the clips in patches, up to 10 minutes"""
_QUICK_PATCHES: Final = (1, 7, 62, 63)
_FUSED_PATCHES: Final = (1, 2, 7, 31, 61, 62)
"""durations in patches for bundles fused to one file, up to 30 s"""
_FLOOR: Final = 1e-9
"""smallest difference in the plot; smaller ones are plotted at this value"""
Array = npt.NDArray[np.float32]
Differences = dict[str, list[list[float]]]
"""absolute differences of scores, by pair: [durations][listeners]"""


def measure(context: BenchContext) -> Section:
    """Score the same probe signal with both implementations of each pair."""
    builder, patch_counts = SectionBuilder("parity", TITLE), _QUICK_PATCHES if context.options.quick else _PATCHES
    listeners = [Audiogram.named(name) for name in STANDARD]
    families = {
        "nano": (context.nano, Bundle("nano"), Bundle("nano-int8")),
        "folded": (context.student, context.folded_student, context.int8_student),
    }
    found: Differences = {}
    for name, (network, fp32, int8) in families.items():
        found |= context.store.load_or_measure(
            f"parity/{name}",
            (patch_counts, context.model_descriptions, context.options.quick),
            lambda of=(name, network, fp32, int8): _compare_implementations(context, patch_counts, listeners, *of),  # type: ignore[misc]
        )
        if context.options.quick:
            builder.add_missing(f"{name} fused to one file", "a quick run has no time for it")
            continue
        found |= context.store.load_or_measure(
            f"parity/{name}, fused",
            context.model_descriptions,
            lambda of=(name, network): _compare_fused(context, listeners, *of),  # type: ignore[misc]
        )
    rows = []
    for pair, differences in found.items():
        values = np.array(differences).ravel()
        changes = summarize_changes(values)
        of = f"probe signal, {len(differences)} durations by {len(listeners)} listeners"
        figure = builder.add_measurements(
            f"{pair}/largest", f"{pair}: largest difference of a score", values, of=of, statistic="largest"
        )
        rows.append([pair, f"{len(values)}", f"{figure.value:.1e}", f"{changes['p99']:.1e}", f"{changes['mean']:.1e}"])
    durations = ", ".join(f"{patches * PATCH_SECONDS:g}" for patches in patch_counts)
    builder.add_table(
        "Differences of a clip's score",
        ["", "scores", "largest", "99th percentile", "mean"],
        rows,
        f"Clips of {durations} s in windows of 10 s (fused: one window of up to 10 s), for "
        f"{', '.join(a.name for a in listeners)}.",
    )
    for name in families:
        what = "nano" if name == "nano" else "folded student"
        builder.add_target(
            f"{what}, ONNX Runtime against PyTorch", f"{name}: PyTorch - ONNX/largest", "at most", TOLERANCE
        )
    _add_golden(context, builder)
    return builder.build()


def _compare_implementations(
    context: BenchContext,
    patch_counts: tuple[int, ...],
    listeners: list[Audiogram],
    name: str,
    network: Nano | Student,
    fp32: Bundle,
    int8: Bundle,
) -> Differences:
    """Compare PyTorch with ONNX Runtime, and fp32 with int8."""
    scorers = {"fp32": Scorer(fp32.folder), "int8": Scorer(int8.folder)}
    found: Differences = {f"{name}: PyTorch - ONNX": [], f"{name}: fp32 - int8": []}
    signal = probe_signal((max(patch_counts) - 1) * PATCH_SHIFT + PATCH_LENGTH, context.options.seed)
    for number, patches in enumerate(patch_counts):
        context.on_progress(f"parity: {name}", number, len(patch_counts))
        samples = signal[: (patches - 1) * PATCH_SHIFT + PATCH_LENGTH]
        scores = {
            key: np.array([one.score for one in scorer.score((samples, SAMPLE_RATE), listeners)])
            for key, scorer in scorers.items()
        }
        scores["torch"] = score_in_torch(network, samples, listeners, fp32.card.window)
        for pair, (a, b) in zip(found, (("torch", "fp32"), ("fp32", "int8")), strict=True):
            found[pair].append(np.abs(scores[a] - scores[b]).tolist())
    return found


def score_in_torch(
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
    features = FEATURE_EXTRACTORS[network.reads](samples)
    silent = np.zeros(len(features), dtype=np.bool_)
    total, weight = np.zeros(len(listeners)), 0
    with torch.inference_mode():
        tokens = network.encode(torch.from_numpy(features)).numpy()
        for _, part, added in slice_windows(
            [PatchTokens(tokens, silent)], None if window is None else window_patches(window)
        ):
            flat = torch.from_numpy(part.tokens.reshape(1, -1, part.tokens.shape[2]))
            total += added * network.head(flat, audiograms).score.double().numpy()
            weight += added
    return np.asarray(total / weight)


def _compare_fused(
    context: BenchContext, listeners: list[Audiogram], name: str, network: Nano | Student
) -> Differences:
    """Compare PyTorch with a bundle that is fused to one file."""
    context.on_progress(f"parity: {name}, fused", 0, 0)
    path = context.store.folder / f"{name}.onnx"
    source = load_nano_source(None) if isinstance(network, Nano) else load_student_source(context.student_checkpoint)
    write_fused(source, path)
    return {
        f"{name}: PyTorch - fused": [
            _fused_differences(path, network, count, context.options.seed, listeners) for count in _FUSED_PATCHES
        ]
    }


def _fused_differences(
    path: Path, network: Nano | Student, patches: int, seed: int, listeners: list[Audiogram]
) -> list[float]:
    """Return the difference of the score for each listener."""
    samples = probe_signal((patches - 1) * PATCH_SHIFT + PATCH_LENGTH + 1_000, seed)
    assert patch_count(len(samples)) == patches
    audiograms = np.stack([one.array() for one in listeners])
    scores = Session(path).run(waveform=samples[None], audiogram=audiograms)[1]
    return [float(one) for one in np.abs(scores - score_in_torch(network, samples, listeners, None))]


def _add_golden(context: BenchContext, builder: SectionBuilder) -> None:
    """Add the differences from the golden outputs of the published implementation."""
    reference = context.options.reference
    if reference is None:
        builder.add_missing(
            "the published networks' golden outputs", "give the folder that contains reference/golden with --reference"
        )
        return
    if context.options.quick:
        builder.add_missing("the published networks' golden outputs", "a quick run has no time for them")
        return
    context.on_progress("parity: golden outputs", 0, 0)
    found = context.store.load_or_measure("parity/golden", reference, lambda: golden.measure(reference))
    for name, difference in found.items():
        builder.add_exact(f"golden/{name}", f"golden outputs: {name}", difference, better="lower")
    builder.add_table(
        "Against the published implementation's golden outputs",
        ["", "largest difference"],
        [[name, f"{difference:.1e}"] for name, difference in found.items()],
    )
    for network in ("student", "teacher"):
        key = f"golden/{network}, clip score"
        builder.add_target(f"{network}: clip score against the golden one", key, "at most", golden.SCORE_TOLERANCE)


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot all differences, by pair of implementations."""
    pairs = {key.removesuffix("/largest"): series.values for key, series in section.series.items()}
    picture, ax = create_axes(size=(9.0, 1.2 + 0.5 * len(pairs)))
    rng = np.random.default_rng(0)
    for place, (pair, values) in enumerate(pairs.items()):
        heights = place + rng.uniform(-0.22, 0.22, len(values))
        ax.scatter(
            np.maximum(values, _FLOOR), heights, s=9, alpha=0.5, linewidths=0, color=model_colour(pair.split(":")[0])
        )
    ax.axvline(TOLERANCE, color="#b42318", linestyle="--", linewidth=1)
    ax.set_yticks(range(len(pairs)), list(pairs))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xscale="log", xlabel="absolute difference of a score")
    caption = f"Difference of each score; dashed: the tolerance of an fp32 export, {TOLERANCE:g}."
    return {"parity": (picture, caption)}
