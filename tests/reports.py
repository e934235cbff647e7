"""Reports for tests, with results of every kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from haaqi_edge.benchmarks.report.schema import Machine, Report, Section
from haaqi_edge.benchmarks.report.section_builder import SectionBuilder

MACHINE = Machine(processor="A & B <chip>", architecture="x86_64", cores=2, memory_gb=8.0, system="Linux 1")


def make_report(*sections: Section, seed: int = 0, warnings: Sequence[str] = ()) -> Report:
    """Return a report of some sections."""
    return Report(
        made="2026-01-02T03:04:05+00:00",
        command="haaqi-edge bench",
        quick=True,
        seed=seed,
        threads=[1, 2],
        commit="0123456789abcdef",
        changed=True,
        code="00",
        machine=MACHINE,
        versions={"python": "3.11"},
        models={"nano": "shipped"},
        warnings=list(warnings),
        sections=list(sections),
    )


def make_section(milliseconds: float = 5.0, error: float = 0.1, seed: int = 0) -> Section:
    """Return a section with a result of each kind. The rows are those of seed 0, whatever the seed of the runs."""
    runs, rows = np.random.default_rng(seed), np.random.default_rng(0)
    labels = rows.random(200)
    builder = SectionBuilder("latency", "Latency")
    builder.statements.append("It is <fast> | it says.")
    builder.add_exact("size", "a size", 12_345, "parameters", "lower")
    seconds = 1e-3 * milliseconds * (1 + 0.02 * runs.standard_normal(40))
    builder.add_timing("nano/whole/10s/1t", "nano", seconds.tolist())
    builder.add_measurements("HAAQI", "labels", labels, of="rows", statistic="mean", better=None)
    noise = rows.standard_normal(200)
    builder.add_measurements("nano", "squared errors", (error * noise) ** 2, of="rows", statistic="mean")
    builder.add_target("a size", "size", "at most", 20_000)
    builder.add_target("a time", "nano/whole/10s/1t", "at most", 1.0)
    builder.add_target("an absent result", "absent", "at most", 1.0)
    builder.add_table("A table", ["what | which", "how much"], [["<b>", "1"]], "A note.")
    builder.add_missing("a GPU", "there is <none>")
    return builder.build()
