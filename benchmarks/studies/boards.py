"""Test exported C for a Cortex-M7 without a board.

arm-none-eabi-gcc compiles the C code, which gives its size. QEMU's MPS2 board runs it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ExportError

COMPILER: Final = "arm-none-eabi-gcc"
SIZE: Final = "arm-none-eabi-size"
EMULATOR: Final = "qemu-system-arm"
CORE: Final = ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard", "-ffp-contract=fast")
FLAGS: Final = ("-O2", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffunction-sections")
PACKAGES: Final = "gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm"
"""Debian packages that contain these programs"""
Array = npt.NDArray[np.float32]


class Size(NamedTuple):
    """Size of a linked program in bytes.

    Attributes:
        text: code and constants.
        data: variables with initial values.
        bss: variables that start at zero.
    """

    text: int
    data: int
    bss: int

    @property
    def flash(self) -> int:
        """Bytes of flash memory, which keeps its content without power."""
        return self.text + self.data

    @property
    def ram(self) -> int:
        """Bytes of RAM, without the stack."""
        return self.data + self.bss


class Cost(NamedTuple):
    """Number of instructions, and the deepest stack in bytes."""

    instructions: int
    stack: int


class Run(NamedTuple):
    """Results of a run on the emulated board.

    Attributes:
        scores: score of the last window, per listener; NaN if there is none.
        patch, score: cost of one patch, and of one score.
    """

    scores: list[float]
    patch: Cost
    score: Cost


def missing(*programs: str) -> str:
    """Return a message that names the programs that are not installed; empty if all are installed."""
    absent = [program for program in programs if shutil.which(program) is None]
    return f"{', '.join(absent)} not found (Debian: {PACKAGES})" if absent else ""


def sizes(folder: Path) -> Size:
    """Return the size of a minimal program that scores with exported C, including what it needs of newlib."""
    with tempfile.TemporaryDirectory() as made:
        program = Path(made) / "bare.elf"
        _link(folder, program, ("bare.c",), "--specs=nosys.specs", "-nostartfiles")
        done = subprocess.run([SIZE, str(program)], capture_output=True, text=True, check=True)
    return Size(*map(int, done.stdout.splitlines()[1].split()[:3]))


def run(folder: Path, samples: Array, audiograms: Array) -> Run:
    """Run exported C on the emulated board.

    Args:
        folder: contains the exported C.
        samples: float32 [n] at 16 kHz, at least one patch.
        audiograms: float32 [listeners, 8], dB HL.

    Raises:
        ExportError: the code does not compile without warnings, or the program fails.
    """
    with tempfile.TemporaryDirectory() as made:
        program, audio, listeners = (Path(made) / name for name in ("run.elf", "audio", "listeners"))
        _link(folder, program, ("run.c", "start.c"), "--specs=rdimon.specs")
        samples.astype("<f4").tofile(audio)
        audiograms.astype("<f4").tofile(listeners)
        arguments = "".join(f",arg={word}" for word in ("run", audio.name, listeners.name))
        board = [EMULATOR, "-M", "mps2-an500", "-nographic", "-monitor", "none", "-serial", "none"]
        counted = ["-icount", "shift=0", "-semihosting-config", f"enable=on,target=native{arguments}"]
        done = subprocess.run(
            [*board, *counted, "-kernel", program.name], capture_output=True, text=True, cwd=made, timeout=600
        )
    lines = [line.split() for line in done.stdout.splitlines()]
    if done.returncode != 0 or len(lines) != 1 + len(audiograms):
        raise ExportError(f"the emulated board failed ({done.returncode}): {done.stdout}{done.stderr}")
    patch, *heard = lines
    costs = [Cost(int(taken), int(stack)) for *_, taken, stack in heard]
    scores = [float(score) if status == "0" else float("nan") for _, status, score, *_ in heard]
    return Run(scores, Cost(*map(int, patch[1:])), max(costs))


def _link(folder: Path, program: Path, sources: tuple[str, ...], *flags: str) -> None:
    with as_file(files(__package__) / "cortex_m7") as home:
        own = [str(home / name) for name in sources]
        options = [*FLAGS, *CORE, *flags, f"-I{folder}", "-Wl,--gc-sections", "-T", str(home / "mps2.ld")]
        command = [COMPILER, *options, "-o", str(program), *own, str(folder / "haaqi_nano.c"), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(f"{COMPILER} cannot compile the exported C:\n{done.stderr.strip()}")
