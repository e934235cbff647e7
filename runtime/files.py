"""Check and show paths. A path that the system rejects, for example because it is too long, does not exist."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

CHECKPOINT_SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".ckpt")
"""File suffixes of checkpoints. They identify a checkpoint even if the file does not exist."""

GRAPH_SUFFIXES: Final = (".onnx", ".ort")
"""File suffixes of graphs for ONNX Runtime."""


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


def is_graph(model: object) -> bool:
    """Return whether `model` is the path of a graph that is no folder, judged by its suffix: a fused file."""
    return isinstance(model, str | Path) and Path(model).suffix in GRAPH_SUFFIXES and not is_folder(Path(model))


def display_name(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed: other characters, and bytes that are no UTF-8, are escaped."""
    text = os.fsdecode(path)
    if text.isprintable():
        return text
    return "".join(
        f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c if c.isprintable() else repr(c)[1:-1]
        for c in text
    )
