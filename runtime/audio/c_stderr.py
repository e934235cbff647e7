"""Capture what libraries in C print to standard error.

libmpg123, inside libsndfile, prints to standard error if a frame is corrupt, replaces the frame by silence and returns
no error. The captured text shows the damage, and it stays off the terminal.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import ctypes

T = TypeVar("T")

_MPG123: Final = ("libmpg123", "Note: ", "Warning: ", "Frankenstein", "Layer ")
_LOCK: Final = threading.Lock()


class _Capture:
    """A C stream in memory, which takes the place of C's `stderr`.

    Python's own `sys.stderr` and the file descriptor 2 are not affected. The stream is never closed, since another
    thread may still be about to write to it.
    """

    def __init__(self, library: ctypes.CDLL, symbol: str) -> None:
        import ctypes

        self._text_at = ctypes.string_at
        self._pointer = ctypes.c_void_p.in_dll(library, symbol)
        self._text, self._size = ctypes.c_void_p(), ctypes.c_size_t()
        library.open_memstream.restype = ctypes.c_void_p
        self._stream = library.open_memstream(ctypes.byref(self._text), ctypes.byref(self._size))
        if not self._stream:
            raise OSError("no memory for a stream")
        self._flush, self._rewind = library.fflush, library.rewind
        self._flush.argtypes = self._rewind.argtypes = [ctypes.c_void_p]
        self._original: int | None = None

    def start(self) -> None:
        self._rewind(self._stream)
        self._original, self._pointer.value = self._pointer.value, self._stream

    def stop(self) -> bytes:
        self._pointer.value = self._original
        self._flush(self._stream)
        return self._text_at(self._text, self._size.value) if self._size.value else b""


@cache
def _capture() -> _Capture | None:
    """Return the capture, or None where C's `stderr` cannot be replaced: other systems than glibc's and macOS."""
    import ctypes  # here, since few files need it

    try:
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            return _Capture(library, "stderr")
        return _Capture(library, "__stderrp") if sys.platform == "darwin" else None
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def call_captured(function: Callable[[], T]) -> tuple[T, str]:
    """Call a function of libsndfile, and capture what libmpg123 prints meanwhile.

    Only one thread at a time captures. What other libraries print is passed on to the file descriptor 2.

    Returns:
        The function's result, and the text of libmpg123.
    """
    capture = _capture()
    if capture is None:
        return function(), ""
    with _LOCK:
        capture.start()
        try:
            result = function()
        finally:
            text = capture.stop()
    if not text:
        return result, ""
    lines = text.decode("utf-8", "replace").splitlines()
    own = [line for line in lines if any(mark in line for mark in _MPG123)]
    if others := [line for line in lines if line not in own]:
        try:
            os.write(2, "".join(f"{line}\n" for line in others).encode())
        except OSError:  # standard error is closed
            return result, "\n".join(own)
    return result, "\n".join(own)
