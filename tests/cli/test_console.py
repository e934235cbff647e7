"""What commands print on standard error: one line, without control characters."""

from __future__ import annotations

import contextlib
import io

import pytest
from haaqi_edge.cli.console import print_error, print_note, print_warning, printable
from haaqi_edge.runtime.errors import AudioError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain [bold] ñ 音楽", "plain [bold] ñ 音楽"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("latin\udce9", "latin\\xe9"),
        ("two\nlines\r", "two\nlines\\r"),
    ],
)
def test_messages_are_printable(text: str, expected: str) -> None:
    assert printable(text) == expected
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        print_error(AudioError(text))
        print_warning(text)
        print_note(text)
    assert printed.getvalue() == f"error: {expected}\nwarning: {expected}\nnote: {expected}\n"
