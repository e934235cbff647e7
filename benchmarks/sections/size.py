"""Size section: bundles, the wheel, and installations."""

from __future__ import annotations

import importlib.metadata
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure as Picture

from ...export.c.constants import CConstants
from ...export.c.writer import TOLERANCES, count_operations
from ...model import Nano
from ...runtime import Bundle
from ...runtime.windows import DEFAULT_WINDOW, window_patches
from ..context import BenchContext
from ..report.plots import draw_bars, model_colour
from ..report.provenance import CODE_FOLDERS, ROOT
from ..report.schema import Section
from ..report.section_builder import SectionBuilder

TITLE: Final = "Size"
_C_NOTE: Final = (
    f"A stream's window is {DEFAULT_WINDOW:g} s. The code itself and its stack are not included: "
    "`haaqi-edge bench study c` measures them."
)
_INSTALLATIONS: Final = {"to score": ("haaqi-edge", ("cpu", "cli")), "PyTorch alone, for comparison": ("torch", ())}


def measure(context: BenchContext) -> Section:
    """Measure the sizes of files."""
    builder = SectionBuilder("size", TITLE)
    bundles = {
        "traced": ("student as traced", context.traced_student),
        "folded": ("student folded", context.folded_student),
        "int8": ("student int8", context.int8_student),
        "nano": ("nano", Bundle("nano")),
        "nano-int8": ("nano-int8", Bundle("nano-int8")),
    }
    rows = []
    for key, (name, bundle) in bundles.items():
        size = sum(bundle.path(role).stat().st_size for role in bundle.card.files) / 1e6
        builder.add_exact(f"bundle/{key}", f"bundle, {name}", size, "MB", "lower")
        rows.append([f"bundle, {name}", f"{size:.2f}"])
    wheel = compressed_size(ROOT) / 1e6
    builder.add_exact("wheel", "wheel", wheel, "MB", "lower")
    rows.append(["wheel (the package's files, compressed as in a wheel)", f"{wheel:.2f}"])
    c_sizes = _add_c_sizes(builder, context.nano)
    for what, (package, extras) in _INSTALLATIONS.items():
        try:
            parts = measure_installation(package, extras)
        except importlib.metadata.PackageNotFoundError as error:
            builder.add_missing(f"the installation {what}", f"{error} is not installed here")
            continue
        total = sum(parts.values()) / 1e6
        builder.add_exact(f"installed/{package}", f"installed {what}", total, "MB", "lower")
        largest = sorted(parts, key=lambda name: -parts[name])[:4]
        names = ", ".join(f"{name} {parts[name] / 1e6:.1f}" for name in largest)
        rows.append([f"installed {what}: {len(parts)} packages ({names})", f"{total:.1f}"])
    builder.add_table(
        "Size on disk",
        ["", "MB"],
        rows,
        "MB are 10^6 bytes. Installations are the files of a package and of all its dependencies, without the "
        "interpreter.",
    )
    builder.add_table("Nano in C", ["", "weights and tables, kB", "RAM of a stream, kB"], c_sizes, _C_NOTE)
    return builder.build()


def _add_c_sizes(builder: SectionBuilder, nano: Nano) -> list[list[str]]:
    """Add the memory of nano in C, by the format of its weights; return the rows of a table."""
    patches = window_patches(DEFAULT_WINDOW)
    rows = []
    for weights in TOLERANCES:
        numbers = CConstants(nano, weights, patches)
        builder.add_exact(
            f"c/{weights}/flash", f"nano in C, {weights}: weights and tables", numbers.size / 1e3, "kB", "lower"
        )
        builder.add_exact(
            f"c/{weights}/ram", f"nano in C, {weights}: RAM of a stream", numbers.ram / 1e3, "kB", "lower"
        )
        rows.append([weights, f"{numbers.size / 1e3:,.0f}", f"{numbers.ram / 1e3:,.0f}"])
    operations = count_operations(nano.config, patches)
    builder.add_exact(
        "c/patch", "nano in C, multiplications of a patch", operations.front_end + operations.encoder, "times", "lower"
    )
    builder.add_exact("c/score", "nano in C, multiplications of a score", operations.score, "times", "lower")
    return rows


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the sizes of the bundles."""
    figures = [f for f in section.figures if f.key.startswith("size/bundle/")]
    values = {f.name.removeprefix("bundle, "): f.value or 0.0 for f in figures}
    colours = [model_colour(f.key.rpartition("/")[2]) for f in figures]
    return {"size": (draw_bars(values, colours, "MB", lambda value: f"{value:.2f} MB"), "Size of the bundles.")}


def compressed_size(root: Path) -> int:
    """Return the bytes of the package's files in a zip file, compressed as in a wheel."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _package_files(root):
            archive.write(path, f"haaqi_edge/{path.relative_to(root)}")
    return len(content.getvalue())


def _package_files(root: Path) -> list[Path]:
    """List the files of the package."""
    paths = (path for folder in CODE_FOLDERS for path in sorted((root / folder).rglob("*")))
    return [path for path in paths if path.is_file() and "__pycache__" not in path.parts]


def measure_installation(package: str, extras: Sequence[str] = ()) -> dict[str, int]:
    """Return the bytes on disk of a package and of all its dependencies that apply here, by package.

    Args:
        package: its name.
        extras: extras of the package whose dependencies count, too.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    sizes: dict[str, int] = {}
    pending = [package]
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name in sizes:
            continue
        sizes[name] = _size_on_disk(name)
        for requirement in importlib.metadata.requires(name) or ():
            if _applies(requirement, extras if len(sizes) == 1 else ()):
                pending.append(re.split(r"[\s<>=!~;\[(]", requirement, maxsplit=1)[0])
    return sizes


def _size_on_disk(name: str) -> int:
    if name == "haaqi-edge":  # an editable installation does not list its own files
        return sum(path.stat().st_size for path in _package_files(ROOT))
    files = importlib.metadata.files(name) or ()
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _applies(requirement: str, extras: Sequence[str]) -> bool:
    """Return whether a requirement applies here; those of other extras and of other systems do not."""
    from packaging.requirements import Requirement

    marker = Requirement(requirement).marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
