"""`haaqi-edge corpus`: build a corpus of clean music and speech, and inspect it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from .console import err, out, phases, print_json, print_table, require
from .options import CorpusOption, JobsOption, JsonOption

if TYPE_CHECKING:
    from ..training.corpus.build import BuildSummary

app = typer.Typer(no_args_is_help=True, help="Build and inspect a corpus of music and speech.")

_MODULES = ("scipy", "numba", "joblib", "yaml", "av")
_MAX_LINES = 20
"""maximum number of reasons that are printed"""


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(help="A recipe (YAML file), or the name of a shipped recipe: haaqi-edge.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the corpus.")],
    folder: Annotated[
        list[str] | None, typer.Option(help="A folder that the recipe needs, as NAME=PATH. Repeat for several.")
    ] = None,
    packages: Annotated[
        Path | None, typer.Option(help="Folder of .deb files to use instead of downloading them.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for downloaded packages. Default: OUTPUT/.build/packages.")
    ] = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download packages, cut and render clips, and build the speech bank.

    Packages are unpacked without being installed. Each audio file is checked against its SHA-256. Unavailable
    sources are left out and listed. Interrupt the command at any time, and run it again to resume after the last
    complete source or piece.
    Exit codes: 0 if a corpus was built, even without some sources; 1 if a process was killed; 2 for invalid input or
    if nothing can be built.
    """
    require("train", *_MODULES)
    from ..runtime.session import available_cores
    from ..training.corpus.build import STATE, Builder
    from ..training.corpus.packages import Packages
    from ..training.corpus.recipe import read_recipe

    folders: dict[str, Path] = {}
    for text in folder or []:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise OptionError(f"--folder {text!r}: expected NAME=PATH, such as music=/data/music")
        folders[name] = Path(path)
    for path_ in (output, packages, cache):
        if path_ is not None and path_.exists() and not path_.is_dir():
            raise OptionError(f"{path_} is a file: give a folder")
    if packages is not None and not packages.is_dir():
        raise OptionError(f"--packages {packages}: the folder does not exist; give a folder of .deb files")
    source = Packages(cache or output / STATE / "packages", packages)
    started = time.perf_counter()
    steps = read_recipe(recipe)
    try:
        with phases() as report:
            summary = Builder(steps, output, source, folders, jobs or available_cores(), report).build()
    except KeyboardInterrupt:
        err.print("stopped: run the same command again to resume", soft_wrap=True)
        raise
    seconds = time.perf_counter() - started
    if as_json:
        print_json(
            {
                "folder": str(output),
                "digest": summary.digest,
                "seconds": seconds,
                "counts": summary.counts(),
                "voices": summary.voices,
                "genres": summary.by("genre"),
                "sources": summary.by("source"),
                "left_out": [asdict(reason) for reason in summary.left_out],
            }
        )
        return
    _print_summary(summary)
    out.print(f"corpus {summary.digest} in {output}, {seconds / 60:.1f} minutes", markup=False, soft_wrap=True)


def _print_summary(summary: BuildSummary) -> None:
    table = Table("split", "kind", "sources", "tracks", "clips", "hours")
    for split, kinds in summary.counts().items():
        for kind, found in kinds.items():
            if found["clips"]:
                row = (found["sources"], found["tracks"], found["clips"], found["hours"])
                table.add_row(split, kind, *(f"{value:g}" for value in row))
    print_table(table)
    _print_counts("genre", summary.by("genre"))
    _print_counts("source", summary.by("source"))
    if summary.voices:
        voices = ", ".join(f"{count} {split}" for split, count in summary.voices.items())
        out.print(f"voices: {voices}", markup=False)
    if summary.left_out:
        err.print(f"left out: {len(summary.left_out)}, of which the first {_MAX_LINES} (CORPUS.json lists all):")
        for reason in summary.left_out[:_MAX_LINES]:
            err.print(f"  {escape(reason.name)}: {escape(reason.reason)}", soft_wrap=True)


def _print_counts(title: str, counts: dict[str, dict[str, int]]) -> None:
    table = Table(title, "train", "valid", "test")
    for name, found in counts.items():
        table.add_row(escape(name), *(str(found.get(split, "")) for split in ("train", "valid", "test")))
    print_table(table)


