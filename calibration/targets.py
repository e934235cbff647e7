"""Targets of int8 quantization: the number formats that run fast on a device without overflowing."""

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
    """A kind of device and its number formats.

    Attributes:
        name: value of the option `--target`.
        activations: format of the activations in static graphs. Weights are int8, with one scale per output.
        reduced: whether weights have 7 bits, so that a sum of two products fits in 16 bits.
        symmetric: whether the range of activations is symmetric around 0.
        head: whether the head's products are quantized too.
        biases: whether the bias of a product is stored in int32, with the scale of the product.
        methods: quantization methods that the device supports.
        native: `platform.machine()` of such devices, in lower case; empty if this process cannot run on one.
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
    def formats(self) -> str:
        """Short name of the number formats, such as `U8S8`."""
        signs = "U8S8" if self.activations == "uint8" else "S8S8"
        return signs + (", 7-bit weights" if self.reduced else "") + (", symmetric" if self.symmetric else "")


_X86: Final = ("x86_64", "amd64")
TARGETS: Final[Mapping[str, Target]] = {
    target.name: target
    for target in (
        Target("x86-vnni", "uint8", native=_X86),
        # Without VNNI, two 8-bit products are added in 16 bits and saturate. 7-bit weights prevent this.
        Target("x86", "uint8", reduced=True, native=_X86),
        Target("arm64", "int8", native=("arm64", "aarch64")),
        # TensorRT supports only explicit, symmetric int8 quantization, and none in recurrent layers.
        Target("tensorrt", "int8", symmetric=True, head=False, biases=False, methods=("static",)),
    )
}
AUTO: Final = "auto"
_CPUINFO: Final = Path("/proc/cpuinfo")
_VNNI: Final = frozenset({"avx512_vnni", "avx_vnni"})


def native_target(cpuinfo: Path = _CPUINFO) -> Target:
    """Return the target of this machine.

    If the system does not report processor features (no `cpuinfo`), the machine is assumed to lack VNNI: 7-bit weights
    are correct everywhere.

    Raises:
        OptionError: no target is known for this processor.
    """
    machine = platform.machine().lower()
    if machine in _X86:
        return TARGETS["x86-vnni" if _VNNI & _cpu_flags(cpuinfo) else "x86"]
    for target in TARGETS.values():
        if machine in target.native:
            return target
    raise OptionError(f"no target is known for this machine ({machine}): name one of {', '.join(TARGETS)}")


def get_target(name: str) -> Target:
    """Return a target by its name; `auto` selects the target of this machine.

    Raises:
        OptionError: no target has this name, or none is known for this machine.
    """
    if name == AUTO:
        return native_target()
    if name not in TARGETS:
        raise OptionError(f"target {name!r}: expected {AUTO} or one of {', '.join(TARGETS)}")
    return TARGETS[name]


def runs_natively(target: Target, cpuinfo: Path = _CPUINFO) -> bool:
    """Return whether a speed measured on this machine is valid for a target.

    The kind of processor must match. For `x86-vnni`, the processor must also have VNNI.
    """
    if platform.machine().lower() not in target.native:
        return False
    return target.name != "x86-vnni" or bool(_VNNI & _cpu_flags(cpuinfo))


def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    if not cpuinfo.is_file():
        return frozenset()
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split(":", 1)[-1].split())
