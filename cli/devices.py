"""`haaqi-edge export --target`: what goes to devices that do not run ONNX files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from .console import err, out, print_json

if TYPE_CHECKING:
    from ..export.bundle import Source
    from ..runtime.bundle import Bundle

Maker: TypeAlias = "Callable[[Source, Path, bool, bool], None]"
"""makes and reports a target's files from a source: the folder, whether the front end goes into the encoder's graph
(--samples), whether the report is JSON"""


def maker_for(target: str, output: Path, options: Mapping[str, Any]) -> Maker:
    """What makes a target's files.

    Args:
        target: as the command line names it.
        output: the folder they go to.
        options: given beside it, by name.

    Raises:
        OptionError: an unknown target, an option that it does not know, or a folder that holds something else.
    """
    if target not in _TARGETS:
        raise OptionError(f"--target {target}: expected one of {', '.join(_TARGETS)}")
    check, make, known = _TARGETS[target]
    for name in options:
        if name not in known:
            raise OptionError(f"--{name} has no meaning with --target {target}")
    check(output)
    return partial(make, **options)


def to_ort(bundle: Bundle, output: Path, as_json: bool) -> None:
    """Write a bundle's files as .ort files."""
    from ..export.ort import write_ort

    with err.status("converting and verifying"):
        made = write_ort(bundle, output)
    sizes = {file.file: (output / file.file).stat().st_size for file in made.card.files.values()}
    if as_json:
        parity = {"largest_difference": made.parity.worst.difference, "cases": made.parity.cases}
        print_json({"path": str(output), "name": made.card.name, "bytes": sizes, "parity": parity})
        return
    out.print(
        f"[bold]{escape(str(output))}[/]: scores agree with the ONNX files within "
        f"{made.parity.worst.difference:.2g} in {made.parity.cases} cases",
        soft_wrap=True,
    )
    for name, size in sizes.items():
        out.print(f"  {name} {size:,} bytes")


def _ort(source: Source, output: Path, samples: bool, as_json: bool) -> None:
    from ..export.bundle import write_bundle
    from ..runtime.bundle import Bundle

    with tempfile.TemporaryDirectory() as folder:
        with err.status("tracing and verifying"):
            write_bundle(source, Path(folder) / source.name, samples=samples)
        to_ort(Bundle(Path(folder) / source.name), output, as_json)


def _c(source: Source, output: Path, samples: bool, as_json: bool, **options: Any) -> None:
    from ..export.c import write_c

    if samples:
        raise OptionError("--samples has no meaning with --target c: C always has the front end in it")
    with err.status("writing and verifying"):
        made = write_c(source, output, **options)
    if as_json:
        print_json(made.to_dict())
        return
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    ops, patches = made.operations, f"over {made.window} patches"
    table.add_row("flash", f"{made.constants:,} bytes", f"weights ({made.weights}) and tables, beside the code")
    table.add_row("RAM", f"{made.ram:,} bytes", "a stream: all memory there is, beside some stack")
    table.add_row("operations, a patch", f"{ops.front_end + ops.encoder:,}", f"front end {ops.front_end:,}")
    table.add_row("operations, a score", f"{ops.score:,}", patches)
    out.print(f"[bold]{escape(str(output))}[/]: haaqi_nano.h, haaqi_nano.c, an example and a Makefile", soft_wrap=True)
    out.print(table)
    if made.parity is None:
        out.print("not verified: no C compiler here (set CC, or install one)")
    else:
        out.print(
            f"compiled with {escape(str(made.compiler))}: scores agree with PyTorch within "
            f"{made.parity.worst.difference:.2g} in {made.parity.cases} cases (worst: {made.parity.worst.case})",
            soft_wrap=True,
        )


def _check_c(output: Path) -> None:
    from ..export.c import check_c_folder

    check_c_folder(output)


def _check_bundle(output: Path) -> None:
    from ..runtime.writing import check_folder

    check_folder(output)


_TARGETS: Final[dict[str, tuple[Callable[[Path], None], Callable[..., None], frozenset[str]]]] = {
    "ort": (_check_bundle, _ort, frozenset()),
    "c": (_check_c, _c, frozenset({"weights", "window"})),
}
"""by name: the check of the folder, what makes the files, and the options that it knows"""