@app.command()
def checksums(
    recorded: Annotated[Path, typer.Argument(help="YAML file of recorded sources, as a recipe names it.")],
    packages: Annotated[
        Path | None, typer.Option(help="Folder of .deb files to use instead of downloading them.")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder for downloaded packages.")] = Path("packages"),
    as_json: JsonOption = False,
) -> None:
    """Write the checksums of the tracks of recorded sources.

    SOURCES.yaml gives SOURCES-sha256.csv. Run this once, when you write a recipe. Builds then accept only these tracks.
    """
    require("train", *_MODULES)
    import csv
    import io
    import tempfile

    from ..runtime.writing import write_file
    from ..training.corpus import recorded as sources_of
    from ..training.corpus.build import needed_patterns
    from ..training.corpus.packages import Packages

    found = sources_of.load_recorded(recorded, None)
    source_of_packages = Packages(cache, packages)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["source", "path", "sha256"])
    count = 0
    with phases() as report:
        for number, source in enumerate(found.sources):
            report(f"checksums: {source.source}", number, len(found.sources))
            with tempfile.TemporaryDirectory() as tree:
                source_of_packages.unpack(source.package, Path(tree), needed_patterns(source))
                for track in sources_of.find_tracks(source, Path(tree)):
                    writer.writerow([source.source, track.origin_path, track.sha256])
                    count += 1
    target = recorded.with_name(f"{recorded.stem}-sha256.csv")
    write_file(table.getvalue().encode(), target)
    if as_json:
        print_json({"checksums": str(target), "tracks": count})
    else:
        out.print(f"checksums of {count} tracks in {target}", markup=False, soft_wrap=True)


@app.command()
def audit(
    corpus: CorpusOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for plots and results.")],
    as_json: JsonOption = False,
) -> None:
    """Measure the speech bank: modulation spectrum, long-term spectrum, fundamental frequencies, babble."""
    require("train", *_MODULES, "matplotlib")
    from ..training.corpus.clips import SPEECH
    from ..training.corpus.speech.audit import audit_speech as audited
    from ..training.corpus.speech.bank import SpeechBank

    found: dict[str, Any] = audited(SpeechBank(corpus / SPEECH), output)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        out.print(f"{name}: {value}", markup=False, soft_wrap=True)
    out.print(f"plots in {output}", markup=False, soft_wrap=True)


@app.command()
def describe(
    corpus: CorpusOption,
    table: Annotated[Path, typer.Option(help="Folder of the label tables' Parquet shards.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for plots. The page is OUTPUT.md.")] = Path(
        "docs/data"
    ),
    split: Annotated[
        list[str] | None,
        typer.Option(help="A label table, such as train or test-2026-11. Repeat for several. Default: all."),
    ] = None,
    build_time: Annotated[
        str, typer.Option(help='Time to build the corpus, for the page, such as "90 minutes on 2 cores".')
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a page of statistics and plots of a corpus and its label tables.

    In an existing page, only the parts between markers are replaced.
    """
    require("train", *_MODULES, "pyarrow", "matplotlib")
    from ..runtime.writing import write_file
    from ..training.corpus.clips import Corpus
    from ..training.data import description

    page = output.with_name(f"{output.name}.md")
    if output.exists() and not output.is_dir():
        raise OptionError(f"{output} is a file: give a folder; the page becomes {page.name} beside it")
    if page.is_dir():
        raise OptionError(f"{page} is a folder: give another --output, the page becomes OUTPUT.md")
    text = page.read_text(encoding="utf-8") if page.is_file() else description.read_page_template()
    description.fill_page(text, dict.fromkeys(description.PARTS, ""))  # fails before anything is read
    with phases() as report:
        found = description.describe_data(Corpus(corpus), table, split or (), build_time, report)
        report("drawing", 0, 0)
        plots = description.draw_plots(found, output)
    write_file(description.fill_page(text, description.page_parts(found, output.name)).encode(), page)
    if as_json:
        print_json({"page": str(page), "plots": [str(path) for path in plots], **asdict(found)})
        return
    rows = Table("table", "rows", "hours", "held out", "mean label", "5%", "50%", "95%")
    for one in found.tables:
        low, _, middle, _, high = one.labels.percentiles
        values = (f"{value:.3f}" for value in (one.labels.mean, low, middle, high))
        rows.add_row(escape(one.name), f"{one.labels.rows:,}", f"{one.hours:.1f}", f"{one.unseen:,}", *values)
    print_table(rows)
    out.print(f"page {page}, plots in {output}", markup=False, soft_wrap=True)
