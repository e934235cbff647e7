"""Bundles and files put in place whole: written under another name first, so that nothing half-written stays behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from .bundle import CARD, Card, File, Precision
from .errors import OptionError


def check_folder(folder: Path, mark: str = CARD, what: str = "a bundle") -> None:
    """Raise OptionError where no bundle can be put, or whatever else is known by a file `mark`: a file, a folder
    that holds something else, or a place where none can be made."""
    with _told(folder):
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not above.is_dir() or (above == folder and any(folder.iterdir()) and not (folder / mark).is_file()):
            raise OptionError(f"{above} exists and is not {what}: give a new folder, or that of {what} to replace")
        tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=above).cleanup()  # rights alone do not tell


def check_file(path: Path) -> None:
    """Raise OptionError where no file can be put: a folder, or one above it that is missing or takes no files."""
    with _told(path):
        if not path.parent.is_dir() or path.is_dir():
            raise OptionError(f"cannot write {path}: give the path of a file in a folder that exists")
        tempfile.NamedTemporaryFile(prefix=f".{path.name}-", dir=path.parent).close()


def with_files(
    card: Card, graphs: Mapping[str, bytes], precisions: Mapping[str, Precision] | None = None, form: str = "onnx"
) -> Card:
    """The card that names these graphs, by role, with their checksums; of the card's own precision unless said. Their
    format is their suffix."""
    files = {
        role: File(
            f"{role}.{form}", form, (precisions or {}).get(role, card.precision), hashlib.sha256(graph).hexdigest()
        )
        for role, graph in graphs.items()
    }
    return replace(card, files=files)


def write_files(
    card: Card, graphs: Mapping[str, bytes], folder: Path, beside: Mapping[str, bytes] | None = None
) -> None:
    """Put a bundle into its folder; a bundle that is there is replaced.

    Args:
        card: names the graphs' files, see `with_files`.
        graphs: by role.
        folder: see `check_folder`.
        beside: files that the card does not name, by theirs.
    """
    with _replacing(folder) as part:
        for name, content in (beside or {}).items():
            (part / name).write_bytes(content)
        for role, graph in graphs.items():
            (part / card.files[role].file).write_bytes(graph)
        (part / CARD).write_text(card.to_json(), encoding="utf-8")


@contextlib.contextmanager
def putting(path: Path) -> Iterator[Path]:
    """Where to write a file: what is written there takes its place in the end, and vanishes where that fails."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_file(content: bytes, path: Path) -> None:
    """Put a file in its place; one that is there is replaced."""
    with putting(path) as part:
        part.write_bytes(content)


def to_json(value: object, indent: int | None = 2) -> str:
    """Format a value as JSON. What is undefined, NaN in Python, is null."""
    return json.dumps(_defined(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _defined(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _defined(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_json(value: object, path: Path) -> None:
    """Put a JSON file in its place, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file((to_json(value) + "\n").encode(), path)


def write_group(contents: Mapping[str, bytes], folder: Path) -> None:
    """Put files in their places in a folder, by name, all of them written before the first one is; others stay."""
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    parts = {folder / name: folder / f"{name}.part" for name in contents}
    for path, part in parts.items():
        part.write_bytes(contents[path.name])
    for path, part in parts.items():
        part.replace(path)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Where the system lets nothing be put, raise OptionError."""
    try:
        yield
    except OSError as error:
        raise OptionError(
            f"nothing can be put at {path} ({error.strerror}): give a place that can be written to"
        ) from error


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place when all went well, and vanishes when not."""
    with _told(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    part.chmod(0o755)
    try:
        yield part
        if folder.exists():
            old = part.with_name(part.name + "-old")
            folder.rename(old)
            part.rename(folder)
            shutil.rmtree(old)
        else:
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
