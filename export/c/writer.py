"""Export of nano as plain C99: sources without dependencies, verified if there is a compiler, and their cost."""

from __future__ import annotations

import importlib.metadata
import math
import re
import tempfile
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from ...model.nano import NANO_FREQUENCIES, Nano, NanoConfig
from ...runtime.errors import OptionError
from ...runtime.features import patches as fe
from ...runtime.features import texture as tx
from ...runtime.windows import DEFAULT_WINDOW, window_patches
from ...runtime.writing import check_folder, write_group
from ..bundle import ExportSource
from ..verify import Parity, verify_c
from .check import CNano, find_compiler
from .constants import CConstants, OptionCost, WeightFormat

PREFIX: Final = "haaqi"
"""prefix of names in C, if no other is given"""
HEADER: Final = "haaqi_nano.h"
SOURCE: Final = "haaqi_nano.c"
SOURCES: Final = (HEADER, SOURCE, "example.c", "example_callback.c", "Makefile")
"""files that are written; their templates have the same names. The first two start with the prefix."""
TOLERANCES: Final[dict[WeightFormat, float]] = {"float": 1e-3, "int8": 0.02}
"""maximum difference of a score from that of the network"""
_PREFIX_PATTERN: Final = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*", re.ASCII)
_MAX_PREFIX: Final = 12
"""maximum length of a prefix: C99 guarantees 31 significant characters of an external name"""
_PLACES: Final = ("@about@", "/* @sizes@ */", "/* @numbers@ */")


class Operations(NamedTuple):
    """Numbers of multiplications.

    Attributes:
        front_end, encoder: for one patch.
        score: for one score of a complete window.
    """

    front_end: int
    encoder: int
    score: int


class CExport(NamedTuple):
    """The exported sources and their cost.

    Attributes:
        folder: contains the sources.
        weights: format of the weights.
        window: number of patches that a score covers.
        constants: size of tables and weights in bytes. A device stores them in flash, together with the code.
        ram: size of a stream in bytes. No other memory is needed, except for the stack.
        operations: multiplications.
        options: what optional parts add, by macro.
        compiler: compiler that the sources were verified with; None if there is none, so that nothing was verified.
        parity: result of the verification; None without a compiler.
    """

    folder: Path
    weights: WeightFormat
    window: int
    constants: int
    ram: int
    operations: Operations
    options: dict[str, OptionCost]
    compiler: str | None
    parity: Parity | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parity = self.parity and {
            "largest_difference": self.parity.worst.difference,
            "worst_case": self.parity.worst.case,
            "cases": self.parity.cases,
        }
        return {
            **self._asdict(),
            "folder": str(self.folder),
            "operations": self.operations._asdict(),
            "options": {name: cost._asdict() for name, cost in self.options.items()},
            "parity": parity,
        }


def write_c(
    source: ExportSource,
    folder: Path,
    weights: WeightFormat = "int8",
    window: float = DEFAULT_WINDOW,
    prefix: str = PREFIX,
) -> CExport:
    """Write nano as C sources.

    If this machine has a C compiler, the sources are first compiled and compared with the network.

    Args:
        source: nano, of any configuration.
        folder: destination. The files of an earlier export are replaced. Other files are not touched.
        weights: see `CConstants`.
        window: seconds that a score covers.
        prefix: first part of the names of functions, types, macros (in capitals) and files, followed by an underscore.
            Different prefixes allow several models in one program.

    Raises:
        OptionError: another network than nano, a folder with other content, or an invalid window or prefix.
        ExportError: the C does not compile, or its scores differ from the network's. Nothing is written then.
    """
    network = source.original
    if not isinstance(network, Nano):
        raise OptionError(f"{source.name} is a network of the family {source.family}: only nano can be exported as C")
    check_prefix(prefix)
    check_c_folder(folder)
    length = window_patches(window)
    constants = CConstants(network, weights, length)
    texts = _fill_templates(source, weights, constants, prefix)
    cc, parity = find_compiler(), None
    if cc is not None:
        with tempfile.TemporaryDirectory() as work:
            write_group(texts, Path(work))
            interval = network.config.interval
            with CNano(Path(work), cc, constants.ram, length, prefix, interval=interval) as stream:
                parity = verify_c(network, stream, length, TOLERANCES[weights])
    write_group(texts, folder)
    return CExport(
        folder,
        weights,
        length,
        constants.size,
        constants.ram,
        count_operations(network.config, length),
        {_apply_prefix(name, prefix): cost for name, cost in constants.options.items()},
        cc,
        parity,
    )


