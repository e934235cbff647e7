"""Collect warnings and notes about audio, also those from other processes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..audio.reading import LOGGER
from ..errors import AudioWarning


class Messages(NamedTuple):
    """Messages about audio.

    Attributes:
        warnings: warnings that were issued.
        notes: what is unusual about files, see `FileAudio.notes`.
    """

    warnings: list[AudioWarning]
    notes: list[str]

    def repeat(self) -> None:
        """Issue the warnings, and log the notes, in this process."""
        for warning in self.warnings:
            warnings.warn(warning, stacklevel=2)
        logger = logging.getLogger(LOGGER)
        for note in self.notes:
            logger.info("%s", note)


@contextmanager
def collect_messages() -> Iterator[Messages]:
    """Collect warnings about audio, and notes about files, instead of showing them. For use in a worker process.

    Yields:
        The messages, which are complete at the end.
    """
    messages, logger = Messages([], []), logging.getLogger(LOGGER)
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [], False  # `repeat` logs the notes
    try:
        with warnings.catch_warnings(record=True) as issued, collect_notes(messages.notes.append):
            yield messages
    finally:
        logger.handlers, logger.propagate = handlers, propagate
    for warning in issued:
        if isinstance(warning.message, AudioWarning):
            messages.warnings.append(warning.message)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def collect_notes(show: Callable[[str], None]) -> Iterator[None]:
    """Pass on the notes about files that are opened meanwhile, such as sizes in a header that are wrong.

    Args:
        show: function that takes a note, with the name of its file.
    """
    logger, handler = logging.getLogger(LOGGER), _NoteHandler(show)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(logging.INFO, level or logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _NoteHandler(logging.Handler):
    """A handler that passes messages on."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a message on."""
        self._show(record.getMessage())
