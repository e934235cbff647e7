"""Random access to the bytes of a file, and byte streams that are put together from parts of it."""

from __future__ import annotations

import io
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

_WINDOW: Final = 1 << 20
"""Bytes that are read at once and cached."""


class ByteSource:
    """The bytes of a seekable binary file. Offsets count from `start`.

    Args:
        file: the file. It is not closed.
        start: position of the first byte.
        lock: held while the file is moved and read; one for all readers of a file. Its position is then restored.
            Default: the file has no other readers.

    Attributes:
        size: number of bytes.
    """

    def __init__(self, file: BinaryIO | io.RawIOBase, start: int = 0, lock: threading.Lock | None = None) -> None:
        self._file, self._start, self._restores = file, start, lock is not None
        self._lock = lock or threading.Lock()
        with self._lock:
            position = file.tell()
            file.seek(0, io.SEEK_END)  # some file objects return None
            self.size = max(0, file.tell() - start)
            file.seek(position)
        self._window, self._base = b"", 0

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from the file itself: `size` of them, or fewer at its end."""
        wanted = min(size, self.size - offset)
        if wanted <= 0:
            return b""
        with self._lock:
            position = self._file.tell() if self._restores else 0
            self._file.seek(self._start + offset)
            pieces = []
            while wanted > 0 and (piece := self._file.read(wanted)):
                pieces.append(piece)
                wanted -= len(piece)
            if self._restores:
                self._file.seek(position)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def get(self, offset: int, size: int) -> bytes:
        """Return bytes through a cache: `size` of them, or fewer at the end. For small reads in rising order."""
        at = offset - self._base
        if at < 0 or at + size > len(self._window):
            if size > _WINDOW:
                return self.read_at(offset, size)
            self._window, self._base, at = self.read_at(offset, _WINDOW), offset, 0
        return self._window[at : at + size]

    def find(self, pattern: bytes, start: int, stop: int) -> int:
        """Return the offset of the first occurrence of `pattern` within [start, stop), or -1."""
        overlap = len(pattern) - 1
        while start < stop:
            block = self.read_at(start, min(_WINDOW, stop - start))
            if (at := block.find(pattern)) >= 0:
                return start + at
            if len(block) <= overlap or start + len(block) >= stop:
                return -1
            start += len(block) - overlap
        return -1

    def zeros_until(self, start: int, stop: int) -> int:
        """Return the offset of the first byte that is not 0 within [start, stop), or `stop`."""
        while start < stop:
            block = self.read_at(start, min(_WINDOW, stop - start))
            rest = block.lstrip(b"\0")
            if rest:
                return start + len(block) - len(rest)
            if not block:
                break
            start += len(block)
        return stop


class Layout:
    """A byte stream that consists of literal bytes and ranges of a `ByteSource`, in order."""

    def __init__(self) -> None:
        self._ends = array("q")
        self._starts = array("q")  # offset in the source, or -1 - index of a literal
        self._literals: list[bytes] = []

    @property
    def size(self) -> int:
        """Number of bytes of the stream."""
        return self._ends[-1] if self._ends else 0

    def add_bytes(self, data: bytes) -> Layout:
        """Append literal bytes."""
        if data:
            self._starts.append(-1 - len(self._literals))
            self._literals.append(data)
            self._ends.append(self.size + len(data))
        return self

    def add_range(self, start: int, stop: int) -> Layout:
        """Append bytes [start, stop) of the source."""
        if stop <= start:
            return self
        if self._ends and self._starts[-1] >= 0:
            length = self._ends[-1] - (self._ends[-2] if len(self._ends) > 1 else 0)
            if self._starts[-1] + length == start:
                self._ends[-1] += stop - start
                return self
        self._starts.append(start)
        self._ends.append(self.size + stop - start)
        return self

    def add_layout(self, other: Layout, start: int = 0, stop: int | None = None) -> Layout:
        """Append bytes [start, stop) of another layout of the same source."""
        for literal, low, high in other.pieces(start, other.size if stop is None else stop):
            if literal is None:
                self.add_range(low, high)
            else:
                self.add_bytes(literal[low:high])
        return self

    def over(self, inner: Layout) -> Layout:
        """Return this layout, whose ranges are those of the stream `inner`, with ranges of the source of `inner`."""
        flat = Layout()
        for literal, low, high in self.pieces(0, self.size):
            if literal is None:
                flat.add_layout(inner, low, high)
            else:
                flat.add_bytes(literal[low:high])
        return flat

    def pieces(self, start: int, stop: int) -> Iterator[tuple[bytes | None, int, int]]:
        """Yield what bytes [start, stop) of the stream consist of.

        Yields:
            A literal with the start and stop of what is used of it, or None with the start and stop in the source.
        """
        index, at = bisect_right(self._ends, start), start
        while at < min(stop, self.size):
            begin = self._ends[index - 1] if index else 0
            end = min(stop, self._ends[index])
            base = self._starts[index]
            literal = None if base >= 0 else self._literals[-1 - base]
            first = max(base, 0) + at - begin
            yield literal, first, first + end - at
            at, index = end, index + 1


class LayoutReader(io.RawIOBase):
    """A read-only file whose content is a layout.

    Args:
        source: the source of the layout's ranges.
        layout: the content.

    Attributes:
        error: the first error of the source. Decoders in C cannot pass an exception on.
    """

    def __init__(self, source: ByteSource, layout: Layout) -> None:
        self._source, self._layout, self._position = source, layout, 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and return the position. Positions before the start become 0."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._layout.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return the number of bytes: fewer than its size only at the end, or after an error."""
        view = memoryview(buffer).cast("B")
        filled = 0
        try:
            for literal, low, high in self._layout.pieces(self._position, self._position + len(view)):
                data = self._source.read_at(low, high - low) if literal is None else literal[low:high]
                view[filled : filled + len(data)] = data
                filled += len(data)
                if len(data) < high - low:
                    raise OSError("the file became shorter while it was read")
        except OSError as error:
            self.error = self.error or error
        self._position += filled
        return filled
