"""Check paths. A path that the system rejects, for example because it is too long, does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CHECKPOINT_SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".ckpt")
"""File suffixes of checkpoints. They identify a checkpoint even if the file does not exist."""


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


def is_checkpoint(model: object) -> bool:
    """Return whether `model` is the path of a checkpoint, judged by its suffix."""
    return isinstance(model, str | Path) and Path(model).suffix in CHECKPOINT_SUFFIXES
