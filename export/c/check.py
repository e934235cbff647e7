"""Exported C, compiled for this machine and called from Python to compare its scores with those of the network."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ExportError

FLAGS: Final = ("-O3", "-std=c99", "-Wall", "-Wextra", "-Wpedantic")
COMPILERS: Final = ("cc", "gcc", "clang")
"""Tried in this order if the environment variable CC is not set."""
Array = npt.NDArray[np.float32]


def find_compiler() -> str | None:
    """Return this machine's C compiler: the one that CC names, or the first of `COMPILERS` that exists."""
    names = (os.environ["CC"],) if os.environ.get("CC") else COMPILERS
    return next((found for name in names if (found := shutil.which(name))), None)


def compile_c(sources: Sequence[Path], target: Path, cc: str, *flags: str) -> str:
    """Compile C sources and return the compiler's messages.

    Raises:
        ExportError: the sources do not compile.
    """
    command = [cc, *FLAGS, *flags, "-o", str(target), *map(str, sources), "-lm"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise ExportError(f"{cc} cannot compile the exported C:\n{process.stderr.strip()}")
    return process.stderr


class CNano:
    """A stream of an exported nano, compiled for this machine.

    Args:
        folder: contains the exported sources.
        cc: the compiler.
        ram: size of a stream in bytes.
        window: number of patches that a score covers.
        prefix: of the names in C.
        flags: of the compiler, in addition to `FLAGS`.
        interval: whether the network predicts intervals.
        nal_r: whether `flags` include NAL-R.

    Attributes:
        memory: the stream, uint32 [ram / 4].

    Raises:
        ExportError: the sources do not compile.
    """

    def __init__(
        self,
        folder: Path,
        cc: str,
        ram: int,
        window: int,
        prefix: str = "haaqi",
        flags: Sequence[str] = (),
        interval: bool = False,
        nal_r: bool = False,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / f"{prefix}_nano.so"
        # Linked without `flags`: with -ffast-math, a library sets subnormal numbers to 0 in the process that loads it.
        part = library.with_suffix(".o")
        compile_c([folder / f"{prefix}_nano.c"], part, cc, "-c", "-fPIC", *flags)
        compile_c([part], library, cc, "-shared")
        self._code, self._prefix = ctypes.CDLL(str(library)), prefix
        pointer = ctypes.c_void_p
        self._init = self._function("init", pointer, ctypes.c_float)
        self._process = self._function("process", pointer, pointer, ctypes.c_size_t)
        self._score = self._function("score", *[pointer] * 4)
        self._level = self._function("level", pointer, pointer)
        self._interval = self._function("interval", *[pointer] * 3) if interval else None
        self._patches = self._function("patches", pointer)
        self._amplify = self._function("amplify", pointer, pointer) if nal_r else None
        self._push = self._function("push", pointer, pointer, ctypes.c_size_t)
        self._work = self._function("work", pointer, ctypes.c_uint32)
        self._request = self._function("request", pointer, pointer)
        self._result = self._function("result", *[pointer] * 3)
        self.memory = np.zeros(ram // 4, dtype=np.uint32)
        self._window = window
        self.init()

    def _function(self, name: str, *arguments: Any) -> Callable[..., int]:
        function = self._code[f"{self._prefix}_{name}"]
        function.argtypes = arguments
        return function

    def init(self, level1: float = 85.0) -> int:
        """Call `haaqi_init`."""
        return int(self._init(self.memory.ctypes.data, level1))

    def amplify(self, audiogram: Array) -> int:
        """Call `haaqi_amplify`."""
        assert self._amplify is not None, "compiled without NAL-R"
        levels = np.ascontiguousarray(audiogram, dtype=np.float32)
        return int(self._amplify(self.memory.ctypes.data, levels.ctypes.data))

    def push(self, samples: Array) -> int:
        """Call `haaqi_process`."""
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        return int(self._process(self.memory.ctypes.data, samples.ctypes.data, len(samples)))

    def score(self, audiogram: Array) -> tuple[int, float, Array]:
        """Call `haaqi_score` and return status, score, and frame scores [patches]. Missing scores are NaN."""
        levels = np.ascontiguousarray(audiogram, dtype=np.float32)
        score, frames = np.full(1, np.nan, np.float32), np.full(self._window, np.nan, np.float32)
        pointers = (array.ctypes.data for array in (self.memory, levels, score, frames))
        status = int(self._score(*pointers))
        return status, float(score[0]), frames[: self.patches]

    def interval(self) -> tuple[int, float, float]:
        """Call `haaqi_interval` and return its status and the ends of the interval; NaN if there is none."""
        assert self._interval is not None, "the network predicts no intervals"
        ends = np.full(2, np.nan, np.float32)
        status = int(self._interval(self.memory.ctypes.data, ends.ctypes.data, ends.ctypes.data + 4))
        return status, float(ends[0]), float(ends[1])

    @property
    def predicts_interval(self) -> bool:
        """Whether the network predicts intervals."""
        return self._interval is not None

    def queue(self, samples: Array) -> int:
        """Call `haaqi_push`."""
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        return int(self._push(self.memory.ctypes.data, samples.ctypes.data, len(samples)))

    def work(self, budget: int) -> bool:
        """Call `haaqi_work`, and return whether work is left."""
        return bool(self._work(self.memory.ctypes.data, budget))

    def request(self, audiogram: Array) -> int:
        """Call `haaqi_request`."""
        levels = np.ascontiguousarray(audiogram, dtype=np.float32)
        return int(self._request(self.memory.ctypes.data, levels.ctypes.data))

    def result(self) -> tuple[int, float, Array]:
        """Call `haaqi_result` and return status, score, and frame scores [window]. Missing scores are NaN."""
        score, frames = np.full(1, np.nan, np.float32), np.full(self._window, np.nan, np.float32)
        status = int(self._result(self.memory.ctypes.data, score.ctypes.data, frames.ctypes.data))
        return status, float(score[0]), frames

    def level(self) -> tuple[int, float]:
        """Call `haaqi_level` and return its status and the level in dB SPL; NaN if there is none."""
        level = np.full(1, np.nan, np.float32)
        return int(self._level(self.memory.ctypes.data, level.ctypes.data)), float(level[0])

    @property
    def patches(self) -> int:
        """Call `haaqi_patches`."""
        return int(self._patches(self.memory.ctypes.data))

    def scores(self, chunks: Iterable[Array], audiogram: Array) -> list[float]:
        """Start a stream and return the score after each chunk that completes a patch; NaN for silence."""
        self.init()
        return [self.score(audiogram)[1] for chunk in chunks if self.push(chunk) > 0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()
