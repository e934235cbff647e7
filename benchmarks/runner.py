"""Run sections in turn: measure them, draw their plots, and write the report."""

from __future__ import annotations

import datetime
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..runtime import Bundle
from ..runtime.bundle import file_sha256
from ..runtime.errors import OptionError
from ..runtime.files import is_file
from ..runtime.writing import write_file
from .context import BenchContext, Options
from .progress import Progress
from .report import provenance
from .report.plots import save_picture
from .report.rendering import to_html, to_markdown
from .report.schema import FORMAT, Plot, Report, Section, read_report
from .report.store import MeasurementStore

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "parameters": ("parameters",),
    "latency": ("latency",),
    "memory": ("cold_start", "memory", "size"),
    "parity": ("parity",),
    "accuracy": ("accuracy",),
    "robustness": ("robustness",),
    "streaming": ("streaming",),
}
"""names of the commands `haaqi-edge bench NAME`, and the modules of `sections` that each of them runs"""
REPORT: Final = "report.json"
_TIMED: Final = ("latency", "cold_start", "streaming")
"""sections in which load by other processes increases the measured times"""
_BUSY_WARNING: Final = (
    "other processes kept up to {others:.1f} of {cores} cores busy (in {sections}): times are longer than on an idle "
    "machine, and their ratios less certain"
)


def run_sections(names: Sequence[str], options: Options, output: Path, on_progress: Progress, command: str) -> Report:
    """Measure sections and write a report.

    Args:
        names: keys of `SECTIONS`.
        options: see `Options`.
        output: folder of the report. Finished measurements are stored beside it, in the folder whose name ends in
            `.work`.
        on_progress: called with the progress.
        command: the command line, which the report quotes.

    Raises:
        OptionError: the output is not the folder of a report, or nothing could be measured.
        CheckpointError, CorpusError, BundleError: a file that the options name is not usable; nothing is measured.
    """
    old = read_existing_report(output)
    code, machine, versions = provenance.code_digest(), provenance.describe_machine(), provenance.package_versions()
    key = (FORMAT, code, machine.model_dump(), versions, _weight_checksums(options))
    context = BenchContext(options, MeasurementStore(output.with_name(f"{output.name}.work"), key), on_progress)
    context.check()
    modules = [module for name in names for module in SECTIONS[name]]
    found = {module: _measure_section(module, context) for module in modules}
    if not any(section.figures for section in found.values()):
        reasons = "; ".join(one.why for section in found.values() for one in section.missing)
        raise OptionError(f"nothing could be measured: {reasons}")
    commit, changed = provenance.git_commit()
    report = Report(
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        quick=options.quick,
        seed=options.seed,
        threads=list(options.threads),
        commit=commit,
        changed=changed,
        code=code,
        machine=machine,
        versions=versions,
        models=context.model_descriptions,
        warnings=[],
        sections=[],
    )
    if old is not None and _can_be_merged(old, report):
        found = {section.name: section for section in old.sections} | found
        report = report.model_copy(update={"models": old.models | report.models})
    order = [name for names in SECTIONS.values() for name in names if name in found]
    plotted = [_plot_section(found[name]) for name in order]
    sections = [section for section, _ in plotted]
    report = report.model_copy(update={"sections": sections, "warnings": _warnings(sections)})
    write_report(report, output, {file: picture for _, pictures in plotted for file, picture in pictures.items()}, old)
    return report


def _weight_checksums(options: Options) -> list[object]:
    """Return checksums of the files that the options name, so that a changed file is measured again."""
    checkpoints = (options.student, options.teacher)
    bundles = [str(Bundle(path).card.files) for path in options.bundles]
    return [*bundles, *(file_sha256(path) for path in checkpoints if path is not None and is_file(path))]


def read_existing_report(output: Path) -> Report | None:
    """Return the report that a folder contains.

    Returns:
        the report, or None if the folder is new or empty, or if it contains a report of another version.

    Raises:
        OptionError: the folder contains something else.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    if not is_file(output / REPORT):
        raise OptionError(
            f"{output} exists and contains no report: give a new folder, or the folder of a report to replace, with -o"
        )
    try:
        return read_report(output / REPORT)
    except OptionError:
        return None  # a report of another version is replaced


def _can_be_merged(old: Report, new: Report) -> bool:
    """Return whether sections of both reports can be combined in one report."""
    same = ("quick", "seed", "threads", "code", "machine", "versions")
    both = old.models.keys() & new.models.keys()
    return all(getattr(old, name) == getattr(new, name) for name in same) and all(
        old.models[name] == new.models[name] for name in both
    )


def write_report(report: Report, output: Path, pictures: Mapping[str, Any], old: Report | None = None) -> None:
    """Write `report.json`, `report.md`, `report.html` and the plots to a folder. The JSON file is written last.

    Args:
        report: the report.
        output: the folder.
        pictures: the plots, by file name without suffix.
        old: the report that is replaced; plots that only it has are deleted.
    """
    output.mkdir(parents=True, exist_ok=True)
    for plot in (plot for section in old.sections for plot in section.plots) if old else ():
        if plot.file not in {f"{name}.png" for name in pictures}:
            (output / Path(plot.file).name).unlink(missing_ok=True)
    for name, picture in pictures.items():
        save_picture(picture, output / f"{name}.png")
    write_file(to_markdown(report).encode(), output / "report.md")
    write_file(to_html(report, output).encode(), output / "report.html")
    write_file(report.to_json().encode(), output / REPORT)


def _measure_section(name: str, context: BenchContext) -> Section:
    """Measure a section, or load it from the store."""
    module = importlib.import_module(f"{__package__}.sections.{name}")
    monitor = provenance.LoadMonitor()

    def measure() -> dict[str, Any]:
        section: Section = module.measure(context)
        _end_worker_processes()
        update = {"seconds": round(monitor.elapsed(), 1), "load": monitor.load()}
        return section.model_copy(update=update).model_dump(exclude_defaults=True)

    settings = {**asdict(context.options), "jobs": 0}  # the number of processes does not affect the results
    return Section.model_validate(context.store.load_or_measure(f"section/{name}", settings, measure))


def _end_worker_processes() -> None:
    """End the processes that joblib keeps for its next call: only the CPU time of ended ones counts as our own."""
    if "joblib" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


def _plot_section(section: Section) -> tuple[Section, dict[str, Any]]:
    """Return a section with its plots listed, and the plots by file name without suffix."""
    module = importlib.import_module(f"{__package__}.sections.{section.name}")
    found = module.plot(section) if section.figures else {}
    plots = [Plot(file=f"{file}.png", caption=caption) for file, (_, caption) in found.items()]
    section = section.model_copy(update={"plots": plots})
    return section, {file: picture for file, (picture, _) in found.items()}


def _warnings(sections: Sequence[Section]) -> list[str]:
    busy = {section.name: section.load.others or 0.0 for section in sections if section.name in _TIMED}
    busy = {name: others for name, others in busy.items() if others > provenance.BUSY_CORES}
    if not busy:
        return []
    cores = provenance.describe_machine().cores
    return [_BUSY_WARNING.format(others=max(busy.values()), cores=cores, sections=", ".join(busy))]
