"""Provenance of results: machine, versions, commit, and the load by other processes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ...runtime.session import available_cores
from .schema import Load, Machine

_PACKAGES: Final = (
    "haaqi-edge",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "numba",
    "scipy",
    "pyclarity",
    "onnx",
)
ROOT: Final = Path(__file__).resolve().parents[2]
"""root of the installed package, or of the checkout"""
CODE_FOLDERS: Final = tuple(sorted(p.parent.name for p in ROOT.glob("*/__init__.py") if p.parent.name != "haaqi_edge"))
"""the packages of haaqi_edge, as folders below `ROOT`"""
_CODE_SUFFIXES: Final = (".py", ".onnx", ".json", ".safetensors")
"""suffixes of the files that results depend on"""
BUSY_CORES: Final = 0.3
"""number of cores kept busy by other processes above which a report contains a warning"""


def describe_machine() -> Machine:
    """Describe this machine."""
    return Machine(
        processor=_processor(),
        architecture=platform.machine(),
        cores=available_cores(),
        memory_gb=_memory(),
        system=f"{platform.system()} {platform.release()}",
        accelerator=_accelerator(),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages in `_PACKAGES`."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> tuple[str | None, bool | None]:
    """Return the commit of the checkout, and whether its files differ from the commit.

    Both are None if the package is installed without a checkout.
    """
    head, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return (None, None) if head is None or changes is None else (head, bool(changes))


def code_digest(folders: Sequence[str] = CODE_FOLDERS, suffixes: Sequence[str] = _CODE_SUFFIXES) -> str:
    """Return the SHA-256 of the modules, weights and shipped models of packages.

    Args:
        folders: the packages, as folders below `ROOT`.
        suffixes: of the files that are included.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                digest.update(str(path.relative_to(ROOT)).encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class LoadMonitor:
    """A stopwatch that also measures how busy other processes are."""

    def __init__(self) -> None:
        self._average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._started, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def elapsed(self) -> float:
        """Return the seconds since the object was created."""
        return time.monotonic() - self._started

    def load(self) -> Load:
        """Return the load by other processes since the object was created."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return Load(average=self._average, others=None)
        others = (busy - self._busy) - (_own_seconds() - self._own)
        return Load(average=self._average, others=round(max(0.0, others / max(self.elapsed(), 1e-6)), 3))


def _own_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_seconds() -> float | None:
    """Return the CPU seconds of all processes on this machine; None without /proc."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    user, nice, system, _, _, interrupts, soft, *_ = map(int, stat.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _accelerator() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _git(*arguments: str) -> str | None:
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
