"""Parameters section: parameter counts of teacher, student and nano.

The networks are counted as published, as deployed and after folding, and by part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from matplotlib.figure import Figure as Picture
from torch import nn

from ...export.bundle import count_parameters
from ...export.surgery import iterate_steps, measure_steps
from ...export.verify import LISTENERS, probe_signal
from ...model import Teacher
from ...runtime.audiogram import Audiogram
from ...runtime.features.fbank import fbank
from ..context import BenchContext
from ..report.plots import COLOURS, draw_bars
from ..report.published import PARAMETERS_SAVED
from ..report.schema import Section
from ..report.section_builder import SectionBuilder

TITLE: Final = "Parameters"
_HEAD_MODULES: Final = ("linear0", "blstm", "linear1", "haaqiAtt_layer", "haaqiframe_score")
"""modules that follow the extractor in the published networks"""
_FOLDING_TOLERANCE: Final = 1e-5
"""largest difference of a score at which folding is called exact"""


def measure(context: BenchContext) -> Section:
    """Count parameters, and fold the student to see how each step changes its parameters and scores."""
    builder = SectionBuilder("parameters", TITLE)
    context.on_progress("counting parameters", 0, 0)
    with torch.device("meta"):  # the values of its weights are not needed
        teacher = Teacher()
    student, nano = context.student, context.nano
    extractors = count_parameters(teacher.beats_model), extractor_parameters(student)
    builder.add_exact("teacher", "teacher", count_parameters(teacher), "parameters", "lower")
    builder.add_exact("teacher/extractor", "teacher, extractor (BEATs)", extractors[0], "parameters", "lower")
    builder.add_exact(
        "student/extractor", "student, extractor with its training-only heads", extractors[1], "parameters"
    )
    audiograms = torch.from_numpy(np.stack([Audiogram.named(name).array() for name in LISTENERS]))
    features = torch.from_numpy(fbank(probe_signal(48_000 if context.options.quick else 160_000)))
    with torch.inference_mode():
        steps = measure_steps(student, features.expand(len(audiograms), -1, -1), audiograms)
    total = count_parameters(teacher)
    rows = [["teacher", f"{total:,}", "", ""]]
    for place, step in enumerate(steps):
        builder.add_exact(f"student/{place}", f"student, {step.name}", step.parameters, "parameters", "lower")
        change = f"{step.difference:.1e}" if place else ""
        rows.append(
            [f"student, {step.name}", f"{step.parameters:,}", f"{percent_saved(total, step.parameters):.2f}%", change]
        )
    folded = steps[-1]
    builder.add_exact(
        "student/saved",
        "folded student, fewer than the teacher",
        percent_saved(total, folded.parameters),
        "%",
        "higher",
    )
    builder.add_exact("student/difference", "folded student, largest change of a score", folded.difference, "", "lower")
    count = count_parameters(nano)
    builder.add_exact("nano", "nano", count, "parameters", "lower")
    builder.add_exact("nano/saved", "nano, fewer than the teacher", percent_saved(total, count), "%", "higher")
    rows.append(["nano", f"{count:,}", f"{percent_saved(total, count):.2f}%", ""])
    builder.add_table(
        "Deployed networks", ["network", "parameters", "fewer than the teacher", "largest change of a score"], rows
    )
    _add_published_claim(builder, extractors, total, [step.parameters for step in steps])
    networks = {"teacher": teacher, "student, folded": list(iterate_steps(student))[-1][1], "nano": nano}
    parts = [
        [name, *one] for name, network in networks.items() for one in parameters_by_part(network.named_parameters())
    ]
    builder.add_table("By part", ["network", "part", "parameters", "share"], parts)
    builder.add_target("folded student: fewer parameters than the teacher", "student/saved", "at least", 81.0)
    builder.add_target("folded student: largest change of a score", "student/difference", "at most", _FOLDING_TOLERANCE)
    builder.add_target("nano: fewer parameters than the teacher", "nano/saved", "at least", 98.9)
    return builder.build()


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the parameter counts."""
    shown = [f for f in section.figures if f.unit == "parameters" and "extractor" not in f.key]
    values = {figure.name: (figure.value or 0.0) / 1e6 for figure in shown}
    colours = [COLOURS[name.split(",")[0]] for name in values]
    picture = draw_bars(values, colours, "million parameters", lambda value: f"{value:,.2f} M")
    return {"parameters": (picture, "Parameters of each network, and of the student after each step of folding.")}


def extractor_parameters(student: nn.Module) -> int:
    """Count the student's parameters as the paper does: all but the head.

    The training-only heads are included.
    """
    return sum(p.numel() for name, p in student.named_parameters() if name.split(".")[0] not in _HEAD_MODULES)


def percent_saved(before: int, after: int) -> float:
    """Return by how many percent `after` is smaller than `before`."""
    return 100.0 * (1 - after / before)


def parameters_by_part(parameters: Iterable[tuple[str, nn.Parameter]]) -> list[list[str]]:
    """Count the parameters of each part of a network.

    Returns:
        rows of part, parameters and share. A part is named by the first two or three components of its parameters'
        names.
    """
    counts: dict[str, int] = {}
    for name, parameter in parameters:
        modules = name.split(".")[:-1]
        part = ".".join(modules[:3] if "layers" in modules[:3] else modules[:2]) or name
        counts[part] = counts.get(part, 0) + parameter.numel()
    total = sum(counts.values())
    return [[part, f"{count:,}", f"{100 * count / total:.1f}%"] for part, count in _merge_layers(counts).items()]


def _merge_layers(counts: Mapping[str, int]) -> dict[str, int]:
    """Merge parts whose names differ only in a number."""
    merged: dict[str, int] = {}
    for part, count in counts.items():
        name = ".".join("*" if piece.isdigit() else piece for piece in part.split("."))
        merged[name] = merged.get(name, 0) + count
    return merged


def _add_published_claim(
    builder: SectionBuilder, extractors: tuple[int, int], total: int, student: Sequence[int]
) -> None:
    """Add the published saving of parameters, for the extractor alone and for whole networks.

    Args:
        builder: of the section.
        extractors: parameters of both extractors; the student's includes its training-only heads.
        total: parameters of the teacher.
        student: parameters of the student as published, without its training-only heads, and after further steps.
    """
    published, deployed, *_, folded = student
    counts = {
        "extractor alone": (extractors[0], extractors[1] - (published - deployed)),
        "whole networks, deployed": (total, deployed),
    }
    rows = []
    for name, (before, after) in counts.items():
        key = "claim/" + name.split(",")[0].replace(" ", "-")
        builder.add_exact(
            key, f"student as published, {name}, fewer parameters", percent_saved(before, after), "%", "higher"
        )
        rows.append([name, f"{before:,}", f"{after:,}", f"{percent_saved(before, after):.2f}%"])
    builder.add_table(
        f"The published {PARAMETERS_SAVED}%, counted both ways",
        ["what is counted", "teacher", "student", "fewer"],
        rows,
    )
    share = percent_saved(*counts["extractor alone"])
    builder.statements.append(
        f"The published {PARAMETERS_SAVED}% fewer parameters is right for the extractor alone ({share:.2f}% here). For "
        f"whole deployed networks it is {percent_saved(total, deployed):.2f}%, and {percent_saved(total, folded):.2f}% "
        "without dead branches and after folding."
    )