def check_c_folder(folder: Path) -> None:
    """Raise OptionError if `folder` is a file, or a folder with content other than exports to C."""
    headers = sorted(folder.glob("*_nano.h")) if folder.is_dir() else []
    check_folder(folder, headers[0].name if headers else HEADER, "an export to C")


def check_prefix(prefix: str) -> None:
    """Raise OptionError if `prefix` cannot start the names of a C and C++ program."""
    if _PREFIX_PATTERN.fullmatch(prefix) is None or len(prefix) > _MAX_PREFIX:
        raise OptionError(
            f"{prefix!r} is not a prefix for names in C: give 1 to {_MAX_PREFIX} letters, digits and single "
            "underscores, with a letter first and no underscore last"
        )


def source_names(prefix: str = PREFIX) -> tuple[str, ...]:
    """Return the names of the files that are written: header, source, examples and Makefile."""
    return tuple(_apply_prefix(name, prefix) for name in SOURCES)


def _apply_prefix(text: str, prefix: str) -> str:
    """Replace the prefix of the templates in all names of C, and in names of files."""
    text = re.sub(r"\bhaaqi_", f"{prefix}_", text)
    return re.sub(r"(\b|(?<=-D))HAAQI_", f"{prefix.upper()}_", text)


def count_operations(config: NanoConfig, window: int) -> Operations:
    """Count the multiplications of the C code.

    A division counts as one multiplication. Functions of the mathematical library are not counted.

    Args:
        config: sizes of the network.
        window: number of patches that a score covers.
    """
    front_end = _count_spectrum(tx.SPECTRUM) + tx.FRAMES * (_count_spectrum(tx.FRAME) + len(tx.bands().short))
    rates = tx.modulation_bins()
    kernels = 2 * (rates[-1].stop - rates[0].start)
    front_end += tx.BANDS * (kernels * (tx.FRAMES + 1) + tx.FRAMES) + 6 * fe.PATCH_LENGTH
    if config.texture_version != 1:
        front_end += 2 * (fe.PATCH_LENGTH * tx.SEGMENT_POWERS + tx.trend_basis().rows.size) + 2 * fe.PATCH_LENGTH
    sizes = (len(tx.PLANES) * tx.BANDS, *config.layers, config.vector)
    encoder = sizes[0] + tx.BANDS + sum(a * b + 3 * b for a, b in pairwise(sizes))
    token = (2 * tx.BANDS + 1) * config.vector + 3 * config.hidden * (config.vector + config.hidden)
    token += (6 if config.interval else 4) * config.hidden
    listener = len(NANO_FREQUENCIES) * (tx.BANDS + config.conditioning + 1) + 2 * config.conditioning * config.vector
    return Operations(front_end, encoder, 2 * window * token + listener + window)


def _count_spectrum(length: int) -> int:
    """Count multiplications of a power spectrum: window, complex transform of half the length, split and squares."""
    half = length // 2
    return length + 2 * half * int(math.log2(half)) + 6 * half


def _fill_templates(
    source: ExportSource, weights: WeightFormat, constants: CConstants, prefix: str
) -> dict[str, bytes]:
    about = (
        f"Made by haaqi-edge {importlib.metadata.version('haaqi-edge')} from {source.name}, weights {weights};\n"
        f" * checkpoint's SHA-256 {source.sha256}."
    )
    sizes, definitions = (_apply_prefix(text, prefix) for text in (constants.sizes(), constants.definitions()))
    filled = dict(zip(_PLACES, (about, sizes, definitions), strict=True))
    texts = {}
    for name, target in zip(SOURCES, source_names(prefix), strict=True):
        text = files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
        text = _apply_prefix(text, prefix)
        for place, content in filled.items():
            text = text.replace(place, content)
        texts[target] = text.encode()
    return texts
