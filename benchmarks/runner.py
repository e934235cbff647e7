"""Run sections in turn: measure them, draw their plots, and write the report."""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..runtime import Bundle
from ..runtime.bundle import file_sha256
from ..runtime.errors import OptionError
from ..runtime.files import is_file
from ..runtime.writing import write_file
from .context import Options, Workbench
from .parallel import end_processes
from .report import plots, provenance
from .report.rendering import to_html, to_markdown
from .report.schema import FORMAT, Plot, Report, Section, read_report
from .report.store import Store

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "parameters": ("parameters",),
    "latency": ("latency",),
    "memory": ("cold_start", "memory", "size"),
    "parity": ("parity",),
    "accuracy": ("accuracy",),
    "robustness": ("robustness",),
    "streaming": ("streaming",),
}
"""sections that can be requested, and the modules that measure them"""
REPORT: Final = "report.json"
TIMED: Final = ("latency", "cold_start", "streaming")
"""sections in which load by other processes increases the measured times"""
BUSY: Final = (
    "other processes kept up to {others:.1f} of {cores} cores busy (in {sections}): times are longer than on a quiet "
    "machine, and their ratios less certain"
)


def run(
    asked: Sequence[str], options: Options, output: Path, told: Callable[[str, int, int], None], command: str
) -> Report:
    """Measure sections and write a report.

    Args:
        asked: keys of `SECTIONS`.
        options: see `Options`.
        output: folder of the report. Finished measurements are stored beside it, in the folder whose name ends in
            `.work`.
        told: called with the progress.
        command: the command line, which the report quotes.

    Raises:
        OptionError: the output is not the folder of a report, or nothing could be measured.
        CheckpointError, CorpusError, BundleError: a file that the options name is not usable; nothing is measured.
    """
    old = check_output(output)
    code, machine, versions = provenance.code_digest(), provenance.machine(), provenance.versions()
    key = (FORMAT, code, machine.model_dump(), versions, weights(options))
    bench = Workbench(options, Store(output.with_name(f"{output.name}.work"), key), told)
    bench.check()
    wanted = [module for verb in asked for module in SECTIONS[verb]]
    found = {name: _measured(name, bench) for name in wanted}
    if not any(section.figures for section in found.values()):
        whys = "; ".join(one.why for section in found.values() for one in section.missing)
        raise OptionError(f"nothing could be measured: {whys}")
    commit, changed = provenance.commit()
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
        models=bench.provided,
        warnings=[],
        sections=[],
    )
    if old is not None and _alike(old, report):
        found = {section.name: section for section in old.sections} | found
        report = report.model_copy(update={"models": old.models | report.models})
    order = [name for names in SECTIONS.values() for name in names if name in found]
    drawn = [_drawn(found[name]) for name in order]
    sections = [section for section, _ in drawn]
    report = report.model_copy(update={"sections": sections, "warnings": _warnings(sections)})
    write(report, output, {file: picture for _, pictures in drawn for file, picture in pictures.items()}, old)
    return report


def weights(options: Options) -> list[object]:
    """Return checksums of the files that the options name.

    A changed file under the same name is then measured again.
    """
    checkpoints = (options.student, options.teacher)
    bundles = [str(Bundle(path).card.files) for path in options.bundles]
    return [*bundles, *(file_sha256(path) for path in checkpoints if path is not None and is_file(path))]


def check_output(output: Path) -> Report | None:
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
            f"{output} exists and holds no report: give a new folder with -o, or that of a report to replace"
        )
    try:
        return read_report(output / REPORT)
    except OptionError:
        return None  # a report of another version is replaced


def _alike(old: Report, new: Report) -> bool:
    """Return whether sections of both reports can be combined in one report."""
    same = ("quick", "seed", "threads", "code", "machine", "versions")
    both = old.models.keys() & new.models.keys()
    return all(getattr(old, name) == getattr(new, name) for name in same) and all(
        old.models[name] == new.models[name] for name in both
    )


def write(report: Report, output: Path, drawn: Mapping[str, Any], old: Report | None = None) -> None:
    """Write `report.json`, `report.md`, `report.html` and the plots to a folder. The JSON file is written last.

    Args:
        report: the report.
        output: the folder.
        drawn: the plots, by file name without suffix.
        old: the report that is replaced; plots that only it has are deleted.
    """
    output.mkdir(parents=True, exist_ok=True)
    for plot in (plot for section in old.sections for plot in section.plots) if old else ():
        if plot.file not in {f"{name}.png" for name in drawn}:
            (output / Path(plot.file).name).unlink(missing_ok=True)
    for name, picture in drawn.items():
        plots.save(picture, output / f"{name}.png")
    write_file(to_markdown(report).encode(), output / "report.md")
    write_file(to_html(report, output).encode(), output / "report.html")
    write_file(report.to_json().encode(), output / REPORT)


def _measured(name: str, bench: Workbench) -> Section:
    """Measure a section, or load it from the store."""
    module = importlib.import_module(f"{__package__}.sections.{name}")
    watch = provenance.Watch()

    def fresh() -> dict[str, Any]:
        section: Section = module.measure(bench)
        end_processes()
        timed = section.model_copy(update={"seconds": round(watch.seconds(), 1), "load": watch.load()})
        return timed.model_dump(exclude_defaults=True)

    kept = bench.store.cell(f"section/{name}", {**asdict(bench.options), "jobs": 0}, fresh)
    return Section.model_validate(kept)


def _drawn(section: Section) -> tuple[Section, dict[str, Any]]:
    """Draw the plots of a section; return the section with its plots listed, and the plots."""
    module = importlib.import_module(f"{__package__}.sections.{section.name}")
    found = module.draw(section) if section.figures else {}
    pictures = [Plot(file=f"{file}.png", caption=caption) for file, (_, caption) in found.items()]
    section = section.model_copy(update={"plots": pictures})
    return section, {file: picture for file, (picture, _) in found.items()}


def _warnings(sections: Sequence[Section]) -> list[str]:
    busy = {section.name: section.load.others or 0.0 for section in sections if section.name in TIMED}
    busy = {name: others for name, others in busy.items() if others > provenance.BUSY}
    if not busy:
        return []
    cores = provenance.machine().cores
    return [BUSY.format(others=max(busy.values()), cores=cores, sections=", ".join(busy))]
