"""Identify the GPU through NVIDIA's driver. Engines and their caches fit only one kind of GPU."""

from __future__ import annotations

import ctypes
import sys
from typing import Final, NamedTuple

from ..errors import ProviderError

_LIBRARY: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR: Final = 75
_MINOR: Final = 76
"""Values of CUdevice_attribute: the two numbers of the compute capability."""


class Gpu(NamedTuple):
    """The first GPU of the machine.

    Attributes:
        name: name that the driver reports.
        capability: compute capability, for example `8.6`.
        driver: CUDA version of the driver, for example `12.8`.
    """

    name: str
    capability: str
    driver: str

    @property
    def slug(self) -> str:
        """Name and compute capability in a form for file names."""
        words = "".join(c if c.isalnum() else "-" for c in self.name.removeprefix("NVIDIA ").lower())
        return f"{'-'.join(filter(None, words.split('-')))}-sm{self.capability.replace('.', '')}"


def first_gpu(library: str = _LIBRARY) -> Gpu:
    """Return the GPU with CUDA index 0.

    Args:
        library: name of the driver's library.

    Raises:
        ProviderError: if there is no driver or no GPU.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError as error:
        raise ProviderError(f"NVIDIA's driver is not installed ({error}): install the driver of your GPU") from error

    def call(name: str, *arguments: object) -> None:
        status = getattr(cuda, name)(*arguments)
        if status:
            raise ProviderError(f"NVIDIA's driver finds no GPU ({name} gave {status}): see nvidia-smi")

    device, version, major, minor = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(256)
    call("cuInit", 0)
    call("cuDriverGetVersion", ctypes.byref(version))
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDeviceGetName", name, len(name), device)
    call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", driver)
