"""The study on arm64 is skipped with a reason where tools are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from haaqi_edge.benchmarks.studies import arm64, boards


def test_it_is_skipped_where_tools_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = arm64.measure(["nano"], tmp_path, 1.0, tmp_path / "work")
    assert found["skipped"].startswith("apt-get, dpkg-deb, qemu-aarch64-static not found (Debian: ")
    assert not (tmp_path / "work").exists()
    assert boards.missing_programs(boards.COMPILER).startswith("arm-none-eabi-gcc not found (Debian: ")
