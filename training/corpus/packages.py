"""Debian packages: downloads with `apt-get download`, or files of a folder, and extraction without installation."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Annotated, Final, cast

from ...runtime.errors import CorpusError
from ..configuration import Check

SPARE: Final = 2 * 10**9
"""free disk space to keep, in bytes"""
TIMEOUT: Final = 3600.0
"""limit of the duration of a download in seconds"""


_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def is_package_name(name: str) -> bool:
    """Return whether Debian allows a name. Such a name is no path, pattern or option."""
    return _NAME.fullmatch(name) is not None


def _check_name(name: str) -> None:
    if not is_package_name(name):
        raise ValueError(f"{name!r} is not the name of a Debian package")


PackageName = Annotated[str, Check(_check_name)]
"""name of a Debian package in a recipe"""


class Packages:
    """Fetches and unpacks Debian packages.

    Args:
        cache: folder for downloads. A package that is there is not downloaded again.
        given: a folder of `.deb` files to use instead of downloading.
    """

    def __init__(self, cache: Path, local_folder: Path | None = None) -> None:
        self.cache, self.local_folder = cache, local_folder

    def fetch(self, package: str) -> Path:
        """Return the path of a package's `.deb` file; download it if needed.

        Raises:
            CorpusError: the name is invalid, the package is not available, or the disk is full.
        """
        if not is_package_name(package):
            raise CorpusError(f"{package!r} is not the name of a Debian package: correct the recipe")
        for folder in filter(None, (self.local_folder, self.cache)):
            if found := sorted(folder.glob(f"{package}_*.deb")):
                return found[-1]
        if self.local_folder is not None:
            raise CorpusError(
                f"no {package}_*.deb in {self.local_folder}: run `apt-get download {package}` there, "
                "or leave --packages out to download"
            )
        if shutil.which("apt-get") is None:
            raise CorpusError(
                f"{package} cannot be downloaded: there is no apt-get. Use a Debian system, or download the packages "
                "elsewhere and give their folder with --packages"
            )
        check_disk(self.cache, 0)
        part = self.cache / f"{package}.part"
        shutil.rmtree(part, ignore_errors=True)
        # apt checks the package against the archive's signed index.
        command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package]
        try:
            part.mkdir(parents=True)
            done = subprocess.run(command, cwd=part, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            files = sorted(part.glob("*.deb"))
            if done.returncode or not files:
                reason = (done.stderr.strip().splitlines() or ["it gave no file"])[-1]
                raise CorpusError(
                    f"`apt-get download {package}` failed ({reason}): run `apt-get update`, check that the package "
                    "exists in your release, or give the .deb file's folder with --packages"
                )
            # apt downloads under the file's own name: only what is complete leaves the folder.
            return files[0].replace(self.cache / files[0].name)
        except subprocess.TimeoutExpired as error:
            raise CorpusError(f"downloading {package} took over {TIMEOUT:g} s: check the network, try again") from error
        except OSError as error:
            raise CorpusError(f"cannot download {package} to {self.cache}: {error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def unpack(self, package: str, folder: Path, patterns: Sequence[str] = ("*",)) -> Path:
        """Unpack the files of a package that match one of the patterns.

        Args:
            package: name of the package.
            folder: destination of the package's files. It is created if missing.
            patterns: shell patterns of paths inside the package, without a leading slash (`usr/share/*.ogg`; `*`
                matches slashes too). Text below `usr/share/doc` (licences) is always extracted.

        Returns:
            folder

        Raises:
            CorpusError: see `fetch`; the package is damaged, or dpkg-deb is not installed.
        """
        file = self.fetch(package)
        if shutil.which("dpkg-deb") is None:
            raise CorpusError(f"{file.name} cannot be unpacked: there is no dpkg-deb. Install Debian's package dpkg")

        def wanted(path: str) -> bool:
            return any(fnmatch(path, pattern) for pattern in patterns) or path.startswith("usr/share/doc/")

        folder.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as dpkg:
            try:
                stream = cast(IO[bytes], dpkg.stdout)
                _extract(stream, folder, wanted)
                while stream.read(2**20):  # padding; dpkg-deb fails if nobody reads it
                    pass
            except (tarfile.TarError, EOFError) as error:
                raise CorpusError(f"{file} is damaged ({error}): delete it and download it again") from error
            except OSError as error:
                raise CorpusError(f"{file.name} cannot be unpacked into {folder}: {error}") from error
        if dpkg.returncode:
            raise CorpusError(f"{file} is damaged (dpkg-deb failed): delete it and download it again")
        return folder


def check_disk(folder: Path, needed: int) -> None:
    """Raise CorpusError if fewer than `needed` bytes, and a reserve, are free where `folder` is or will be."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed + SPARE:
        raise CorpusError(
            f"{free / 1e9:.1f} GB are free for {folder}, expected {(needed + SPARE) / 1e9:.1f}: free some space, "
            "then run the same command again; it continues where it stopped"
        )


def _extract(stream: IO[bytes], folder: Path, wanted: Callable[[str], bool]) -> None:
    """Extract wanted members of a tar stream. Links without a target are left out."""
    links: list[tuple[Path, str]] = []
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            path = member.name.removeprefix("./")
            if member.isdir() or not wanted(path):
                continue
            if member.issym():
                links.append((folder / path, member.linkname))
                continue
            if not (member.isfile() or member.islnk()):  # a device or a pipe
                continue
            if member.islnk() and not (folder / member.linkname).is_file():
                continue
            check_disk(folder, member.size)
            tar.extract(member, folder, filter="data")
    left = len(links) + 1
    while len(links) < left:  # a link may point to another one
        left = len(links)
        links = [link for link in links if not _extract_link(*link, folder)]


def _extract_link(path: Path, target: str, folder: Path) -> bool:
    """Create a symbolic link unless it has no target, or is or points outside the folder."""
    inside = folder / target.lstrip("/") if target.startswith("/") else path.parent / target
    root = folder.resolve()
    if not inside.is_file() or not all(p.resolve().is_relative_to(root) for p in (inside, path.parent)):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(inside.resolve())
    return True
