"""Ctrl-C: end a stream, and say how to resume a run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..runtime.files import display_name
from . import INTERRUPTED

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..runtime.batch.results import ResultsWriter
    from .stream_sources import Chunks


@contextlib.contextmanager
def explain_interruption(writer: ResultsWriter | None) -> Iterator[None]:
    """Say how to resume a run that is interrupted, if it writes results to a file and has some."""
    try:
        yield
    except KeyboardInterrupt:
        if writer is None or not writer.rows:
            raise
        raise KeyboardInterrupt(
            f"{INTERRUPTED}: {writer.rows} rows for {display_name(writer.path)} are saved; continue with --resume"
        ) from None


class InterruptHandler:
    """Handle Ctrl-C during a stream: the first one ends it between two chunks, a second one interrupts at once.

    Attributes:
        interrupted: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._waiting = False

    def __enter__(self) -> Self:
        self._in_main_thread = threading.current_thread() is threading.main_thread()  # no other thread gets signals
        if self._in_main_thread:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._in_main_thread:
            signal.signal(signal.SIGINT, self._previous)

    def iterate(self, chunks: Chunks) -> Iterator[npt.NDArray[Any]]:
        """Yield chunks until Ctrl-C."""
        while not self.interrupted:
            try:
                self._waiting = True
                chunk = next(chunks)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                self._waiting = False
            yield chunk

    def _handle(self, _: int, __: FrameType | None) -> None:
        second, self.interrupted = self.interrupted, True
        if second or self._waiting:
            raise KeyboardInterrupt
