"""Check whether a path exists. A path that the system rejects, for example because it is too long, does not exist."""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    """Return whether the path is an existing file."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Return whether the path is an existing folder."""
    try:
        return path.is_dir()
    except OSError:
        return False
