"""Nano as plain C99: sources without a runtime, verified where there is a compiler, and what they cost a device."""

from __future__ import annotations

import importlib.metadata
import math
import tempfile
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from ...model.nano import HEARD, Nano, NanoConfig
from ...runtime.errors import OptionError
from ...runtime.features import patches as fe
from ...runtime.features import texture as tx
from ...runtime.windows import window_patches
from ...runtime.writing import check_folder, write_group
from ..bundle import WINDOW, Source
from ..verify import Parity, verify_c
from .check import CNano, compiler
from .constants import Numbers, Weights

HEADER: Final = "haaqi_nano.h"
SOURCE: Final = "haaqi_nano.c"
SOURCES: Final = (HEADER, SOURCE, "example.c", "Makefile")
"""what is written, in the folder of the same names that they are made from"""
TOLERANCES: Final[dict[Weights, float]] = {"float": 1e-3, "int8": 0.02}
"""largest difference of a score from the network's"""
_PLACES: Final = ("@about@", "/* @sizes@ */", "/* @numbers@ */")


class Operations(NamedTuple):
    """Multiplications: of one patch's front end and encoder, and of one score over a whole window."""

    front_end: int
    encoder: int
    score: int


class CExport(NamedTuple):
    """What was written and what it takes.

    Attributes:
        folder: where it is.
        weights: how the matrices are kept.
        window: patches that a score covers.
        constants: bytes of tables and weights, which a device keeps in flash beside some code.
        ram: bytes of a stream, all the memory there is beside the stack.
        operations: see there.
        compiler: what it was verified with; None where there is none, and nothing was verified.
        parity: what verification found, then.
    """

    folder: Path
    weights: Weights
    window: int
    constants: int
    ram: int
    operations: Operations
    compiler: str | None
    parity: Parity | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        parity = self.parity and {
            "largest_difference": self.parity.worst.difference,
            "worst_case": self.parity.worst.case,
            "cases": self.parity.cases,
        }
        return {
            **self._asdict(),
            "folder": str(self.folder),
            "operations": self.operations._asdict(),
            "parity": parity,
        }


def write_c(source: Source, folder: Path, weights: Weights = "int8", window: float = WINDOW) -> CExport:
    """Write nano as C; where this machine has a C compiler, it is compiled and compared with the network first.

    Args:
        source: nano, of any configuration.
        folder: where the sources go; those of an earlier export are replaced, other files are left alone.
        weights: see `Numbers`.
        window: seconds that a score covers.

    Raises:
        OptionError: the student, a folder with other things in it, or a window that cannot be.
        ExportError: the C does not compile, or does not score as the network does. Nothing is written then.
    """
    network = source.original
    if not isinstance(network, Nano):
        raise OptionError(f"{source.name} is a {source.family}: only nano is small enough to be written as plain C")
    check_c_folder(folder)
    length = window_patches(window)
    numbers = Numbers(network, weights, length)
    texts = _texts(source, weights, numbers)
    cc, parity = compiler(), None
    if cc is not None:
        with tempfile.TemporaryDirectory() as made:
            write_group(texts, Path(made))
            with CNano(Path(made), cc, numbers.ram, length) as ear:
                parity = verify_c(network, ear, length, TOLERANCES[weights])
    write_group(texts, folder)
    return CExport(
        folder, weights, length, numbers.constants, numbers.ram, operations(network.config, length), cc, parity
    )


def check_c_folder(folder: Path) -> None:
    """Raise OptionError where no C can be put: a file, or a folder that holds something else."""
    check_folder(folder, HEADER, "an export to C")


def operations(config: NanoConfig, window: int) -> Operations:
    """What the C multiplies; a division counts as one, what the mathematical library does is left out."""
    front_end = _spectrum(tx.SPECTRUM) + tx.FRAMES * (_spectrum(tx.FRAME) + len(tx.bands().short))
    rates = tx.modulation_bins()
    kernels = 2 * (rates[-1].stop - rates[0].start)
    front_end += tx.BANDS * (kernels * (tx.FRAMES + 1) + tx.FRAMES) + 6 * fe.PATCH_LENGTH
    if config.texture_version != 1:
        front_end += 2 * (fe.PATCH_LENGTH * tx.SEGMENT_POWERS + tx.trend_basis().rows.size) + 2 * fe.PATCH_LENGTH
    sizes = (len(tx.PLANES) * tx.BANDS, *config.layers, config.vector)
    encoder = sizes[0] + tx.BANDS + sum(a * b + 3 * b for a, b in pairwise(sizes))
    token = (2 * tx.BANDS + 1) * config.vector + 3 * config.hidden * (config.vector + config.hidden) + 4 * config.hidden
    listener = len(HEARD) * (tx.BANDS + config.conditioning + 1) + 2 * config.conditioning * config.vector
    return Operations(front_end, encoder, 2 * window * token + listener + window)


def _spectrum(length: int) -> int:
    """Multiplications of a power spectrum: window, complex transform of half the length, its split and squares."""
    half = length // 2
    return length + 2 * half * int(math.log2(half)) + 6 * half


def _texts(source: Source, weights: Weights, numbers: Numbers) -> dict[str, bytes]:
    about = (
        f"Made by haaqi-edge {importlib.metadata.version('haaqi-edge')} from {source.name}, weights {weights};\n"
        f" * checkpoint's SHA-256 {source.sha256}."
    )
    filled = dict(zip(_PLACES, (about, numbers.sizes(), numbers.definitions()), strict=True))
    texts = {}
    for name in SOURCES:
        text = files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
        for place, content in filled.items():
            text = text.replace(place, content)
        texts[name] = text.encode()
    return texts
