"""Compiles exported C for this machine and runs it from Python, to compare its scores with those of the network."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ExportError

FLAGS: Final = ("-O2", "-std=c99", "-Wall", "-Wextra", "-Wpedantic")
COMPILERS: Final = ("cc", "gcc", "clang")
"""Tried in this order if the environment variable CC is not set."""
Array = npt.NDArray[np.float32]


def compiler() -> str | None:
    """Return this machine's C compiler: the one that CC names, or the first of `COMPILERS` that exists."""
    names = (os.environ["CC"],) if os.environ.get("CC") else COMPILERS
    return next((found for name in names if (found := shutil.which(name))), None)


def compiled(sources: Sequence[Path], target: Path, cc: str, *flags: str) -> str:
    """Compile C sources and return the compiler's messages.

    Raises:
        ExportError: the sources do not compile.
    """
    command = [cc, *FLAGS, *flags, "-o", str(target), *map(str, sources), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(f"{cc} cannot compile the exported C:\n{done.stderr.strip()}")
    return done.stderr


class CNano:
    """A stream of an exported nano, compiled for this machine.

    Args:
        folder: contains haaqi_nano.h and haaqi_nano.c.
        cc: the compiler.
        ram: size of a stream in bytes.
        window: number of patches that a score covers.

    Raises:
        ExportError: the sources do not compile.
    """

    def __init__(self, folder: Path, cc: str, ram: int, window: int) -> None:
        self._home = tempfile.TemporaryDirectory()
        library = Path(self._home.name) / "haaqi_nano.so"
        compiled([folder / "haaqi_nano.c"], library, cc, "-shared", "-fPIC")
        self._code = ctypes.CDLL(str(library))
        self._code.haaqi_init.argtypes = [ctypes.c_void_p, ctypes.c_float]
        self._code.haaqi_push.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        self._code.haaqi_score.argtypes = [ctypes.c_void_p] * 4
        self._code.haaqi_level.argtypes = [ctypes.c_void_p] * 2
        self._code.haaqi_patches.argtypes = [ctypes.c_void_p]
        self._ear = np.zeros(ram // 4, dtype=np.uint32)
        self._window = window
        self.init()

    def init(self, level1: float = 85.0) -> int:
        """Call `haaqi_init`."""
        return int(self._code.haaqi_init(self._ear.ctypes.data, level1))

    def push(self, samples: Array) -> int:
        """Call `haaqi_push`."""
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        return int(self._code.haaqi_push(self._ear.ctypes.data, samples.ctypes.data, len(samples)))

    def score(self, audiogram: Array) -> tuple[int, float, Array]:
        """Call `haaqi_score` and return status, score, and frame scores [patches]. Missing scores are NaN."""
        levels = np.ascontiguousarray(audiogram, dtype=np.float32)
        score, frames = np.full(1, np.nan, np.float32), np.full(self._window, np.nan, np.float32)
        places = (array.ctypes.data for array in (self._ear, levels, score, frames))
        status = int(self._code.haaqi_score(*places))
        return status, float(score[0]), frames[: self.patches]

    def level(self) -> tuple[int, float]:
        """Call `haaqi_level` and return its status and the level in dB SPL; NaN if there is none."""
        level = np.full(1, np.nan, np.float32)
        return int(self._code.haaqi_level(self._ear.ctypes.data, level.ctypes.data)), float(level[0])

    @property
    def patches(self) -> int:
        """Call `haaqi_patches`."""
        return int(self._code.haaqi_patches(self._ear.ctypes.data))

    def scores(self, chunks: Iterable[Array], audiogram: Array) -> list[float]:
        """Start a stream and return the score after each chunk that completes a patch; NaN for silence."""
        self.init()
        return [self.score(audiogram)[1] for chunk in chunks if self.push(chunk) > 0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._home.cleanup()
