"""Test exported C for a Cortex-M7 and for arm64 without a board.

arm-none-eabi-gcc compiles the C code, which gives its size. QEMU's MPS2 board runs it.
For arm64, QEMU runs a program with a plugin that counts instructions.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ExportError

COMPILER: Final = "arm-none-eabi-gcc"
SIZE: Final = "arm-none-eabi-size"
EMULATOR: Final = "qemu-system-arm"
_CORE: Final = ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard", "-ffp-contract=fast")
OPTIMIZATION: Final = "-O3"
"""level of the exported Makefile"""
_FLAGS: Final = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffunction-sections")
ARM64_COMPILER: Final = "aarch64-linux-gnu-gcc"
ARM64_EMULATOR: Final = "qemu-aarch64"
_PACKAGES: Final = (
    "gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm; for arm64 gcc-aarch64-linux-gnu, "
    "libc6-dev-arm64-cross and qemu-user"
)
"""Debian packages that contain these programs"""
Array = npt.NDArray[np.float32]


class ProgramSize(NamedTuple):
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


class ResourceUse(NamedTuple):
    """Number of instructions, and the largest depth of the stack in bytes."""

    instructions: int
    stack: int


class BoardResult(NamedTuple):
    """Results of a run on the emulated board.

    Attributes:
        scores: score of the last window, per listener; NaN if there is none.
        frame, patch: maximum for one call of `haaqi_process` with 10 ms of samples that complete no patch, and that
            complete one.
        score: maximum for one call of `haaqi_score`.
        amplify: for `haaqi_amplify`; zero without NAL-R.
        push, request, step, work: maximum for one call of `haaqi_push` (10 ms), `haaqi_request`, `haaqi_work` with a
            budget of one step, and `haaqi_work` with a budget of 100,000 operations.
    """

    scores: list[float]
    frame: ResourceUse
    patch: ResourceUse
    score: ResourceUse
    amplify: ResourceUse
    push: ResourceUse
    request: ResourceUse
    step: ResourceUse
    work: ResourceUse


def missing_programs(*programs: str) -> str:
    """Return a message that names the programs that are not installed; empty if all are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    return f"{', '.join(missing)} not found (Debian: {_PACKAGES})" if missing else ""


def program_size(folder: Path, optimization: str = OPTIMIZATION, options: Sequence[str] = ()) -> ProgramSize:
    """Return the size of a minimal program that scores with exported C, including what it needs of newlib.

    Args:
        folder: contains the exported C.
        optimization: flag of the compiler.
        options: flags that select optional parts.
    """
    with tempfile.TemporaryDirectory() as temporary:
        program = Path(temporary) / "bare.elf"
        _link(folder, program, ("bare.c",), optimization, *options, "--specs=nosys.specs", "-nostartfiles")
        completed = subprocess.run([SIZE, str(program)], capture_output=True, text=True, check=True)
    return ProgramSize(*map(int, completed.stdout.splitlines()[1].split()[:3]))


def run_on_board(
    folder: Path, samples: Array, audiograms: Array, optimization: str = OPTIMIZATION, options: Sequence[str] = ()
) -> BoardResult:
    """Run exported C on the emulated board.

    Args:
        folder: contains the exported C.
        samples: float32 [n] at the rate of the input, at least one patch.
        audiograms: float32 [listeners, 8], dB HL. NAL-R amplifies for the first.
        optimization: flag of the compiler.
        options: flags that select optional parts.

    Raises:
        ExportError: the code does not compile without warnings, or the program fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        program, audio, listeners = (Path(temporary) / name for name in ("run.elf", "audio", "listeners"))
        _link(folder, program, ("run.c", "start.c"), optimization, *options, "--specs=rdimon.specs")
        samples.astype("<f4").tofile(audio)
        audiograms.astype("<f4").tofile(listeners)
        arguments = "".join(f",arg={word}" for word in ("run", audio.name, listeners.name))
        board = [EMULATOR, "-M", "mps2-an500", "-nographic", "-monitor", "none", "-serial", "none"]
        counting = ["-icount", "shift=0", "-semihosting-config", f"enable=on,target=native{arguments}"]
        completed = subprocess.run(
            [*board, *counting, "-kernel", program.name], capture_output=True, text=True, cwd=temporary, timeout=600
        )
    lines = [line.split() for line in completed.stdout.splitlines()]
    score_lines = [line[1:] for line in lines if line[0] == "score"]
    uses = {
        name: ResourceUse(*map(int, numbers))
        for name, *numbers in lines
        if name in BoardResult._fields[1:] and len(numbers) == 2
    }
    if completed.returncode != 0 or len(score_lines) != len(audiograms) or len(uses) != 7:
        raise ExportError(f"the emulated board failed ({completed.returncode}): {completed.stdout}{completed.stderr}")
    uses["score"] = max(ResourceUse(int(instructions), int(stack)) for *_, instructions, stack in score_lines)
    return BoardResult([float(score) if status == "0" else float("nan") for status, score, *_ in score_lines], **uses)


def count_on_arm64(folder: Path, cc: str, window: int, optimization: str = OPTIMIZATION) -> tuple[int, int]:
    """Count instructions on an emulated arm64 processor.

    Args:
        folder: contains the exported C.
        cc: compiler for this machine, for QEMU's plugin.
        window: patches of a complete window.
        optimization: flag of the compiler.

    Returns:
        instructions per patch, and per score of a complete window.

    Raises:
        ExportError: the code does not compile without warnings, or the program fails.
    """
    with tempfile.TemporaryDirectory() as temporary, as_file(files(__package__) / "cortex_m7") as home:
        plugin, program = Path(temporary) / "qemu_count.so", Path(temporary) / "arm64"
        _run([cc, "-shared", "-fPIC", "-o", str(plugin), str(home / "qemu_count.c")])
        sources = [str(home / "arm64.c"), str(folder / "haaqi_nano.c")]
        _run([ARM64_COMPILER, *_FLAGS, optimization, "-static", f"-I{folder}", "-o", str(program), *sources, "-lm"])

        def count(patches: int, scores: int) -> int:
            return int(_run([ARM64_EMULATOR, "-plugin", str(plugin), str(program), str(patches), str(scores)]))

        few, many = count(1, 0), count(window, 0)
        return (many - few) // (window - 1), count(window, 1) - many


def _run(command: list[str]) -> str:
    """Run a program and return its messages."""
    completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if completed.returncode != 0:
        raise ExportError(f"{command[0]} failed ({completed.returncode}): {completed.stderr.strip()}")
    return completed.stderr


def _link(folder: Path, program: Path, sources: tuple[str, ...], *flags: str) -> None:
    with as_file(files(__package__) / "cortex_m7") as home:
        source_paths = [str(home / name) for name in sources]
        options = [*_FLAGS, *_CORE, *flags, f"-I{folder}", "-Wl,--gc-sections", "-T", str(home / "mps2.ld")]
        command = [COMPILER, *options, "-o", str(program), *source_paths, str(folder / "haaqi_nano.c"), "-lm"]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        raise ExportError(f"{COMPILER} cannot compile the exported C:\n{completed.stderr.strip()}")
