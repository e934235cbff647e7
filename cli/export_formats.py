"""What `haaqi-edge export` writes beside ONNX bundles: .ort files, C sources, and bundles for TensorRT."""

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
    from ..export.bundle import ExportSource
    from ..runtime.bundle import Bundle

WriteExport: TypeAlias = "Callable[[ExportSource, Path, bool, bool], None]"
"""Writes an export and prints a report. Arguments: the source, the folder, whether the front end is in the encoder's
graph (--samples), whether the report is JSON."""


def select_writer(
    file_format: str, target: str, output: Path | None, fused: Path | None, options: Mapping[str, Any]
) -> WriteExport | None:
    """Check the options of an export, and return the function that writes it.

    Args:
        file_format: value of --format.
        target: value of --target.
        output: folder of the export.
        fused: value of --fused.
        options: options that only some formats or targets have, by name. Options that are not given are missing.

    Returns:
        The function; None for a plain ONNX bundle or a fused file.

    Raises:
        OptionError: options contradict each other, or the folder holds something else.
    """
    from ..calibration.targets import AUTO, get_target

    if target != AUTO:
        get_target(target)
        if file_format != "onnx":
            raise OptionError(f"--target {target} cannot be used with --format {file_format}: leave out --target")
        if target != "tensorrt" and "int8" not in options:
            raise OptionError(
                f"--target {target} needs --int8, because an fp32 bundle is the same for all CPUs: add --int8, or "
                "leave out --target"
            )
    kind = "tensorrt" if target == "tensorrt" else file_format
    exporter = _EXPORTERS[kind]
    for name in options:
        if name not in exporter.options:
            raise OptionError(f"--{name} cannot be used with {exporter.spelling}: {_suggest(kind, name)}")
    if exporter.write is None:
        return None
    if output is None or fused is not None:
        raise OptionError(f"{exporter.spelling} writes a folder: give it with -o, without --fused{exporter.fused_hint}")
    exporter.check(output, **options)
    return partial(exporter.write, **options)


def convert_to_ort(bundle: Bundle, output: Path, as_json: bool) -> None:
    """Convert the files of a bundle to .ort files, and print a report."""
    from ..export.ort import write_ort

    with err.status("converting and verifying"):
        export = write_ort(bundle, output)
    sizes = {file.file: (output / file.file).stat().st_size for file in export.card.files.values()}
    parity = export.parity
    if as_json:
        differences = {"largest_difference": parity.worst.difference, "cases": parity.cases}
        print_json({"path": str(output), "name": export.card.name, "bytes": sizes, "parity": differences})
        return
    out.print(
        f"[bold]{escape(str(output))}[/]: scores agree with the ONNX files within {parity.worst.difference:.2g} in "
        f"{parity.cases} cases",
        soft_wrap=True,
    )
    for name, size in sizes.items():
        out.print(f"  {name} {size:,} bytes")


def _suggest(kind: str, option: str) -> str:
    """Return a suggestion for an option that a kind of export does not have."""
    if option == "int8":
        return (
            "use --weights int8"
            if kind == "c"
            else "make an int8 bundle with `haaqi-edge quantize`, then convert it with `haaqi-edge export bundle`; or "
            "give one file with --int8 --fused FILE.ort"
        )
    owner = next(exporter for exporter in _EXPORTERS.values() if option in exporter.options)
    return f"it is for {owner.spelling}"


def _write_ort(source: ExportSource, output: Path, samples: bool, as_json: bool) -> None:
    from ..export.bundle import write_bundle
    from ..runtime.bundle import Bundle

    with tempfile.TemporaryDirectory() as folder:
        with err.status("tracing and verifying"):
            write_bundle(source, Path(folder) / source.name, samples=samples)
        convert_to_ort(Bundle(Path(folder) / source.name), output, as_json)


def _write_c(source: ExportSource, output: Path, samples: bool, as_json: bool, **options: Any) -> None:
    from ..export.c.writer import PREFIX, source_names, write_c
    from ..runtime.features.patches import SAMPLE_RATE

    if samples:
        raise OptionError("--samples cannot be used with --format c: C always includes the front end")
    with err.status("writing and verifying"):
        export = write_c(source, output, **options)
    if as_json:
        print_json(export.to_dict())
        return
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    operations = export.operations
    table.add_row(
        "flash",
        f"{export.constants:,} bytes",
        f"weights ({export.weights}) and tables; `make arm` also prints the size of the code",
    )
    table.add_row("RAM", f"{export.ram:,} bytes", "all memory of a stream, besides some stack")
    table.add_row(
        "operations per patch",
        f"{operations.front_end + operations.encoder:,}",
        f"of which the front end {operations.front_end:,}",
    )
    table.add_row("operations per score", f"{operations.score:,}", f"for {export.window} patches")
    for name, cost in export.options.items():
        per_hop = f"{cost.operations * SAMPLE_RATE // 100:,} operations per 10 ms"
        table.add_row(f"-D{name}=1", f"{cost.ram + cost.queue:,} bytes", f"of RAM and {per_hop} more")
    names = source_names(options.get("prefix", PREFIX))
    out.print(f"[bold]{escape(str(output))}[/]: {', '.join(names)}", soft_wrap=True)
    out.print(table)
    if export.parity is None:
        out.print("not verified: no C compiler found (set CC, or install one)")
    else:
        worst = export.parity.worst
        out.print(
            f"compiled with {escape(str(export.compiler))}: scores agree with PyTorch within {worst.difference:.2g} in "
            f"{export.parity.cases} cases (worst: {worst.case})",
            soft_wrap=True,
        )


def _write_tensorrt(source: ExportSource, output: Path, samples: bool, as_json: bool, **options: Any) -> None:
    from .export_tensorrt import TensorRTExport

    del samples  # these bundles always have the front end in the graph
    TensorRTExport.from_options(output, **options).write(source, as_json)


def _check_tensorrt(output: Path, **options: Any) -> None:
    from .export_tensorrt import TensorRTExport

    _check_bundle(output)
    TensorRTExport.from_options(output, **options)


def _check_c(output: Path, **options: Any) -> None:
    from ..export.c.writer import PREFIX, check_c_folder, check_prefix

    check_c_folder(output)
    check_prefix(options.get("prefix", PREFIX))


def _check_bundle(output: Path, **_: Any) -> None:
    from ..runtime.writing import check_folder

    check_folder(output)


class _Exporter(NamedTuple):
    """A kind of export.

    Attributes:
        spelling: the option that selects it.
        options: names of the options that it has.
        check: raises an error for a folder or options that are invalid, before anything is read.
        write: writes the files; None if `export` itself does.
        fused_hint: what to do instead of `--fused`.
    """

    spelling: str
    options: frozenset[str]
    check: Callable[..., None]
    write: Callable[..., None] | None
    fused_hint: str = ""


_EXPORTERS: Final = {
    "onnx": _Exporter("--format onnx", frozenset({"int8"}), _check_bundle, None),
    "ort": _Exporter(
        "--format ort",
        frozenset(),
        _check_bundle,
        _write_ort,
        "; a fused file is in this format if its name ends in .ort, without --format",
    ),
    "tensorrt": _Exporter(
        "--target tensorrt",
        frozenset({"fp16", "int8", "profile"}),
        _check_tensorrt,
        _write_tensorrt,
        "; its graphs have the front end inside, and an engine is built for fixed numbers of patches",
    ),
    "c": _Exporter("--format c", frozenset({"weights", "window", "prefix"}), _check_c, _write_c),
}
