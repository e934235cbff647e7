"""Which GPU this is, asked of NVIDIA's driver itself: engines and their caches fit one kind alone."""

from __future__ import annotations

import ctypes
import sys
from typing import Final, NamedTuple

from .errors import ProviderError

LIBRARY: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR: Final = 75
_MINOR: Final = 76
"""CUdevice_attribute: the compute capability's two numbers"""


class Gpu(NamedTuple):
    """The first GPU: its name, compute capability (as `8.6`) and the driver's CUDA version (as `12.8`)."""

    name: str
    capability: str
    driver: str

    @property
    def slug(self) -> str:
        """For a file's name."""
        words = "".join(c if c.isalnum() else "-" for c in self.name.removeprefix("NVIDIA ").lower())
        return f"{'-'.join(filter(None, words.split('-')))}-sm{self.capability.replace('.', '')}"


def first_gpu(library: str = LIBRARY) -> Gpu:
    """The GPU that CUDA calls 0.

    Raises:
        ProviderError: no driver, or no GPU.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError as error:
        raise ProviderError(f"NVIDIA's driver is not installed ({error}): it comes with the GPU's") from error

    def asked(name: str, *arguments: object) -> None:
        status = getattr(cuda, name)(*arguments)
        if status:
            raise ProviderError(f"NVIDIA's driver finds no GPU ({name} gave {status}): see nvidia-smi")

    device, version, major, minor = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(256)
    asked("cuInit", 0)
    asked("cuDriverGetVersion", ctypes.byref(version))
    asked("cuDeviceGet", ctypes.byref(device), 0)
    asked("cuDeviceGetName", name, len(name), device)
    asked("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    asked("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", driver)
