"""`haaqi-edge export --target`: what goes to devices that do not run ONNX files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

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


def maker_for(target: str, output: Path | None, fused: Path | None, options: Mapping[str, Any]) -> Maker | None:
    """What makes a target's files; None for plain ONNX bundles, which need nothing of this.

    Args:
        target: as the command line names it.
        output: the folder they go to.
        fused: a single file, which only plain ONNX has.
        options: given beside it, by name.

    Raises:
        OptionError: an unknown target, an option that it does not know, or a folder that holds something else.
    """
    if target not in _TARGETS:
        raise OptionError(f"--target {target}: expected one of {', '.join(_TARGETS)}")
    wanted = _TARGETS[target]
    for name in options:
        if name not in wanted.options:
            raise OptionError(f"--{name} has no meaning with --target {target}{_instead(target, name)}")
    if wanted.make is None:
        return None
    if output is None or fused is not None:
        raise OptionError(f"--target {target} writes a folder: give it with -o, without --fused")
    wanted.check(output, **options)
    return partial(wanted.make, **options)


def check_converted(target: str) -> None:
    """Refuse what a bundle's files cannot be turned into; how it is made from a checkpoint is told.

    Raises:
        OptionError: any target but `ort`.
    """
    if target != "ort":
        from_checkpoint = f"; `haaqi-edge export nano --target {target}` makes it" if target in _TARGETS else ""
        raise OptionError(f"--target {target}: a bundle's files become ort and nothing else{from_checkpoint}")


def _instead(target: str, option: str) -> str:
    """What to do where an option is not one of the target's."""
    if option == "int8":
        return (
            ": C has --weights int8"
            if target == "c"
            else ": `quantize` makes an int8 bundle, and `export bundle` its .ort files"
        )
    return f": it is for --target {next(name for name, other in _TARGETS.items() if option in other.options)}"


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
    from ..export.c.writer import write_c

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
    table.add_row(
        "flash", f"{made.constants:,} bytes", f"weights ({made.weights}) and tables; `make arm` tells the code's too"
    )
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


def _tensorrt(source: Source, output: Path, samples: bool, as_json: bool, **options: Any) -> None:
    from .export_tensorrt import TensorRT

    del samples  # always
    TensorRT.told(output, **options).export(source, as_json)


def _check_tensorrt(output: Path, **options: Any) -> None:
    from .export_tensorrt import TensorRT

    _check_bundle(output)
    TensorRT.told(output, **options)


def _check_c(output: Path, **_: Any) -> None:
    from ..export.c.writer import check_c_folder

    check_c_folder(output)


def _check_bundle(output: Path, **_: Any) -> None:
    from ..runtime.writing import check_folder

    check_folder(output)


class _Target(NamedTuple):
    """Of `--target`.

    Attributes:
        options: names of those that it knows.
        check: refuses a folder and options before anything is read.
        make: writes the files; None where `export` itself does.
    """

    options: frozenset[str]
    check: Callable[..., None]
    make: Callable[..., None] | None


_TARGETS: Final = {
    "onnx": _Target(frozenset({"int8"}), _check_bundle, None),
    "ort": _Target(frozenset(), _check_bundle, _ort),
    "tensorrt": _Target(frozenset({"fp16", "int8", "profile"}), _check_tensorrt, _tensorrt),
    "c": _Target(frozenset({"weights", "window"}), _check_c, _c),
}
"""by name"""
