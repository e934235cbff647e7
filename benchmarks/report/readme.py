"""Update the README's tables of accuracy and results, and its picture of the demo piece (make figures).

    python -m haaqi_edge.benchmarks.report.readme [REPORT]

The results are those of docs/report. If you give the folder of another report, it is copied to docs/report first.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...runtime import Bundle, Card, Scorer
from ...runtime.audio.reading import open_audio
from ...runtime.errors import OptionError
from ...runtime.features.fbank import fbank
from ...runtime.writing import write_file
from ..context import LISTENER
from ..program import exit_on_error
from ..runner import REPORT
from .plots import create_axes, save_picture
from .rendering import format_number, to_markdown
from .schema import Figure, Report, read_report

_BEGIN: Final = "<!-- figures: made by `make figures` from docs/report/report.json -->"
_END: Final = "<!-- end of figures -->"
_ACCURACY_BEGIN: Final = "<!-- accuracy: made by `make figures` from the cards in runtime/models -->"
_ACCURACY_END: Final = "<!-- end of accuracy -->"
MODELS: Final = ("nano", "small")
"""models whose accuracy the README shows"""
_PUBLISHED: Final = (
    ("*published on other data (arXiv 2401.01145):* HAAQI-Net, teacher", 0.946, 0.960, 0.0055),
    ("*published on other data:* HAAQI-Net, distilled student", 0.915, 0.933, 0.0083),
)
"""names, LCC, SRCC and MSE of the networks in the paper"""
REPORT_FOLDER: Final = Path("docs/report")
"""folder of the report that the README shows, below the checkout"""
SCHEMA: Final = Path("docs/report.schema.json")
"""schema of report.json"""
ROWS: Final = (
    ("parameters: teacher", "parameters/teacher"),
    ("parameters: student as published", "parameters/student/0"),
    ("parameters: student after export", "parameters/student/4"),
    ("parameters: nano", "parameters/nano"),
    ("size of the ONNX files: nano", "size/bundle/nano"),
    ("size of the ONNX files: nano-int8", "size/bundle/nano-int8"),
    ("nano in C, int8: weights and tables", "size/c/int8/flash"),
    ("nano in C, int8: RAM of a stream with windows of 10 s", "size/c/int8/ram"),
    ("10 s of audio, 1 thread: teacher, PyTorch", "latency/teacher/whole/10s/1t"),
    ("10 s of audio, 1 thread: student, PyTorch", "latency/student/whole/10s/1t"),
    ("10 s of audio, 1 thread: student after export", "latency/folded/whole/10s/1t"),
    ("10 s of audio, 1 thread: student in int8", "latency/int8/whole/10s/1t"),
    ("10 s of audio, 1 thread: nano", "latency/nano/whole/10s/1t"),
    ("nano, times as fast as the teacher", "latency/nano/times/teacher/10s/1t"),
    ("nano, from the start of a process to its first score", "cold_start/nano/together"),
    ("nano, peak memory of a process", "memory/nano"),
    ("nano, ONNX Runtime against PyTorch, largest difference of a score", "parity/nano: PyTorch - ONNX/largest"),
    ("nano, computing time per 160 ms of a stream (48 kHz stereo)", "streaming/nano/10s/48 kHz, 2 channels"),
)
"""rows of the README's table: name, and key of the result"""


def results_table(report: Report) -> str:
    """Return the results as a Markdown table, each with its 95% interval if it has one, and their provenance."""
    figures = report.figures()
    rows = [f"| {name}{_sound_count(figures.get(key))} | {_format_figure(figures.get(key))} |" for name, key in ROWS]
    machine = report.machine
    busy = "; the machine was busy with other things" if report.warnings else ""
    source = f"{machine.processor}, {machine.cores} cores, {machine.architecture}; {report.made[:10]}"
    quick = ", quick" if report.quick else ""
    current = Bundle("nano").card.source_sha256[:12] in report.models.get("nano", "")
    outdated = "" if current else " **Nano has been trained again since: run `make report`.**"
    return "\n".join(["| result | value (95%) |", "|---|---|", *rows, "", f"*{source}{quick}{busy}.*{outdated}"])


def _sound_count(figure: Figure | None) -> str:
    """Return the number of sounds behind an agreement, as text."""
    return f", {figure.count:,} sounds" if figure and figure.count and figure.key.startswith("accuracy/") else ""


def _format_figure(figure: Figure | None) -> str:
    """Format a value with its unit and interval."""
    if figure is None or figure.value is None:
        return "not measured"
    interval = "" if figure.low is None else f" ({format_number(figure.low)} to {format_number(figure.high)})"
    unit = "" if figure.unit in ("parameters", "times") else figure.unit
    return f"{format_number(figure.value, unit)}{interval}"


