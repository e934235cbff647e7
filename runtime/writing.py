"""Write files and bundles atomically.

The content is first written under a temporary name. If writing fails, no incomplete file remains.
"""

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
    """Raise `OptionError` unless a bundle can be written to a folder.

    Args:
        folder: must be new, empty or a bundle to replace.
        mark: name of the file that identifies a bundle, or another kind of content.
        what: name of the content in the error message.

    Raises:
        OptionError: if `folder` is a file, holds something else, or cannot be created.
    """
    with _option_errors(folder):
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not above.is_dir() or (above == folder and any(folder.iterdir()) and not (folder / mark).is_file()):
            raise OptionError(f"{above} exists and is not {what}: give a new folder, or that of {what} to replace")
        tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=above).cleanup()  # permissions alone may mislead


def check_file(path: Path) -> None:
    """Raise `OptionError` unless a file can be written.

    Raises:
        OptionError: if `path` is a folder, or if the folder above it is missing or not writable.
    """
    with _option_errors(path):
        if not path.parent.is_dir() or path.is_dir():
            raise OptionError(f"cannot write {path}: give the path of a file in a folder that exists")
        tempfile.NamedTemporaryFile(prefix=f".{path.name}-", dir=path.parent).close()


def with_files(
    card: Card, graphs: Mapping[str, bytes], precisions: Mapping[str, Precision] | None = None, form: str = "onnx"
) -> Card:
    """Return a card that lists these graphs with their checksums.

    Args:
        card: the card.
        graphs: content of the graphs, by role.
        precisions: precision by role. Default: the precision of the card.
        form: format of the graphs, which is also the file suffix.
    """
    files = {
        role: File(
            f"{role}.{form}", form, (precisions or {}).get(role, card.precision), hashlib.sha256(graph).hexdigest()
        )
        for role, graph in graphs.items()
    }
    return replace(card, files=files)


def write_files(
    card: Card, graphs: Mapping[str, bytes], folder: Path, extra_files: Mapping[str, bytes] | None = None
) -> None:
    """Write a bundle to a folder. An existing bundle is replaced.

    Args:
        card: lists the files of the graphs, see `with_files`.
        graphs: content of the graphs, by role.
        folder: see `check_folder`.
        extra_files: content of files that the card does not list, by file name.
    """
    with _replace_folder(folder) as part:
        for name, content in (extra_files or {}).items():
            (part / name).write_bytes(content)
        for role, graph in graphs.items():
            (part / card.files[role].file).write_bytes(graph)
        (part / CARD).write_text(card.to_json(), encoding="utf-8")


@contextlib.contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Provide a temporary path for writing a file. It replaces `path` at the end, and is deleted on an error."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_file(content: bytes, path: Path) -> None:
    """Write a file. An existing file is replaced."""
    with replace_atomically(path) as part:
        part.write_bytes(content)


def to_json(value: object, indent: int | None = 2) -> str:
    """Format a value as JSON. NaN, which means undefined, becomes null."""
    return json.dumps(_nan_to_none(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _nan_to_none(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _nan_to_none(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_json(value: object, path: Path) -> None:
    """Write a value to a JSON file, and create its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file((to_json(value) + "\n").encode(), path)


def write_group(contents: Mapping[str, bytes], folder: Path) -> None:
    """Write files to a folder. Other files in the folder stay.

    All files are written under temporary names before the first one is moved to its place.

    Args:
        contents: content by file name.
        folder: created if necessary.

    Raises:
        OptionError: if the folder cannot be created.
    """
    with _option_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    parts = {folder / name: folder / f"{name}.part" for name in contents}
    for path, part in parts.items():
        part.write_bytes(contents[path.name])
    for path, part in parts.items():
        part.replace(path)


@contextlib.contextmanager
def _option_errors(path: Path) -> Iterator[None]:
    """Convert an `OSError` of the file system to an `OptionError`."""
    try:
        yield
    except OSError as error:
        raise OptionError(f"cannot write {path} ({error.strerror}): give a path that can be written to") from error


@contextlib.contextmanager
def _replace_folder(folder: Path) -> Iterator[Path]:
    """Provide a new folder for writing. It replaces `folder` at the end, and is deleted on an error."""
    with _option_errors(folder):
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
