"""Locks between processes, so that one process at a time writes a table, a feature file or a corpus."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed, unless another process holds the lock.

    The system releases the locks of processes that end, also of killed ones, so that no lock is ever stale.

    Returns:
        whether the lock was acquired; always True on systems without `fcntl` (Windows), which do not lock.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def hold_lock(path: Path, busy: Callable[[str], Exception]) -> Iterator[None]:
    """Hold a lock file within a context. The file is removed afterwards.

    Args:
        path: of the lock file, which need not exist. Its folder must.
        busy: returns the error to raise if another process holds the lock, from the name of that process.

    Raises:
        OSError: the file cannot be written.
    """
    while True:
        with path.open("a+", encoding="utf-8") as file:
            if not try_lock(file):
                file.seek(0)
                raise busy(file.read().strip() or "another process")
            if not _is_same_file(file, path):
                continue  # the process that held the lock removed this file before it was locked here
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
