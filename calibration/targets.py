"""What int8 arithmetic a device has: the number formats that run fast there without overflowing."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..runtime.errors import OptionError

Method = Literal["static", "dynamic"]
METHODS: Final[tuple[Method, ...]] = ("static", "dynamic")


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: how it is asked for.
        activations: format of what flows through static graphs; weights are int8, a scale for each output.
        reduced: weights of 7 bits, so that sums of two products fit 16 bits.
        symmetric: activations around 0.
        head: whether the head's products are quantized too.
        biases: whether a product's bias is stored in int32, with the products' scale.
        methods: what is possible there.
        native: `platform.machine()` of such devices, lower case; empty where this process can't be one.
    """

    name: str
    activations: Literal["uint8", "int8"]
    reduced: bool = False
    symmetric: bool = False
    head: bool = True
    biases: bool = True
    methods: tuple[Method, ...] = METHODS
    native: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """The formats in short, as `U8S8`."""
        signs = "U8S8" if self.activations == "uint8" else "S8S8"
        return signs + (", 7-bit weights" if self.reduced else "") + (", symmetric" if self.symmetric else "")


_X86: Final = ("x86_64", "amd64")
TARGETS: Final[Mapping[str, Target]] = {
    target.name: target
    for target in (
        Target("x86-vnni", "uint8", native=_X86),
        # Without VNNI two products of 8 bits are added in 16 and saturate; 7-bit weights can't.
        Target("x86", "uint8", reduced=True, native=_X86),
        Target("arm64", "int8", native=("arm64", "aarch64")),
        # TensorRT takes explicit, symmetric quantization only, of int8, and its recurrent layers none.
        Target("tensorrt", "int8", symmetric=True, head=False, biases=False, methods=("static",)),
    )
}
AUTO: Final = "auto"
_CPUINFO: Final = Path("/proc/cpuinfo")
_VNNI: Final = frozenset({"avx512_vnni", "avx_vnni"})


def native_target(cpuinfo: Path = _CPUINFO) -> Target:
    """The target that this machine is. Where the system does not tell of VNNI (no `cpuinfo`), it is taken to lack it:
    7-bit weights are right everywhere.

    Raises:
        OptionError: a processor of another kind.
    """
    machine = platform.machine().lower()
    if machine in _X86:
        return TARGETS["x86-vnni" if _VNNI & _flags(cpuinfo) else "x86"]
    for target in TARGETS.values():
        if machine in target.native:
            return target
    raise OptionError(f"no target is known for this machine ({machine}): name one of {', '.join(TARGETS)}")


def target_of(name: str) -> Target:
    """A target by its name, `auto` for this machine's.

    Raises:
        OptionError: no such target.
    """
    if name == AUTO:
        return native_target()
    if name not in TARGETS:
        raise OptionError(f"target {name!r}: expected {AUTO} or one of {', '.join(TARGETS)}")
    return TARGETS[name]


def runs_natively(target: Target, cpuinfo: Path = _CPUINFO) -> bool:
    """Whether a speed measured on this machine tells of the target: its kind of processor, and VNNI where it has it."""
    if platform.machine().lower() not in target.native:
        return False
    return target.name != "x86-vnni" or bool(_VNNI & _flags(cpuinfo))


def _flags(cpuinfo: Path) -> frozenset[str]:
    if not cpuinfo.is_file():
        return frozenset()
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split(":", 1)[-1].split())
