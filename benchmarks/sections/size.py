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

from ...export.bundle import WINDOW
from ...export.c.constants import Numbers
from ...export.c.writer import TOLERANCES, operations
from ...model import Nano
from ...runtime import Bundle
from ...runtime.windows import window_patches
from ..context import Workbench
from ..report.plots import bars, colour
from ..report.provenance import CODE_FOLDERS, ROOT
from ..report.schema import Section
from ..report.section_builder import Sheet

TITLE: Final = "Size"
_C_NOTE: Final = (
    f"A stream's window is {WINDOW:g} s; the code itself and its stack come on top (`haaqi-edge bench study c`)."
)
SYSTEMS: Final = {"to score": ("haaqi-edge", ("cpu", "cli")), "PyTorch alone, for comparison": ("torch", ())}


def measure(bench: Workbench) -> Section:
    """Measure the sizes of files."""
    sheet = Sheet("size", TITLE)
    bundles = {
        "traced": ("student as traced", bench.traced),
        "folded": ("student folded", bench.folded),
        "int8": ("student int8", bench.int8),
        "nano": ("nano", Bundle("nano")),
        "nano-int8": ("nano-int8", Bundle("nano-int8")),
    }
    rows = []
    for key, (name, bundle) in bundles.items():
        size = sum(bundle.path(role).stat().st_size for role in bundle.card.files) / 1e6
        sheet.exact(f"bundle/{key}", f"bundle, {name}", size, "MB", "lower")
        rows.append([f"bundle, {name}", f"{size:.2f}"])
    wheel = packed(ROOT) / 1e6
    sheet.exact("wheel", "wheel", wheel, "MB", "lower")
    rows.append(["wheel (the package's files, compressed as in one)", f"{wheel:.2f}"])
    in_c = _in_c(sheet, bench.nano)
    for what, (package, extras) in SYSTEMS.items():
        try:
            parts = installed(package, extras)
        except importlib.metadata.PackageNotFoundError as error:
            sheet.lacks(f"the installation {what}", f"{error} is not installed here")
            continue
        total = sum(parts.values()) / 1e6
        sheet.exact(f"installed/{package}", f"installed {what}", total, "MB", "lower")
        largest = sorted(parts, key=lambda name: -parts[name])[:4]
        told = ", ".join(f"{name} {parts[name] / 1e6:.1f}" for name in largest)
        rows.append([f"installed {what}: {len(parts)} packages ({told})", f"{total:.1f}"])
    sheet.table(
        "Size on disk",
        ["", "MB"],
        rows,
        "MB are 10^6 bytes. Installations are the files of a package and of all that it needs, without the "
        "interpreter.",
    )
    sheet.table("Nano in C", ["", "weights and tables, kB", "RAM of a stream, kB"], in_c, _C_NOTE)
    return sheet.section()


def _in_c(sheet: Sheet, nano: Nano) -> list[list[str]]:
    """Add what nano needs as plain C, by the format of its weights; return the rows of a table."""
    patches = window_patches(WINDOW)
    rows = []
    for weights in TOLERANCES:
        numbers = Numbers(nano, weights, patches)
        sheet.exact(
            f"c/{weights}/flash", f"nano in C, {weights}: weights and tables", numbers.constants / 1e3, "kB", "lower"
        )
        sheet.exact(f"c/{weights}/ram", f"nano in C, {weights}: RAM of a stream", numbers.ram / 1e3, "kB", "lower")
        rows.append([weights, f"{numbers.constants / 1e3:,.0f}", f"{numbers.ram / 1e3:,.0f}"])
    work = operations(nano.config, patches)
    sheet.exact("c/patch", "nano in C, multiplications of a patch", work.front_end + work.encoder, "times", "lower")
    sheet.exact("c/score", "nano in C, multiplications of a score", work.score, "times", "lower")
    return rows


def draw(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the sizes of the bundles."""
    found = [f for f in section.figures if f.key.startswith("size/bundle/")]
    values = {f.name.removeprefix("bundle, "): f.value or 0.0 for f in found}
    tints = [colour(f.key.rpartition("/")[2]) for f in found]
    return {"size": (bars(values, tints, "MB", lambda value: f"{value:.2f} MB"), "Size of the bundles.")}


def packed(root: Path) -> int:
    """Return the bytes of the package's files in a zip file, compressed as in a wheel."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _files(root):
            archive.write(path, f"haaqi_edge/{path.relative_to(root)}")
    return len(content.getvalue())


def _files(root: Path) -> list[Path]:
    """List the files of the package."""
    found = (path for folder in CODE_FOLDERS for path in sorted((root / folder).rglob("*")))
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


def installed(package: str, extras: Sequence[str] = ()) -> dict[str, int]:
    """Return the bytes on disk of a package and of all its dependencies that apply here, by package.

    Args:
        package: its name.
        extras: of the package whose dependencies count, too.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    found: dict[str, int] = {}
    wanted = [package]
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        found[name] = _own(name)
        for need in importlib.metadata.requires(name) or ():
            if _applies(need, extras if len(found) == 1 else ()):
                wanted.append(re.split(r"[\s<>=!~;\[(]", need, maxsplit=1)[0])
    return found


def _own(name: str) -> int:
    if name == "haaqi-edge":  # an editable installation does not list its own files
        return sum(path.stat().st_size for path in _files(ROOT))
    files = importlib.metadata.files(name) or ()
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _applies(need: str, extras: Sequence[str]) -> bool:
    """Return whether a requirement applies here; those of other extras and of other systems do not."""
    from packaging.requirements import Requirement

    marker = Requirement(need).marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
