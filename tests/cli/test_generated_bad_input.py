"""Malformed inputs that follow from rules: each has a typed error, an exit code, and leaves nothing behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import run
from haaqi_edge.runtime.errors import AudioError
from malformed import TABLE, Row
from malformed_generated import generated_rows, write_generated

pytest.importorskip("av")
ROWS = list(generated_rows())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The malformed files."""
    folder = tmp_path_factory.mktemp("generated")
    write_generated(folder)
    return folder


def test_there_are_400_cases() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert len(ROWS) + len(TABLE) >= 400


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ascii(row.id)[1:60])
def test_it_is_refused(row: Row, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    before = {path.name for path in folder.iterdir()}
    outcome = run(*(argument.replace("{d}", str(folder)) for argument in row.argv))
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert "Traceback" not in outcome.err
    if row.words == "Invalid value":  # typer's own message
        assert outcome.errors == []
        assert row.words in outcome.err
    else:
        (error,) = outcome.errors
        assert isinstance(error, row.error or AudioError)
        assert len(str(error)) > 20
        assert re.search(row.words, str(error))
        assert len([line for line in outcome.err.splitlines() if line.startswith("error: ")]) == 1
    assert {path.name for path in folder.iterdir()} == before