def accuracy_table(cards: Sequence[Card]) -> str:
    """Return the agreement of models with HAAQI on their test split, beside the published results, as Markdown."""
    measured: list[tuple[str, Mapping[str, float]]] = []
    for card in cards:
        figures = card.figures["test"]
        everything, unseen = figures["all"], figures["unseen"]
        name = f"{card.name}: {everything['rows']:,} test sounds, from sources that are not in the training"
        measured.append((name, everything))
        held_out = f"{card.name}: {unseen['rows']:,} of these, with kinds of damage that are not in the training"
        measured.append((held_out, unseen))
    rows = [(name, f["lcc"], f["srcc"], f["mse"], f.get("coverage")) for name, f in measured]
    rows += [(*published, None) for published in _PUBLISHED]
    with_intervals = any("coverage" in f for _, f in measured)
    lines = ["| model and data | LCC | SRCC | MSE |" + (" 90% interval covers |" if with_intervals else "")]
    lines.append("|---|---|---|---|" + ("---|" if with_intervals else ""))
    for name, lcc, srcc, mse, coverage in rows:
        covered = "" if coverage is None else f"{coverage:.1%}"
        lines.append(f"| {name} | {lcc:.3f} | {srcc:.3f} | {mse:.4f} |" + (f" {covered} |" if with_intervals else ""))
    return "\n".join(lines)


def replace_table(readme: str, report: Report) -> str:
    """Return the text of the README with the table of a report between its marks.

    Raises:
        OptionError: the README does not contain the marks.
    """
    return _replace_part(readme, _BEGIN, results_table(report), _END)


def replace_accuracy(readme: str, cards: Sequence[Card]) -> str:
    """Return the text of the README with the accuracy of models between its marks.

    Raises:
        OptionError: the README does not contain the marks.
    """
    return _replace_part(readme, _ACCURACY_BEGIN, accuracy_table(cards), _ACCURACY_END)


def _replace_part(readme: str, begin: str, content: str, end: str) -> str:
    before, _, rest = readme.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise OptionError(f"the README has no lines {begin!r} and {end!r}: put them where the table belongs")
    return f"{before}{begin}\n{content}\n{end}{after}"


def copy_report(folder: Path) -> None:
    """Copy a report to `REPORT_FOLDER` without its single measurements, which take a hundred times the space."""
    report = read_report(folder / REPORT)
    sections = [section.model_copy(update={"series": {}}) for section in report.sections]
    shutil.rmtree(REPORT_FOLDER, ignore_errors=True)
    REPORT_FOLDER.mkdir(parents=True)
    for plot in sorted(folder.glob("*.png")):
        shutil.copy(plot, REPORT_FOLDER / plot.name)
    copy = report.model_copy(update={"sections": sections})
    write_file(to_markdown(copy).encode(), REPORT_FOLDER / "report.md")
    write_file(copy.to_json().encode(), REPORT_FOLDER / REPORT)


def draw_demo(demo: Path, path: Path) -> None:
    """Draw the demo clips, clean and degraded, with the quality over time for listener N3."""
    scorer = Scorer("nano", threads=1)
    picture, panes = create_axes(2, 2, size=(10.0, 4.6), sharex=True, sharey="row", height_ratios=[1.4, 1])
    for column, name in enumerate(("clean", "degraded")):
        file = demo / f"{name}.flac"
        result = scorer.score(file, LISTENER, nal_r=True)
        features = fbank(np.concatenate(list(open_audio(file).blocks())))
        top, bottom = panes[0][column], panes[1][column]
        seconds = len(features) / 100
        top.imshow(features.T, origin="lower", aspect="auto", extent=(0, seconds, 0, 128), cmap="magma")
        top.grid(visible=False)
        top.set_title(f"{name}: {result.score:.2f}")
        bottom.plot(result.times, result.frame_scores, color="tab:blue", lw=1.2, label="every 160 ms")
        for window in result.windows:
            bottom.hlines(window.score or np.nan, window.start, window.end, color="black", lw=2)
        bottom.set_ylim(0, 1)
        bottom.set_xlabel("seconds")
    panes[0][0].set_ylabel("mel band")
    panes[1][0].set_ylabel(f"quality for {LISTENER}")
    save_picture(picture, path)


def report_schema() -> dict[str, Any]:
    """Return the schema of report.json, in JSON Schema 2020-12."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Report.model_json_schema()}


def main() -> None:
    """Update the README, its picture and the schema of the report, all below the working directory."""
    parser = argparse.ArgumentParser(
        prog="python -m haaqi_edge.benchmarks.report.readme",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("report", nargs="?", type=Path, help=f"folder of a report to copy to {REPORT_FOLDER} first")
    options = parser.parse_args()
    readme = Path("README.md")
    with exit_on_error():
        if options.report is not None:
            copy_report(options.report)
        report = read_report(REPORT_FOLDER / REPORT)
        text = replace_accuracy(readme.read_text(encoding="utf-8"), [Bundle(name).card for name in MODELS])
        write_file(replace_table(text, report).encode(), readme)
    draw_demo(Path("demo"), Path("docs/demo.png"))
    write_file(f"{json.dumps(report_schema(), indent=2)}\n".encode(), SCHEMA)
    print(results_table(report))


if __name__ == "__main__":
    main()
