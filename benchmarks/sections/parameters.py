"""Parameters section: parameter counts of teacher, student and nano.

The networks are counted as published, as deployed and after folding, and by part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import torch
from matplotlib.figure import Figure as Picture
from torch import nn

from ...export.bundle import parameter_count
from ...export.surgery import report, steps
from ...export.verify import LISTENERS, probe_signal
from ...model import Teacher
from ...runtime.audiogram import Audiogram
from ...runtime.features.fbank import fbank
from ..context import Workbench
from ..report.plots import COLOURS, bars
from ..report.published import FEWER_PARAMETERS
from ..report.schema import Section
from ..report.section_builder import Sheet

TITLE: Final = "Parameters"
HEADS: Final = ("linear0", "blstm", "linear1", "haaqiAtt_layer", "haaqiframe_score")
"""modules that follow the extractor in the published networks"""
EXACT: Final = 1e-5
"""largest difference of a score at which folding is called exact"""


def measure(bench: Workbench) -> Section:
    """Count parameters, and fold the student to see how each step changes its parameters and scores."""
    sheet = Sheet("parameters", TITLE)
    bench.told("counting parameters", 0, 0)
    with torch.device("meta"):  # the values of its weights are not needed
        teacher = Teacher()
    student, nano = bench.student, bench.nano
    extractors = parameter_count(teacher.beats_model), extractor(student)
    sheet.exact("teacher", "teacher", parameter_count(teacher), "parameters", "lower")
    sheet.exact("teacher/extractor", "teacher, extractor (BEATs)", extractors[0], "parameters", "lower")
    sheet.exact("student/extractor", "student, extractor with its training-only heads", extractors[1], "parameters")
    audiograms = torch.from_numpy(np.stack([Audiogram.named(name).array() for name in LISTENERS]))
    features = torch.from_numpy(fbank(probe_signal(48_000 if bench.options.quick else 160_000)))
    with torch.inference_mode():
        found = report(student, features.expand(len(audiograms), -1, -1), audiograms)
    total = parameter_count(teacher)
    rows = [["teacher", f"{total:,}", "", ""]]
    for place, step in enumerate(found):
        sheet.exact(f"student/{place}", f"student, {step.name}", step.parameters, "parameters", "lower")
        moved = f"{step.difference:.1e}" if place else ""
        rows.append([f"student, {step.name}", f"{step.parameters:,}", f"{saved(total, step.parameters):.2f}%", moved])
    folded = found[-1]
    sheet.exact(
        "student/saved", "folded student, fewer than the teacher", saved(total, folded.parameters), "%", "higher"
    )
    sheet.exact("student/difference", "folded student, largest change of a score", folded.difference, "", "lower")
    count = parameter_count(nano)
    sheet.exact("nano", "nano", count, "parameters", "lower")
    sheet.exact("nano/saved", "nano, fewer than the teacher", saved(total, count), "%", "higher")
    rows.append(["nano", f"{count:,}", f"{saved(total, count):.2f}%", ""])
    sheet.table(
        "What is deployed", ["network", "parameters", "fewer than the teacher", "largest change of a score"], rows
    )
    _claim(sheet, extractors, total, {step.name: step.parameters for step in found})
    networks = {"teacher": teacher, "student, folded": list(steps(student))[-1][1], "nano": nano}
    parts = [[name, *one] for name, network in networks.items() for one in by_part(network.named_parameters())]
    sheet.table("By part", ["network", "part", "parameters", "share"], parts)
    sheet.target("folded student: fewer parameters than the teacher", "student/saved", "at least", 81.0)
    sheet.target("folded student: largest change of a score", "student/difference", "at most", EXACT)
    sheet.target("nano: fewer parameters than the teacher", "nano/saved", "at least", 98.9)
    return sheet.section()


def draw(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the parameter counts."""
    shown = [f for f in section.figures if f.unit == "parameters" and "extractor" not in f.key]
    values = {figure.name: (figure.value or 0.0) / 1e6 for figure in shown}
    colours = [COLOURS[name.split(",")[0]] for name in values]
    picture = bars(values, colours, "million parameters", lambda value: f"{value:,.2f} M")
    return {"parameters": (picture, "Parameters of each network, and of the student after each step of folding.")}


def extractor(student: nn.Module) -> int:
    """Count the student's parameters as the paper does: all but the head.

    The training-only heads are included.
    """
    return sum(p.numel() for name, p in student.named_parameters() if name.split(".")[0] not in HEADS)


def saved(before: int, after: int) -> float:
    """Return by how many percent `after` is smaller than `before`."""
    return 100.0 * (1 - after / before)


def by_part(parameters: Iterable[tuple[str, nn.Parameter]]) -> list[list[str]]:
    """Count the parameters of each part of a network.

    Returns:
        rows of part, parameters and share. A part is named by the first two or three components of its parameters'
        names.
    """
    counts: dict[str, int] = {}
    for name, parameter in parameters:
        steps_down = name.split(".")[:-1]
        part = ".".join(steps_down[:3] if "layers" in steps_down[:3] else steps_down[:2]) or name
        counts[part] = counts.get(part, 0) + parameter.numel()
    total = sum(counts.values())
    return [[part, f"{count:,}", f"{100 * count / total:.1f}%"] for part, count in _layers(counts).items()]


def _layers(counts: Mapping[str, int]) -> dict[str, int]:
    """Merge parts whose names differ only in a number."""
    joined: dict[str, int] = {}
    for part, count in counts.items():
        name = ".".join("*" if piece.isdigit() else piece for piece in part.split("."))
        joined[name] = joined.get(name, 0) + count
    return joined


def _claim(sheet: Sheet, extractors: tuple[int, int], total: int, student: Mapping[str, int]) -> None:
    deployed = student["training-only heads removed"]
    countings = {
        "extractor alone": (extractors[0], sheet_extractor(extractors[1], student)),
        "whole networks, deployed": (total, deployed),
    }
    rows = []
    for name, (before, after) in countings.items():
        key = "claim/" + name.split(",")[0].replace(" ", "-")
        sheet.exact(key, f"student as published, {name}, fewer parameters", saved(before, after), "%", "higher")
        rows.append([name, f"{before:,}", f"{after:,}", f"{saved(before, after):.2f}%"])
    sheet.table(
        f"The published {FEWER_PARAMETERS}%, counted both ways",
        ["what is counted", "teacher", "student", "fewer"],
        rows,
    )
    share = saved(*countings["extractor alone"])
    sheet.said.append(
        f"The published {FEWER_PARAMETERS}% fewer parameters is right for the extractor alone ({share:.2f}% "
        f"here); over whole deployed networks it is {saved(total, deployed):.2f}%, without dead branches and folded "
        f"{saved(total, list(student.values())[-1]):.2f}%."
    )


def sheet_extractor(counted: int, student: Mapping[str, int]) -> int:
    """Return the parameters of the student's extractor without its training-only heads."""
    return counted - (student["as given"] - student["training-only heads removed"])
