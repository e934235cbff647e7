"""All sections in turn: measured, drawn, put together to a report and written."""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..runtime.errors import OptionError
from ..runtime.files import is_file
from ..runtime.writing import write_file
from . import plots, provenance
from .parallel import end_processes
from .render import to_html, to_markdown
from .report import FORMAT, Plot, Report, Section
from .store import Store
from .workbench import Options, Workbench

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "parameters": ("parameters",),
    "latency": ("latency",),
    "memory": ("start", "memory", "size"),
    "parity": ("parity",),
    "accuracy": ("accuracy",),
    "robustness": ("robustness",),
    "streaming": ("streaming",),
}
"""what can be asked for, and the modules that measure it"""
REPORT: Final = "report.json"
BUSY: Final = (
    "other processes kept up to {others:.1f} of {cores} cores busy (in {sections}): times are longer than on a quiet "
    "machine, and their ratios less certain"
)


def run(
    asked: Sequence[str], options: Options, output: Path, told: Callable[[str, int, int], None], command: str
) -> Report:
    """Measure and write a report.

    Args:
        asked: keys of `SECTIONS`.
        options: see there.
        output: folder of the report; what is done is kept in the folder beside it that ends in `.work`.
        told: called with what is going on.
        command: what the report says it was made by.

    Raises:
        OptionError: an output that is no folder of a report.
        CheckpointError, CorpusError, BundleError: what the options name is not usable; nothing is measured then.
    """
    check_output(output)
    key = (FORMAT, provenance.code_digest(), provenance.machine().model_dump(), provenance.versions())
    bench = Workbench(options, Store(output.with_name(f"{output.name}.work"), key), told)
    bench.check()
    sections = []
    drawn: dict[str, Any] = {}
    for name in (module for verb in asked for module in SECTIONS[verb]):
        section, pictures = _measured(name, bench)
        sections.append(section)
        drawn |= pictures
    commit, changed = provenance.commit()
    report = Report(
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        quick=options.quick,
        seed=options.seed,
        threads=list(options.threads),
        commit=commit,
        changed=changed,
        code=provenance.code_digest(),
        machine=provenance.machine(),
        versions=provenance.versions(),
        models=bench.provided,
        warnings=_warnings(sections),
        sections=sections,
    )
    write(report, output, drawn)
    return report


def check_output(output: Path) -> None:
    """Raise OptionError for a folder that holds something else than a report."""
    if output.exists() and not (output.is_dir() and (is_file(output / REPORT) or not any(output.iterdir()))):
        raise OptionError(
            f"{output} exists and holds no report: give a new folder with -o, or that of a report to replace"
        )


def write(report: Report, output: Path, drawn: Mapping[str, Any]) -> None:
    """`report.json`, `report.md`, `report.html` and the plots into a folder; the JSON comes last."""
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("*.png"):
        if old.name not in {f"{name}.png" for name in drawn}:
            old.unlink()
    for name, picture in drawn.items():
        plots.save(picture, output / f"{name}.png")
    write_file(to_markdown(report).encode(), output / "report.md")
    write_file(to_html(report, output).encode(), output / "report.html")
    write_file(report.to_json().encode(), output / REPORT)


def _measured(name: str, bench: Workbench) -> tuple[Section, dict[str, Any]]:
    """A section, from the store where it is there, and its pictures."""
    module = importlib.import_module(f"{__package__}.{name}")
    watch = provenance.Watch()

    def fresh() -> dict[str, Any]:
        section: Section = module.measure(bench)
        end_processes()
        timed = section.model_copy(update={"seconds": round(watch.seconds(), 1), "load": watch.load()})
        return timed.model_dump(exclude_defaults=True)

    kept = bench.store.cell(f"section/{name}", {**asdict(bench.options), "jobs": 0}, fresh)
    section = Section.model_validate(kept)
    found = module.draw(section) if section.figures else {}
    pictures = [Plot(file=f"{file}.png", caption=caption) for file, (_, caption) in found.items()]
    section = section.model_copy(update={"plots": pictures})
    return section, {file: picture for file, (picture, _) in found.items()}


def _warnings(sections: Sequence[Section]) -> list[str]:
    busy = {section.name: section.load.others or 0.0 for section in sections}
    busy = {name: others for name, others in busy.items() if others > provenance.BUSY}
    if not busy:
        return []
    cores = provenance.machine().cores
    return [BUSY.format(others=max(busy.values()), cores=cores, sections=", ".join(busy))]
